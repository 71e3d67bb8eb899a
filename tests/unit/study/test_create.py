"""Drawing a study: quotas, blinding, who judges what, images in the file, and wrong input."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from tests.unit.study.studies import ANNOTATORS, judge_all, label, pool, study

from polite_flamingo.errors import ConfigError, DataError, refusal
from polite_flamingo.io.shards import write_shards
from polite_flamingo.io.text import write_json, write_jsonl
from polite_flamingo.records import Image as Picture
from polite_flamingo.records import Rewrite, Sample, Task, Turn
from polite_flamingo.study import store
from polite_flamingo.study.create import StudyPlan, create, embedded
from polite_flamingo.study.drawing import PAPER_QUOTAS, allocate, assign, draw, parse_quotas
from polite_flamingo.study.forms import ANSWERS
from polite_flamingo.study.judgements import Standing
from polite_flamingo.study.pool import of_answers, parse_sources
from polite_flamingo.study.report import standing_of
from polite_flamingo.study.store import StudyFile


def test_the_papers_600_samples_are_drawn_by_its_quotas() -> None:
    ids = {name: [f"{name}/test/{n}" for n in range(300)] for name in PAPER_QUOTAS}
    drawn = draw(ids, 600, parse_quotas("paper"), seed=0)
    assert {name: len(own) for name, own in drawn.items()} == PAPER_QUOTAS
    assert draw({name: own[::-1] for name, own in ids.items()}, 600, PAPER_QUOTAS, seed=0) == drawn
    assert draw(ids, 600, PAPER_QUOTAS, seed=1) != drawn


def test_what_a_set_lacks_goes_to_the_others() -> None:
    assert allocate(100, {"a": 1, "b": 1, "gone": 2}, {"a": 10, "b": 500}) == {"a": 10, "b": 90, "gone": 0}
    assert sum(allocate(7, {"a": 1, "b": 1, "c": 1}, {"a": 9, "b": 9, "c": 9}).values()) == 7
    with pytest.raises(ConfigError, match="no sample of the sets"):
        draw({"coco": ["x"]}, 5, PAPER_QUOTAS, seed=0)


@pytest.mark.parametrize("text", ["papers", "a=b", "a=0", "=3", "a=1,,b=2"])
def test_quotas_that_are_none_are_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match="quotas"):
        parse_quotas(text)


def test_with_nothing_shared_each_judges_a_half_and_checks_the_other() -> None:
    rows = assign({"a": [f"a{n}" for n in range(400)], "b": [f"b{n}" for n in range(200)]}, ANNOTATORS, 0, seed=0)
    assert Counter((who, role) for who, _, role in rows) == {
        (n, r): 300 for n in ANNOTATORS for r in ("judge", "check")
    }
    shared = assign({"a": [f"a{n}" for n in range(100)]}, ANNOTATORS, 40, seed=0)
    assert Counter(role for _, _, role in shared) == {"judge": 2 * 40 + 60, "check": 60}


def test_a_half_judged_alone_is_settled_when_the_other_says_the_same(tmp_path: Path) -> None:
    own = study(tmp_path, 2, own=pool(2, ("one",)), shared=0)
    mine = next(one.item for one in own.assignments() if (one.annotator, one.role) == ("Anna", "judge"))
    own.add(label(mine, "Anna", 0, "matched"))
    assert standing_of(own).second_round("Ben") == [mine] and standing_of(own).second_round("Anna") == [mine]
    with pytest.raises(DataError, match="not one of the annotator's"):
        own.add(label(mine, "Ben", 0, "matched"))
    own.add(label(mine, "Ben", 0, "failed", round_=2))
    assert standing_of(own).agreed(mine, (0, "label")) is None
    own.add(label(mine, "Anna", 0, "failed", round_=2))
    assert standing_of(own).agreed(mine, (0, "label")) == "failed"


def test_answers_stand_in_an_order_that_differs_by_sample(tmp_path: Path) -> None:
    orders = Counter(tuple(answer.model for answer in item.answers) for item in study(tmp_path, 60).items())
    assert len(orders) == 6 and max(orders.values()) < 25
    first = {name: [one.item for one in study_list if one.annotator == name] for name in ANNOTATORS
             for study_list in [StudyFile(tmp_path / "study.sqlite").assignments()]}  # fmt: skip
    assert first["Anna"] != first["Ben"] and set(first["Anna"]) == set(first["Ben"])


def test_a_study_is_not_written_over_and_other_files_are_none(tmp_path: Path) -> None:
    study(tmp_path, 1)
    with pytest.raises(DataError, match="there already"):
        study(tmp_path, 1)
    assert (tmp_path / "study.sqlite").stat().st_mode & 0o077 == 0  # it holds the links
    (tmp_path / "text").write_text("no database, and long enough to be read as one" * 20)
    sqlite3.connect(tmp_path / "other").execute("CREATE TABLE t(x)")
    for name in ("text", "other", "absent"):
        with pytest.raises(DataError, match=r"no study|does not exist"):
            StudyFile(tmp_path / name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"annotators": ()}, "names of their own"),
        ({"annotators": ("A", "A")}, "names of their own"),
        ({"annotators": ("A\n",)}, "names of their own"),
        ({"guidelines": ""}, "guidelines"),
    ],
)
def test_a_plan_that_cannot_be_is_an_error(tmp_path: Path, change: dict, message: str) -> None:
    plan = {"form": ANSWERS, "annotators": ANNOTATORS, "title": "T", **change}
    with pytest.raises(ConfigError, match=message):
        create(tmp_path / "s.sqlite", StudyPlan(**plan), pool(2), tmp_path)
    assert not (tmp_path / "s.sqlite").exists()


def test_a_full_disk_leaves_no_half_study_and_is_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = store._connect

    def small(path: Path) -> sqlite3.Connection:
        db = connect(path)
        db.execute("PRAGMA max_page_count=14")  # room for the tables alone
        return db

    monkeypatch.setattr(store, "_connect", small)
    with pytest.raises(sqlite3.OperationalError) as error:
        study(tmp_path, 200)
    refused = refusal(error.value, tmp_path)
    assert refused is not None and "disk is full" in str(refused)
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_a_sample_without_its_image_gives_way_to_the_next_and_is_counted(tmp_path: Path) -> None:
    names = [f"images/{n}.png" for n in range(4)]
    (tmp_path / "images").mkdir()
    for name in names[1:]:
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    _samples(tmp_path / "evaluation", names)
    write_jsonl(tmp_path / "a.jsonl", [{"id": f"vsr/test/{n}", "answer": "Yes."} for n in range(4)])
    found = of_answers({"a": tmp_path / "a.jsonl"}, tmp_path / "evaluation")
    plan = StudyPlan(ANSWERS, ("Anna",), "T", samples=3)
    report = create(tmp_path / "s.sqlite", plan, found, tmp_path)
    assert report["samples"] == 3
    assert all("image is missing" in one for one in report["left_out_for_their_images"])


def test_large_and_unusual_images_become_smaller_ones_and_others_stay_as_they_are(tmp_path: Path) -> None:
    for name, size in (("a.png", (20, 10)), ("b.bmp", (20, 10)), ("c.png", (3000, 10))):
        Image.new("RGB", size).save(tmp_path / name)
    assert embedded(tmp_path, "a.png")[1:] == ("image/png", (tmp_path / "a.png").read_bytes())
    assert [embedded(tmp_path, name)[1] for name in ("b.bmp", "c.png")] == ["image/jpeg"] * 2
    with pytest.raises(DataError, match="leaves the data root"):
        embedded(tmp_path, "../a.png")


def test_unknown_doubled_and_missing_answers_are_told(tmp_path: Path) -> None:
    _samples(tmp_path / "evaluation", [f"{n}.png" for n in range(3)])
    files = {"a": [0, 1], "b": [1, 2, 9]}
    for name, numbers in files.items():
        write_jsonl(tmp_path / f"{name}.jsonl", [{"question_id": f"vsr/test/{n}", "text": "x"} for n in numbers])
    found = of_answers({name: tmp_path / f"{name}.jsonl" for name in files}, tmp_path / "evaluation")
    assert found.groups == {"vsr": ["vsr/test/1"]}
    assert found.told["models"]["b"] == {"answers": 3, "of_unknown_samples": 1, "missing": 1}
    write_jsonl(tmp_path / "c.jsonl", [{"id": 7, "answer": "x"}])
    with pytest.raises(DataError, match="none of the questions"):
        of_answers({"c": tmp_path / "c.jsonl"}, tmp_path / "evaluation")


def test_answers_of_files_are_scored_where_a_judge_is_given(tmp_path: Path) -> None:
    _samples(tmp_path / "evaluation", ["a.png"])
    write_jsonl(tmp_path / "a.jsonl", [{"id": "vsr/test/0", "answer": "Yes."}])

    def judge(answers: Sequence[Rewrite]) -> list[Rewrite]:
        return [replace(one, scores={"reward": 1.5, "nli": [0.0, 2.0, 1.0], "rouge_l": 0.25}) for one in answers]

    found = of_answers({"a": tmp_path / "a.jsonl"}, tmp_path / "evaluation", judge).read(["vsr/test/0"])
    answer = found["vsr/test/0"].answers[0]
    assert (answer.text, dict(answer.scores)) == ("Yes.", {"reward": 1.5, "rouge_l": 0.25, "entailed": True})


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ('{"id": "vsr/test/0"}\n', "holds no answers"),
        ("[1]\n", "none of the questions"),
        ('{"id": "vsr/te', "not valid JSON"),
        ("", "no record"),
        ('{"id": "vsr/test/0", "question": "Who?", "answer": "x"}\n', "other questions"),
    ],
)
def test_a_file_that_answers_nothing_is_an_error(tmp_path: Path, lines: str, message: str) -> None:
    _samples(tmp_path / "evaluation", ["0.png"])
    (tmp_path / "a.jsonl").write_text(lines)
    with pytest.raises(DataError, match=message):
        of_answers({"a": tmp_path / "a.jsonl"}, tmp_path / "evaluation")


def test_answers_come_in_the_forms_that_are_published(tmp_path: Path) -> None:
    _samples(tmp_path / "evaluation", [f"{n}.png" for n in range(2)])
    write_json(tmp_path / "whole.json", {"vsr/test/0": "A", "vsr/test/1": "B"})
    (tmp_path / "table.csv").write_text("question_id,prediction\n0,A\n1,B\n1,C\n")
    log = [{"doc_id": 9, "doc": {"question_id": n}, "filtered_resps": ["D"], "target": "x"} for n in range(2)]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in log) + '{"doc_id"')
    files = {name: tmp_path / f"{name}.{end}" for name, end in (("whole", "json"), ("table", "csv"), ("log", "jsonl"))}
    found = of_answers(files, tmp_path / "evaluation")
    assert [one.text for one in found.read(["vsr/test/1"])["vsr/test/1"].answers] == ["B", "C", "D"]
    assert found.told["models"]["table"] == {"answers": 3, "of_unknown_samples": 0, "doubled": 1, "missing": 0}
    assert found.told["models"]["log"]["broken_lines"] == 1


def test_names_of_models_lead_to_answers(tmp_path: Path) -> None:
    (tmp_path / "stage3").mkdir()
    assert parse_sources(["stage3", f"x={tmp_path}"], tmp_path) == {"stage3": tmp_path / "stage3", "x": tmp_path}
    for named, message in ((["stage4"], "no answers there"), (["stage3", "stage3"], "name of its own")):
        with pytest.raises(ConfigError, match=message):
            parse_sources(named, tmp_path)
    with pytest.raises(ConfigError, match="1 to 9"):
        of_answers({}, tmp_path)


def _samples(folder: Path, images: list[str]) -> None:
    rows = [
        Sample(
            id=f"vsr/test/{n}", source="vsr", split="test", licence="", task=Task.VQA,
            turns=(Turn("human", "Is it?", (0,)), Turn("assistant", "yes")), images=(Picture(image),),
        ).to_row()
        for n, image in enumerate(images)
    ]  # fmt: skip
    write_shards(folder, rows)


def test_undoing_takes_the_last_click_back_and_leaves_its_row(tmp_path: Path) -> None:
    from polite_flamingo.study.records import StudyEvent

    own = study(tmp_path, 1)
    item = own.items()[0]
    own.add_all([label(item.id, "Anna", 0, "matched"), label(item.id, "Anna", 0, "failed")])
    undo = [StudyEvent(f"undo {n}", "Anna", item.id, 1, "undo") for n in range(3)]
    values = []
    for one in undo:
        own.add(one)
        standing: Standing = standing_of(own)
        values.append(standing.judgement("Anna", item.id, 1).labels.get((0, "label")))
    assert values == ["matched", None, None]
    assert len(own.events()) == 4
    judge_all(own, "Ben", ["matched"] * 3)
    assert standing_of(own).done("Ben", item.id)
