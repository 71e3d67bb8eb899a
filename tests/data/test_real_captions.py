"""CHAIR and CIDEr of published model outputs. Needs a data root; see POLITE_FLAMINGO_REAL_DATA."""

import gzip
import json
import os
from collections import defaultdict
from pathlib import Path

import pytest

from polite_flamingo.evaluate.chair import NamedObjects, chair, check_objects
from polite_flamingo.evaluate.cider import Cider

PHOTOS = Path(os.environ.get("POLITE_FLAMINGO_REAL_DATA") or "absent") / "photos"
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not PHOTOS.is_dir(), reason="POLITE_FLAMINGO_REAL_DATA names no folder with photos"),
]

# part of a file's name -> both rates by the published code with the nouns of WordNet 3.0, made once
CHAIR = {
    "OPERA/log/chair_eval_results/instructblip": (0.607, 0.258),
    "OPERA/log/chair_eval_results/llava-1.5": (0.486, 0.166),
    "OPERA/log/chair_eval_results/shikra": (0.486, 0.142),
    "OPERA/log/chair_eval_results/minigpt4": (0.389, 0.125),
    "r1-llava1.5-7b": (0.541, 0.138),
    "r7-llava1.5-13b": (0.459, 0.119),
    "r9-llava-7b": (0.365, 0.119),
    "r11-minigptv2": (0.351, 0.105),
    "Instruction1_mplug": (0.775, 0.304),
    "Instruction2_llava": (0.321, 0.112),
}
# the same -> CIDEr by pycocoevalcap 1.2 with its own tokens
CIDER = {
    "Instruction1_instructblip": 0.7261,
    "Instruction2_instructblip": 0.9007,
    "Instruction2_mmgpt": 0.9783,
    "Instruction2_mplug": 0.1390,
}


def descriptions() -> dict[str, dict[int, str]]:
    """Text by photograph, by source."""
    texts: dict[str, dict[int, str]] = defaultdict(dict)
    with gzip.open(PHOTOS / "mllm_descriptions" / "descriptions.jsonl.gz", "rt") as lines:
        for record in map(json.loads, lines):
            texts[record["source"]][record["image_id"]] = record["text"]
    return texts


def test_published_answers_have_the_rates_of_the_published_code() -> None:
    listed = json.loads((PHOTOS / "coco" / "annotations" / "chair_objects.json").read_text())
    shown = {int(number): frozenset(objects) for number, objects in listed.items()}
    checked: dict[str, list[NamedObjects]] = {
        source: [check_objects(text, shown[number]) for number, text in texts.items()]
        for source, texts in descriptions().items()
    }
    for part, expected in CHAIR.items():
        (rates,) = (chair(objects) for source, objects in checked.items() if part in source)
        assert rates == pytest.approx(expected, abs=0.025), part


def test_published_captions_have_the_cider_of_the_coco_caption_evaluation() -> None:
    captions: dict[int, list[str]] = defaultdict(list)
    for row in json.loads((PHOTOS / "coco/annotations/captions_val2014_subset.json").read_text())["annotations"]:
        captions[row["image_id"]].append(row["caption"])
    for part, expected in CIDER.items():
        ((_, texts),) = ((source, texts) for source, texts in descriptions().items() if part in source)
        known = {number: text for number, text in texts.items() if number in captions}
        cider = Cider(captions[number] for number in known)
        values = [cider.score(text, captions[number]) for number, text in known.items()]
        assert sum(values) / len(values) == pytest.approx(expected, abs=0.0005), part
