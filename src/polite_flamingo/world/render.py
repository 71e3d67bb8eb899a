"""The embedded world as the official files of real datasets.

Everything is a pure function of (seed, set, index). What is true about each image lies in ``ground_truth.jsonl``
(`world.truth` says who reads it); the readers see the official files alone, as with real data.

=============================  =========================================================================
``coco/``                      images of every split; captions and boxes of all but ``out_of_domain``
``vqav2/``, ``vqav2_ood/``     questions with ten answers each; formal wording out of domain
``aokvqa/``                    questions with choices and rationales
``clevr/``                     counting and comparing, images of their own (every other scene)
``spot_the_diff/``             a scene before and after a change (every other scene)
``llava/``                     train only: polite dialogues, details and reasoning
``ultrachat/``                 polite dialogues without images
=============================  =========================================================================
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

from tqdm import tqdm

from polite_flamingo.io.text import write_json, write_jsonl
from polite_flamingo.prompts.requests import CHANGE
from polite_flamingo.world import language as say
from polite_flamingo.world import questions as ask
from polite_flamingo.world.scenes import Placement, change_scene, draw_image, draw_scene, layout
from polite_flamingo.world.vocabulary import COLORS, SHAPES, Scene

LICENCE = {"id": 1, "name": "CC0 1.0", "url": "https://creativecommons.org/publicdomain/zero/1.0/"}
CATEGORIES = {f"{c} {s}": i for i, (c, s) in enumerate(((c, s) for c in COLORS for s in SHAPES), 1)}
INFO = {"description": "Scenes of coloured shapes", "version": "1.0", "year": 2023}
QUESTIONS_PER_IMAGE = 4
DETAIL = ("Describe the following image in detail.", "What is shown in this image? Please be detailed.")  # requests
FIRST_ID = {"train": 1, "val": 200_001, "test": 400_001, "out_of_domain": 600_001}
OUT_OF_DOMAIN = "out_of_domain"


def render(raw: Path, scenes: Mapping[str, int], image_size: int, seed: int) -> None:
    """Write the whole world below `raw`.

    Args:
        raw: Folder to fill.
        scenes: Number of scenes of each split: train, val, test, out_of_domain.
        image_size: Side of an image in pixels.
        seed: World seed.
    """
    truth: list[dict[str, Any]] = []
    with tqdm(total=sum(scenes.values()), desc="render", unit="scene", mininterval=1.0) as bar:
        for name, count in scenes.items():
            split = _Split(raw, name, image_size, truth)
            for index in range(count):
                rng = Random(f"{seed}:{name}:{index}")
                scene = draw_scene(rng, held_out=name == OUT_OF_DOMAIN)
                split.add(FIRST_ID[name] + index, scene, layout(scene, image_size, rng), rng)
                bar.update()
            split.write()
    _write_text(raw, scenes["train"] // 2, seed)
    write_jsonl(raw / "ground_truth.jsonl", truth)


class _Split:
    """One split of every dataset: images are written as they come, records when all are there.

    Args:
        raw: Folder of the world.
        name: Split.
        image_size: Side of an image in pixels.
        truth: Gets what is true of each image written.
    """

    def __init__(self, raw: Path, name: str, image_size: int, truth: list[dict[str, Any]]) -> None:
        self._raw = raw
        self._name = name
        self._image_size = image_size
        self._truth = truth
        self._records: dict[str, list[Any]] = defaultdict(list)

    def add(self, image_id: int, scene: Scene, placed: list[Placement], rng: Random) -> None:
        """Write the images of a scene and keep its records."""
        ood = self._name == OUT_OF_DOMAIN
        name = f"COCO_{self._name}2014_{image_id:012d}.png"
        self._save(Path("coco") / f"{self._name}2014" / name, scene, placed, rng)
        side = self._image_size
        self._records["images"].append(
            {"id": image_id, "file_name": name, "width": side, "height": side, "license": LICENCE["id"]}
        )
        self._coco(image_id, scene, placed, rng)
        self._vqa(image_id, scene, rng, "formal" if ood else "plain")
        if not ood:
            self._aokvqa(image_id, scene, rng)
            if image_id % 2:
                self._diff(image_id, scene, rng)
            else:
                self._clevr(image_id, scene, rng)
        if self._name == "train":
            self._llava(image_id, scene, name, rng)
            self._llava_pair(image_id, scene, rng)

    def write(self) -> None:
        """Write the annotation files of the split."""
        split, records = self._name, self._records
        vqa = self._raw / ("vqav2_ood" if split == OUT_OF_DOMAIN else "vqav2")
        head = {"info": INFO, "data_type": "mscoco", "data_subtype": f"{split}2014", "license": LICENCE}
        write_json(
            vqa / f"v2_OpenEnded_mscoco_{split}2014_questions.json",
            {**head, "task_type": "Open-Ended", "questions": records["questions"]},
        )
        write_json(vqa / f"v2_mscoco_{split}2014_annotations.json", {**head, "annotations": records["annotations"]})
        if split == OUT_OF_DOMAIN:
            return
        coco = {"info": INFO, "licenses": [LICENCE], "images": records["images"]}
        categories = [{"id": i, "name": n, "supercategory": n.split()[1]} for n, i in CATEGORIES.items()]
        clevr = {"split": split, "version": "1.0", "license": LICENCE["name"]}
        files: dict[str, Any] = {
            f"coco/annotations/captions_{split}2014.json": {**coco, "annotations": records["captions"]},
            f"coco/annotations/instances_{split}2014.json": {
                **coco,
                "annotations": records["instances"],
                "categories": categories,
            },
            f"aokvqa/aokvqa_v1p0_{split}.json": records["aokvqa"],
            f"clevr/questions/CLEVR_{split}_questions.json": {"info": clevr, "questions": records["clevr"]},
            f"spot_the_diff/annotations/{split}.json": records["diff"],
        }
        if split == "train":
            files |= {
                "llava/conversation_58k.json": records["conversation"],
                "llava/detail_23k.json": records["detail"],
                "llava/complex_reasoning_77k.json": records["reasoning"],
            }
        for name, value in files.items():
            write_json(self._raw / name, value)

    def _save(self, path: Path, scene: Scene, placed: list[Placement], rng: Random) -> None:
        (self._raw / path).parent.mkdir(parents=True, exist_ok=True)
        draw_image(scene, placed, self._image_size, rng).save(self._raw / path)
        objects = [{"color": t.color, "shape": t.shape, "size": t.size, "position": t.position} for t in scene]
        self._truth.append({"image": path.as_posix(), "objects": objects})

    def _coco(self, image_id: int, scene: Scene, placed: list[Placement], rng: Random) -> None:
        for number, text in enumerate(say.captions(scene, rng)):
            self._records["captions"].append({"id": image_id * 10 + number, "image_id": image_id, "caption": text})
        for number, (thing, (x, y, radius)) in enumerate(zip(scene, placed, strict=True)):
            self._records["instances"].append(
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

    def _vqa(self, image_id: int, scene: Scene, rng: Random, form: str) -> None:
        for number, q in enumerate(ask.questions(scene, rng, form)[:QUESTIONS_PER_IMAGE]):
            ids = {"image_id": image_id, "question_id": image_id * 10 + number}
            self._records["questions"].append({**ids, "question": q.text})
            self._records["annotations"].append(
                {
                    **ids,
                    "question_type": q.kind,
                    "answer_type": {"yes/no": "yes/no", "count": "number"}.get(q.kind, "other"),
                    "multiple_choice_answer": q.answer,
                    "answers": [{"answer": q.answer, "answer_confidence": "yes", "answer_id": i} for i in range(1, 11)],
                }
            )

    def _aokvqa(self, image_id: int, scene: Scene, rng: Random) -> None:
        q = ask.choice_question(scene, rng)
        self._records["aokvqa"].append(
            {
                "split": self._name,
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

    def _clevr(self, image_id: int, scene: Scene, rng: Random) -> None:
        name = f"CLEVR_{self._name}_{image_id:06d}.png"
        path = Path("clevr") / "images" / self._name / name
        self._save(path, scene, layout(scene, self._image_size, rng), rng)
        for q in ask.clevr_questions(scene, rng):
            self._records["clevr"].append(
                {
                    "split": self._name,
                    "image_index": image_id,
                    "image_filename": name,
                    "question": q.text,
                    "answer": q.answer,
                    "question_family_index": 0,
                    "question_index": len(self._records["clevr"]),
                    "program": [],
                }
            )

    def _diff(self, image_id: int, scene: Scene, rng: Random) -> None:
        after = change_scene(scene, rng)
        self._pair(Path("spot_the_diff") / "resized_images", image_id, (scene, after), "layout", rng)
        self._records["diff"].append({"img_id": str(image_id), "sentences": say.difference(scene, after)})

    def _pair(self, folder: Path, image_id: int, scenes: tuple[Scene, Scene], purpose: str, rng: Random) -> list[str]:
        """Draw a scene before and after a change, what stays at the same spots; returns the names of the two images."""
        names = []
        for suffix, scene in zip(("", "_2"), scenes, strict=True):
            path = folder / f"{image_id}{suffix}.png"
            self._save(path, scene, layout(scene, self._image_size, Random(f"{image_id}:{purpose}")), rng)
            names.append(path.as_posix())
        return names

    def _llava(self, image_id: int, scene: Scene, name: str, rng: Random) -> None:
        rounds = [(q.text, q.polite) for q in ask.questions(scene, rng)[:3]]
        choice = ask.choice_question(scene, rng)
        choices = ", ".join(choice.choices[:-1]) + f", or {choice.choices[-1]}?"
        rounds += [(f"{choice.text} {choices}", choice.polite), ask.comparison(scene, rng)]
        rng.shuffle(rounds)
        self._records["conversation"].append(_dialogue(f"{image_id:012d}", name, rounds))
        described = [(rng.choice(DETAIL), say.detail(scene, rng))]
        self._records["detail"].append(_dialogue(f"{image_id:012d}", name, described))
        if image_id % 2 == 0:
            self._records["reasoning"].append(_dialogue(f"{image_id:012d}", name, [say.reasoning(scene, rng)]))

    def _llava_pair(self, image_id: int, scene: Scene, rng: Random) -> None:
        """A dialogue about two images, with images of its own (LLaVA's form lets ``image`` be a list)."""
        after = change_scene(scene, rng)
        names = self._pair(Path("llava") / "images", image_id, (scene, after), "pair", rng)
        rounds = [(rng.choice(CHANGE), say.polite_difference(scene, after, rng))]
        self._records["conversation"].append(_dialogue(f"{image_id:012d}-pair", names, rounds))


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
