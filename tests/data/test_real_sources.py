"""The readers on official files. Needs a data root with real files; see POLITE_FLAMINGO_REAL_DATA."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from polite_flamingo.images import open_image
from polite_flamingo.records import Reject, Sample
from polite_flamingo.sources import load_source
from polite_flamingo.sources.readers.table import Table

ROOT = Path(os.environ.get("POLITE_FLAMINGO_REAL_DATA") or "absent")
pytestmark = [
    pytest.mark.real_data,
    pytest.mark.skipif(not ROOT.is_dir(), reason="POLITE_FLAMINGO_REAL_DATA names no folder"),
]

UNANSWERED = {"spot_the_diff": ["row has an empty 'sentences'"] * 6}  # 6 of the 1,634 rows hold one empty sentence

# reader, folder, split, samples, the files it reads
CASES = [
    ("coco", "coco", "train2017", 50, ["annotations/captions_train2017.json", "annotations/instances_train2017.json"]),
    ("coco", "coco", "val2017", 70, ["annotations/captions_val2017.json", "annotations/instances_val2017.json"]),
    ("flickr8k", "flickr8k", "all", 15, ["Flickr8k.token.subset.txt"]),
    ("spot_the_diff", "change", "val", 1634 - 6, ["spot_the_diff_val.json"]),
    ("image_editing_request", "change", "valid", 383, ["image_editing_request_valid.json"]),
    ("aokvqa", "aokvqa", "val", 40, ["aokvqa_v1p0_val.local_images.json"]),
    ("scienceqa", "scienceqa", "train", 600, ["problems.subset.json.gz"]),
    (
        "vqav2",
        "vqa",
        "train",
        39,
        [
            "v2_OpenEnded_mscoco_train2014_questions.subset.json",
            "v2_mscoco_train2014_annotations.subset.json",
        ],
    ),
    (
        "llava_eval",  # 90 + 90 questions, of which 69 stand in both files; captions and boxes of 80 images
        "llava",
        "val",
        111,
        [
            "qa90_questions.jsonl",
            "qa90_gpt4_answer.jsonl",
            "coco2014_val_gpt4_qa_30x3.jsonl",
            "caps_boxes_coco2014_val_80.jsonl",
        ],
    ),
    ("oasst", "text", "train", 100, ["oasst_en_100_tree.jsonl.gz"]),
    (
        "gpteacher",
        "text",
        "train",
        1000,
        [
            "gpteacher_roleplay_first700.json",
            "gpteacher_codegen_first300.json",
        ],
    ),
    ("alpaca", "text", "train", 999, ["alpaca_en_demo.json"]),
    ("alpaca_seed_tasks", "text", "train", 175, ["stanford_alpaca_seed_tasks.jsonl"]),
    ("vsr", "vsr", "local_images", 16, ["vsr_local_images.jsonl"]),
    ("vsr", "vsr", "dev", 1095, ["random_dev.jsonl.gz"]),
    ("nlvr", "nlvr", "dev", 60, ["dev.subset.json"]),
    ("gvt", "gvt", "coco_oc", 161, ["coco_oc.json"]),
    ("gvt", "gvt", "coco_mci", 190, ["coco_mci.json"]),
]
REFCOCO = {"refcocog_test": (2, 1), "refcocog_val": (11, 6), "refcoco_testA": (12, 4), "refcoco+_testA": (11, 4)}
NO_READER = (  # no data for training or evaluation, or the same in another form
    *("README.md", "llava/prompts/", "nli/", "politeness/", "preference/", "photos/preference/"),
    *("photos/mllm_descriptions/", "photos/hallucination/"),  # texts of models, labelled: they measure filters
    *("photos/vqa_yesno/vaq2.0.images", "photos/verbalised_answers/qadialog_votes"),
    *("photos/coco/annotations/person_keypoints"),
    *("photos/daquar/qa.jsonl", "photos/daquar/sizes.json", "photos/okvqa/OpenEnded", "photos/flickr8k/Flickr_8k."),
)
ENDINGS = (".json", ".jsonl", ".gz", ".txt", ".csv", ".tsv", ".md")
WITH_IMAGES = {"coco", "vqav2", "aokvqa", "flickr8k", "nlvr", "gvt"}  # every image is at hand


# the same below photos/, a data root of its own
VERBALISED = ["the answer is left out of the sentence", "row has no sentence"]
PHOTOS = [
    ("coco", "coco", "val2014_subset", 1771, ["captions_val2014_subset.json", "chair_objects.json"]),
    ("flickr8k", "flickr8k", "all", 3153, ["Flickr8k.token.txt"]),
    ("vqa_x", "vqa_x", "val", 356, ["vqaX.json.gz"]),
    ("vqa_x", "vqa_x", "test", 527, ["vqaX.json.gz"]),
    ("lxmert_vqa", "okvqa", "val", 889, ["okvqa_val_soft_answers.json"]),
    ("aokvqa", "aokvqa", "val_subset", 193, ["aokvqa_v1p0_val_subset.json"]),
    ("vsr", "vsr", "vsr", 426, ["vsr.jsonl"]),
    ("daquar", "daquar", "all", 10319, ["qa_pairs.txt"]),
    ("esnlive", "esnlive", "dev", 3172, ["esnlive_dev.csv.gz"]),
    ("vquanda", "verbalised_answers", "train", 3634, ["vquanda_train.json.gz"]),
    ("paraqa", "verbalised_answers", "all", 3606, ["paraqa.json.gz"]),
]
TABLES: list[tuple[str, str, int, dict[str, Any]]] = [  # folder, file, rows, mapping
    (
        *("vqa_yesno", "vaq2.0.jsonl", 5092),
        {"task": "vqa", "question": "question", "image": {"text": "coco/val2014_224/{image}"}},
    ),
    ("llava_qa90", "qa90_gpt4_on_local_images.jsonl", 24, {"task": "dialogue", "answer": "gpt4_answer"}),
    ("ferret_bench", "ferret_gpt4.jsonl", 30, {"task": "reasoning"}),
    ("verbalised_answers", "qadialog_ratings.jsonl.gz", 2531, {"task": "text", "answer": "response"}),
    ("image_text_only", "stablellava_sample.jsonl.gz", 13500, {"task": "detail", "question": None}),
    ("image_text_only", "fohe_rewritten_captions.json", 472, {"task": "detail", "question": None, "answer": "caption"}),
    *(
        ("image_text_only", f"imageinwords_{name}.jsonl.gz", rows, {"task": "detail", "question": None, "answer": key})
        for name, rows, key in (
            *(("IIW-400", 328, "IIW"), ("DCI_Test", 92, "IIW")),
            *(("CM_3600", 820, "IIW-P5B"), ("LocNar_Eval", 820, "IIW-P5B")),
        )
    ),
]


def read(name: str, root: Path, folder: str, split: str) -> list[Sample]:
    items = list(load_source(name).read(root, folder, split, seed=1))
    reasons = [item.reason for item in items if isinstance(item, Reject)]
    if name in ("vquanda", "paraqa"):
        assert set(reasons) <= set(VERBALISED)
    else:
        assert reasons == UNANSWERED.get(name, [])
    samples = [item for item in items if isinstance(item, Sample)]
    assert len({sample.id for sample in samples}) == len(samples)
    return samples


@pytest.mark.parametrize(("name", "folder", "split", "expected", "files"), CASES)
def test_a_reader_takes_every_official_row(name: str, folder: str, split: str, expected: int, files: list[str]) -> None:
    if not all((ROOT / folder / file).is_file() for file in files):
        pytest.skip(f"{folder} is not as this test expects it")
    samples = read(name, ROOT, folder, split)
    assert len(samples) == expected
    images = sorted({image.path for sample in samples for image in sample.images})
    if name in WITH_IMAGES or split == "local_images":
        assert [path for path in images if not (ROOT / path).is_file()] == []
        for path in images[:10]:
            open_image(ROOT, path)


@pytest.mark.parametrize(("name", "folder", "split", "expected", "files"), PHOTOS)
def test_a_reader_takes_every_row_about_the_photographs(
    name: str, folder: str, split: str, expected: int, files: list[str]
) -> None:
    root = ROOT / "photos"
    if not all(list((root / folder).rglob(file)) for file in files):
        pytest.skip(f"photos/{folder} is not as this test expects it")
    samples = read(name, root, folder, split)
    assert len(samples) == expected
    images = {image.path for sample in samples for image in sample.images}
    assert [path for path in sorted(images) if not (root / path).is_file()] == []


@pytest.mark.parametrize(("folder", "file", "expected", "mapping"), TABLES)
def test_other_files_are_read_with_a_mapping(folder: str, file: str, expected: int, mapping: dict[str, Any]) -> None:
    if not (ROOT / "photos" / folder / file).is_file():
        pytest.skip(f"no photos/{folder}/{file}")
    given = {"file": file, "licence": "see README.md", "question": "question", "answer": "answer", **mapping}
    given |= {"rows": "annotations"} if file.endswith(".json") else {}
    reader = Table({key: value for key, value in given.items() if value is not None})
    items = list(reader.read(ROOT / "photos", folder, "all", seed=1))
    assert [item for item in items if isinstance(item, Reject)] == []
    assert len(items) == expected


@pytest.mark.parametrize(("split", "sentences", "objects"), [(k, *v) for k, v in REFCOCO.items()])
def test_marked_objects_are_drawn_on_the_real_images(tmp_path: Path, split: str, sentences: int, objects: int) -> None:
    listing = ROOT / "refcoco" / "refcoco_local_images.json"
    if not listing.is_file():
        pytest.skip("no folder refcoco")
    shutil.copytree(listing.parent, tmp_path / "refcoco")  # the data root must be writable
    for record in json.loads(listing.read_text())[split]:
        name = f"{record['img_id'].split('_')[2]}.jpg"
        for place in ("train2017", "val2017"):
            if (ROOT / "coco" / place / name).is_file():
                (tmp_path / "coco" / place).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / "coco" / place / name, tmp_path / "coco" / place / name)
    samples = read("refcoco", tmp_path, "refcoco", split)
    assert (sum(len(s.response.splitlines()) for s in samples), len(samples)) == (sentences, objects)
    for sample in samples:
        assert sample.images[0].path in sample.extras["derived_from"]
        open_image(tmp_path, sample.images[0].path)


def test_the_published_record_is_read_as_it_is(tmp_path: Path) -> None:
    if not (ROOT / "pf1m_record.json").is_file():
        pytest.skip("no pf1m_record.json")
    record = json.loads((ROOT / "pf1m_record.json").read_text())
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "records.json").write_text(json.dumps([record]))
    (sample,) = read("pf1m_json", tmp_path, "own", "all")
    assert sample.response == record["output"]
    assert sample.images[0].path.endswith("mscoco_2017/train2017/000000328374.jpg")


def test_every_file_is_read_or_known_to_have_no_reader() -> None:
    covered = {f"{folder}/{file}" for _, folder, _, _, files in CASES for file in files}
    covered |= {f"photos/{folder}/{file}" for _, folder, _, _, files in PHOTOS for file in files}
    covered |= {f"photos/coco/annotations/{file}" for file in ("captions_val2014_subset.json", "chair_objects.json")}
    covered |= {f"photos/{folder}/{file}" for folder, file, _, _ in TABLES}
    covered |= {"refcoco/refcoco_local_images.json", "pf1m_record.json"}
    found = {path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if path.name.endswith(ENDINGS)}
    assert {path for path in found - covered if not path.startswith(NO_READER)} == set()


def test_captions_sentences_and_boxes_are_as_many_as_the_files_hold() -> None:
    def count(folder: str, name: str, split: str, key: str) -> int:
        return sum(len(sample.extras[key]) for sample in read(name, ROOT, folder, split))

    assert count("coco", "coco", "train2017", "captions") == 250
    assert count("coco", "coco", "val2017", "captions") == 350
    assert count("flickr8k", "flickr8k", "all", "captions") == 75
    details = [s for s in read("llava_eval", ROOT, "llava", "val") if "captions" in s.extras]
    assert len(details) > 0


def test_boxes_of_coco_lie_within_the_image() -> None:
    samples = read("coco", ROOT, "coco", "val2017")
    boxes = [box for sample in samples for box in sample.extras["boxes"]]
    assert len(boxes) == 414  # 418 of the file, less 4 crowds
    assert all(0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1 for _, x1, y1, x2, y2 in boxes)
