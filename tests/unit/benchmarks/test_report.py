"""Judges that go on after a kill, what was seen in training, and the page."""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from polite_flamingo.benchmarks.answer_files import parse_files
from polite_flamingo.benchmarks.contamination import (
    BYTES,
    NAME,
    NEAR,
    QUESTION,
    TEXT,
    find_images,
    find_seen,
    read_training,
)
from polite_flamingo.benchmarks.data import read_data
from polite_flamingo.benchmarks.evaluation import Evaluation, evaluate
from polite_flamingo.benchmarks.figures import Draws, report
from polite_flamingo.benchmarks.judges import BATCH, KeptJudge, ScoreStore
from polite_flamingo.benchmarks.plots import tax_points
from polite_flamingo.benchmarks.tables import metrics
from polite_flamingo.errors import ConfigError, DataError, StorageError
from polite_flamingo.io.text import write_json
from polite_flamingo.reports.answers.page import write_page

EVIL = "<script>alert(1)</script> & more"


class Judging:
    """A judge whose model is `len` of the second text, and whose process is killed after some calls."""

    def __init__(self, folder: Path, name: str, lives: int = 100) -> None:
        self.judge = KeptJudge(name, folder, folder)
        self.judge.__dict__.update(identity="x", _score=self.score)
        self.lives, self.judged = lives, 0

    def score(self, pairs: list[tuple[str, str]]) -> list[Any]:
        if self.lives == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.lives -= 1
        self.judged += len(pairs)
        return [[0.0, 1.0, 0.5] if self.judge.name == "nli" else float(len(said)) for _, said in pairs]


def question_files(tmp_path: Path, questions: int = 600) -> tuple[Path, list[str]]:
    data = tmp_path / "questions.jsonl"
    data.write_text(
        "".join(
            json.dumps({"question_id": i, "image": f"{i:012}.jpg", "question": f"What {i}?", "answer": "dog"}) + "\n"
            for i in range(questions)
        )
    )
    given = []
    for name, text in (("good", "Dog."), ("bad", EVIL)):
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps({"question_id": i, "answer": f"{text}"}) + "\n" for i in range(questions)))
        given.append(str(path))
    return data, given


def judged(tmp_path: Path, data: Path, given: list[str], *judges: Judging) -> Evaluation:
    return evaluate(parse_files(given), read_data([data]), {one.judge.name: one.judge for one in judges})


def test_judging_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    data, given = question_files(tmp_path)
    child = os.fork()
    if child == 0:
        with suppress(Exception):
            judged(tmp_path, data, given, Judging(tmp_path, "reward", lives=2))
        os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    second = Judging(tmp_path, "reward")
    judged(tmp_path, data, given, second)
    assert second.judged == 1200 - 2 * BATCH  # asked twice at most: the batch that the kill met
    third = Judging(tmp_path, "reward")
    judged(tmp_path, data, given, third)
    assert third.judged == 0


def test_a_kept_score_that_a_disk_has_changed_is_none(tmp_path: Path) -> None:
    store = ScoreStore(tmp_path / "kept.sqlite")
    store.put({b"a": 0.5, b"b": [1.0, 2.0]})
    assert store.get([b"a", b"b", b"c"]) == {b"a": 0.5, b"b": [1.0, 2.0]}
    with store._transaction():
        store._connection.execute("update scores set value = replace(value, '0.5', '0.7')")
    assert store.get([b"a", b"b"]) == {b"b": [1.0, 2.0]}
    store.close()
    (tmp_path / "kept.sqlite").write_bytes((tmp_path / "kept.sqlite").read_bytes()[:4096] + b"x" * 4096)
    with pytest.raises(StorageError, match="kept scores cannot be used"):
        ScoreStore(tmp_path / "kept.sqlite").get([b"a"])


def test_names_of_metrics_keep_the_letters_of_any_script() -> None:
    one = {"models": {"модель: 1": {"rouge_l": {"value": 0.5}}}}
    assert metrics({"sets": {"数据": one}}) == {"数据.модель_ 1.rouge_l": 0.5}


def test_the_page_shows_everything_and_escapes_what_models_said(tmp_path: Path) -> None:
    data, given = question_files(tmp_path, 12)
    done = judged(tmp_path, data, given, Judging(tmp_path, "reward"), Judging(tmp_path, "nli"))
    told = report(done, Draws(50))
    worst = done.disagreements.worst()
    assert {one["model"] for one in worst} == {"bad"}  # the judge calls all entailed, only the good ones are right
    Image.new("RGB", (40, 30), "red").save(tmp_path / "000000000003.jpg")
    write_page(tmp_path / "page.html", told, {}, worst, tmp_path)
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page and "&lt;script&gt;" in page
    assert page.count("data:image/jpeg") == 1 and "not below the folder of images" in page
    write_json(tmp_path / "report.json", told)
    assert tax_points(tmp_path / "report.json")["good"]["understanding"]["value"] == 1.0
    for odd in (7, [], {"headline": 1}, {"models": {"a": 1}}, {"tax": {"points": {"a": {"understanding": 1}}}}):
        write_json(tmp_path / "odd.json", odd)
        with pytest.raises(DataError, match="no report"):
            tax_points(tmp_path / "odd.json")


def test_what_was_seen_in_training_is_told_beside_the_figures(tmp_path: Path) -> None:
    long = "a man in a red coat walks two small dogs along the beach at dusk"
    (tmp_path / "captions.json").write_text(json.dumps({"images": [], "annotations": [
        {"image_id": 1, "caption": "a cat"}, {"image_id": 2, "caption": long}, {"image_id": 3, "caption": "a tree"},
    ]}))  # fmt: skip
    (tmp_path / "train.json").write_text(json.dumps([
        {"image": "coco/train2017/000000000001.jpg", "conversations": [{"from": "human", "value": "What?"}]},
        {"image": "other.jpg", "conversations": [{"from": "gpt", "value": long.capitalize() + "."}]},
    ]))  # fmt: skip
    sets = read_data([tmp_path / "captions.json"])
    found = find_seen(sets, read_training([tmp_path / "train.json"]))["captions"]
    assert {way: found[way].tolist() for way in (NAME, QUESTION, TEXT)} == {
        NAME: [True, False, False], QUESTION: [False] * 3, TEXT: [False, True, False],
    }  # fmt: skip
    sets[0].seen = found
    (tmp_path / "m.json").write_text(json.dumps([{"image_id": i, "caption": "a cat"} for i in (1, 2, 3)]))
    told = report(evaluate(parse_files([str(tmp_path / "m.json")]), sets), Draws(50))["sets"]["captions"]
    assert told["contamination"]["seen"] == 2
    assert told["contamination"]["models"]["m"]["rouge_l"]["not seen"]["n"] == 1


@pytest.mark.parametrize(
    ("asked", "seen"),
    [
        ("What is it?", True),
        ("what is it", True),
        ("What is it?\nAnswer with the option's letter.", True),
        ("What is he doing?", False),
        ("Who is there?\nAnswer the question using a single word or phrase.", False),
    ],
)
def test_a_question_is_seen_where_its_image_was_asked_the_same_in_any_prompt(
    tmp_path: Path, asked: str, seen: bool
) -> None:
    prompt = "<image>\nWhat is it?\nAnswer the question using a single word or phrase."
    train = {"image": "coco/train2017/000000000007.jpg", "conversations": [{"from": "human", "value": prompt}]}
    (tmp_path / "train.jsonl").write_text(json.dumps(train) + "\n" + json.dumps({**train, "image": "9.jpg"}) + "\n")
    items = [{"question_id": i, "image": f"COCO_val2014_{i:012}.jpg", "question": asked} for i in (7, 8)]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    found = find_seen(read_data([tmp_path / "q.jsonl"]), read_training([tmp_path / "train.jsonl"]))["q"]
    assert (found[QUESTION].tolist(), found[NAME].tolist()) == ([seen, False], [True, False])


def test_pictures_of_the_training_are_found_by_bytes_and_likeness(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir(), theirs.mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        picture = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).resize(
            (96, 96), Image.Resampling.BICUBIC
        )
        picture.save(ours / f"{i}.png")
        if i == 0:
            (theirs / "same.png").write_bytes((ours / "0.png").read_bytes())
        if i == 1:
            picture.resize((64, 64)).save(theirs / "near.jpg", quality=80)
    (tmp_path / "q.jsonl").write_text(
        "".join(json.dumps({"id": i, "image": f"{i}.png", "question": "What?"}) + "\n" for i in range(3))
    )
    found = find_images(read_data([tmp_path / "q.jsonl"]), ours, theirs)["q"]
    assert {way: found[way].tolist() for way in (BYTES, NEAR)} == {
        BYTES: [True, False, False],
        NEAR: [True, True, False],
    }


def test_a_file_of_answers_that_is_not_there_is_an_error() -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        parse_files(["nowhere.jsonl"])
