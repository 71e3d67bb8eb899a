"""The questions of a column can be read on from any place: a killed scoring begins where it stopped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from polite_flamingo.io.shards import write_shards
from polite_flamingo.jobs.executor import LocalExecutor
from polite_flamingo.records import Image, Rewrite, Task
from polite_flamingo.scorers.backend import ScorerBackend
from polite_flamingo.scorers.base import ScoreQuestion
from polite_flamingo.scorers.job import CLIP, ScoringJob
from polite_flamingo.scorers.load import SCORERS


class Logits:
    def answer(self, questions: Sequence[ScoreQuestion]) -> list[list[float]]:
        return [[float(len(text) % 7) for text in question.texts] for question in questions]


def record(number: int) -> Rewrite:
    task = (Task.CAPTION, Task.VQA, Task.TEXT)[number % 3]
    images = () if task is Task.TEXT else (Image("a.jpg"),)
    said = "\n\n".join(f"part {i} {'word ' * (number % 5 + i)}" for i in range(1 + number % 2))
    return Rewrite(f"s/train/{number}", "s", "train", "-", task, "What?", images, "a dog", said, "stop")


@pytest.fixture
def job(tmp_path: Path) -> ScoringJob:
    from PIL import Image as Pillow

    Pillow.new("RGB", (8, 8)).save(tmp_path / "a.jpg")
    write_shards(tmp_path / "rewrites", (record(number).to_row() for number in range(40)), rows_per_shard=7)
    made = ScoringJob(tmp_path / "rewrites", SCORERS, tmp_path / "journals", tmp_path, 1)
    clip = next(column for column in made.columns() if column.name == CLIP)
    made.run(clip, LocalExecutor(ScorerBackend(Logits, "logits"), 4))
    return made


def test_what_follows_a_place_is_the_same_as_without_a_stop(job: ScoringJob) -> None:
    for column in job.columns():
        asked = list(job._questions(column, ()))
        assert asked
        for number, (_, place) in enumerate(asked, 1):
            assert list(job._questions(column, place)) == asked[number:], (column.name, place)
