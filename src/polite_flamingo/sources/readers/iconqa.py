"""IconQA: questions on abstract diagrams; choices are texts or pictures, or there are none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from polite_flamingo.errors import DataError
from polite_flamingo.io.text import read_json
from polite_flamingo.records import Image, Reject, Sample, Task, Turn
from polite_flamingo.sources.base import attempt, below, need
from polite_flamingo.sources.forms.answers import read_choices, with_choices

KINDS = ("choose_txt", "choose_img", "fill_in_blank")
RELEASES = ("iconqa", "iconqa_data/iconqa", "")


class IconQa:
    """IconQA, one sample per question (section 5, evaluation).

    Choices that are pictures come after the question's picture, in their order, and are called "picture 1",
    "picture 2" …; the raw answer is the right choice's text or name, or what fills the blank.
    """

    name = "iconqa"
    tasks = frozenset({Task.VQA})
    licence = "CC BY-NC-SA 4.0"
    siblings: tuple[str, ...] = ()

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read ``[iconqa_data/][iconqa/]<split>/<kind>/<id>/data.json`` by kind and rising id.

        `split` is ``train``, ``val`` or ``test``, or one kind of it: ``test_choose_txt``, ``test_choose_img``,
        ``test_fill_in_blank``.
        """
        kinds = [kind for kind in KINDS if split.endswith(f"_{kind}")] or list(KINDS)
        part = split.removesuffix(f"_{kinds[0]}") if len(kinds) == 1 else split
        base = next((release for release in RELEASES if (root / folder / release / part).is_dir()), None)
        available = [kind for kind in kinds if base is not None and (root / folder / base / part / kind).is_dir()]
        if not available:
            raise DataError(
                "no questions found",
                value=[f"{part}/{kind}/<id>/data.json" for kind in kinds],
                where=root / folder,
                next_step="put the official files there or name another split",
            )
        for kind in available:
            kind_folder = "/".join(step for step in (folder, base, part, kind) if step)
            names = [path.name for path in (root / kind_folder).iterdir() if path.is_dir()]
            for name in sorted(names, key=lambda name: (len(name), name)):  # numbers in order
                where = f"{kind_folder}/{name}/data.json"
                yield attempt(self.name, where, name, self._sample, root, f"{kind_folder}/{name}", split, kind, name)

    def _sample(self, root: Path, question_folder: str, split: str, kind: str, name: str) -> Sample:
        record = read_json(root / question_folder / "data.json")
        question = need(record, "question", str)
        images = [below(question_folder, "image.png")]
        choices: list[str] = []
        if kind == "fill_in_blank":
            answer = need(record, "answer", str)
        elif kind == "choose_txt":
            choices, answer = read_choices(record, "answer")
        else:
            files, right = read_choices(record, "answer")
            images += [below(question_folder, file) for file in files]
            choices = [f"picture {number}" for number in range(1, len(files) + 1)]
            answer = choices[files.index(right)]
        return Sample(
            id=f"{self.name}/{split}/{kind}-{name}",
            source=self.name,
            split=split,
            licence=self.licence,
            task=Task.VQA,
            turns=(
                Turn("human", with_choices(question, choices) if choices else question, tuple(range(len(images)))),
                Turn("assistant", answer),
            ),
            images=_distinct(images),
            extras={"choices": choices, "answers": [answer], "question_type": kind},
        )


def _distinct(images: list[Image]) -> tuple[Image, ...]:
    if len(set(images)) < len(images):
        raise DataError("a picture is there twice", value=[image.path for image in images])
    return tuple(images)
