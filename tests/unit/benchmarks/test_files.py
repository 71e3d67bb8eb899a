"""Files of answers meet files of questions: who answers what, what is left over, and what is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from polite_flamingo.benchmarks.answer_files import parse_files
from polite_flamingo.benchmarks.data import data_of, read_data, refuse_questions
from polite_flamingo.benchmarks.evaluation import evaluate
from polite_flamingo.benchmarks.figures import Draws, report
from polite_flamingo.benchmarks.items import Metric
from polite_flamingo.errors import DataError

PROMPT = "Answer the question using a single word or phrase."


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def lines(name: str, *records: Any) -> Path:
    Path(name).write_text("".join(f"{json.dumps(record)}\n" for record in records))
    return Path(name)


def whole(name: str, value: Any) -> Path:
    Path(name).write_text(json.dumps(value, indent=1))
    return Path(name)


def measured(*files: str, data: list[Path], split: str | None = None) -> dict[str, Any]:
    return report(evaluate(parse_files(files), read_data(data, split)), Draws(50))


def photo(number: int) -> str:
    return f"COCO_val2014_{number:012}.jpg"


def pope(category: str, *labels: str) -> Path:
    return lines(
        f"coco_pope_{category}.json",
        *(
            {"question_id": i, "image": photo(i), "text": f"Is there a {category} {i} in the image?", "label": label}
            for i, label in enumerate(labels, 1)
        ),
    )


def asked_pope() -> Path:
    """LLaVA's questions: ids run through the categories."""
    return lines(
        "llava_pope_test.jsonl",
        *(
            {
                "question_id": 2 * n + i,
                "image": photo(i),
                "text": f"Is there a {c} {i} in the image?\n{PROMPT}",
                "category": c,
            }
            for n, c in enumerate(("adversarial", "popular"))
            for i in (1, 2)
        ),
    )


def test_popes_categories_are_joined_with_llavas_questions_and_averaged() -> None:
    data = [pope("adversarial", "yes", "no"), pope("popular", "no", "no"), asked_pope()]
    lines(
        "llava.jsonl",
        *({"question_id": i, "text": text} for i, text in ((1, "Yes"), (2, "Yes"), (3, "No"), (4, "Yes"))),
    )
    told = measured("llava.jsonl", data=data)
    assert told["files"][0]["matched"] == 4
    figures = told["sets"]["pope"]
    adversarial = figures["groups"]["adversarial"]["llava"]
    assert (adversarial["official"]["value"], adversarial["recall"]["value"]) == (0.5, 1.0)
    assert adversarial["f1"]["value"] == pytest.approx(2 / 3, abs=1e-6)  # 2 x 1 / (2 yes + 1 that is there)
    assert figures["models"]["llava"]["yes"]["value"] == 0.75  # mean of 1.0 and 0.5


def test_llavas_answers_of_pope_are_told_without_its_questions() -> None:
    """Ids run through categories in an order of their own; only the prompts tell which question is which."""
    data = [pope("adversarial", "yes", "no"), pope("popular", "no", "no")]
    said = [
        (c, i, text)
        for (c, i), text in zip(
            (("popular", 1), ("popular", 2), ("adversarial", 1), ("adversarial", 2)), "NYYN", strict=True
        )
    ]
    lines(
        "llava.jsonl",
        *(
            {
                "question_id": 100 + n,
                "prompt": f"Is there a {c} {i} in the image?\n{PROMPT}",
                "text": {"N": "No", "Y": "Yes"}[text],
            }
            for n, (c, i, text) in enumerate(said)
        ),
    )
    told = measured("llava.jsonl", data=data)
    assert told["files"][0]["by_order"]
    groups = told["sets"]["pope"]["groups"]
    assert [groups[name]["llava"]["official"]["value"] for name in ("adversarial", "popular")] == [1.0, 0.5]


def test_popes_own_answers_are_told_by_their_order_where_every_question_agrees() -> None:
    data = [pope("random", "yes", "no")]
    good = [{"question": f"is there a random {i} in the image?", "answer": "yes"} for i in (1, 2)]
    lines("good.json", *good)
    told = measured("good.json", data=data)
    assert (told["files"][0]["by_order"], told["sets"]["pope"]["models"]["good"]["official"]["value"]) == (True, 0.5)
    lines("turned.json", *reversed(good))
    with pytest.raises(DataError, match="none of the questions"):
        measured("turned.json", data=data)


def test_textvqa_is_told_by_image_and_by_the_question_in_llavas_prompt() -> None:
    record = {"image_id": "a1", "image_classes": ["x"], "answers": ["nokia"] * 10}
    data = whole(
        "TextVQA_0.5.1_val.json",
        {
            "data": [
                {**record, "question_id": 34602, "question": "what brand is it?"},
                {**record, "question_id": 34603, "question": "what is it?", "answers": ["phone"] * 10},
            ]
        },
    )
    lines(
        "llava.jsonl",
        {"question_id": "a1", "prompt": f"What is it?\nReference OCR token: NOKIA\n{PROMPT}", "text": "Phone"},
        {"question_id": "a1", "prompt": f"what brand is it?\n{PROMPT}", "text": "nokia."},
    )
    told = measured("llava.jsonl", data=[data])
    assert told["sets"]["textvqa"]["models"]["llava"]["official"] == {"value": 1.0, "low": 1.0, "high": 1.0, "n": 2}


def test_scienceqa_counts_what_is_missing_in_the_split_as_wrong_and_reads_its_results() -> None:
    problem = {"question": "Which?", "choices": ["x", "y"], "hint": "", "image": None}
    data = [
        whole(
            "problems.json",
            {str(i): {**problem, "answer": i % 2, "image": "image.png" if i > 2 else None} for i in range(1, 6)},
        ),
        whole("pid_splits.json", {"test": ["1", "2", "3", "4"], "train": ["5"]}),
    ]
    lines(
        "llava.jsonl",
        {"question_id": "1", "text": "B"},
        {"question_id": "3", "text": "The answer is B."},
        {"question_id": "2", "text": "y"},
    )
    whole("results.json", {"acc": 50.0, "results": {"1": 1, "2": 1}, "outputs": {"1": "B", "2": "B. y"}})
    told = measured("llava.jsonl", "results.json", data=data)["sets"]["scienceqa"]
    assert told["models"]["llava"]["official"]["value"] == 0.5  # 1 and 3 of four; "y" alone is no letter
    assert told["groups"]["image"]["llava"]["official"]["value"] == 0.5
    assert told["models"]["results"]["official"]["value"] == 0.25


def test_mm_vet_and_owleval_answers_find_their_questions() -> None:
    mmvet = whole(
        "mm-vet.json",
        {
            f"v1_{i}": {"imagename": f"{i}.png", "question": "x?", "answer": "14<OR>fourteen", "capability": ["ocr"]}
            for i in range(3)
        },
    )
    whole("model.json", {"v1_0": "It is 14.", "v1_1": "15", "v1_2": ""})
    lines("llava.jsonl", {"question_id": 1, "text": "fourteen"})
    told = measured("model.json", "llava.jsonl", data=[mmvet])
    assert [(f["matched"], f["missing"], f["empty"]) for f in told["files"]] == [(3, 0, 1), (1, 2, 0)]
    owl = lines(
        "questions.jsonl",
        *(
            {
                "image": f"{i}.jpg",
                "question_id": i,
                "question": f"Describe image number {i} as detailed as possible.",
                "ability": "a,b",
            }
            for i in range(1, 6)
        ),
    )
    said = [
        {
            "image": f"{i}.png",
            "question_id": i,
            "question": f"Describe image number {i} as detailed aspossible, please",
            "answer": "A dog.",
        }
        for i in (1, 2)
    ]
    lines(
        "owl.jsonl",
        *said,
        {**said[0], "question_id": 3, "question": "Describe image number 3 as detailed as possible."},
    )
    with pytest.raises(DataError, match="other questions"):  # two of three are worded otherwise
        measured("owl.jsonl", data=[owl])
    exact = [
        {**said[0], "question_id": i, "question": f"Describe image number {i} as detailed as possible."} for i in (1, 3)
    ]
    lines("owl.jsonl", *exact, said[1], {**said[0], "question_id": 4, "question": "What is the total amount?"})
    counts = measured("owl.jsonl", data=[owl])["files"][0]
    assert [counts[name] for name in ("matched", "reworded", "other_question", "missing")] == [3, 1, 1, 2]


def test_mm_vets_grades_are_averaged_by_capability_over_gradings() -> None:
    asked = {"v1_0": ["ocr", "math"], "v1_1": ["rec"], "v1_2": ["ocr"]}
    data = whole(
        "mm-vet.json",
        {k: {"imagename": f"{k}.png", "question": "x?", "answer": "1", "capability": c} for k, c in asked.items()},
    )
    whole("llava.json", dict.fromkeys(asked, "It is 1."))
    marks = {"v1_0": [0.5, 0.7], "v1_1": [1.0, 0.8], "v1_2": [0.0, 0.0]}
    judge = "gpt-4-0613"
    content = {k: {"model": [judge] * 2, "content": [str(m) for m in two], "score": two} for k, two in marks.items()}
    whole(f"llava_{judge}-grade-2runs.json", content)
    own = measured(f"llava_{judge}-grade-2runs.json", "llava.json", data=[data])["sets"]["mm-vet"]
    assert own["models"]["llava"]["official"]["value"] == 0.5  # (0.6 + 0.9 + 0) / 3
    assert {name: its["llava"]["official"]["value"] for name, its in own["groups"].items()} == pytest.approx(
        {"math": 0.6, "math + ocr": 0.6, "ocr": 0.3, "ocr alone": 0.0, "rec": 0.9, "rec alone": 0.9}
    )
    assert own["models"]["llava"]["words"]["value"] == 3.0
    assert own["seeds"] == {"llava": 1}
    assert own["notes"] == ["llava: 2 gradings, 50.0, 50.0; standard deviation 0.0"]
    (alone,) = measured(f"theirs=llava_{judge}-grade-2runs.json", data=[data])["sets"]["mm-vet"]["models"].values()
    assert set(alone) == {"official"}


def test_a_sample_log_of_mm_vet_brings_its_grades() -> None:
    graded = {"question_id": "v1_0", "question": "x?", "gt_answer": "1<OR>one", "pred_answer": "One."}
    lines(
        "20240601_samples_mmvet.jsonl",
        {
            "doc_id": 0,
            "doc": {"question_id": "v1_0", "question": "x?", "answer": "1<OR>one", "capability": "ocr,math"},
            "target": "1<OR>one",
            "filtered_resps": ["One."],
            "gpt_eval_score": {**graded, "capabilities": "ocr,math", "score": 0.9},
        },
    )
    files = parse_files(["20240601_samples_mmvet.jsonl"])
    (own,) = report(evaluate(files, data_of(files)), Draws(50))["sets"].values()
    ((figures),) = own["models"].values()
    assert (figures["official"]["value"], figures["unchanged"]["value"]) == (pytest.approx(0.9), 1.0)
    assert "math + ocr" in own["groups"]


def vqa() -> list[Path]:
    return [
        whole(
            "v2_questions.json",
            {
                "task_type": "Open-Ended",
                "questions": [{"image_id": i // 2, "question": f"What {i}?", "question_id": i} for i in range(4)],
            },
        ),
        whole(
            "v2_annotations.json",
            {
                "annotations": [
                    {
                        "question_id": i,
                        "image_id": i // 2,
                        "answer_type": "other",
                        "answers": [{"answer": "red", "answer_id": k} for k in range(10)],
                    }
                    for i in range(4)
                ]
            },
        ),
    ]


def test_everything_that_is_not_as_it_should_be_is_counted() -> None:
    Path("answers.jsonl").write_text(
        '{"question_id": 0, "answer": "blue"}\n{"question_id": 0, "answer": "red"}\n'
        '{"question_id": 77, "answer": "red"}\n'
        '{"question_id": 1, "answer": "red"\n\n{"question_id": 2}\n'
        '{"question_id": 3, "question": "Who is she then?", "answer": "red"}\n'
    )
    told = measured("answers.jsonl", data=vqa())
    counts = told["files"][0]
    assert {
        name: counts[name]
        for name in ("records", "matched", "missing", "unmatched", "doubled", "unanswered", "broken", "other_question")
    } == {
        "records": 5,
        "matched": 1,
        "missing": 3,
        "unmatched": 1,
        "doubled": 1,
        "unanswered": 1,
        "broken": 1,
        "other_question": 1,
    }
    assert any("lines that are no JSON: 4" in note for note in counts["notes"])
    assert told["sets"]["v2_annotations"]["models"]["answers"]["official"]["value"] == 1.0  # the last of the doubled


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([{"question_id": f"x{i}", "answer": "red"} for i in range(3)], "none of the questions"),
        (
            [{"question_id": i, "question": "Where do lions sleep?", "answer": "red"} for i in range(3)],
            "other questions under the same ids",
        ),
        ([{"question_id": i, "text": f"What {i}?"} for i in range(3)], "holds the questions"),
        ([{"question_id": i, "said": "red"} for i in range(3)], "holds no answers"),
        ([], "holds no record"),
    ],
    ids=["unknown ids", "another data set", "a question file", "no answers", "empty"],
)
def test_a_file_that_answers_something_else_is_refused(records: list[Any], message: str) -> None:
    lines("answers.jsonl", *records)
    with pytest.raises(DataError, match=message):
        measured("answers.jsonl", data=vqa())


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("half.json", b'{"1": "red",\n"2": "bl', "not valid JSON"),
        ("half.jsonl.gz", gzip.compress(b'{"question_id": 1, "answer": "red"}\n' * 99)[:40], "cannot be read"),
        ("page.html", b"<html>not found</html>", "holds no record"),
        ("empty.csv", b"question_id,answer\n", "holds no answers"),
        ("ids.jsonl", b'{"question_id": {"a": 1}, "answer": "red"}\n', "none of the questions"),
    ],
    ids=["half JSON", "half gz", "web page", "empty CSV", "unreadable ids"],
)
def test_half_a_file_and_no_file_of_answers_are_refused(name: str, content: bytes, message: str) -> None:
    Path(name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        measured(name, data=vqa())


def test_questions_named_as_answers_too_are_refused_and_descriptions_beside_references_are_not() -> None:
    with pytest.raises(DataError, match="holds the questions"):
        refuse_questions(parse_files([str(vqa()[1])]), vqa())
    described = lines("haelm.jsonl", {"id": 1, "caption": "A dog.", "references": ["A dog runs."], "labels": ["yes"]})
    refuse_questions(parse_files([str(described)]), [described])


def test_a_file_that_asks_nothing_known_is_refused() -> None:
    with pytest.raises(DataError, match="no question file of a known form"):
        read_data([lines("odd.jsonl", {"a": 1})])


def test_captions_meet_objects_by_the_number_of_the_image() -> None:
    data = [
        whole(
            "captions.json",
            {
                "images": [],
                "annotations": [
                    {"image_id": 9, "caption": "A dog runs."},
                    {"image_id": 9, "caption": "A dog."},
                    {"image_id": 8, "caption": "Grass."},
                ],
            },
        ),
        whole("objects.json", {"9": ["dog"], "7": ["cat"]}),
    ]
    whole(
        "results.json",
        [
            {"image_id": 9, "caption": "A dog and a cat."},
            {"image_id": "COCO_val2014_000000000007.jpg", "caption": "A cat."},
        ],
    )
    figures = measured("results.json", data=data)["sets"]["captions"]["models"]["results"]
    assert figures["chair_i"]["value"] == pytest.approx(1 / 3, abs=1e-6)
    assert figures["chair_s"] == {**figures["chair_s"], "value": 0.5, "n": 2}


def test_a_sample_log_holds_its_own_truth() -> None:
    lines(
        "x_samples_gqa.jsonl",
        *(
            {"doc_id": i, "input": ["What is it?", {}], "target": "dog", "filtered_resps": [said]}
            for i, said in enumerate(("Dog", "cat"))
        ),
    )
    files = parse_files(["m=x_samples_gqa.jsonl"])
    told = report(evaluate(files, data_of(files)), Draws(50))
    assert told["sets"]["answers"]["models"]["m"]["official"]["value"] == 0.5
    assert data_of(files)[0].metric is Metric.EXACT


def test_objects_on_one_line_are_files_of_records_as_scripts_write_them() -> None:
    problem = {"question": "Which?", "choices": ["cat", "dog"], "hint": "", "image": None}
    answers = {"7": 0, "9": 1, "11": 1}
    Path("problems.json").write_text(json.dumps({name: {**problem, "answer": a} for name, a in answers.items()}))
    Path("pid_splits.json").write_text(json.dumps({"train": ["7"], "test": ["9", "11"]}))
    data = [Path("problems.json"), Path("pid_splits.json")]
    places, said = {"9": 1, "11": 1}, {"9": "The answer is B.", "11": "B"}
    for file in ({"outputs": said, "results": places, "acc": 100.0}, {"results": places, "acc": 100.0}, said):
        Path("mine.json").write_text(json.dumps(file))
        told = measured("mine.json", data=data)
        assert told["sets"]["scienceqa"]["models"]["mine"]["official"]["value"] == 1.0, file
        assert told["files"][0]["missing"] == 0, "the split has two questions"


def test_predictions_for_aokvqa_hold_a_choice_and_a_direct_answer() -> None:
    question = {"question_id": "22Mex", "image_id": 1, "question": "What?", "choices": ["cab", "bus"]}
    direct = ["taxi", "taxi", "cab"] * 3 + ["car"]
    whole("aokvqa_v1p0_val.json", [{**question, "correct_choice_idx": 0, "direct_answers": direct}])
    Path("mine.json").write_text(json.dumps({"22Mex": {"multiple_choice": "cab", "direct_answer": "car"}}))
    figures = measured("mine.json", data=[Path("aokvqa_v1p0_val.json")])["sets"]["aokvqa"]["models"]["mine"]
    assert figures["official"]["value"] == 1.0
    assert figures["direct_answer_accuracy"]["value"] == pytest.approx(1 / 3)


def test_a_table_of_answers_may_have_the_separator_of_its_spreadsheet() -> None:
    data = [lines("questions.jsonl", {"id": 1, "question": "What?", "answer": "a cat"})]
    Path("mine.csv").write_text('\ufeffquestion_id;answer\r\n1;"a cat"\r\n', encoding="utf-8")
    assert measured("mine.csv", data=data)["files"][0]["matched"] == 1


def test_a_torn_table_of_answers_loses_no_row_in_silence() -> None:
    data = [lines("questions.jsonl", *({"id": n, "question": f"How many {n}?", "answer": "2"} for n in (1, 2)))]
    lines("mine.jsonl", {"question_id": 1, "answer": 2.0})
    told = measured("mine.jsonl", data=data)
    assert told["sets"]["questions"]["models"]["mine"]["official"]["value"] == 1.0, "2.0 is pandas' 2"
    Path("mine.tsv").write_text('question_id\tanswer\n1\t"2\n2\t2\n')
    with pytest.raises(DataError, match="file cannot be read"):
        measured("mine.tsv", data=data)


def test_the_number_of_an_image_is_not_taken_for_a_place_in_the_file() -> None:
    asked = [{"image": f"{n:012}.jpg", "caption": f"The cat is {n}.", "relation": "in", "label": n % 2} for n in (1, 2)]
    data = [lines("vsr.jsonl", *asked)]
    lines("mine.jsonl", *({"image": f"{n:012}.jpg", "answer": str(n % 2 == 1)} for n in (1, 2)))
    told = measured("mine.jsonl", data=data)
    assert told["sets"]["vsr"]["models"]["mine"]["official"]["value"] == 1.0
    assert told["files"][0]["doubled"] == 0


def test_gqas_questions_are_not_taken_for_cocos_annotations() -> None:
    question = {"question": "Is it dark?", "imageId": "1", "answer": "yes", "annotations": {"question": {}}}
    Path("testdev_balanced_questions.json").write_text(json.dumps({"02930152": question}))
    lines("mine.jsonl", {"questionId": "02930152", "prediction": "yes"})
    told = measured("mine.jsonl", data=[Path("testdev_balanced_questions.json")])
    assert told["sets"]["gqa"]["models"]["mine"]["official"]["value"] == 1.0


def test_karpathys_captions_are_references_of_their_split() -> None:
    raw = [{"raw": "A cat sits."}, {"raw": "The cat ."}]
    images = [
        {"filename": photo(n), "cocoid": n, "split": split, "sentences": raw} for n, split in ((1, "test"), (2, "val"))
    ]
    data = [whole("dataset_coco.json", {"images": images, "dataset": "coco"})]
    whole("mine.json", [{"image_id": 1, "caption": "A cat sits."}])
    told = measured("mine.json", data=data, split="test")
    assert told["sets"]["dataset_coco"]["models"]["mine"]["rouge_l"]["value"] == 1.0
    assert (told["files"][0]["matched"], told["files"][0]["missing"]) == (1, 0)
