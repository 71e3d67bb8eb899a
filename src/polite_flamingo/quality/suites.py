"""What has to hold between the stages, as data: nothing here knows how it is checked.

An expectation names one of Great Expectations' by its snake-case name, the column of the frame it reads and its
arguments; `because` is the sentence people see in the Data Docs and in the error. Frames are built by
`polite_flamingo.quality.gates`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from polite_flamingo.records import Task

TASKS = [str(task) for task in Task]
NLI_RELATIONS = ("contradiction", "entailment", "neutral")
NOT_BLANK = r"\S"
MARKUP = r"<image>|<\|endofchunk\|>|<PAD>|### (?:Human|Assistant)|\(Drafted Response\)|\(Revised Response\)"
RELATIVE_IMAGES = r'^\[(?:"(?!/)(?!\.\./)(?!\.\."|[^"]*/\.\.[/"])[^"\\:]+",?)*\]$'


@dataclass(frozen=True, slots=True)
class Expectation:
    """One thing that has to hold for a column.

    Args:
        kind: Great Expectations' name for it, e.g. ``expect_column_values_to_be_unique``.
        column: Column of the frame.
        because: Why it matters, one sentence.
        arguments: Further arguments of the expectation; ``mostly`` is the share of rows that must comply.
        severity: ``critical`` stops the pipeline, ``warning`` is told.
    """

    kind: str
    column: str
    because: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    severity: str = "critical"

    @property
    def text(self) -> str:
        """All of it in one line."""
        arguments = ", ".join(f"{name} {value}" for name, value in self.arguments.items())
        return f"{self.column}: {self.because} ({self.kind}{': ' if arguments else ''}{arguments})"


def _unique(column: str, because: str) -> Expectation:
    return Expectation("expect_column_values_to_be_unique", column, because)


def _matches(column: str, regex: str, because: str, mostly: float = 1.0) -> Expectation:
    return Expectation("expect_column_values_to_match_regex", column, because, {"regex": regex, "mostly": mostly})


def _lacks(column: str, regex: str, because: str, mostly: float = 1.0) -> Expectation:
    return Expectation("expect_column_values_to_not_match_regex", column, because, {"regex": regex, "mostly": mostly})


def _one_of(column: str, values: list[Any], because: str, mostly: float = 1.0) -> Expectation:
    arguments = {"value_set": values, "mostly": mostly}
    return Expectation("expect_column_values_to_be_in_set", column, because, arguments)


def _between(column: str, low: float | None, high: float | None, because: str, mostly: float = 1.0) -> Expectation:
    arguments = {"min_value": low, "max_value": high, "mostly": mostly}
    return Expectation("expect_column_values_to_be_between", column, because, arguments)


def raw() -> tuple[Expectation, ...]:
    """Samples as the readers yield them; one row per sample with its `role`."""
    return (
        _unique("id", "an id names one record in the whole run"),
        _matches("id", r"^[^/\s]+/[^/]+/.+", "ids are source/split/official-id"),
        _one_of("task", TASKS, "the task decides which filters apply"),
        _matches("licence", NOT_BLANK, "whoever publishes a record must know its licence"),
        _matches("images", RELATIVE_IMAGES, "image paths stay below the data root"),
        _matches("instruction", NOT_BLANK, "a model needs to be asked something"),
        _matches("answer", NOT_BLANK, "an annotation without an answer teaches nothing"),
        _one_of("images_fit_task", [True], "change captioning has two images, other tasks at least one or say why not"),
        _one_of("boxes_normalised", [True], "boxes are x1, y1, x2, y2 in 0..1 with x1 <= x2 and y1 <= y2"),
    )


def distorted() -> tuple[Expectation, ...]:
    """Training pairs of the rewriter (section 3.1)."""
    return (
        _unique("id", "an id names one pair"),
        _one_of("task", TASKS, "the task is the sample's"),
        _one_of("split", ["train", "held_out"], "held-out pairs measure the rewriter"),
        _one_of("strategy", ["llm_rewrite", "text_noise", "retrieve_boxes"], "section 3.1 has three strategies"),
        _matches("drafted", NOT_BLANK, "a pair has a draft"),
        _matches("revised", NOT_BLANK, "a pair has the original response"),
        _one_of("changed", [True], "a pair whose sides are equal teaches copying"),
        _one_of("held_out_apart", [True], "no response is in training and held out at once"),
        _lacks("drafted", MARKUP, "markup of the prompt inside a draft breaks it", 0.99),
    )


def rewritten() -> tuple[Expectation, ...]:
    """Rewritten annotations before scoring (section 4.1)."""
    return (
        _unique("id", "an annotation is rewritten once"),
        _one_of("task", TASKS, "the task decides which filters apply"),
        _one_of("finish_reason", ["stop", "length"], "cut answers must be known"),
        _matches("raw_answer", NOT_BLANK, "the raw answer goes along"),
        _matches("rewritten", NOT_BLANK, "the rewriter answers nearly always", 0.95),
        _lacks("rewritten", MARKUP, "markup of the prompt in answers is a broken rewriter", 0.95),
        _one_of("finish_reason", ["stop"], "a rewriter that hardly ever ends by itself is broken", 0.5),
    )


def pf1m(*, max_words: int, min_cosine: float, max_boxes: int, rejected_nli: list[str]) -> tuple[Expectation, ...]:
    """The records that survived the filters, checked again from their columns (section 4.2, Figure 10).

    Args:
        max_words: Upper bound of the length filter.
        min_cosine: Lower bound of the STS filter; the column is empty where it does not apply.
        max_boxes: Upper bound of the leaked-boxes filter.
        rejected_nli: Relations the NLI filter drops; the column is empty where it does not apply.
    """
    return (
        _unique("id", "an id names one record"),
        _one_of("task", TASKS, "the task is the sample's"),
        _matches("licence", NOT_BLANK, "whoever publishes a record must know its licence"),
        _matches("images", RELATIVE_IMAGES, "image paths stay below the data root"),
        _matches("instruction", NOT_BLANK, "a record asks something"),
        _matches("rewritten", NOT_BLANK, "a record answers"),
        _between("words", 1, max_words, "the length filter's bound holds"),
        _between("sts", min_cosine, None, "section 4.2: captions less similar than this are dropped"),
        _one_of("nli", [r for r in NLI_RELATIONS if r not in rejected_nli], "section 4.2: contradictions are dropped"),
        _between("leaked_boxes", None, max_boxes, "no bounding boxes are left in a response"),
        _lacks("rewritten", MARKUP, "markup of the prompt has no place in data"),
        _one_of("probe", [False], "injected corruptions measure the filters and never leave the house"),
    )


KEPT_SHARE = "kept share of {}"  # column of a source


def kept_shares(ranges: Mapping[str, tuple[float, float]]) -> tuple[Expectation, ...]:
    """How much of each source the filters keep; one row in all.

    Args:
        ranges: By source: lowest and highest share (``quality.keep_range``).
    """
    because = "quality.keep_range: a source outside it has a broken reader, rewriter or filter"
    return tuple(_between(KEPT_SHARE.format(name), low, high, because) for name, (low, high) in ranges.items())


def drift(figures: Sequence[str], severity: str) -> tuple[Expectation, ...]:
    """How many records lie elsewhere than in the accepted run, in units of how many may; one row per source.

    Args:
        figures: Names of the figures, each a column.
        severity: What one beyond the bound does.
    """
    because = "quality.drift: no more of a source's records lie elsewhere than in the accepted run than may (1)"
    return tuple(
        Expectation("expect_column_values_to_be_between", figure, because, {"max_value": 1.0}, severity)
        for figure in figures
    )
