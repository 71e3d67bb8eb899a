"""The data of the U (section 4.3, Table 4): mixtures of parts, drawn anew for every epoch of stages 1 to 3.

Two ways of mixing, as in the authors' code: ``ratio`` takes the stated share of every part; ``sqrt`` (InstructBLIP,
arXiv 2305.06500) draws as many samples in all, but from every data set in proportion to the square root of its size, so
that no large one drowns a small one.

The paper's comparison is a model tuned on the raw annotations. Ours, ``raw``, starts from the same base, sees the same
records (those PF-1M kept) with their raw answers in place of the rewritten ones, and follows stages 1 and 2.
"""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path
from random import Random
from typing import Any, Literal

from polite_flamingo.errors import ConfigError, DataError, did_you_mean
from polite_flamingo.io.chunks import chunked
from polite_flamingo.io.hashes import fingerprint
from polite_flamingo.io.shards import read_shards
from polite_flamingo.prompts.templates import BOX_SENTENCE
from polite_flamingo.records import Rewrite, Sample
from polite_flamingo.train.data import EpochExamples
from polite_flamingo.train.dialogue import PackedExamples, Packer, Samples, encode_samples
from polite_flamingo.train.settings import TuneCommon
from polite_flamingo.train.store import CACHE, ROWS, Segment, TokenStore, cached, token_key

Mixing = Literal["ratio", "sqrt"]
PARTS = ("instruction", "pf1m", "raw")


def ratio_counts(sizes: Mapping[str, int], ratios: Mapping[str, float]) -> dict[str, int]:
    """Number of samples that an epoch draws from every part.

    Args:
        sizes: Number of samples of every part.
        ratios: Share of a part that an epoch holds: 1.0 is all of it, 0.5 half, 1.5 all of it and another half.

    Raises:
        ConfigError: a ratio is negative or names no part.
    """
    for name, ratio in sorted(ratios.items()):
        if name not in sizes:
            raise ConfigError("a mixture names an unknown part", value=name, next_step=did_you_mean(name, sizes))
        if ratio < 0:
            raise ConfigError("a mixture's ratio is negative", value=ratio, where=name)
    return {name: round(ratio * sizes[name]) for name, ratio in ratios.items()}


def sqrt_counts(sizes: Mapping[str, int], weights: Mapping[str, float], total: int) -> dict[str, int]:
    """Share `total` draws between data sets in proportion to weight x square root of size, to the sample exactly.

    Args:
        sizes: Number of samples of every data set.
        weights: Further factor of every data set (the ratio of its part); 0 leaves it out.
        total: Number of samples of an epoch.
    """
    shares = {name: weights[name] * math.sqrt(size) for name, size in sorted(sizes.items())}
    whole = sum(shares.values())
    if not whole:
        return dict.fromkeys(shares, 0)
    counts: dict[str, int] = {}
    reached, shared_out = 0.0, 0
    for name, share in shares.items():
        reached += share
        counts[name] = round(total * reached / whole) - shared_out
        shared_out += counts[name]
    return counts


def draw(groups: Mapping[str, Sequence[int]], counts: Mapping[str, int], *, seed: int, epoch: int) -> array[int]:
    """One epoch's samples, shuffled; a pure function of its arguments.

    Args:
        groups: Positions of the samples of every part or data set.
        counts: Number to draw from every group: without replacement, another selection each epoch; where a group is
            smaller, all of it as often as it fits and a selection on top.
        seed: Decides draw and order.
        epoch: Likewise.
    """
    chosen = array("q")
    for name, count in sorted(counts.items()):
        items = groups[name]
        whole, rest = divmod(count, len(items)) if len(items) else (0, 0)
        for _ in range(whole):
            chosen.extend(items)
        chosen.extend(Random(f"{seed}:{epoch}:{name}:mixture").sample(items, rest))
    Random(f"{seed}:{epoch}:mixture").shuffle(chosen)
    return chosen


def samples_of(part: str, instruction: Path, kept: Path) -> Iterator[Sample]:
    """Stream a part of the mixtures from shards: ``instruction``, ``pf1m`` or ``raw``; injected probes are left out.

    A raw answer comes without the boxes: they are the rewriter's hint, no annotation of a caption, and their
    coordinates would outweigh every other token of the loss.

    Args:
        part: Name of the part.
        instruction: Shards of the instruction samples.
        kept: Shards of the rewrites that the filters kept, or of samples that were rewritten elsewhere.
    """
    if part == "instruction":
        yield from (Sample.from_row(row) for row in read_shards(instruction))
        return
    for row in read_shards(kept):
        sample = Sample.from_row(row) if "turns" in row else None
        if sample is not None and part == "pf1m":
            yield sample
            continue
        rewrite = Rewrite.from_row(row) if sample is None else _with_annotation(sample)
        answer = rewrite.rewritten if part == "pf1m" else rewrite.raw_answer.split(BOX_SENTENCE)[0].rstrip()
        if answer.strip() and not rewrite.extras.get("probe"):
            yield rewrite.as_sample(answer)


def _with_annotation(sample: Sample) -> Rewrite:
    """The record of a sample that was rewritten elsewhere; its annotation is empty where the files do not have it."""
    return replace(sample.to_rewrite(sample.response), raw_answer=str(sample.extras.get("raw_answer") or ""))


def raw_mixture(mixture: Mapping[str, float]) -> dict[str, float]:
    """A stage's mixture with the raw annotations in place of PF-1M."""
    return {"raw" if name == "pf1m" else name: ratio for name, ratio in mixture.items()}


class StageData:
    """Draws the multi-turn dialogues of every epoch of one stage (a `train.data.TrainingData`).

    Args:
        stores: Tokenised samples by part.
        mixture: Share of each part per epoch.
        packer: How samples become dialogues.
        seed: Decides draw and order.
        mixing: ``ratio``, or ``sqrt`` over the data sets (see `train.mixture`).
        validation_share: Share of every part that is never drawn, see `validation`.
    """

    def __init__(
        self,
        stores: Mapping[str, TokenStore],
        mixture: Mapping[str, float],
        packer: Packer,
        *,
        seed: int,
        mixing: Mixing = "ratio",
        validation_share: float = 0.0,
    ) -> None:
        self._samples = Samples(stores)
        self._packer = packer
        self._seed = seed
        self._settings = (sorted(mixture.items()), seed, mixing, validation_share)
        self._held_out: list[int] = []
        groups: dict[str, Sequence[int]] = {}
        for name, positions in self._samples.positions().items():
            held_out = Random(f"{seed}:{name}:validation").sample(positions, round(validation_share * len(positions)))
            self._held_out += sorted(held_out)
            groups[name] = positions if not held_out else array("q", sorted(set(positions) - set(held_out)))
        self._counts = ratio_counts({name: len(group) for name, group in groups.items()}, mixture)
        self._groups = groups
        if mixing == "sqrt":
            total = sum(self._counts.values())
            self._groups, weights = _by_source(self._samples, groups, mixture)
            sizes = {name: len(group) for name, group in self._groups.items()}
            self._counts = sqrt_counts(sizes, weights, total)
        self._last: tuple[int, PackedExamples] | None = None

    @classmethod
    def from_shards(
        cls,
        tokenizer: Any,
        instruction: Path,
        kept: Path,
        mixture: Mapping[str, float],
        *,
        common: TuneCommon,
        context_length: int,
        max_images: int,
        seed: int,
        cache: Path = CACHE,
    ) -> StageData:
        """Tokenise the parts of a mixture into `cache`, where that was not done before, and read them from there.

        Args:
            tokenizer: The model's.
            instruction: Shards of the instruction samples.
            kept: Shards of the rewrites that the filters kept, or of samples that were rewritten elsewhere.
            mixture: Share of each part per epoch.
            common: How samples are mixed and joined, and what share of every part is never drawn.
            context_length: Most tokens of a dialogue.
            max_images: Most images of a dialogue.
            seed: Decides draw and order.
            cache: Folder of the token files.

        Raises:
            ConfigError: the mixture names an unknown part.
            DataError: a part has no samples.
        """
        stores: dict[str, TokenStore] = {}
        for part in mixture:
            if part not in PARTS:
                raise ConfigError("a mixture names an unknown part", value=part, next_step=did_you_mean(part, PARTS))
            folder = instruction if part == "instruction" else kept
            stores[part] = cached(
                cache,
                token_key(tokenizer, part, folder, Path(__file__)),
                partial(_segments, tokenizer, part, instruction, kept),
            )
            if not len(stores[part]):
                raise DataError(
                    "a part of the mixture has no samples",
                    value=part,
                    where=folder,
                    next_step="`polite-flamingo run` makes it; or change the mixture",
                )
        packer = Packer.dialogues(tokenizer, common.multiturn, context_length=context_length, max_images=max_images)
        return cls(stores, mixture, packer, seed=seed, mixing=common.mixing, validation_share=common.validation.share)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of samples of every part."""
        return {name: len(store) for name, store in self._samples.stores.items()}

    @cached_property
    def identity(self) -> str:
        """See `train.data.TrainingData`."""
        layout = self.epoch(0).layout
        first = hashlib.sha256(layout.order.tobytes() + layout.bounds.tobytes()).hexdigest()
        return fingerprint(self._samples.identity, *self._settings, asdict(self._packer), first)

    @cached_property
    def validation(self) -> EpochExamples:
        """The samples that are never drawn, each an example of its own."""
        return PackedExamples(self._samples, self._held_out, replace(self._packer, mode="single"))

    def epoch(self, epoch: int) -> PackedExamples:
        """See `train.data.TrainingData`."""
        if self._last is None or self._last[0] != epoch:
            order = draw(self._groups, self._counts, seed=self._seed, epoch=epoch)
            self._last = epoch, PackedExamples(self._samples, order, self._packer, f"{self._seed}:{epoch}:fill")
        return self._last[1]


def _segments(tokenizer: Any, part: str, instruction: Path, kept: Path) -> Iterator[Segment]:
    for chunk in chunked(samples_of(part, instruction, kept), ROWS):
        yield from encode_samples(tokenizer, chunk)


def _by_source(
    samples: Samples, groups: Mapping[str, Sequence[int]], mixture: Mapping[str, float]
) -> tuple[dict[str, Sequence[int]], dict[str, float]]:
    """Positions of every data set of every part, and the ratio of its part."""
    import numpy as np

    groups_by_source: dict[str, Sequence[int]] = {}
    weights: dict[str, float] = {}
    positions = samples.positions()
    for part, store in samples.stores.items():
        names, codes = store.sources()
        drawn = np.asarray(groups[part], np.int64)
        its_codes = codes[drawn - positions[part].start]
        for code, name in enumerate(names):
            groups_by_source[f"{part}/{name}"] = array("q", drawn[its_codes == code].tolist())
            weights[f"{part}/{name}"] = mixture[part]
    return groups_by_source, weights
