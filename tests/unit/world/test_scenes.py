"""The embedded world: deterministic, true to itself, and its out-of-domain split really is one."""

import json
from pathlib import Path
from random import Random

import pytest

from polite_flamingo.images import open_image
from polite_flamingo.io.hashes import hash_file
from polite_flamingo.io.text import read_jsonl
from polite_flamingo.world import language as say
from polite_flamingo.world import questions as ask
from polite_flamingo.world.render import render
from polite_flamingo.world.scenes import draw_scene
from polite_flamingo.world.vocabulary import HELD_OUT, SceneObject

SCENES = {"train": 6, "val": 2, "test": 3, "out_of_domain": 3}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = tmp_path_factory.mktemp("world")
    render(raw, SCENES, 32, seed=7)
    return raw


def test_rendering_twice_gives_the_same_bytes(world: Path, tmp_path: Path) -> None:
    render(tmp_path, SCENES, 32, seed=7)
    files = sorted(p.relative_to(world) for p in world.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    assert [hash_file(world / f) for f in files] == [hash_file(tmp_path / f) for f in files]


def test_another_seed_gives_other_scenes(world: Path, tmp_path: Path) -> None:
    render(tmp_path, SCENES, 32, seed=8)
    assert (tmp_path / "ground_truth.jsonl").read_text() != (world / "ground_truth.jsonl").read_text()


def test_every_image_of_the_ground_truth_opens(world: Path) -> None:
    for row in read_jsonl(world / "ground_truth.jsonl"):
        assert open_image(world, row["image"]).size == (32, 32)


def test_held_out_pairs_appear_only_and_always_out_of_domain(world: Path) -> None:
    for row in read_jsonl(world / "ground_truth.jsonl"):
        held_out = any((o["color"], o["shape"]) in HELD_OUT for o in row["objects"])
        assert held_out == ("out_of_domain" in row["image"]), row


def test_coco_boxes_lie_inside_the_image_and_name_its_objects(world: Path) -> None:
    instances = json.loads((world / "coco/annotations/instances_train2014.json").read_text())
    names = {c["id"]: c["name"] for c in instances["categories"]}
    truth = {r["image"]: r["objects"] for r in read_jsonl(world / "ground_truth.jsonl")}
    by_image: dict[int, list[str]] = {}
    for box in instances["annotations"]:
        x, y, w, h = box["bbox"]
        assert x >= 0 and y >= 0 and x + w <= 32 and y + h <= 32
        by_image.setdefault(box["image_id"], []).append(names[box["category_id"]])
    for image in instances["images"]:
        objects = truth[f"coco/train2014/{image['file_name']}"]
        assert by_image[image["id"]] == [f"{o['color']} {o['shape']}" for o in objects]


def test_spot_the_diff_sentences_say_what_changed() -> None:
    red = SceneObject("red", "circle", "large", "top left")
    blue = SceneObject("blue", "star", "small", "top right")
    assert say.difference((red, blue), (red,)) == ["the blue star is gone"]
    assert say.difference((red,), (red, blue)) == ["a blue star was added in the top right"]
    assert say.difference((red,), (SceneObject("green", "circle", "large", "top left"),)) == [
        "the red circle is now green"
    ]


def test_questions_about_a_scene_have_the_answers_of_the_scene() -> None:
    scene = draw_scene(Random(3))
    for q in ask.questions(scene, Random(4)):
        if q.kind == "count" and q.text in ("How many objects are there?", "How many shapes are in the image?"):
            assert q.answer == str(len(scene))
        if q.kind == "color":
            assert q.answer in {t.color for t in scene}
