"""CLIPScore paragraph step (section 4.2): paragraphs that do not fit the image are cut from captions.

The rewriter learned from detailed descriptions that a second paragraph begins with "In addition, …", and invents one
where the annotation has nothing more to say. This step edits; it rejects only when nothing would be left.

What is left depends on the threshold only through the number of paragraphs cut, always those with the lowest logits.
So the scores of the text after the cut are known for every threshold: columns ``NAME_by_cut``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from polite_flamingo.errors import DataError
from polite_flamingo.filter.columns import Lists, ScoreBatch, Verdicts, by_cut
from polite_flamingo.records import Rewrite, Task
from polite_flamingo.scorers.columns import BY_CUT
from polite_flamingo.scorers.text import BREAK
from polite_flamingo.settings import Settings

if TYPE_CHECKING:
    from polite_flamingo.filter.columns import Mask


class ParagraphFilter(Settings):
    """Applies to captions of more than one paragraph that have ``clip_logits``."""

    inline: ClassVar[bool] = True
    name: ClassVar[str] = "paragraphs"
    title: ClassVar[str] = "CLIP paragraphs"
    axis: ClassVar[str] = "CLIP logit of the lowest paragraph, which is cut below the threshold"

    min_clip_logit: float = Field(17.0, description="100 x cosine; section 4.2: paragraphs below 17.0 are cut")

    def threshold(self, task: Task) -> float:
        """Lowest logit of a paragraph that stays."""
        return self.min_clip_logit

    def below(self, batch: ScoreBatch) -> Mask:
        """Which paragraphs are cut; one value for each of ``clip_logits``, all rows together."""
        import numpy as np

        logits = batch.numbers("clip_logits")
        return np.repeat(_applies(batch, logits), logits.lengths) & self._fails(logits)

    def edit(self, batch: ScoreBatch) -> tuple[ScoreBatch, Verdicts]:
        """The batch with the scores it has after the cut, and the step as a filter.

        Its score is the lowest logit; a record of which nothing would be left is rejected, and not edited.
        """
        import numpy as np

        logits = batch.numbers("clip_logits")
        rows, applies = logits.rows(), _applies(batch, logits)
        cut = np.where(applies, np.bincount(rows[self._fails(logits)], minlength=len(batch)), 0)
        lowest = np.full(len(batch), np.inf)
        np.minimum.at(lowest, rows, logits.values)
        all_cut = applies & (cut == logits.lengths)
        return batch.after_cut(np.where(all_cut, 0, cut)), Verdicts(np.where(applies, lowest, np.nan), all_cut)

    def _fails(self, logits: Lists) -> Mask:
        return logits.values < self.min_clip_logit

    def judge(self, batch: ScoreBatch) -> Verdicts:
        """Reject a caption of which nothing would be left."""
        return self.edit(batch)[1]

    def reason(self, batch: ScoreBatch, row: int) -> str:
        """Why a row is rejected."""
        return "paragraphs: all cut"


def _applies(batch: ScoreBatch, logits: Lists) -> Mask:
    return batch.captions & (logits.lengths > 1)


def cut_paragraphs(rewrite: Rewrite, below: Sequence[bool]) -> tuple[Rewrite, tuple[tuple[float, str], ...]]:
    """The record without the paragraphs that lie below the threshold, and those: (clip_logit, text), in order.

    The record's scores are those of the text that is left; where all would go, it stays as it is.

    Args:
        rewrite: A scored record.
        below: Of each paragraph; empty where the step does not apply.

    Raises:
        DataError: the text has changed since it was scored.
    """
    if not any(below):
        return rewrite, ()
    logits, paragraphs = rewrite.scores["clip_logits"], rewrite.paragraphs
    if len(below) != len(paragraphs):
        raise DataError(
            "as many clip_logits as paragraphs are needed", value=(len(below), len(paragraphs)), where=rewrite.id,
            next_step="run `polite-flamingo score` again",
        )  # fmt: skip
    scored = list(zip(below, logits, paragraphs, strict=True))
    cut = tuple((float(logit), text) for gone, logit, text in scored if gone)
    if len(cut) == len(paragraphs):
        return rewrite, cut
    left = [(float(logit), text) for gone, logit, text in scored if not gone]
    after = {name: _after(rewrite, name, len(cut)) for name in BY_CUT if name in rewrite.scores}
    edited = replace(rewrite, rewritten=BREAK.join(text for _, text in left))
    return edited.with_scores(clip_logits=[logit for logit, _ in left], **after), cut


def without_cuts(rewrite: Rewrite) -> Rewrite:
    """The record without its ``NAME_by_cut`` columns: a decision has been made."""
    dropped = {by_cut(name) for name in BY_CUT}
    return replace(rewrite, scores={name: value for name, value in rewrite.scores.items() if name not in dropped})


def _after(rewrite: Rewrite, column: str, cut: int) -> Any:
    value = rewrite.scores[column]
    return None if value is None else float(rewrite.scores[by_cut(column)][cut])
