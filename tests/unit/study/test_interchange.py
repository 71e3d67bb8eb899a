"""A study through Label Studio's and Argilla's files and back, and files that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from defusedxml import ElementTree
from tests.unit.study.studies import judge_all, rank, study

from polite_flamingo.errors import ConfigError, DataError
from polite_flamingo.study.interchange import FORMATS, export, import_judgements
from polite_flamingo.study.records import StudyEvent
from polite_flamingo.study.report import standing_of
from polite_flamingo.study.store import StudyFile

FILES = {"label-studio": "tasks.json", "argilla": "records.json"}


def _judged(folder: Path) -> StudyFile:
    own = study(folder, 2)
    judge_all(own, "Anna", ["matched", "failed", "correct"] * 2)
    item = own.items()[0]
    own.add_all([rank(item.id, "Anna", "[[2], [0, 1]]"), rank(item.id, "Ben", "[[1]]")])
    own.add(StudyEvent("a comment", "Anna", item.id, 1, "comment", value="<odd> & so"))
    return own


@pytest.mark.parametrize("form", FORMATS)
def test_judgements_come_back_as_they_went(tmp_path: Path, form: str) -> None:
    own = _judged(tmp_path)
    export(own, form, tmp_path / "out", judged=True)
    again = tmp_path / "again"
    again.mkdir()
    other = study(again, 2)
    other._db.execute("UPDATE study SET value = (SELECT ?) WHERE name = 'id'", (json.dumps(own.about()["id"]),))
    for expected in (10, 0):  # the second time everything is there
        assert import_judgements(other, form, tmp_path / "out" / FILES[form], {}) == expected
    here, there = standing_of(own), standing_of(other)
    for item in own.items():
        for name in ("Anna", "Ben"):
            assert there.judgement(name, item.id, 1) == here.judgement(name, item.id, 1)


def test_label_studio_gets_a_control_for_every_question_and_the_images(tmp_path: Path) -> None:
    export(_judged(tmp_path), "label-studio", tmp_path / "out", prefix="https://pictures/")
    root = ElementTree.parse(tmp_path / "out" / "config.xml").getroot()
    names = {one.get("name") for one in root if one.tag in ("Choices", "Number", "TextArea")}
    assert names == {"comment", *(f"{kind}_{letter}" for kind in ("label", "place") for letter in "abc")}
    values = [one.get("value") for one in root.iter("Choice")]
    assert values[:4] == ["matched", "correct", "failed", "uncertain"]
    task = json.loads((tmp_path / "out" / "tasks.json").read_text())[0]
    assert "annotations" not in task
    files = [url.removeprefix("https://pictures/") for url in task["data"]["images"]]
    assert files and all((tmp_path / "out" / "images" / name).exists() for name in files)
    assert {one.get("value")[1:] for one in root.iter("Text")} <= set(task["data"])


def test_argilla_gets_settings_whose_questions_fit_its_records(tmp_path: Path) -> None:
    export(_judged(tmp_path), "argilla", tmp_path / "out", judged=True)
    settings = json.loads((tmp_path / "out" / ".argilla" / "settings.json").read_text())
    fields, questions = ({one["name"] for one in settings[part]} for part in ("fields", "questions"))
    for record in json.loads((tmp_path / "out" / "records.json").read_text()):
        assert set(record["fields"]) <= fields and set(record["responses"]) <= questions
        assert record["fields"]["image_1"].startswith("data:image/png;base64,")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda task: task["data"].update(sample="other"), "no such sample"),
        (lambda task: task["data"].clear(), "lacks"),
        (lambda task: task["annotations"][0].update(completed_by=77), "whose judgement"),
        (lambda task: task["annotations"][0]["result"][0].update(from_name="colour_a"), "asks no such question"),
        (lambda task: task["annotations"][0]["result"][0]["value"].update(choices=["good"]), "no such label"),
        (lambda task: task["annotations"][0]["result"][0].update(type="labels"), "lacks"),
    ],
)
def test_what_does_not_fit_is_an_error_and_nothing_is_kept(tmp_path: Path, change, message: str) -> None:
    own = _judged(tmp_path)
    before = len(own.events())
    export(own, "label-studio", tmp_path / "out", judged=True)
    file = tmp_path / "out" / "tasks.json"
    tasks = json.loads(file.read_text())
    change(next(task for task in tasks if task["annotations"]))
    file.write_text(json.dumps(tasks))
    with pytest.raises(DataError, match=message):
        import_judgements(own, "label-studio", file, {})
    assert len(own.events()) == before


def test_people_of_another_tool_are_named(tmp_path: Path) -> None:
    own = _judged(tmp_path)
    export(own, "label-studio", tmp_path / "out", judged=True)
    file = tmp_path / "out" / "tasks.json"
    file.write_text(file.read_text().replace('"completed_by": 1', '"completed_by": {"email": "b@x.org", "id": 4}'))
    with pytest.raises(DataError, match="no such annotator"):
        import_judgements(own, "label-studio", file, {"b@x.org": "Bn"})
    assert import_judgements(own, "label-studio", file, {"b@x.org": "Ben"}) > 0
    assert standing_of(own).done("Ben", own.items()[1].id)


def test_other_formats_files_and_folders_are_refused(tmp_path: Path) -> None:
    own = _judged(tmp_path)
    with pytest.raises(ConfigError, match="unknown format"):
        export(own, "labelstudio", tmp_path / "out")
    with pytest.raises(DataError, match="something else"):
        export(own, "argilla", tmp_path / "images")
    (tmp_path / "a.json").write_text('{"id": 1}')
    with pytest.raises(DataError, match="no list"):
        import_judgements(own, "argilla", tmp_path / "a.json", {})
