"""CLIPScore paragraph step (section 3.3): paragraphs that do not fit the image are cut from captions.

The rewriter learned from detailed descriptions that a second paragraph begins with "In addition, …", and invents one
where the annotation has nothing more to say. This step edits; it rejects only when nothing would be left.

What is left depends on the threshold only through the number of paragraphs cut, always those with the lowest logits.
So the scores of the text after the cut are known for every threshold: columns ``NAME_by_cut``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from polite_flamingo.errors import DataError
from polite_flamingo.filter.columns import Batch, Verdicts, by_cut, number, numbers
from polite_flamingo.records import Rewrite, Task, Verdict
from polite_flamingo.scorers.columns import BY_CUT
from polite_flamingo.scorers.text import BREAK
from polite_flamingo.settings import Settings

if TYPE_CHECKING:
    from polite_flamingo.filter.columns import Floats, Ints, Mask

ALL_CUT = "paragraphs: all cut"


class ParagraphSettings(Settings):
    """Lowest logit of a paragraph that stays."""

    inline: ClassVar[bool] = True
    min_clip_logit: float = Field(17.0, description="100 x cosine; section 3.3: paragraphs below 17.0 are cut")


@dataclass(frozen=True, slots=True)
class Edit:
    """What the step left of a record.

    Args:
        rewrite: The record with its remaining paragraphs and their scores; unchanged if nothing was cut or nothing
            would be left.
        cut: (clip_logit, text) of each paragraph below the threshold, in order.
        all_cut: True when every paragraph is below the threshold.
        lowest: Lowest logit; None where the step does not apply.
    """

    rewrite: Rewrite
    cut: tuple[tuple[float, str], ...] = ()
    all_cut: bool = False
    lowest: float | None = None

    @property
    def verdict(self) -> Verdict:
        """The step as a filter."""
        return Verdict(ALL_CUT if self.all_cut else None, self.lowest)


@dataclass(frozen=True, slots=True)
class ParagraphEditor:
    """Applies to captions of more than one paragraph that have ``clip_logits``."""

    min_clip_logit: float
    name: str = "paragraphs"

    def threshold(self, task: Task) -> float:
        """Lowest logit of a paragraph that stays."""
        return self.min_clip_logit

    def judge(self, rewrite: Rewrite) -> Verdict:
        """Reject a caption of which nothing would be left."""
        return self.edit(rewrite).verdict

    def edit(self, rewrite: Rewrite) -> Edit:
        """Cut the paragraphs whose ``clip_logit`` is below `min_clip_logit`.

        Raises:
            DataError: the record was never scored, or its text has changed since.
        """
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
        if len(logits) < 2:
            return Edit(rewrite)
        scored = list(zip(logits, paragraphs, strict=True))
        cut = tuple(pair for pair in scored if pair[0] < self.min_clip_logit)
        kept = [pair for pair in scored if pair[0] >= self.min_clip_logit]
        if not cut or not kept:
            return Edit(rewrite, cut, bool(cut), min(logits))
        left = replace(rewrite, rewritten=BREAK.join(text for _, text in kept))
        scores = {name: _after(rewrite, name, len(cut), len(logits)) for name in BY_CUT if name in rewrite.scores}
        return Edit(left.with_scores(clip_logits=[logit for logit, _ in kept], **scores), cut, False, min(logits))

    def edit_all(self, batch: Batch) -> tuple[Batch, Verdicts]:
        """`edit` of every row: the batch with the scores after the cut, and the step's verdicts."""
        import numpy as np

        cut, all_cut, score = self._cut(batch)
        return batch.after_cut(np.where(all_cut, 0, cut)), Verdicts(score, all_cut)

    def judge_all(self, batch: Batch) -> Verdicts:
        """`judge` of every row."""
        return self.edit_all(batch)[1]

    def _cut(self, batch: Batch) -> tuple[Ints, Mask, Floats]:
        import numpy as np

        logits = batch.numbers("clip_logits")
        applies = batch.captions & (logits.lengths > 1)
        rows = logits.rows()
        below = np.bincount(rows[logits.values < self.min_clip_logit], minlength=len(batch))
        lowest = np.full(len(batch), np.inf)
        np.minimum.at(lowest, rows, logits.values)
        cut = np.where(applies, below, 0)
        return cut, applies & (cut == logits.lengths), np.where(applies, lowest, np.nan)


def without_cuts(rewrite: Rewrite) -> Rewrite:
    """The record without its ``NAME_by_cut`` columns: a decision has been made."""
    dropped = {by_cut(name) for name in BY_CUT}
    return replace(rewrite, scores={name: value for name, value in rewrite.scores.items() if name not in dropped})


def _after(rewrite: Rewrite, column: str, cut: int, paragraphs: int) -> float | None:
    if number(rewrite, column) is None:
        return None
    values = numbers(rewrite, by_cut(column))
    if values is None or len(values) != paragraphs:
        raise DataError(
            "a column must hold one value for each number of paragraphs cut", value=by_cut(column), where=rewrite.id,
            next_step="run `polite-flamingo score` again",
        )  # fmt: skip
    return values[cut]
