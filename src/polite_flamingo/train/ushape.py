"""The data of the U (section 4.3, Table 4): stages 1 to 3, and the model tuned on raw annotations for comparison.

The paper's comparison is a model tuned on the raw annotations. Ours, ``raw``, starts from the same base, sees the same
records (those PF-1M kept) with their raw answers in place of the rewritten ones, and follows stages 1 and 2.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from random import Random
from typing import Any, Literal

from polite_flamingo.errors import ConfigError, DataError, did_you_mean
from polite_flamingo.io import chunked, read_shards
from polite_flamingo.records import Rewrite, Sample
from polite_flamingo.train.data import EpochExamples
from polite_flamingo.train.dialogue import encode_samples
from polite_flamingo.train.mixture import draw, ratio_counts, sqrt_counts
from polite_flamingo.train.multiturn import Mode
from polite_flamingo.train.packed import PackedExamples, Packer, Samples, identity_of
from polite_flamingo.train.store import CACHE, ROWS, Segment, TokenStore, cached, token_key

Mixing = Literal["ratio", "sqrt"]
PARTS = ("instruction", "pf1m", "raw")


def samples_of(part: str, instruction: Path, kept: Path) -> Iterator[Sample]:
    """Stream a part of the mixtures from shards: ``instruction``, ``pf1m`` or ``raw``; injected probes are left out.

    Args:
        part: Name of the part.
        instruction: Shards of the instruction samples.
        kept: Shards of the rewrites that the filters kept.
    """
    if part == "instruction":
        yield from (Sample.from_row(row) for row in read_shards(instruction))
        return
    for row in read_shards(kept):
        rewrite = Rewrite.from_row(row)
        answer = rewrite.rewritten if part == "pf1m" else rewrite.raw_answer
        if answer.strip() and not rewrite.extras.get("probe"):
            yield rewrite.as_sample(answer)


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
            held = Random(f"{seed}:{name}:validation").sample(positions, round(validation_share * len(positions)))
            self._held_out += sorted(held)
            groups[name] = positions if not held else array("q", sorted(set(positions) - set(held)))
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
        seed: int,
        context_length: int,
        max_turns: int,
        max_images: int,
        mode: Mode = "paper",
        mixing: Mixing = "ratio",
        validation_share: float = 0.0,
        cache: Path = CACHE,
    ) -> StageData:
        """Tokenise the parts of a mixture into `cache`, where that was not done before, and read them from there.

        Args:
            tokenizer: The model's.
            instruction: Shards of the instruction samples.
            kept: Shards of the rewrites that the filters kept.
            mixture: Share of each part per epoch.
            seed: Decides draw and order.
            context_length: Most tokens of a dialogue.
            max_turns: Most human turns of a dialogue.
            max_images: Most images of a dialogue.
            mode: ``paper`` or ``fit`` (see `train.multiturn`).
            mixing: ``ratio`` or ``sqrt`` (see `train.mixture`).
            validation_share: Share of every part that is never drawn.
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
                    next_step="run the stages before, or change the mixture",
                )
        packer = Packer.dialogues(
            tokenizer, mode, context_length=context_length, max_turns=max_turns, max_images=max_images
        )
        return cls(stores, mixture, packer, seed=seed, mixing=mixing, validation_share=validation_share)

    @property
    def sizes(self) -> dict[str, int]:
        """Number of samples of every part."""
        return {name: len(store) for name, store in self._samples.stores.items()}

    @cached_property
    def identity(self) -> str:
        """See `train.data.TrainingData`."""
        return identity_of(self._samples, self._packer, self.epoch(0), *self._settings)

    @cached_property
    def validation(self) -> EpochExamples:
        """The samples that are never drawn, each an example of its own."""
        return PackedExamples(self._samples, self._held_out, replace(self._packer, mode="single"))

    def epoch(self, epoch: int) -> PackedExamples:
        """See `train.data.TrainingData`."""
        if self._last is None or self._last[0] != epoch:
            order = draw(self._groups, self._counts, seed=self._seed, epoch=epoch)
            self._last = epoch, PackedExamples(self._samples, order, self._packer)
        return self._last[1]


def _segments(tokenizer: Any, part: str, instruction: Path, kept: Path) -> Iterator[Segment]:
    for chunk in chunked(samples_of(part, instruction, kept), ROWS):
        yield from encode_samples(tokenizer, chunk)


def _by_source(
    samples: Samples, groups: Mapping[str, Sequence[int]], mixture: Mapping[str, float]
) -> tuple[dict[str, Sequence[int]], dict[str, float]]:
    """Positions of every data set of every part, and the ratio of its part."""
    import numpy as np

    found: dict[str, Sequence[int]] = {}
    weights: dict[str, float] = {}
    positions = samples.positions()
    for part, store in samples.stores.items():
        names, codes = store.sources()
        drawn = np.asarray(groups[part], np.int64)
        its_codes = codes[drawn - positions[part].start]
        for code, name in enumerate(names):
            found[f"{part}/{name}"] = array("q", drawn[its_codes == code].tolist())
            weights[f"{part}/{name}"] = mixture[part]
    return found, weights
