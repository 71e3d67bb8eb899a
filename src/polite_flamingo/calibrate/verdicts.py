"""What thresholds do to labelled records: of the chain and of every filter alone, who is caught and who is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from polite_flamingo.calibrate.labels import LabelledRecord
from polite_flamingo.errors import DataError
from polite_flamingo.filter.chain import KEPT, Decisions, FilterSettings, decide
from polite_flamingo.filter.columns import ScoreBatch
from polite_flamingo.filter.table import batch_of
from polite_flamingo.records import Task
from polite_flamingo.scorers.nli import LABELS

if TYPE_CHECKING:
    import numpy as np

    Floats = np.ndarray[Any, np.dtype[np.float64]]
    Ints = np.ndarray[Any, np.dtype[np.int64]]
    Mask = np.ndarray[Any, np.dtype[np.bool_]]

_NLI_ORDER = ("contradiction", "entailment", "neutral")
LOWER_IS_WORSE = ("sts", "paragraphs")


@dataclass(frozen=True)
class LabelledTable:
    """Labelled records as arrays.

    Args:
        records: In the order of all arrays.
        batch: Their score columns.
        corrupted: The truth about the text as it was written; bool, shape (n,).
        after: At ``[i, k]``, whether text i is wrong when k paragraphs are cut; the last value repeated.
    """

    records: tuple[LabelledRecord, ...]
    batch: ScoreBatch
    corrupted: Mask
    after: Mask

    @classmethod
    def of(cls, records: Sequence[LabelledRecord]) -> LabelledTable:
        """Put records into arrays.

        Raises:
            DataError: there is none, or a record was never scored.
        """
        import numpy as np

        if not records:
            raise DataError("no labelled records", next_step="give labels, or run the pipeline of a rendered world")
        batch = batch_of(record.rewrite for record in records)
        most = max(len(record.corrupted) for record in records)
        after = [[*r.corrupted, *[r.corrupted[-1]] * (most - len(r.corrupted))] for r in records]
        wrong = np.array(after, dtype=bool)
        return cls(tuple(records), batch, wrong[:, 0], wrong)

    def take(self, positions: Ints) -> LabelledTable:
        """The records at some positions."""
        rows = self.batch.rows.take(positions)
        return LabelledTable(
            tuple(self.records[i] for i in positions),
            ScoreBatch(rows),
            self.corrupted[positions],
            self.after[positions],
        )

    @property
    def groups(self) -> list[str]:
        """Group of each record."""
        return [record.group for record in self.records]

    @property
    def kinds(self) -> list[str]:
        """Kind of each record."""
        return [record.kind for record in self.records]


@dataclass(frozen=True, slots=True)
class LabelledDecision:
    """What the chain or one filter does.

    Args:
        applies: Records it can judge.
        removed: Rejected, or edited so that what was wrong is gone; of a clean record also: edited so that it is wrong.
    """

    applies: Mask
    removed: Mask


def outcomes(
    table: LabelledTable, settings: FilterSettings
) -> tuple[LabelledDecision, dict[str, LabelledDecision], Decisions]:
    """What the chain does, what every filter alone does, and the decisions."""
    import numpy as np

    decisions = decide(table.batch, settings)
    rows = np.arange(len(table.records))
    wrong_now = table.after[rows, np.minimum(decisions.cut, table.after.shape[1] - 1)]
    changed = wrong_now != table.corrupted
    alone: dict[str, LabelledDecision] = {}
    for name, verdicts in decisions.verdicts.items():
        applies = ~np.isnan(verdicts.score) | (
            verdicts.rejected if name != "unfinished" else np.ones(len(rows), dtype=bool)
        )
        alone[name] = LabelledDecision(
            applies, verdicts.rejected | changed if name == "paragraphs" else verdicts.rejected
        )
    chain = LabelledDecision(np.ones(len(rows), dtype=bool), (decisions.failed != KEPT) | changed)
    return chain, alone, decisions


def suspicions(table: LabelledTable, verdicts: Mapping[str, Any]) -> dict[str, Floats]:
    """How suspicious each filter finds each record: higher is worse, NaN where it does not apply; shape (n,).

    STS is told apart by task, because similarities of different tasks are not alike ("sts: caption" …). NLI compares
    logits, so it has two scores, each with its threshold at 0: by how much contradiction leads the other labels, and by
    how much entailment trails.
    """
    import numpy as np

    suspicion_of: dict[str, Floats] = {}
    for name, result in verdicts.items():
        if name == "nli":
            suspicion_of.update(_nli(table.batch))
        elif name == "sts":
            for task in (task for task in Task if task.is_caption):
                suspicion_of[f"sts: {task}"] = np.where(table.batch.among("task", [task]), -result.score, np.nan)
        elif name not in ("length", "unfinished"):  # two-sided, and no score
            suspicion_of[name] = -result.score if name in LOWER_IS_WORSE else result.score
    return {name: values for name, values in suspicion_of.items() if not np.isnan(values).all()}


def limits(name: str, settings: FilterSettings) -> float | None:
    """The threshold of a score that `suspicions` names, on the score's own axis; None where it is not set.

    NLI's relation has one (0) only where its labels are those that are rejected.
    """
    base, _, part = name.partition(": ")
    if base == "sts":
        return settings.sts.threshold(Task(part))
    if base == "nli":
        rejected = {"contradiction": {"contradiction"}, "not entailed": {"contradiction", "neutral"}}
        return 0.0 if set(settings.nli.reject) == rejected[part] else None
    value = next(one for one in settings.filters() if one.name == base).threshold(Task.CAPTION)
    return None if value is None else float(value)


def suspicion(name: str, score: float) -> float:
    """A score as a suspicion, and the other way round."""
    return -score if name.partition(":")[0] in LOWER_IS_WORSE else score


def _nli(batch: ScoreBatch) -> dict[str, Floats]:
    import numpy as np

    lists = batch.numbers("nli")
    applies = batch.questions & (lists.lengths == len(LABELS))
    logits = lists.values[lists.starts[applies, None] + np.arange(len(LABELS))]
    contradiction, entailment, neutral = (logits[:, LABELS.index(name)] for name in _NLI_ORDER)
    margins = {}
    for name, margin in (
        ("nli: contradiction", contradiction - np.maximum(entailment, neutral)),
        ("nli: not entailed", np.maximum(contradiction, neutral) - entailment),
    ):
        margins[name] = np.full(len(batch), np.nan)
        margins[name][applies] = margin
    return margins
