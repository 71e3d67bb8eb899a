"""A model answers the questions of a set, and the answers are measured as any other file's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image as PILImage
from tests.unit.jobs.backends.faulty_server import serving
from tests.unit.jobs.machine import machine

from polite_flamingo.benchmarks.answer_files import parse_files
from polite_flamingo.benchmarks.asking import ask_questions
from polite_flamingo.benchmarks.data import read_data
from polite_flamingo.benchmarks.evaluation import evaluate
from polite_flamingo.benchmarks.other_models import answers_of_others
from polite_flamingo.errors import DataError
from polite_flamingo.evaluate.settings import OtherModel
from polite_flamingo.jobs.backends.load import BackendOptions
from polite_flamingo.model.settings import GenerationSettings
from polite_flamingo.records import Image, Sample, Task, Turn

GREEDY = GenerationSettings(max_new_tokens=9, num_beams=1, do_sample=False)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for i in (1, 2):
        PILImage.new("RGB", (40, 20), "red").save(tmp_path / "images" / f"COCO_val2014_{i:012}.jpg")
    path = tmp_path / "questions.jsonl"
    rows = [{"question_id": i, "image": f"{i}.jpg", "question": f"<record {i}>", "answer": "yes"} for i in (1, 2, 3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_an_endpoint_answers_a_set_and_its_file_is_measured(data: Path, tmp_path: Path) -> None:
    own = read_data([data])[0]
    options = BackendOptions(tmp_path / "images", machine())
    out = tmp_path / "m.jsonl"
    with serving(lambda record, number: None) as server:
        spec = f"openai:{server.url}#m"
        counts = ask_questions(own, spec, GREEDY, options, out, tmp_path / "journal")
        asked = len(server.bodies)
        ask_questions(own, spec, GREEDY, options, out, tmp_path / "journal")  # nothing is asked again
        assert (asked, len(server.bodies)) == (2, 2)
    assert counts == {"asked": 2, "answered": 2, "missing_images": 1, "failed": 0}
    matched = evaluate(parse_files([str(out)]), [own]).counts[0][2]
    assert (matched.matched, matched.missing) == (2, 1)


def test_choices_context_and_statements_are_asked_with_the_question(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "images" / "test" / "7"
    folder.mkdir(parents=True)
    PILImage.new("RGB", (40, 20), "red").save(folder / "image.png")
    problem = {"question": "<record 1>", "choices": ["cat", "dog"], "answer": 0, "hint": "Look.", "split": "test"}
    problems = {"7": {**problem, "image": "image.png"}, "9": {**problem, "question": "<record 2>", "image": None}}
    (tmp_path / "problems.json").write_text(json.dumps(problems))
    statement = {"image": "1.jpg", "caption": "<record 3>", "relation": "in", "label": 1}
    (tmp_path / "vsr.jsonl").write_text(json.dumps(statement) + "\n" + json.dumps({**statement, "label": "?"}))
    with serving(lambda record, number: None) as server:
        for name in ("problems.json", "vsr.jsonl"):
            (own,) = read_data([tmp_path / name])
            options = BackendOptions(tmp_path / "images", machine())
            out = tmp_path / f"{name}.answers"
            counts = ask_questions(own, f"openai:{server.url}#m", GREEDY, options, out, tmp_path / "work" / name)
            assert counts["missing_images"] == counts["failed"] == 0
        asked = json.dumps(server.bodies)
        assert "Look.\\n<record 1>\\nA. cat\\nB. dog\\nAnswer with the option's letter" in asked
        assert 'statement about the image true or false? \\"<record 3>' in asked
    assert own.notes == ["vsr.jsonl: 1 records are not of the form 'vsr' of the first"]


def test_a_set_whose_images_are_elsewhere_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="none of the images"):
        ask_questions(
            read_data([data])[0],
            "hf:x",
            GREEDY,
            BackendOptions(tmp_path / "empty", machine()),
            tmp_path / "o",
            tmp_path,
        )


def test_two_images_of_one_name_are_not_taken_for_each_other(data: Path, tmp_path: Path) -> None:
    for folder in ("train", "test"):
        (tmp_path / folder).mkdir()
        PILImage.new("RGB", (40, 20), "red").save(tmp_path / folder / "a.png")
    row = {"question_id": 1, "image": "a.png", "question": "<record 1>", "answer": "yes"}
    data.write_text(json.dumps(row))
    options = BackendOptions(tmp_path, machine())
    with pytest.raises(DataError, match="several images have this name"):
        ask_questions(read_data([data])[0], "hf:x", GREEDY, options, tmp_path / "o", tmp_path / "j")
    data.write_text(json.dumps(row | {"image": "test/a.png"}))
    with serving(lambda record, number: None) as server:
        counts = ask_questions(
            read_data([data])[0], f"openai:{server.url}#m", GREEDY, options, tmp_path / "o", tmp_path / "j"
        )
    assert counts["answered"] == 1


def test_an_endpoint_answers_the_samples_of_a_pipeline(data: Path, tmp_path: Path) -> None:
    first = Turn("human", "What is <record 1>?", (0,))
    here = Sample("s/test/1", "s", "test", "x", Task.VQA, (first, Turn("assistant", "a")), (Image("images/1.png"),))
    gone = replace(here, id="s/test/2", images=(Image("images/none.png"),))
    PILImage.new("RGB", (40, 20), "red").save(tmp_path / "images" / "1.png")
    options = BackendOptions(tmp_path, machine())
    with serving(lambda record, number: None) as server:
        model = OtherModel.parse(f"theirs=openai:{server.url}#m")
        answers, told = answers_of_others([model], [here, gone], GREEDY, options, tmp_path / "work")
    assert [(one.id, one.raw_answer, one.rewritten) for one in answers["theirs"]] == [
        ("s/test/1", "a", "answer to record 1")
    ]
    (reason,) = told["theirs"]["reasons"]
    assert "none.png" in reason
