"""A study for Label Studio or Argilla, and what a team judged there back again.

Both get one question per answer and criterion (``label_a``), one number per answer for its place (``place_a``; equal
numbers share a place, which a ranking question of either could not say) and a comment. Label Studio: a folder with
``config.xml`` (its labelling configuration), ``tasks.json`` and the images. Argilla: a folder that `Dataset.from_disk`
reads (``.argilla/settings.json``, ``.argilla/dataset.json``, ``records.json``), images embedded. Back comes the JSON
export of Label Studio, or the ``records.json`` of Argilla's `to_disk`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from polite_flamingo.errors import ConfigError, DataError, did_you_mean
from polite_flamingo.io.files import publishing
from polite_flamingo.io.text import read_json, write_json
from polite_flamingo.study.forms import StudyForm
from polite_flamingo.study.judgements import MAX_COMMENT, Opinion, Standing, check
from polite_flamingo.study.records import COMMENTED, LABELLED, RANKED, StudyEvent, StudyItem
from polite_flamingo.study.report import standing_of
from polite_flamingo.study.store import StudyFile

Answers = dict[str, Any]  # name of a question -> value
LABEL_STUDIO, ARGILLA = FORMATS = ("label-studio", "argilla")
ENDINGS = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp"}
LOCAL_FILES = "/data/local-files/?d=images/"  # where Label Studio serves a folder of its own
PLACE, COMMENT = "place", "comment"
FIRST = 1


def export(study: StudyFile, form: str, folder: Path, *, judged: bool = False, prefix: str = LOCAL_FILES) -> int:
    """Write a study for another tool; return the number of samples.

    Args:
        study: The file.
        form: One of `FORMATS`.
        folder: Is made, or replaced.
        judged: Take along what people have judged alone so far.
        prefix: Label Studio: what stands before an image's file name.

    Raises:
        ConfigError: no such format.
        DataError: there is something else at `folder`.
    """
    _known(form)
    if folder.exists() and not ((folder / "tasks.json").exists() or (folder / "records.json").exists()):
        raise DataError("something else lies there", where=folder, next_step="name a new folder")
    standing = standing_of(study)
    with publishing(folder) as staging:
        if form == LABEL_STUDIO:
            _write_label_studio(study, standing, staging, judged, prefix)
        else:
            _write_argilla(study, standing, staging, judged)
    return len(standing.items)


def import_judgements(study: StudyFile, form: str, file: Path, who: Mapping[str, str]) -> int:
    """Keep what people judged in another tool, all or nothing; return the number of new clicks.

    Args:
        study: The file.
        form: One of `FORMATS`.
        file: Label Studio's JSON export, or Argilla's ``records.json``.
        who: Their id or e-mail address there -> annotator here; those of our own export need none.

    Raises:
        ConfigError: no such format.
        DataError: the file is none of that tool, or names a sample, a person or a label that the study does not have.
    """
    _known(form)
    standing = standing_of(study)
    about = study.about()
    names = {**_people(study, form), **{name: name for name in study.tokens()}, **who}
    if unknown := sorted(set(who.values()) - set(study.tokens())):
        raise DataError(
            "no such annotator", value=unknown, where="--who", next_step=did_you_mean(unknown[0], study.tokens())
        )
    rows = read_json(file)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError("the file is no list of judged samples", where=file)
    events: list[StudyEvent] = []
    read = _label_studio_answers if form == LABEL_STUDIO else _argilla_answers
    for item_id, person, answers, at in read(rows, file):
        if item_id not in standing.items:
            raise DataError("the study has no such sample", value=item_id, where=file)
        if person not in names:
            raise DataError(
                "whose judgement is this?",
                value=person,
                where=f"{file}: {item_id}",
                next_step="say so: --who ID=ANNOTATOR",
            )
        item = standing.items[item_id]
        for event in _clicks(names[person], item, standing.form, answers, at):
            check(event, item, standing.form, about["ranking"])
            events.append(event)
    return study.add_all(events)


def _known(form: str) -> None:
    if form not in FORMATS:
        raise ConfigError("unknown format", value=form, next_step=did_you_mean(form, FORMATS))


def _people(study: StudyFile, form: str) -> dict[str, str]:
    """Ids that our own export gives to annotators: a number for Label Studio, a UUID for Argilla."""
    namespace = uuid.UUID(study.about()["id"])
    return {
        str(number) if form == LABEL_STUDIO else str(uuid.uuid5(namespace, name)): name
        for number, name in enumerate(study.tokens(), 1)
    }


def _letter(slot: int) -> str:
    return chr(ord("a") + slot)


def _answers(item: StudyItem, opinion: Opinion) -> Answers:
    """An opinion as answers to questions."""
    answers: Answers = {f"{name}_{_letter(slot)}": value for (slot, name), value in sorted(opinion.labels.items())}
    for place, slots in enumerate(opinion.places, 1):
        answers |= {f"{PLACE}_{_letter(slot)}": place for slot in slots}
    return answers | ({COMMENT: opinion.comment} if opinion.comment else {})


def _clicks(annotator: str, item: StudyItem, form: StudyForm, answers: Answers, at: str) -> Iterator[StudyEvent]:
    """The same as clicks, with keys of their content: imported twice, they are there once."""

    def click(kind: str, slot: int | None, criterion: str, value: str) -> StudyEvent:
        content = json.dumps([annotator, item.id, kind, slot, criterion, value])
        key = f"import:{hashlib.sha256(content.encode()).hexdigest()[:40]}"
        return StudyEvent(key, annotator, item.id, FIRST, kind, slot, criterion, value, at)

    known = {
        f"{one.name}_{_letter(slot)}": (slot, one.name) for slot in range(len(item.answers)) for one in form.criteria
    }
    places: dict[int, list[int]] = {}
    for name, value in answers.items():
        kind, _, letter = name.rpartition("_")
        if name in known:
            yield click(LABELLED, *known[name], str(value))
        elif kind == PLACE and len(letter) == 1 and isinstance(value, int | float) and value == int(value):
            places.setdefault(int(value), []).append(ord(letter) - ord("a"))
        elif name == COMMENT:
            yield click(COMMENTED, None, "", str(value)[:MAX_COMMENT])
        else:
            raise DataError("the study asks no such question", value=(name, value), where=item.id)
    if places:
        yield click(RANKED, None, "", json.dumps([sorted(places[place]) for place in sorted(places)]))


def _judged(standing: Standing, item: StudyItem) -> Iterator[tuple[str, Answers]]:
    for name in standing.judges[item.id]:
        if answers := _answers(item, standing.judgement(name, item.id, FIRST)):
            yield name, answers


# Label Studio


def _write_label_studio(study: StudyFile, standing: Standing, folder: Path, judged: bool, prefix: str) -> None:
    (folder / "images").mkdir()
    numbers = {name: int(number) for number, name in _people(study, LABEL_STUDIO).items()}
    tasks = []
    for number, item in enumerate(standing.items.values(), 1):
        files = [_image_file(study, hash_, folder / "images") for hash_ in item.images]
        data = {
            "sample": item.id,
            "question": item.question,
            "truth": item.truth,
            "images": [prefix + f for f in files],
        }
        data |= {f"answer_{_letter(slot)}": answer.text for slot, answer in enumerate(item.answers)}
        task: dict[str, Any] = {"id": number, "data": data}
        if judged:
            task["annotations"] = [
                {"completed_by": numbers[name], "result": [_result(*pair) for pair in answers.items()]}
                for name, answers in _judged(standing, item)
            ]
        tasks.append(task)
    write_json(folder / "tasks.json", tasks)
    most = max(len(item.answers) for item in standing.items.values())
    tree = ElementTree.ElementTree(_configuration(standing.form, most, study.about()["ranking"]))
    ElementTree.indent(tree)
    tree.write(folder / "config.xml", encoding="unicode")


def _configuration(form: StudyForm, answers: int, ranking: bool) -> ElementTree.Element:
    view = ElementTree.Element("View")

    def tag(kind: str, /, **attributes: str) -> ElementTree.Element:
        return ElementTree.SubElement(view, kind, attributes)

    tag("Image", name="image", valueList="$images")
    tag("Header", value="Question")
    tag("Text", name="question", value="$question")
    tag("Header", value="Annotated truth")
    tag("Text", name="truth", value="$truth")
    for slot in range(answers):
        letter = _letter(slot)
        tag("Header", value=f"Answer {letter.upper()}")
        tag("Text", name=f"answer_{letter}", value=f"$answer_{letter}")
        for criterion in form.criteria:
            tag("Header", value=criterion.question, size="5")
            choices = tag("Choices", name=f"{criterion.name}_{letter}", toName=f"answer_{letter}", choice="single")
            for option in criterion.options:
                ElementTree.SubElement(choices, "Choice", {"value": option})
        if ranking:
            tag("Header", value="Place by preference, 1 is best; equal numbers share it", size="5")
            tag("Number", name=f"{PLACE}_{letter}", toName=f"answer_{letter}", min="1", max=str(answers))
    tag("TextArea", name=COMMENT, toName="question", placeholder="Comment, if any", maxSubmissions="1")
    return view


def _result(name: str, value: Any) -> dict[str, Any]:
    target = "question" if name == COMMENT else f"answer_{name.rpartition('_')[2]}"
    kind = "textarea" if name == COMMENT else "number" if name.startswith(f"{PLACE}_") else "choices"
    content = {"textarea": {"text": [value]}, "number": {"number": value}, "choices": {"choices": [value]}}[kind]
    return {"id": name, "from_name": name, "to_name": target, "type": kind, "value": content}


def _label_studio_answers(rows: Sequence[Mapping[str, Any]], file: Path) -> Iterator[tuple[str, str, Answers, str]]:
    for row in rows:
        sample = _field(row, file, "data", "sample")
        for annotation in row.get("annotations") or ():
            if annotation.get("was_cancelled"):
                continue
            by = annotation.get("completed_by")
            person = str(by.get("email", by.get("id")) if isinstance(by, dict) else by)
            answers = {}
            for result in annotation.get("result") or ():
                kind = _field(result, file, "type")
                value = _field(result, file, "value", _VALUES.get(kind, kind))
                answers[_field(result, file, "from_name")] = value[0] if isinstance(value, list) and value else value
            yield sample, person, answers, str(annotation.get("created_at") or "")


_VALUES = {"choices": "choices", "number": "number", "textarea": "text"}


# Argilla


def _write_argilla(study: StudyFile, standing: Standing, folder: Path, judged: bool) -> None:
    about = study.about()
    people = {name: identity for identity, name in _people(study, ARGILLA).items()}
    items = list(standing.items.values())
    records = []
    for item in items:
        fields = {"question": item.question, "truth": item.truth}
        fields |= {f"image_{number}": _data_uri(study, hash_) for number, hash_ in enumerate(item.images, 1)}
        fields |= {f"answer_{_letter(slot)}": answer.text for slot, answer in enumerate(item.answers)}
        responses: dict[str, list[dict[str, Any]]] = {}
        for name, answers in _judged(standing, item) if judged else ():
            for question, value in answers.items():
                responses.setdefault(question, []).append({"value": value, "user_id": people[name]})
        records.append({"id": item.id, "fields": fields, "metadata": {}, "suggestions": {}, "responses": responses,
                        "vectors": {}, "status": "pending", "_server_id": None})  # fmt: skip
    (folder / ".argilla").mkdir()
    write_json(folder / ".argilla" / "settings.json", _settings(standing.form, items, about))
    write_json(
        folder / ".argilla" / "dataset.json", {"name": f"study-{about['id'][:8]}", "guidelines": about["guidelines"]}
    )
    write_json(folder / "records.json", records)


def _settings(form: StudyForm, items: Sequence[StudyItem], about: Mapping[str, Any]) -> dict[str, Any]:
    def field(name: str, kind: str, required: bool = True) -> dict[str, Any]:
        own = {"type": kind, **({"use_markdown": False} if kind == "text" else {})}
        return {"name": name, "title": name.replace("_", " "), "required": required, "settings": own, "type": kind}

    def question(name: str, title: str, settings: dict[str, Any], required: bool) -> dict[str, Any]:
        return {"name": name, "title": title, "required": required, "settings": settings, "type": settings["type"]}

    answers = max(len(item.answers) for item in items)
    images = max(len(item.images) for item in items)
    questions = []
    for slot in range(answers):
        letter = _letter(slot)
        for one in form.criteria:
            options = [{"value": value, "text": text, "description": None} for value, text in one.options.items()]
            own = {"type": "label_selection", "options": options, "visible_options": len(options)}
            questions.append(question(f"{one.name}_{letter}", f"{letter.upper()}: {one.question}", own, True))
        if about["ranking"]:
            own = {"type": "rating", "options": [{"value": place} for place in range(1, answers + 1)]}
            questions.append(question(f"{PLACE}_{letter}", f"{letter.upper()}: place, 1 is best", own, False))
    questions.append(question(COMMENT, "Comment, if any", {"type": "text", "use_markdown": False}, False))
    return {
        "guidelines": about["guidelines"],
        "fields": [
            *(field(f"image_{number}", "image", required=False) for number in range(1, images + 1)),
            field("question", "text"),
            field("truth", "text"),
            *(field(f"answer_{_letter(slot)}", "text") for slot in range(answers)),
        ],
        "questions": questions,
        "vectors": [],
        "metadata": [],
        "allow_extra_metadata": True,
        "distribution": {"strategy": "overlap", "min_submitted": 2},
        "mapping": None,
    }


def _argilla_answers(rows: Sequence[Mapping[str, Any]], file: Path) -> Iterator[tuple[str, str, Answers, str]]:
    for row in rows:
        sample = _field(row, file, "id")
        by_person: dict[str, Answers] = {}
        for question, given in (row.get("responses") or {}).items():
            for response in given:
                value = _field(response, file, "value")
                by_person.setdefault(str(response.get("user_id")), {})[question] = value
        for person, answers in by_person.items():
            yield sample, person, answers, ""


def _field(row: Any, file: Path, *path: str) -> Any:
    value = row
    for name in path:
        if not isinstance(value, dict) or name not in value:
            raise DataError(f"a judged sample lacks {name!r}", value=str(row)[:120], where=file)
        value = value[name]
    return value


def _image_file(study: StudyFile, hash_: str, folder: Path) -> str:
    media, data = _image(study, hash_)
    name = f"{hash_}.{ENDINGS[media]}"
    (folder / name).write_bytes(data)
    return name


def _data_uri(study: StudyFile, hash_: str) -> str:
    media, data = _image(study, hash_)
    return f"data:{media};base64,{base64.b64encode(data).decode()}"


def _image(study: StudyFile, hash_: str) -> tuple[str, bytes]:
    found = study.image(hash_)
    assert found is not None, "a study holds all images of its samples"
    return found
