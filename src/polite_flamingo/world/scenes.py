"""The embedded world: scenes of coloured shapes, written as the official files of real datasets.

Everything is a pure function of (seed, set, index). What is true about each image stays in ``ground_truth.jsonl``,
which only the evaluation reads; the pipeline sees the official files through the same readers as real data.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from tqdm import tqdm

from polite_flamingo.io import write_json, write_jsonl
from polite_flamingo.prompts.requests import CHANGE
from polite_flamingo.world import language as say
from polite_flamingo.world.language import COLORS, HELD_OUT, POSITIONS, SHAPES, SIZES, Scene, Thing

RGB = {
    "red": (214, 39, 40),
    "green": (44, 150, 44),
    "blue": (31, 90, 220),
    "yellow": (240, 215, 30),
    "purple": (130, 60, 170),
    "orange": (250, 130, 20),
}
LICENCE = {"id": 1, "name": "CC0 1.0", "url": "https://creativecommons.org/publicdomain/zero/1.0/"}
CATEGORIES = {f"{c} {s}": i for i, (c, s) in enumerate(((c, s) for c in COLORS for s in SHAPES), 1)}
QUESTIONS_PER_IMAGE = 4
DETAIL = ("Describe the following image in detail.", "What is shown in this image? Please be detailed.")  # requests
FIRST_ID = {"train": 1, "val": 200_001, "test": 400_001, "out_of_domain": 600_001}
OVERSAMPLING = 4


def draw_scene(rng: Random, held_out: bool = False) -> Scene:
    """Draw 1 to 4 objects in distinct cells; held-out colour-shape pairs appear only, and always, with `held_out`."""
    chosen = sorted(rng.sample(POSITIONS, rng.randint(1, 4)), key=POSITIONS.index)
    things = [Thing(*rng.choice(_PLAIN_PAIRS), rng.choice(SIZES), position) for position in chosen]
    if held_out:
        index = rng.randrange(len(things))
        old = things[index]
        things[index] = Thing(*rng.choice(sorted(HELD_OUT)), old.size, old.position)
    return tuple(things)


_PLAIN_PAIRS = [(c, s) for c in COLORS for s in SHAPES if (c, s) not in HELD_OUT]


def layout(scene: Scene, image_size: float, rng: Random) -> list[tuple[float, float, float]]:
    """Centre x, centre y and radius of each object, in pixels of an image of `image_size` squared."""
    cell = image_size / 2
    placed = []
    for thing in scene:
        row, column = divmod(POSITIONS.index(thing.position), 2)
        radius = cell * (0.22 if thing.size == "small" else 0.40)
        slack = cell * 0.06
        placed.append(
            (
                (column + 0.5) * cell + rng.uniform(-slack, slack),
                (row + 0.5) * cell + rng.uniform(-slack, slack),
                radius,
            )
        )
    return placed


def draw_image(scene: Scene, placed: list[tuple[float, float, float]], image_size: int, rng: Random) -> Any:
    """Render a scene with anti-aliased edges; returns a PIL image."""
    from PIL import Image, ImageDraw

    side = image_size * OVERSAMPLING
    shade = rng.randint(215, 250)
    image = Image.new("RGB", (side, side), (shade, shade, shade))
    pen = ImageDraw.Draw(image)
    for thing, (x, y, radius) in zip(scene, placed, strict=True):
        x, y, radius = x * OVERSAMPLING, y * OVERSAMPLING, radius * OVERSAMPLING
        color = RGB[thing.color]
        if thing.shape == "circle":
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
        elif thing.shape == "square":
            half = radius * 0.85
            pen.rectangle((x - half, y - half, x + half, y + half), fill=color)
        elif thing.shape == "triangle":
            pen.polygon([(x, y - radius), (x - radius, y + radius * 0.8), (x + radius, y + radius * 0.8)], fill=color)
        else:
            corners = [
                (
                    x + math.sin(i * math.pi / 5) * (radius if i % 2 == 0 else radius * 0.4),
                    y - math.cos(i * math.pi / 5) * (radius if i % 2 == 0 else radius * 0.4),
                )
                for i in range(10)
            ]
            pen.polygon(corners, fill=color)
    return image.resize((image_size, image_size), Image.Resampling.LANCZOS)


def render(raw: Path, scenes: Mapping[str, int], image_size: int, seed: int) -> None:
    """Write the whole world below `raw`.

    Args:
        raw: Folder to fill; see the table in docs/architecture.md for what lies where.
        scenes: Number of scenes of each split: train, val, test, out_of_domain.
        image_size: Side of an image in pixels.
        seed: World seed.
    """
    truth: list[dict[str, Any]] = []
    with tqdm(total=sum(scenes.values()), desc="render", unit="scene", mininterval=1.0) as bar:
        for split, count in scenes.items():
            drawn = []
            for index in range(count):
                rng = Random(f"{seed}:{split}:{index}")
                scene = draw_scene(rng, held_out=split == "out_of_domain")
                drawn.append((FIRST_ID[split] + index, scene, layout(scene, image_size, rng), rng))
            _write_split(raw, split, drawn, image_size, truth, bar)
    _write_text(raw, scenes["train"] // 2, seed)
    write_jsonl(raw / "ground_truth.jsonl", truth)


def _write_split(
    raw: Path,
    split: str,
    drawn: list[tuple[int, Scene, list[tuple[float, float, float]], Random]],
    image_size: int,
    truth: list[dict[str, Any]],
    bar: Any,
) -> None:
    ood = split == "out_of_domain"
    folder = Path("coco") / f"{split}2014"
    sets: dict[str, list[Any]] = {
        name: []
        for name in (
            "images",
            "captions",
            "instances",
            "questions",
            "annotations",
            "aokvqa",
            "clevr",
            "diff",
            "conversation",
            "detail",
            "reasoning",
        )
    }
    for image_id, scene, placed, rng in drawn:
        name = f"COCO_{split}2014_{image_id:012d}.png"
        _save(raw / folder / name, scene, placed, image_size, rng)
        truth.append(_truth(folder / name, scene))
        sets["images"].append(
            {"id": image_id, "file_name": name, "width": image_size, "height": image_size, "license": LICENCE["id"]}
        )
        _coco(sets, image_id, scene, placed, rng)
        _vqa(sets, image_id, scene, rng, "formal" if ood else "plain")
        if not ood:
            _aokvqa(sets, image_id, scene, split, rng)
            _clevr(raw, sets, image_id, scene, split, image_size, rng, truth)
            _diff(raw, sets, image_id, scene, image_size, rng, truth)
        if split == "train":
            _llava(sets, image_id, scene, name, rng)
            _llava_pair(raw, sets, image_id, scene, image_size, rng, truth)
        bar.update()

    info = {"description": "Scenes of coloured shapes", "version": "1.0", "year": 2023}
    vqa = raw / ("vqav2_ood" if ood else "vqav2")
    write_json(
        vqa / f"v2_OpenEnded_mscoco_{split}2014_questions.json",
        {
            "info": info,
            "task_type": "Open-Ended",
            "data_type": "mscoco",
            "data_subtype": f"{split}2014",
            "license": LICENCE,
            "questions": sets["questions"],
        },
    )
    write_json(
        vqa / f"v2_mscoco_{split}2014_annotations.json",
        {
            "info": info,
            "data_type": "mscoco",
            "data_subtype": f"{split}2014",
            "license": LICENCE,
            "annotations": sets["annotations"],
        },
    )
    if ood:
        return
    for kind in ("captions", "instances"):
        value = {"info": info, "licenses": [LICENCE], "images": sets["images"], "annotations": sets[kind]}
        if kind == "instances":
            value["categories"] = [{"id": i, "name": n, "supercategory": n.split()[1]} for n, i in CATEGORIES.items()]
        write_json(raw / "coco" / "annotations" / f"{kind}_{split}2014.json", value)
    write_json(raw / "aokvqa" / f"aokvqa_v1p0_{split}.json", sets["aokvqa"])
    write_json(
        raw / "clevr" / "questions" / f"CLEVR_{split}_questions.json",
        {"info": {"split": split, "version": "1.0", "license": LICENCE["name"]}, "questions": sets["clevr"]},
    )
    write_json(raw / "spot_the_diff" / "annotations" / f"{split}.json", sets["diff"])
    if split == "train":
        write_json(raw / "llava" / "conversation_58k.json", sets["conversation"])
        write_json(raw / "llava" / "detail_23k.json", sets["detail"])
        write_json(raw / "llava" / "complex_reasoning_77k.json", sets["reasoning"])


def _save(path: Path, scene: Scene, placed: list[tuple[float, float, float]], image_size: int, rng: Random) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_image(scene, placed, image_size, rng).save(path)


def _truth(path: Path, scene: Scene) -> dict[str, Any]:
    return {
        "image": path.as_posix(),
        "objects": [{"color": t.color, "shape": t.shape, "size": t.size, "position": t.position} for t in scene],
    }


def _coco(sets: dict[str, list[Any]], image_id: int, scene: Scene, placed: list[Any], rng: Random) -> None:
    for number, text in enumerate(say.captions(scene, rng)):
        sets["captions"].append({"id": image_id * 10 + number, "image_id": image_id, "caption": text})
    for number, (thing, (x, y, radius)) in enumerate(zip(scene, placed, strict=True)):
        sets["instances"].append(
            {
                "id": image_id * 10 + number,
                "image_id": image_id,
                "category_id": CATEGORIES[thing.name],
                "bbox": [round(v, 2) for v in (x - radius, y - radius, 2 * radius, 2 * radius)],
                "area": round(4 * radius * radius, 2),
                "iscrowd": 0,
                "segmentation": [],
            }
        )


def _vqa(sets: dict[str, list[Any]], image_id: int, scene: Scene, rng: Random, form: str) -> None:
    for number, q in enumerate(say.questions(scene, rng, form)[:QUESTIONS_PER_IMAGE]):
        question_id = image_id * 10 + number
        sets["questions"].append({"image_id": image_id, "question": q.text, "question_id": question_id})
        sets["annotations"].append(
            {
                "question_id": question_id,
                "image_id": image_id,
                "question_type": q.kind,
                "answer_type": {"yes/no": "yes/no", "count": "number"}.get(q.kind, "other"),
                "multiple_choice_answer": q.answer,
                "answers": [{"answer": q.answer, "answer_confidence": "yes", "answer_id": i} for i in range(1, 11)],
            }
        )


def _aokvqa(sets: dict[str, list[Any]], image_id: int, scene: Scene, split: str, rng: Random) -> None:
    q = say.choice_question(scene, rng)
    sets["aokvqa"].append(
        {
            "split": split,
            "image_id": image_id,
            "question_id": f"q{image_id}",
            "question": q.text,
            "choices": list(q.choices),
            "correct_choice_idx": q.choices.index(q.answer),
            "direct_answers": [q.answer] * 10,
            "difficult_direct_answer": False,
            "rationales": list(q.rationales),
        }
    )


def _clevr(
    raw: Path,
    sets: dict[str, list[Any]],
    image_id: int,
    scene: Scene,
    split: str,
    image_size: int,
    rng: Random,
    truth: list[dict[str, Any]],
) -> None:
    if image_id % 2:
        return
    name = f"CLEVR_{split}_{image_id:06d}.png"
    path = Path("clevr") / "images" / split / name
    _save(raw / path, scene, layout(scene, image_size, rng), image_size, rng)
    truth.append(_truth(path, scene))
    for q in say.clevr_questions(scene, rng):
        sets["clevr"].append(
            {
                "split": split,
                "image_index": image_id,
                "image_filename": name,
                "question": q.text,
                "answer": q.answer,
                "question_family_index": 0,
                "question_index": len(sets["clevr"]),
                "program": [],
            }
        )


def _diff(
    raw: Path,
    sets: dict[str, list[Any]],
    image_id: int,
    scene: Scene,
    image_size: int,
    rng: Random,
    truth: list[dict[str, Any]],
) -> None:
    if image_id % 2 == 0:
        return
    after = change_scene(scene, rng)
    _pair(raw, Path("spot_the_diff") / "resized_images", image_id, (scene, after), "layout", image_size, rng, truth)
    sets["diff"].append({"img_id": str(image_id), "sentences": say.difference(scene, after)})


def _pair(
    raw: Path,
    folder: Path,
    image_id: int,
    scenes: tuple[Scene, Scene],
    purpose: str,
    image_size: int,
    rng: Random,
    truth: list[dict[str, Any]],
) -> list[str]:
    """Draw a scene before and after a change, what stays at the same places; returns the names of the two images."""
    names = []
    for suffix, shown in zip(("", "_2"), scenes, strict=True):
        path = folder / f"{image_id}{suffix}.png"
        _save(raw / path, shown, layout(shown, image_size, Random(f"{image_id}:{purpose}")), image_size, rng)
        truth.append(_truth(path, shown))
        names.append(path.as_posix())
    return names


def change_scene(scene: Scene, rng: Random) -> Scene:
    """Paint, remove or add one object."""
    things = {t.position: t for t in scene}
    actions = ["paint"] + (["remove"] if len(things) > 1 else []) + (["add"] if len(things) < 4 else [])
    action = rng.choice(actions)
    if action == "add":
        position = rng.choice([p for p in POSITIONS if p not in things])
        things[position] = Thing(*rng.choice(_PLAIN_PAIRS), rng.choice(SIZES), position)
    else:
        position = rng.choice(sorted(things))
        old = things.pop(position)
        if action == "paint":
            color = rng.choice([c for c in COLORS if c != old.color and (c, old.shape) not in HELD_OUT])
            things[position] = Thing(color, old.shape, old.size, position)
    return tuple(things[p] for p in POSITIONS if p in things)


def _llava(sets: dict[str, list[Any]], image_id: int, scene: Scene, name: str, rng: Random) -> None:
    rounds = [(q.text, q.polite) for q in say.questions(scene, rng)[:3]]
    choice = say.choice_question(scene, rng)
    shown = ", ".join(choice.choices[:-1]) + f", or {choice.choices[-1]}?"
    rounds += [(f"{choice.text} {shown}", choice.polite), say.comparison(scene, rng)]
    rng.shuffle(rounds)
    sets["conversation"].append(_dialogue(f"{image_id:012d}", name, rounds))
    described = [(rng.choice(DETAIL), say.detail(scene, rng))]
    sets["detail"].append(_dialogue(f"{image_id:012d}", name, described))
    if image_id % 2 == 0:
        sets["reasoning"].append(_dialogue(f"{image_id:012d}", name, [say.reasoning(scene, rng)]))


def _llava_pair(
    raw: Path,
    sets: dict[str, list[Any]],
    image_id: int,
    scene: Scene,
    image_size: int,
    rng: Random,
    truth: list[dict[str, Any]],
) -> None:
    """A dialogue about two images, with images of its own (LLaVA's form lets ``image`` be a list)."""
    after = change_scene(scene, rng)
    names = _pair(raw, Path("llava") / "images", image_id, (scene, after), "pair", image_size, rng, truth)
    rounds = [(rng.choice(CHANGE), say.polite_difference(scene, after, rng))]
    sets["conversation"].append(_dialogue(f"{image_id:012d}-pair", names, rounds))


def _dialogue(identifier: str, image: str | list[str], rounds: list[tuple[str, str]]) -> dict[str, Any]:
    turns = []
    for index, (question, response) in enumerate(rounds):
        tags = "<image>\n" * (1 if isinstance(image, str) else len(image)) if index == 0 else ""
        turns.append({"from": "human", "value": tags + question})
        turns.append({"from": "gpt", "value": response})
    return {"id": identifier, "image": image, "conversations": turns}


def _write_text(raw: Path, count: int, seed: int) -> None:
    lines = []
    for index in range(count):
        rounds = say.small_talk(Random(f"{seed}:text:{index}"))
        lines.append({"id": str(index), "data": [text for pair in rounds for text in pair]})
    path = raw / "ultrachat" / "ultrachat_release_230407_Questions about the World [Part I + Part II].json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
