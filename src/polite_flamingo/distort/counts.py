"""Counts of the pairs, from what was read and written alone, so that a resumed run reports the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from polite_flamingo.distort.assign import Assign
from polite_flamingo.distort.base import Distortion, responses_of
from polite_flamingo.distort.mix import HELD_OUT, TRAIN
from polite_flamingo.io.text import Row
from polite_flamingo.records import Sample


def count_pairs(
    samples: Iterable[Sample],
    pairs: Iterable[Row],
    strategies: Sequence[Distortion],
    assign: Assign,
) -> dict[str, Any]:
    """What was planned and what was made, by strategy, split and command.

    Args:
        samples: The instruction samples.
        pairs: Rows of the pairs: ``strategy``, ``split``, ``command``.
        strategies: All that are in use.
        assign: Which of them distort a response.
    """
    planned: Counter[str] = Counter()
    number = responses = 0
    for sample in samples:
        number += 1
        for response in responses_of(sample):
            responses += 1
            planned.update(s.name for s in assign(response, strategies))
    pairs_made: Counter[str] = Counter()
    splits: Counter[str] = Counter()
    commands: Counter[str] = Counter()
    for row in pairs:
        pairs_made[row["strategy"]] += 1
        splits[row["split"]] += 1
        if row["command"]:
            commands[row["command"]] += 1
    return {
        "samples": number,
        "responses": responses,
        "pairs": pairs_made.total(),
        "train": splits[TRAIN],
        "held_out": splits[HELD_OUT],
        "strategies": {
            s.name: {
                "planned": planned[s.name],
                "made": pairs_made[s.name],
                "skipped_empty_or_unchanged": planned[s.name] - pairs_made[s.name],
            }
            for s in strategies
        },
        "commands": dict(sorted(commands.items())),
    }
