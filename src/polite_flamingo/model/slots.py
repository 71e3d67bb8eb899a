"""Continuous batching: a fixed number of slots, prompts enter as others end (greedy decoding and sampling).

Every row stands at the beginning of its slot and has its own length, so a row that ends makes room at once and no row
is padded to the length of another. Each row has its own decoding. What prompts begin with (the system message) is
computed once and shared, of an image's keys and values only those of the row's last image are kept (`model.shown`), and
when memory runs out the rows in flight start again in half as many slots.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch

from polite_flamingo.errors import ModelError
from polite_flamingo.model.bundle import FlamingoBundle
from polite_flamingo.model.cache import SlotCache
from polite_flamingo.model.causal import CausalModel
from polite_flamingo.model.rows import DecodingRow, image_slots, out_of_memory
from polite_flamingo.model.sampling import gumbel
from polite_flamingo.model.shown import ShownImages

LOG = logging.getLogger(__name__)
SHORTEST_PREFIX = 8  # tokens; sharing less saves nothing
PREFILL_TOKENS = 8192  # of prompts read in one step
COLUMNS = 64  # by which slots grow


def decode(
    bundle: FlamingoBundle,
    rows: Sequence[DecodingRow],
    *,
    media: Callable[[Sequence[str]], torch.Tensor],
    slots: int,
    token_budget: int | None = None,
    compiled: bool = False,
) -> Iterator[DecodingRow]:
    """Generate every row; yields each as it ends, its tokens in ``output`` (the end of sequence included).

    Args:
        bundle: The model.
        rows: Prompts, the longest first; their decoding has no beams.
        media: Latents (N, n, d) of N images.
        slots: Most rows at a time.
        token_budget: Most tokens in all slots together, prompts and continuations; None: no bound.
        compiled: Decode with `torch.compile`.

    Raises:
        ModelError: the memory does not even hold one row.
    """
    waiting = list(reversed(rows))
    # Where text attends to the image after it, what stands before the first image depends on it.
    prefix = _common_prefix([r.ids for r in rows], bundle.media_token_id) if bundle.config.attend_previous else []
    model = CausalModel.of(bundle)
    local = model.local_window
    if local is not None and any(len(row.ids) + row.limit > local for row in rows):
        slots = 1  # this family's local attention counts columns, so rows of different length cannot share a step
    while waiting:
        batch = Slots(model, slots, prefix, media, compiled=compiled)
        try:
            while waiting or batch.rows:
                if batch.wants(len(waiting)):
                    yield from batch.enter(_take(waiting, batch, token_budget))
                if batch.rows:
                    yield from batch.step()
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            lost = batch.in_flight
            slots = max(len(lost), 1) // 2
            if slots == 0:
                raise too_large(lost[0] if lost else None) from error
            LOG.warning("out of memory with %d rows at a time: going on with %d", len(lost), slots)
            waiting.extend(reversed(lost))
        finally:
            batch.close()
        if bundle.device.type == "cuda":
            torch.cuda.empty_cache()


def _take(waiting: list[DecodingRow], batch: Slots, budget: int | None) -> list[DecodingRow]:
    """The next rows for the free slots, as many as one prefill and the token budget hold; at least one if idle."""
    entering: list[DecodingRow] = []
    spent = sum(len(row.ids) + row.limit for row in batch.rows)
    longest = 0
    while waiting and len(entering) < batch.free:
        row = waiting[-1]
        longest = max(longest, len(row.ids))
        spent += len(row.ids) + row.limit
        crowded = budget is not None and spent > budget
        if (entering or batch.rows) and (crowded or longest * (len(entering) + 1) > PREFILL_TOKENS):
            break
        entering.append(waiting.pop())
    return entering


def _common_prefix(prompts: Sequence[list[int]], media_token: int) -> list[int]:
    """Token ids that all prompts begin with, before the first image; empty where sharing saves nothing."""
    if len(prompts) < 2:
        return []
    first, last = min(prompts), max(prompts)
    length = 0
    most = min(len(ids) for ids in prompts) - 1
    while length < most and first[length] == last[length] != media_token:
        length += 1
    return first[:length] if length >= SHORTEST_PREFIX else []


def too_large(row: DecodingRow | None) -> ModelError:
    """The error of a row that does not fit into memory even alone."""
    size = (0, 0) if row is None else (len(row.ids), row.limit)
    return ModelError(
        "the memory does not hold one prompt and its continuation",
        value=f"{size[0]} tokens, up to {size[1]} more",
        next_step="choose a smaller number type (runtime.dtype: bfloat16) or lower max_new_tokens",
    )


class Slots:
    """The rows in flight, the first `len(rows)` slots, with their keys and values.

    Args:
        model: The model.
        slots: Most rows.
        prefix: Tokens that are computed once for all prompts that begin with them; the others do without.
        media: Latents (N, n, d) of N images.
        compiled: Decode with `torch.compile`.
    """

    def __init__(
        self,
        model: CausalModel,
        slots: int,
        prefix: Sequence[int] = (),
        media: Callable[[Sequence[str]], torch.Tensor] | None = None,
        *,
        compiled: bool = False,
    ) -> None:
        self.rows: list[DecodingRow] = []
        self.in_flight: list[DecodingRow] = []
        self._model, self._lm, self._media = model, model.lm, media
        self._slots = slots
        self._prefix = list(prefix)
        self._cache = SlotCache(slots, COLUMNS)
        self._images = None if model.bundle is None else ShownImages(model.bundle, slots)
        device = model.device
        self._lengths = torch.zeros(slots, dtype=torch.long, device=device)  # tokens in the cache
        self._current = torch.zeros(slots, dtype=torch.long, device=device)  # the token to be read next
        self._never = torch.tensor(model.never, dtype=torch.long, device=device)
        self._ends = torch.tensor(sorted(model.ends), dtype=torch.long, device=device)
        config = self._lm.config
        self._boolean = config._attn_implementation == "sdpa"
        self._window = getattr(config, "sliding_window", None)
        self._read = self._compile() if compiled else self._lm.base_model

    @property
    def free(self) -> int:
        """Slots without a row."""
        return self._slots - len(self.rows)

    @property
    def columns(self) -> int:
        """Tokens that every slot has memory for."""
        return self._cache.columns

    def wants(self, waiting: int) -> bool:
        """True when enough slots are free that reading new prompts pays."""
        return waiting > 0 and (not self.rows or self.free >= min(waiting, max(1, self._slots // 4)))

    def enter(self, rows: list[DecodingRow]) -> Iterator[DecodingRow]:
        """Read the prompts of new rows and choose their first tokens; yields rows that end with it."""
        if not rows:
            return
        self.in_flight = [*self.rows, *rows]
        ended: list[DecodingRow] = []
        with torch.inference_mode():
            if self._prefix and not self._cache.prefix_length:
                self._read_prefix()
            for row in rows:
                row.begin()
            for past, some in self._by_prefix(rows):
                logits = self._read_prompts(some, past)
                start = len(self.rows)
                self.rows.extend(some)
                ended += self._choose(logits, start)
        yield from ended

    def _by_prefix(self, rows: list[DecodingRow]) -> Iterator[tuple[int, list[DecodingRow]]]:
        """Rows by how many of their tokens are shared."""
        length = len(self._prefix)
        sharing: list[DecodingRow] = []
        others: list[DecodingRow] = []
        for row in rows:
            shares = length and len(row.ids) > length and row.ids[:length] == self._prefix
            (sharing if shares else others).append(row)
        yield from ((past, some) for past, some in ((length, sharing), (0, others)) if some)

    def remove(self, rows: Iterable[DecodingRow]) -> None:
        """Take rows out before they end."""
        out = {id(row) for row in rows}
        with torch.inference_mode():
            self._leave([slot for slot, row in enumerate(self.rows) if id(row) in out])

    def step(self) -> Iterator[DecodingRow]:
        """One token for every row; yields rows that end with it."""
        count = len(self.rows)
        with torch.inference_mode():
            lengths = self._lengths[:count]
            width = max(len(row.ids) + len(row.output) for row in self.rows)
            if self._images is not None:
                self._images.pin(count)
            columns = torch.arange(width, device=lengths.device)
            mask = columns <= lengths[:, None]
            if self._window:
                mask &= columns > lengths[:, None] - self._window
            self._cache.decode(lengths, width)
            hidden = self._read(
                input_ids=self._current[:count, None],
                position_ids=lengths[:, None],
                attention_mask=self._mask(mask[:, None, None]),
                past_key_values=self._cache,
                use_cache=True,
            ).last_hidden_state[:, -1]
            lengths += 1
            ended = self._choose(self._lm.get_output_embeddings()(hidden), 0)
        yield from ended

    def close(self) -> None:
        """Leave the model without images and free the slots."""
        if self._images is not None:
            self._images.close()
        self._cache.clear()

    def _compile(self) -> Any:
        return torch.compile(self._lm.base_model, dynamic=True)

    def _mask(self, visible: torch.Tensor) -> torch.Tensor:
        if self._boolean:
            return visible
        dtype = self._model.dtype
        return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill(
            ~visible, torch.finfo(dtype).min
        )

    def _read_prefix(self) -> None:
        ids = torch.tensor([self._prefix], device=self._model.device)
        self._cache.read_prefix()
        self._forward(ids, None if self._images is None else self._images.none(), 0)

    def _read_prompts(self, rows: list[DecodingRow], past: int) -> torch.Tensor:
        """Logits after the last token of each new row (m, V); its keys and values go to the next free slots."""
        start, count = len(self.rows), len(rows)
        device = self._model.device
        tails = [row.ids[past:] for row in rows]
        width = max(map(len, tails))
        ids = torch.tensor([[*tail, *[self._model.pad] * (width - len(tail))] for tail in tails], device=device)
        self._cache.read(start, count, past, past + width)
        media = counts = None
        if self._images is not None and self._media is not None:
            media, counts = image_slots(rows, self._media)
        hidden = self._forward(ids, media, past)
        last = torch.tensor([len(tail) - 1 for tail in tails], device=device)
        self._lengths[start : start + count] = last + 1 + past
        if self._images is not None and counts is not None:
            self._images.keep(counts, start)
        return self._lm.get_output_embeddings()(hidden[torch.arange(count, device=device), last])

    def _forward(self, ids: torch.Tensor, media: torch.Tensor | None, past: int) -> torch.Tensor:
        """Hidden states (m, q, D) of tokens that follow the prefix; padding stands on the right."""
        width = ids.shape[1]
        if self._images is not None and media is not None:
            self._images.show(ids, media)
        rows = torch.arange(past, past + width, device=ids.device)[:, None]
        columns = torch.arange(past + width, device=ids.device)
        mask = columns <= rows
        if self._window:
            mask &= columns > rows - self._window
        return self._lm.base_model(
            input_ids=ids,
            position_ids=rows.T.expand(len(ids), -1),
            attention_mask=self._mask(mask[None, None]).expand(len(ids), -1, -1, -1),
            past_key_values=self._cache,
            use_cache=True,
        ).last_hidden_state

    def _choose(self, logits: torch.Tensor, start: int) -> list[DecodingRow]:
        """Append the next token of the rows from `start` on; takes the ended rows out and returns them."""
        rows = self.rows[start:]
        scores = logits.float()
        banned = [(i, t) for i, row in enumerate(rows) if row.ngrams is not None for t in row.ngrams.banned()]
        if banned:
            at = torch.tensor(banned, device=scores.device)
            scores[at[:, 0], at[:, 1]] = -torch.inf
        if len(self._never):
            scores[:, self._never] = -torch.inf
        early = [place for place, row in enumerate(rows) if len(row.output) < row.least]
        if len(early) == len(rows):
            scores[:, self._ends] = -torch.inf
        elif early:
            scores[torch.tensor(early, device=scores.device)[:, None], self._ends] = -torch.inf
        self._draw(scores, rows)
        chosen = scores.argmax(dim=-1)
        self._current[start : start + len(rows)] = chosen
        ended: list[int] = []
        for slot, (row, token) in enumerate(zip(rows, chosen.tolist(), strict=True), start):
            row.output.append(token)
            if row.ngrams is not None:
                row.ngrams.add(token)
            if token in self._model.ends or len(row.output) >= row.limit:
                ended.append(slot)
        return self._leave(ended)

    def _draw(self, scores: torch.Tensor, rows: Sequence[DecodingRow]) -> None:
        """Put noise upon the scores of the rows that sample, in place: their largest is then a draw."""
        alike: dict[int, list[int]] = {}  # rows of one decoding are warped together
        for place, row in enumerate(rows):
            if row.generator is not None:
                alike.setdefault(id(row.warpers), []).append(place)
        for places in alike.values():
            some = scores[places]
            for warper in rows[places[0]].warpers:
                some = warper(None, some)
            noise = gumbel([g for place in places if (g := rows[place].generator) is not None], some)
            scores[places] = some.log_softmax(dim=-1) + noise

    def _leave(self, ended: list[int]) -> list[DecodingRow]:
        """Take rows out; the last rows move into the holes."""
        if not ended:
            return []
        leaving = [self.rows[slot] for slot in ended]
        left = len(self.rows) - len(ended)
        holes = [slot for slot in ended if slot < left]
        out = set(ended)
        movers = [slot for slot in range(left, len(self.rows)) if slot not in out]
        if holes:
            to = torch.tensor(holes, device=self._lengths.device)
            source = torch.tensor(movers, device=self._lengths.device)
            width = max(len(self.rows[slot].ids) + len(self.rows[slot].output) for slot in movers)
            self._cache.move(source, to, width)
            for store in (self._lengths, self._current):
                store[to] = store[source]
            if self._images is not None:
                self._images.move(source, to)
            for hole, mover in zip(holes, movers, strict=True):
                self.rows[hole] = self.rows[mover]
        del self.rows[left:]
        self.in_flight = list(self.rows)
        return leaving
