"""What the judges learn: labels follow from the annotation, and nothing held out is trained on."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from polite_flamingo.laptop.answers import SLOT, Answered, fit_slot, read_answered
from polite_flamingo.laptop.nli_texts import as_sentence, read_entailment, statements, turned
from polite_flamingo.laptop.reward_texts import verbalised
from polite_flamingo.scorers.nli import LABELS
from polite_flamingo.sources.photographs import part_of

ASKED = [
    Answered("vqa", f"COCO_val2014_{number:012d}.jpg", f"Is this a {thing}?", answer)
    for number, (thing, answer) in enumerate([("beach", "no"), ("kitchen", "yes"), ("tie", "no"), ("park", "yes")])
] + [
    Answered("vquanda", question, question, answer, (f"{SLOT} is the capital of {land}.",))
    for question, answer, land in [
        ("What is the capital of Peru?", "Lima", "Peru"),
        ("What is the capital of Chad?", "N'Djamena", "Chad"),
        ("What is the capital of Mali?", "Bamako", "Mali"),
    ]
]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


def test_the_official_forms_become_questions_with_answers(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    rows = [
        {"uid": "1", "question": "Where?", "verbalized_answer": "It is in [Rome, *]."},
        {"uid": "2", "question": "Who?", "verbalized_answer": "no slot"},
    ]
    _write(photos / "verbalised_answers/vquanda_train.json.gz", json.dumps(rows))
    _write(photos / "daquar/qa.jsonl", json.dumps({"image": "image3", "question": "what is red?", "answer": "chair"}))
    daquar, vquanda = read_answered(tmp_path)
    assert (daquar.answer, daquar.part) == ("chair", part_of("image3"))
    assert (vquanda.answer, vquanda.sentences) == ("Rome", (f"It is in {SLOT}.",))
    assert fit_slot("it was samar", "Samar") == f"it was {SLOT}" and fit_slot("samarkand", "samar") is None


@pytest.mark.parametrize(
    ("question", "denied"),
    [
        ("Is this man happy?", "this man is not happy"),
        ("Is this a beach scene?", "this is not a beach scene"),
        ("Are there any houses nearby?", "there are not any houses nearby"),
        ("Could this be home?", "this could not be home"),
        ("What is this?", None),
    ],
)
def test_the_statement_behind_a_question(question: str, denied: str | None) -> None:
    assert turned(question, negative=True) == denied


def test_labels_follow_from_the_right_answer() -> None:
    pairs = statements(ASKED, 1, 0, {})
    assert Counter(LABELS[pair.label] for pair in pairs) == dict.fromkeys(LABELS, len(ASKED))
    for pair in pairs:
        said = pair.premise.rpartition('" is the answer')[0].lower()
        answer = next(record.answer.lower() for record in ASKED if record.question in pair.premise)
        if pair.source == "vquanda":
            assert (answer in said) == (LABELS[pair.label] == "entailment")
    assert statements(ASKED, 1, 1, {}) != pairs  # drawn anew in every epoch


def test_a_premise_that_captions_a_photograph_has_the_photographs_part(tmp_path: Path) -> None:
    photo = next(name for name in (f"{i}_a.jpg" for i in range(99)) if part_of(name) == "held_out")
    _write(tmp_path / "photos/flickr8k/Flickr8k.token.txt", f"{photo}#0\tTwo dogs play .\n{photo}#1\tDogs .\n")
    for name, text in (("s1", "Two dogs play . "), ("s2", "Animals play ."), ("labels", "entailment")):
        _write(tmp_path / f"nli/esnli_{name}.dev.gz", f"{text}\n")
    row = f'image,pairID,hypothesis,gold_label\n{photo},{photo}#1r1c,"Cats , they play .",contradiction\n'
    _write(tmp_path / "photos/esnlive/esnlive_dev.csv.gz", row)
    text, image = read_entailment(tmp_path)
    assert (text.premise, text.part, LABELS[text.label]) == ("Two dogs play.", "held_out", "entailment")
    assert (image.premise, image.hypothesis, image.part) == ("Dogs. Two dogs play.", "Cats, they play.", "held_out")


def test_a_full_answer_is_preferred_to_the_short_one() -> None:
    pairs = verbalised(ASKED, 1, 0)
    assert {"verbalised", "stated"} <= {pair.source for pair in pairs}
    for pair in pairs:
        if pair.source in ("verbalised", "stated"):
            assert len(pair.better) > len(pair.worse)
    assert as_sentence(ASKED[0], "no", Random(3)) in ("This is not a beach.", "No, this is not a beach.")
