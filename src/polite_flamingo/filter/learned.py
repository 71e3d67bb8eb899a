"""A learned filter: the probability of an error by a logistic model of all scores; ours, off by default.

``calibrate --learn FILE`` trains it on labelled records (`calibrate/learned.py`) and writes its numbers as JSON, which
people can read: of each feature a centre, a scale and a weight. A feature that does not apply to a record adds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from polite_flamingo.errors import ConfigError
from polite_flamingo.filter.columns import ScoreBatch, Verdicts
from polite_flamingo.io.text import read_json
from polite_flamingo.records import Task
from polite_flamingo.scorers.nli import LABELS
from polite_flamingo.settings import Settings, Share

if TYPE_CHECKING:
    from polite_flamingo.filter.columns import Floats

MOST = 4.0  # standard deviations that a feature counts at most
SHOWN = 3  # features named in a reason
SHIPPED = "laptop"  # trained with the small scorers for photographs (docs/filters.md)
SHIPPED_FILE = Path(__file__).parent.parent / "assets" / "laptop" / "learned.json"


def _column(name: str, task: str | None = None) -> Callable[[ScoreBatch], Floats]:
    """A column; with `task`, of the records of these tasks alone, for similarities of different tasks are not alike."""

    def of(batch: ScoreBatch) -> Floats:
        import numpy as np

        values = batch.number(name)
        return values if task is None else np.where(getattr(batch, task), values, np.nan)

    return of


def _any(name: str, task: str) -> Callable[[ScoreBatch], Floats]:
    """1 where a count of the records of these tasks is not 0."""
    count = _column(name, task)

    def of(batch: ScoreBatch) -> Floats:
        import numpy as np

        values = count(batch)
        return np.where(np.isnan(values), np.nan, values > 0)

    return of


def _task(name: str) -> Callable[[ScoreBatch], Floats]:
    return lambda batch: getattr(batch, name).astype("float64")


def _paragraphs(lowest: bool) -> Callable[[ScoreBatch], Floats]:
    """The lowest or the mean image-text score of the paragraphs."""

    def of(batch: ScoreBatch) -> Floats:
        import numpy as np

        lists = batch.numbers("clip_logits")
        rows = np.flatnonzero(lists.lengths)
        found = np.full(len(batch), np.nan)
        if len(rows):
            starts = lists.starts[rows]
            sums = (np.minimum if lowest else np.add).reduceat(lists.values, starts)
            found[rows] = sums if lowest else sums / lists.lengths[rows]
        return found

    return of


def _nli(label: str) -> Callable[[ScoreBatch], Floats]:
    """By how much the logit of a label leads the others."""

    def of(batch: ScoreBatch) -> Floats:
        import numpy as np

        lists, index = batch.numbers("nli"), LABELS.index(label)
        rows = np.flatnonzero(lists.lengths == len(LABELS))
        found = np.full(len(batch), np.nan)
        logits = lists.values[lists.starts[rows, None] + np.arange(len(LABELS))]
        found[rows] = logits[:, index] - np.delete(logits, index, axis=1).max(axis=1)
        return found

    return of


FEATURES: Mapping[str, Callable[[ScoreBatch], Floats]] = {
    "words_caption": _column("words", "captions"),
    "words_question": _column("words", "questions"),
    "repeated_share": _column("repeated_share"),
    "boxes": _column("boxes"),
    "rouge_l_caption": _column("rouge_l", "captions"),
    "rouge_l_question": _column("rouge_l", "questions"),
    "sts_caption": _column("sts", "captions"),
    "sts_question": _column("sts", "questions"),
    "nli_contradiction": _nli("contradiction"),
    "nli_entailment": _nli("entailment"),
    "clip_lowest": _paragraphs(lowest=True),
    "clip_mean": _paragraphs(lowest=False),
    "unsupported_objects": _column("unsupported_objects"),
    "unsupported_any_caption": _any("unsupported_objects", "captions"),
    "unsupported_any_question": _any("unsupported_objects", "questions"),
    "numbers_changed": _column("numbers_changed"),
    "numbers_any_caption": _any("numbers_changed", "captions"),
    "numbers_any_question": _any("numbers_changed", "questions"),
    "yes_no_flipped": _column("yes_no_flipped"),
    "negation_changed_caption": _column("negation_changed", "captions"),
    "negation_changed_question": _column("negation_changed", "questions"),
    "cut_off": _column("cut_off"),
    "judge_supported": _column("judge_supported"),
    "caption": _task("captions"),
    "question": _task("questions"),
}


class LearnedModel(Settings):
    """The numbers of a trained model.

    Args:
        intercept: Log-odds of an error of a record without any remarkable score.
        features: Name -> centre, scale and weight.
    """

    intercept: float
    features: dict[str, tuple[float, float, float]]

    def parts(self, batch: ScoreBatch) -> dict[str, Floats]:
        """What each feature adds to the log-odds of an error; shape (rows,)."""
        import numpy as np

        return {
            name: np.nan_to_num(weight * np.clip((FEATURES[name](batch) - centre) / scale, -MOST, MOST))
            for name, (centre, scale, weight) in self.features.items()
        }

    def risk(self, batch: ScoreBatch) -> Floats:
        """Probability of an error."""
        import numpy as np

        total = np.full(len(batch), self.intercept)
        for part in self.parts(batch).values():
            total = total + part
        return 1 / (1 + np.exp(-total))


class LearnedFilter(Settings):
    """Looks at the probability that a rewrite is wrong, by a model trained on labelled records."""

    inline: ClassVar[bool] = True
    name: ClassVar[str] = "learned"
    title: ClassVar[str] = "Learned"
    axis: ClassVar[str] = "Probability of an error, by a logistic model of all scores"

    model: str | None = Field(None, description="ours; file that `calibrate --learn` wrote, or laptop; null: off")
    max_risk: Share | None = Field(None, description="ours; largest probability of an error; null: rejects nothing")

    def threshold(self, task: Task) -> float | None:
        """Largest probability that passes."""
        return self.max_risk if self.model is not None else None

    def judge(self, batch: ScoreBatch) -> Verdicts:
        """Reject a probability above the threshold.

        Raises:
            ConfigError: the model cannot be read.
        """
        import numpy as np

        if self.model is None:
            return Verdicts(np.full(len(batch), np.nan), np.zeros(len(batch), dtype=bool))
        score = read_model(self.model).risk(batch)
        return Verdicts(score, score > (1.0 if self.max_risk is None else self.max_risk))

    def reason(self, batch: ScoreBatch, row: int) -> str:
        """Why a row is rejected: its probability, and what adds most to it."""
        model = read_model(str(self.model))
        parts = {name: float(part[row]) for name, part in model.parts(batch).items()}
        most = sorted(parts, key=parts.__getitem__, reverse=True)[:SHOWN]
        named = ", ".join(f"{name} {parts[name]:+.1f}" for name in most)
        return f"{self.name}: probability of an error {model.risk(batch)[row]:.2f} above {self.max_risk}: {named}"


@lru_cache(maxsize=4)
def read_model(name: str) -> LearnedModel:
    """A model that `calibrate --learn` wrote, or the one that comes along.

    Args:
        name: Its file, or `SHIPPED`.

    Raises:
        ConfigError: there is none, or it is of another version.
    """
    step = "write one: polite-flamingo calibrate real --learn FILE"
    file = SHIPPED_FILE if name == SHIPPED else Path(name)
    if not file.is_file():
        raise ConfigError("no such model of a learned filter", value=name, where="filter.learned.model", next_step=step)
    try:
        model = LearnedModel(**read_json(file)["model"])
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError("no model of a learned filter", value=str(error)[:200], where=file, next_step=step) from error
    if unknown := sorted(set(model.features) - set(FEATURES)):
        raise ConfigError("the learned filter knows no such feature", value=unknown, where=file, next_step=step)
    return model
