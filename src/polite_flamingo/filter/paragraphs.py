"""CLIPScore paragraph step (section 3.3): paragraphs that do not fit the image are cut from captions.

The rewriter learned from detailed descriptions that a second paragraph begins with "In addition, …", and invents one
where the annotation has nothing more to say. This step edits; it rejects only when nothing would be left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from polite_flamingo.errors import DataError
from polite_flamingo.filter.columns import numbers
from polite_flamingo.records import Rewrite

BREAK = "\n\n"
ALL_CUT = "paragraphs: all cut"


@dataclass(frozen=True, slots=True)
class Edit:
    """What the step left of a record.

    Args:
        rewrite: The record with its remaining paragraphs and their ``clip_logits``; unchanged if nothing was cut or
            nothing would be left.
        cut: (clip_logit, text) of each paragraph cut, in order.
        all_cut: True when every paragraph is below the threshold.
        lowest: Lowest logit; None where the step does not apply.
    """

    rewrite: Rewrite
    cut: tuple[tuple[float, str], ...] = ()
    all_cut: bool = False
    lowest: float | None = None


@dataclass(frozen=True, slots=True)
class ParagraphEditor:
    """Applies to captions of more than one paragraph that have been scored."""

    min_clip_logit: float
    name: str = "paragraphs"

    def edit(self, rewrite: Rewrite) -> Edit:
        """Cut the paragraphs whose ``clip_logit`` is below `min_clip_logit`."""
        if not rewrite.task.is_caption or BREAK not in rewrite.rewritten:
            return Edit(rewrite)
        logits = numbers(rewrite, "clip_logits")
        if logits is None:
            return Edit(rewrite)
        paragraphs = rewrite.paragraphs
        if len(logits) != len(paragraphs):
            raise DataError(
                "as many clip_logits as paragraphs are needed", value=(len(logits), len(paragraphs)), where=rewrite.id,
                next_step="run `polite-flamingo score` again",
            )  # fmt: skip
        if not logits:
            return Edit(rewrite)
        scored = list(zip(logits, paragraphs, strict=True))
        cut = tuple(pair for pair in scored if pair[0] < self.min_clip_logit)
        kept = [pair for pair in scored if pair[0] >= self.min_clip_logit]
        if not cut or not kept:
            return Edit(rewrite, cut, bool(cut), min(logits))
        left = replace(rewrite, rewritten=BREAK.join(text for _, text in kept))
        return Edit(left.with_scores(clip_logits=[logit for logit, _ in kept]), cut, False, min(logits))
