"""The data of the U (section 4.3, Table 4): stages 1 to 3, and the model tuned on raw annotations for comparison.

The paper's comparison is a model tuned on the raw annotations. Ours, ``raw``, starts from the same base, sees the same
records (those PF-1M kept) with their raw answers in place of the rewritten ones, and follows stages 1 and 2.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from polite_flamingo.prompts.templates import IMAGE_TOKEN
from polite_flamingo.records import Rewrite, Sample
from polite_flamingo.train.collate import Example
from polite_flamingo.train.dialogue import Segment, encode_sample, opening, separator
from polite_flamingo.train.mixture import draw
from polite_flamingo.train.multiturn import Packing, join_turns

LOG = logging.getLogger(__name__)


def training_parts(instruction: Iterable[Sample], kept: Sequence[Rewrite]) -> dict[str, list[Sample]]:
    """Parts of the mixtures: ``instruction``, ``pf1m`` and ``raw``; injected probes are left out."""
    genuine = [rewrite for rewrite in kept if not rewrite.extras.get("probe")]
    return {
        "instruction": list(instruction),
        "pf1m": [r.as_sample(r.rewritten) for r in genuine if r.rewritten.strip()],
        "raw": [r.as_sample(r.raw_answer) for r in genuine if r.raw_answer.strip()],
    }


def raw_mixture(mixture: Mapping[str, float]) -> dict[str, float]:
    """A stage's mixture with the raw annotations in place of PF-1M."""
    return {"raw" if name == "pf1m" else name: ratio for name, ratio in mixture.items()}


class StageData:
    """Draws the multi-turn dialogues of every epoch of one stage. Callable: epoch -> examples.

    Args:
        tokenizer: The model's.
        parts: Samples by part.
        mixture: Share of each part per epoch.
        seed: Decides draw and order.
        context_length: Most tokens of a dialogue.
        max_turns: Most human turns of a dialogue.
        max_images: Most images of a dialogue.
    """

    def __init__(
        self,
        tokenizer: Any,
        parts: Mapping[str, Sequence[Sample]],
        mixture: Mapping[str, float],
        *,
        seed: int,
        context_length: int,
        max_turns: int,
        max_images: int,
    ) -> None:
        self._parts = {name: parts[name] for name in mixture if name in parts}
        self._mixture = dict(mixture)
        self._seed = seed
        self._tokenizer = tokenizer
        self._join: Callable[[Iterable[Segment]], Packing] = lambda segments: join_turns(
            segments,
            opening=opening(tokenizer),
            separator=separator(tokenizer),
            media=tokenizer.convert_tokens_to_ids(IMAGE_TOKEN),
            context_length=context_length,
            max_turns=max_turns,
            max_images=max_images,
        )
        self._segments: dict[tuple[str, int], Segment] = {}
        self._last: tuple[int, Packing] | None = None

    def packing(self, epoch: int) -> Packing:
        """The dialogues of an epoch, with counts of what was cut or dropped."""
        if self._last is None or self._last[0] != epoch:
            keys = {name: [(name, i) for i in range(len(items))] for name, items in self._parts.items()}
            chosen = draw(keys, self._mixture, seed=self._seed, epoch=epoch)
            packing = self._join(self._segment(key) for key in chosen)
            if packing.skipped or packing.truncated:
                LOG.warning("%d samples were too long and cut, %d dropped", packing.truncated, packing.skipped)
            self._last = epoch, packing
        return self._last[1]

    def __call__(self, epoch: int) -> list[Example]:
        """Examples of an epoch."""
        return self.packing(epoch).examples

    def _segment(self, key: tuple[str, int]) -> Segment:
        if key not in self._segments:
            self._segments[key] = encode_sample(self._tokenizer, self._parts[key[0]][key[1]])
        return self._segments[key]
