"""Statements to be judged true or false, on one image or two: VSR, NLVR, NLVR2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.prompts.requests import STATEMENT, STATEMENT_PAIR, draw_request
from polite_flamingo.records import Image, Sample, Task
from polite_flamingo.sources.base import Licensed, single_turn

LABELS = {"true": True, "false": False}


def truth(record: Any, key: str = "label") -> bool:
    """A label written as JSON truth value, as 0 or 1, or as the word in any case.

    Raises:
        DataError: it is none of these.
    """
    if not isinstance(record, dict):
        raise DataError("row is not an object", value=record)
    value = record.get(key)
    if value is None:
        raise DataError(f"row lacks {key!r}", value=sorted(map(str, record)))
    label = LABELS.get(value.strip().lower()) if isinstance(value, str) else {0: False, 1: True}.get(_number(value))
    if label is None:
        raise DataError(f"{key!r} is neither true nor false", value=value)
    return label


def _number(value: Any) -> int:
    return int(value) if isinstance(value, int) else -1


def statement_sample(
    source: Licensed,
    split: str,
    row_id: str,
    statement: str,
    label: bool,
    images: Sequence[Image],
    seed: int,
    extras: Mapping[str, Any],
) -> Sample:
    """The sample of a statement: is it true? The raw answer is "True" or "False".

    Args:
        source: The reader it belongs to (its name and licence are used).
        split: Split or label.
        row_id: Last part of the sample id.
        statement: What is claimed about the image or the two images.
        label: Whether it holds.
        images: One image or two.
        seed: Seed of the wording.
        extras: More of the sample's extras.
    """
    sample_id = f"{source.name}/{split}/{row_id}"
    pool = STATEMENT if len(images) == 1 else STATEMENT_PAIR
    request = draw_request(pool, seed=seed, sample_id=sample_id, statement=statement)
    return single_turn(
        source,
        split,
        sample_id,
        Task.VQA,
        question=request,
        answer=str(label),
        images=images,
        extras={"statement": statement, "answers": [], **extras},
    )
