"""Descriptions that multimodal models have written of COCO photographs: errors nobody injected.

Two kinds, both under ``photos`` of a data root or in the data root itself:

- ``mllm_descriptions/descriptions*.jsonl``: wrong where CHAIR finds an object that the photograph does not show
  (``coco/annotations/chair_objects.json``); the human captions are the annotation.
- ``hallucination/haelm*.jsonl``: 300 descriptions that people of HaELM called accurate or not, with their references.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from polite_flamingo.calibrate.labels import CLEAN, LabelledRecord
from polite_flamingo.errors import DataError
from polite_flamingo.evaluate.chair import check_objects, shown_objects
from polite_flamingo.io.text import read_json
from polite_flamingo.records import Image, Reject, Rewrite, Task
from polite_flamingo.scorers.text import cut_texts
from polite_flamingo.sources.base import need, need_texts
from polite_flamingo.sources.forms.coco import find_image
from polite_flamingo.sources.forms.files import read_lines

INVENTED, INACCURATE = "object invented", "called inaccurate"  # kinds of errors: by CHAIR, by people
DESCRIPTIONS, HAELM = "mllm_descriptions", "haelm"  # sources
LONG = 30  # words: a longer description is no caption
ACCURATE = "accurate"  # extras: whether people call it that
SHOWN = "shown"  # extras: objects of the photograph; the truth, which no filter reads


def described(root: Path) -> list[Rewrite]:
    """Descriptions with the human captions of their photographs as annotation.

    Args:
        root: A data root.

    Raises:
        DataError: neither kind is there, or a file of them is broken.
    """
    base = root / "photos" if (root / "photos").is_dir() else root
    rewrites = [*_by_models(root, base), *_by_people(root, base)]
    if not rewrites:
        raise DataError(
            "no descriptions by other models",
            where=base,
            next_step=f"expected {DESCRIPTIONS}/descriptions.jsonl.gz with the files of coco/annotations, or "
            "hallucination/haelm_eval.jsonl.gz",
        )
    return rewrites


def from_described(scored: Iterable[Rewrite]) -> Iterator[LabelledRecord]:
    """Label scored descriptions; all of one photograph are one group.

    A description by CHAIR is right once the paragraphs that name what is not there are cut.
    """
    for rewrite in scored:
        group = str(rewrite.extras["photograph"])
        if ACCURATE in rewrite.extras:
            wrong = not rewrite.extras[ACCURATE]
            yield LabelledRecord(rewrite, (wrong,), INACCURATE if wrong else CLEAN, group)
            continue
        shown = shown_objects({"objects": rewrite.extras[SHOWN]}, rewrite.raw_answer.splitlines()) or frozenset()
        texts = cut_texts(rewrite, rewrite.scores.get("clip_logits")) or [rewrite.rewritten]
        judged = tuple(bool(check_objects(text, shown).invented) for text in texts)
        yield LabelledRecord(rewrite, judged, INVENTED if judged[0] else CLEAN, group)


def _by_models(root: Path, base: Path) -> Iterator[Rewrite]:
    annotations = base / "coco" / "annotations"
    files = sorted((base / DESCRIPTIONS).glob("descriptions*.jsonl*"))
    if not files or not (annotations / "chair_objects.json").is_file():
        return
    objects: Mapping[str, list[str]] = read_json(annotations / "chair_objects.json")
    captions: dict[int, list[str]] = {}
    for file in sorted(annotations.glob("captions_*.json")):
        for caption in need(read_json(file), "annotations", list):
            captions.setdefault(need(caption, "image_id", int), []).append(need(caption, "caption", str))
    for row, record in _lines(root, files):
        number = need(record, "image_id", int)
        if captions.get(number) and objects.get(str(number)):
            name = f"{need(record, 'model', str)}-{row}"
            extras = {SHOWN: objects[str(number)]}
            text = need(record, "text", str)
            yield _rewrite(root, base, DESCRIPTIONS, name, number, text, captions[number], extras)


def _by_people(root: Path, base: Path) -> Iterator[Rewrite]:
    for row, record in _lines(root, sorted((base / "hallucination").glob("haelm*.jsonl*"))):
        labels = need_texts(record, "labels")
        if not set(labels) <= {"yes", "no"}:
            raise DataError("a label is neither yes nor no", value=labels)
        references, extras = need_texts(record, "references"), {ACCURATE: labels.count("yes") * 2 > len(labels)}
        number = record.get("image_id")
        number = number if isinstance(number, int) else -row  # a photograph that nobody has found
        yield _rewrite(root, base, HAELM, str(row), number, need(record, "caption", str), references, extras)


def _lines(root: Path, files: Iterable[Path]) -> Iterator[tuple[int, Any]]:
    for file in files:
        for row, record in read_lines(DESCRIPTIONS, root, file):
            if isinstance(record, Reject):
                raise DataError(record.reason, value=record.value, where=f"{record.file}:{record.row}")
            yield row, record


def _rewrite(
    root: Path,
    base: Path,
    source: str,
    name: str,
    photograph: int,
    text: str,
    captions: list[str],
    extras: dict[str, Any],
) -> Rewrite:
    lines = [" ".join(caption.split()) for caption in captions]
    path = Path(find_image(root, ((base / "coco").relative_to(root).as_posix(),), "val2014", max(photograph, 0)))
    return Rewrite(
        f"{source}/all/{name}",
        source,
        "all",
        "-",
        Task.DETAIL if len(text.split()) > LONG else Task.CAPTION,
        "Describe the image.",
        (Image(path.as_posix()),) if (root / path).is_file() else (),
        "\n".join(lines),
        text.strip(),
        "stop",
        extras={**extras, "photograph": photograph},
    )
