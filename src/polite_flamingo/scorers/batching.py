"""Each distinct item through a model once: sorted by length, in batches of bounded area, halved where memory ends.

A batch never has fewer than `LEAST_ROWS` rows (it is filled up by repetition). On a CPU a row's value then does not
depend on which others shared its batch, to the last bit, so that an interrupted run ends like a straight one.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from polite_flamingo.errors import ModelError

LOG = logging.getLogger(__name__)
LEAST_ROWS = 8
ROWS = 256  # a batch's most rows
CPU_AREA, CUDA_AREA = 4096, 65_536  # a batch's most rows times its greatest length, but for its least rows
NARROWEST = 0.8  # of the greatest length: what is shorter is not padded to it but begins another batch

Item = TypeVar("Item", bound=Hashable)
Result = TypeVar("Result")


class Batches(Generic[Item, Result]):
    """A function of items, computed in batches and remembered.

    Args:
        forward: The results of one batch.
        lengths: What the cost of each item grows with (tokens); None: all are alike.
        rows: Most items per batch.
        area: Most items times length of the longest.
        kept: Results remembered; the least recently used go first.
    """

    def __init__(
        self,
        forward: Callable[[list[Item]], Sequence[Result]],
        lengths: Callable[[list[Item]], Sequence[int]] | None = None,
        *,
        rows: int = ROWS,
        area: int = CPU_AREA,
        kept: int = 16_384,
    ) -> None:
        self._forward = forward
        self._lengths = lengths
        self._rows = rows
        self._area = area
        self._kept = kept
        self._known: OrderedDict[Item, Result] = OrderedDict()

    def __call__(self, items: Sequence[Item]) -> dict[Item, Result]:
        """The result of each distinct item.

        Raises:
            ModelError: one item alone does not fit into memory.
        """
        results: dict[Item, Result] = {}
        missing: list[Item] = []
        for item in dict.fromkeys(items):
            if item in self._known:
                self._known.move_to_end(item)
                results[item] = self._known[item]
            else:
                missing.append(item)
        for batch in self._batches(missing):
            results.update(zip(batch, self._run(batch), strict=True))
        for item in missing:
            self._known[item] = results[item]
        while len(self._known) > self._kept:
            self._known.popitem(last=False)
        return results

    def _batches(self, items: list[Item]) -> list[list[Item]]:
        lengths = [1] * len(items) if self._lengths is None or not items else list(self._lengths(items))
        order = sorted(range(len(items)), key=lambda i: (-lengths[i], i))  # longest first: memory ends early or never
        batches: list[list[Item]] = []
        widest = 0
        for i in order:
            rows = len(batches[-1]) if batches else 0
            padded = rows >= LEAST_ROWS and lengths[i] < NARROWEST * widest
            if not batches or padded or rows >= min(self._rows, max(LEAST_ROWS, self._area // widest)):
                batches.append([])
                widest = max(1, lengths[i])
            batches[-1].append(items[i])
        return batches

    def _run(self, batch: list[Item], fill: bool = True) -> list[Result]:
        filling = [batch[0]] * (LEAST_ROWS - len(batch)) if fill else []
        try:
            return list(self._forward([*batch, *filling]))[: len(batch)]
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            reason = " ".join(str(error).split())[:200]
        # outside the handler, whose traceback would keep the tensors of the failed batch alive
        _free()
        if len(batch) == 1 and not filling:
            raise ModelError(
                "one text or image alone does not fit into memory",
                value=reason,
                where=str(batch[0])[:80],
                next_step="free memory, set runtime.dtype to bfloat16, or use a larger device or a smaller model",
            )
        half = (len(batch) + 1) // 2
        self._rows = min(self._rows, max(half, LEAST_ROWS))  # for all batches to come
        LOG.warning("out of memory with %d rows, going on with %d: %s", len(batch) + len(filling), half, reason)
        fill = half > LEAST_ROWS
        return [*self._run(batch[:half], fill), *(self._run(batch[half:], fill) if batch[half:] else [])]


def area_on(device: str) -> int:
    """The area that suits a torch device."""
    return CUDA_AREA if device.startswith("cuda") else CPU_AREA


def out_of_memory(error: BaseException) -> bool:
    """True for the errors that PyTorch and Python raise when memory runs out."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text


def _free() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
