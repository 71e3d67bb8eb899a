"""Descriptions by other models: wrong by CHAIR, or by people."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from polite_flamingo.calibrate.described import INACCURATE, INVENTED, described, from_described
from polite_flamingo.calibrate.labels import CLEAN
from polite_flamingo.errors import DataError
from polite_flamingo.records import Task


def write(path: Path, *rows: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_descriptions_are_labelled_by_objects_and_by_people(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    captions = [{"image_id": 7, "caption": "A dog on\ngrass."}, {"image_id": 7, "caption": "The dog runs."}]
    write(photos / "coco/annotations/captions_val2014.json", {"annotations": captions})
    write(photos / "coco/annotations/chair_objects.json", {"7": ["dog", "bench"]})
    texts = ["A dog by a bench.", "A dog and a man.\n\nA bench.", "A dog." + " It is here." * 20]
    rows = [{"image_id": 7, "model": "m", "text": text} for text in texts]
    write(photos / "mllm_descriptions/descriptions.jsonl", *rows, {**rows[0], "image_id": 8})
    people = {"image_id": 7, "caption": "A cat.", "references": ["A dog."]}
    judged = [{**people, "labels": labels} for labels in (["no"] * 5, ["yes"] * 5)]
    write(photos / "hallucination/haelm_eval.jsonl", *judged, {**judged[0], "image_id": None})
    rewrites = described(tmp_path)
    assert [(r.id, r.raw_answer, r.task) for r in rewrites[:3:2]] == [
        ("mllm_descriptions/all/m-1", "A dog on grass.\nThe dog runs.", Task.CAPTION),
        ("mllm_descriptions/all/m-3", "A dog on grass.\nThe dog runs.", Task.DETAIL),
    ]
    scored = [replace(r, scores={"clip_logits": [1.0, 2.0] if "\n" in r.rewritten else None}) for r in rewrites]
    labelled = list(from_described(scored))
    assert [(r.kind, r.corrupted) for r in labelled] == [
        (CLEAN, (False,)),
        (INVENTED, (True, False)),  # right once the paragraph with the man is cut
        (CLEAN, (False,)),
        (INACCURATE, (True,)),
        (CLEAN, (False,)),
        (INACCURATE, (True,)),
    ]
    assert len({r.group for r in labelled}) == 2


def test_a_data_root_without_descriptions_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no descriptions by other models"):
        described(tmp_path)
