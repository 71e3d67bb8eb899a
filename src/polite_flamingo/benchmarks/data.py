"""Question files of the benchmarks: what is asked, and the truth where the files have it.

Files that belong together are joined: VQA's questions and annotations, POPE's labels and LLaVA's questions of it,
captions and objects, ScienceQA's problems and splits. What cannot be joined is told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from polite_flamingo.benchmarks.answer_files import AnswerFile
from polite_flamingo.benchmarks.forms import FORMS, Form, alternatives, capabilities, form_of, named, texts
from polite_flamingo.benchmarks.items import BenchmarkItem, Metric, QuestionSet, canonical
from polite_flamingo.benchmarks.joining import add_objects, joined
from polite_flamingo.benchmarks.records import Broken, is_object_file, read_pairs
from polite_flamingo.benchmarks.samples import add_samples
from polite_flamingo.errors import DataError
from polite_flamingo.evaluate.sets import Kind
from polite_flamingo.records import Sample
from polite_flamingo.sources.forms.files import load_json, open_file

SPLITS = ("test", "minitest", "val", "minival", "train")
_POPE_NAME = re.compile(r"_(adversarial|popular|random)\b")
_LISTS = re.compile(rb'"(annotations|images|questions|sentences)"\s*:\s*\[')
_OBJECTS_BELOW = 64 * 1024 * 1024  # bytes of a file that is read whole to see whether it is a list of objects


@dataclass(slots=True)
class _Loaded:
    """What the files of ``--data`` hold before they are joined."""

    sets: dict[str, QuestionSet] = field(default_factory=dict)
    objects: dict[str, tuple[str, ...]] = field(default_factory=dict)
    splits: dict[str, frozenset[str]] = field(default_factory=dict)
    own_split: dict[str, str] = field(default_factory=dict)


def read_data(paths: Sequence[Path], split: str | None = None) -> list[QuestionSet]:
    """The sets that files ask.

    Args:
        paths: Question and annotation files, or folders of evaluation samples of a pipeline.
        split: Of the files that hold several; None: everything, of ScienceQA ``test``.

    Returns:
        The sets by name, each with at least one item.

    Raises:
        DataError: a file is none that is known, or nothing is asked at all.
    """
    loaded = _Loaded()
    for path in paths:
        _load(path, loaded)
    _choose_split(loaded, split)
    sets = joined(list(loaded.sets.values()))
    add_objects(sets, loaded.objects)
    sets = [one for one in sets if one.items]
    if not sets:
        raise DataError(
            "the files ask nothing", value=[str(path) for path in paths], next_step=f"give one of {named()}"
        )
    return sorted(sets, key=lambda one: one.name)


def refuse_questions(files: Sequence[AnswerFile], data: Sequence[Path]) -> None:
    """Refuse a file that is named for its questions as well as for its answers: what it holds is the truth.

    Descriptions are an exception, whose file may have them beside their references, as HaELM's.

    Args:
        files: Of answers.
        data: Of questions.

    Raises:
        DataError: there is such a file.
    """
    questions = {path.resolve() for path in data}
    for file in files:
        if file.path.resolve() in questions:
            first = next(read_pairs(file.path, Broken()), ("", None))[1]
            form = form_of(first)
            if form is None or form.kind is not Kind.CAPTION:
                raise DataError(
                    "the file holds the questions, not answers",
                    value="it is named as --data too",
                    where=file.path,
                    next_step="give the file that a model's answers were written to",
                )


def data_of(files: Sequence[AnswerFile]) -> list[QuestionSet]:
    """What files of answers say they were asked, where no other data is given: sample logs hold the truth themselves.

    Args:
        files: Of answers; those of one name (but for the model's) share a set.
    """
    sets: dict[str, QuestionSet] = {}
    for file in files:
        task = re.sub(r"^.*_samples_|\.(jsonl?|csv|tsv|gz)\b", "", file.path.name)
        own = sets.setdefault("answers", QuestionSet("answers", _metric_of(task, Metric.EXACT), Kind.QUESTION, []))
        known = {item.id for item in own.items}
        for place, answer in enumerate(file.answers(Broken())):
            name = answer.ids[0] if answer.ids else f"{file.path.name}:{place}"
            if name not in known:
                known.add(name)
                is_graded = own.metric is Metric.GRADE
                truth = tuple(chain.from_iterable(map(alternatives, answer.truth))) if is_graded else answer.truth
                groups = capabilities(answer.group) if is_graded else ()
                own.items.append(BenchmarkItem(name, answer.question, answer.image, truth, groups=groups))
    return [one for one in joined(list(sets.values())) if one.items]


def _metric_of(name: str, default: Metric) -> Metric:
    """The metric of a set by the name of its file."""
    known = (
        (Metric.TEXTVQA, ("textvqa",)),
        (Metric.VQA, ("vqav2", "okvqa", "ok_vqa", "vizwiz")),
        (Metric.RELAXED, ("chartqa",)),
        (Metric.GRADE, ("mmvet", "mm-vet", "mm_vet")),
    )
    return next((metric for metric, names in known if any(part in name.lower() for part in names)), default)


def _load(path: Path, loaded: _Loaded) -> None:
    if path.is_dir():
        if any(path.glob("part-*.parquet")):
            _samples(path, loaded)
            return
        inside = sorted(
            file for pattern in ("*.json", "*.jsonl", "*.json.gz", "*.jsonl.gz") for file in path.glob(pattern)
        )
        if not inside:
            raise DataError("folder holds no question file", where=path, next_step="name a file, or a folder of shards")
        for file in inside:
            _load(file, loaded)
        return
    if path.is_file() and (content := _lists_of_names(path)) is not None:
        if all(isinstance(value, list) for value in content.values()) and set(content) <= {*SPLITS, "trainval"}:
            loaded.splits.update({name: frozenset(map(canonical, ids)) for name, ids in content.items()})
        else:
            loaded.objects.update({canonical(key): texts(value) for key, value in content.items()})
        return
    if path.is_file() and _is_coco(path):
        try:
            _coco(path, loaded)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            hint = "check that it is COCO's file of captions or instances, or VQA's of annotations"
            raise DataError("file is not of its form", value=repr(error), where=path, next_step=hint) from None
        return
    broken = Broken()
    pairs = read_pairs(path, broken)
    first = next(pairs, None)
    form = None if first is None else form_of(first[1])
    if first is None or form is None:
        raise DataError(
            "no question file of a known form",
            value=sorted(first[1])[:12] if first and isinstance(first[1], Mapping) else None,
            where=path,
            next_step=f"give one of {named()}, or JSON Lines of id, question and answer",
        )
    own = _set_of(path, form, loaded)
    group = _POPE_NAME.search(path.name)
    odd = 0
    for name, record in chain([first], pairs):
        item = _item(form, name.lstrip("#"), record)
        if item is None:
            odd += 1
            continue
        if group and form.name == "pope" and not item.groups:
            item = replace(item, groups=(group[1],))
        own.items.append(item)
        if isinstance(record.get("split"), str):
            loaded.own_split[item.id] = record["split"]
    if broken.count:
        own.notes.append(f"{path.name}: {broken.count} lines are no JSON (first: {', '.join(broken.first)})")
    if odd:
        own.notes.append(f"{path.name}: {odd} records are not of the form {form.name!r} of the first")


def _item(form: Form, name: str, record: Any) -> BenchmarkItem | None:
    """The item of a record; None where it is not of the form of the first."""
    try:
        return form.item(name, record) if isinstance(record, Mapping) and form.fits(record) else None
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return None


def _set_of(path: Path, form: Form, loaded: _Loaded) -> QuestionSet:
    """The set that a file's items go to: labels of POPE's categories make one, others one a file."""
    stem = path.name.split(".")[0]
    name = "pope" if form.name == "pope" and _POPE_NAME.search(path.name) else form.name
    if name in ("questions", "vqa", "captions", "gvt") or (name in loaded.sets and name != "pope"):
        name = stem
    metric = form.metric
    if form.name == "questions":
        metric = _metric_of(path.as_posix(), metric)
    while name in loaded.sets and loaded.sets[name].metric is not metric:
        name += "'"
    return loaded.sets.setdefault(
        name,
        QuestionSet(name, metric, form.kind, [], by_group=form.by_group, missing_is_wrong=form.missing_is_wrong),
    )


def _choose_split(loaded: _Loaded, split: str | None) -> None:
    """Keep the items of the split, where files tell which item is of which."""
    told = loaded.splits or {
        name: frozenset(canonical(key) for key, its in loaded.own_split.items() if its == name)
        for name in set(loaded.own_split.values())
    }
    if split is not None and split not in told:
        raise DataError("no such split in the files", value=split, where="--split", next_step=f"known: {sorted(told)}")
    wanted = split or "test"
    for own in loaded.sets.values():
        if wanted not in told or (split is None and not own.missing_is_wrong):
            continue
        kept = [item for item in own.items if canonical(item.id) in told[wanted]]
        if kept and len(kept) < len(own.items):
            own.notes.append(f"split {wanted!r}: {len(kept)} of {len(own.items)} questions")
            own.items = kept


def _lists_of_names(path: Path) -> Mapping[str, list[Any]] | None:
    """The content of a file that maps names to lists of names: objects of images, or splits; None of any other."""
    if path.stat().st_size > _OBJECTS_BELOW or not is_object_file(path):
        return None
    try:
        content = load_json(path)
    except DataError:
        return None
    if not isinstance(content, dict) or not content:
        return None
    plain = all(
        isinstance(value, list) and all(isinstance(one, str | int) for one in value) for value in content.values()
    )
    return content if plain else None


def _is_coco(path: Path) -> bool:
    """Whether a file is COCO's captions or instances: an object with both images and annotations."""
    if not is_object_file(path):
        return False
    with open_file(path) as file:
        beginning = file.read(1 << 16)
    lists = set(_LISTS.findall(beginning))  # GQA's questions have annotations of their own, which are objects
    return b"annotations" in lists or (b"images" in lists and not lists & {b"questions", b"sentences"})


def _coco(path: Path, loaded: _Loaded) -> None:
    """Captions and instances in COCO's form, and VQA's annotations, which share the list's name."""
    content = load_json(path)
    records: list[dict[str, Any]] = content.get("annotations") or []
    first = records[0] if records else {}
    if "caption" in first:
        captions: dict[str, list[str]] = {}
        for record in records:
            captions.setdefault(canonical(record["image_id"]), []).append(" ".join(str(record["caption"]).split()))
        name = path.name.split(".")[0]
        items = [BenchmarkItem(key, image=key, answers=tuple(texts_)) for key, texts_ in captions.items()]
        loaded.sets[name] = QuestionSet(name, Metric.NONE, Kind.CAPTION, items)
    elif "category_id" in first:
        names = {one["id"]: str(one["name"]) for one in content["categories"]}
        for record in records:
            key = canonical(record["image_id"])
            name = names[record["category_id"]]
            if name not in loaded.objects.get(key, ()):
                loaded.objects[key] = (*loaded.objects.get(key, ()), name)
    else:
        form = form_of(first) or FORMS[-1]
        own = _set_of(path, form, loaded)
        asked = [_item(form, str(place), record) for place, record in enumerate(records)]
        own.items += [item for item in asked if item is not None]
        if odd := asked.count(None):
            own.notes.append(f"{path.name}: {odd} records are not of the form {form.name!r} of the first")


def _samples(folder: Path, loaded: _Loaded) -> None:
    """The evaluation samples of a pipeline, by set."""
    samples = (Sample.from_row(row) for _, row in read_pairs(folder, Broken()))
    add_samples(samples, loaded.sets)


def all_items(sets: Iterable[QuestionSet]) -> Iterator[tuple[QuestionSet, BenchmarkItem]]:
    """Every item with its set."""
    return ((own, item) for own in sets for item in own.items)
