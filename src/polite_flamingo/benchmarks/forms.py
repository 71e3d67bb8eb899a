"""Forms of question files, told by what their first record holds: one function a form, from a record to an item."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from polite_flamingo.benchmarks.items import BenchmarkItem, Metric
from polite_flamingo.evaluate.sets import Kind
from polite_flamingo.prompts.requests import STATEMENT

Record = Mapping[str, Any]
NO_IMAGE = "no image"  # group of ScienceQA's questions
LETTER = "Answer with the option's letter from the given choices directly."
YES_NO = ("no", "yes")  # places are labels


@dataclass(frozen=True, slots=True)
class Form:
    """One form of question files.

    Attributes:
        name: Of the data set, where the file's name does not tell a better one.
        metric: Its official one.
        keys: What a record holds; alternatives stand in one entry with ``|``.
        item: Makes the item of a record and its name in the file; None: this record asks nothing.
        kind: Of what is asked.
        lacks: What a record of this form does not hold.
        by_group: As in `QuestionSet`.
        missing_is_wrong: Likewise.
    """

    name: str
    metric: Metric
    keys: tuple[str, ...]
    item: Callable[[str, Record], BenchmarkItem | None]
    kind: Kind = Kind.QUESTION
    lacks: tuple[str, ...] = ()
    by_group: bool = False
    missing_is_wrong: bool = False

    def fits(self, record: Record) -> bool:
        """Whether a record has this form."""
        return all(any(key in record for key in entry.split("|")) for entry in self.keys) and not any(
            key in record for key in self.lacks
        )


def texts(values: Any) -> tuple[str, ...]:
    """Texts of a list of texts, or of VQA's records of answers; of one text itself."""
    if values is None:
        return ()
    if isinstance(values, str | int | float):
        return (str(values),)
    return tuple(str(one["answer"] if isinstance(one, Mapping) else one) for one in values)


def with_letters(question: str, choices: Sequence[str], context: str = "") -> str:
    """How a model is asked to choose; the official evaluations of ScienceQA and A-OKVQA read letters.

    Args:
        question: Its words.
        choices: In their order; none: the question alone.
        context: What stands before it.
    """
    if not choices:
        return question
    listed = (f"{letter}. {choice}" for letter, choice in zip(ascii_uppercase, choices, strict=False))
    return "\n".join((*([context] if context else []), question, *listed, LETTER))


def _pope(name: str, record: Record) -> BenchmarkItem | None:
    label = str(record["label"]).strip().lower()
    if label not in YES_NO:
        return None
    return BenchmarkItem(
        id=str(record.get("question_id", name)),
        question=str(record.get("text") or record.get("question")),
        image=str(record["image"]),
        answers=(label,),
        choices=YES_NO,
        label=YES_NO.index(label),
        groups=_category(record),
    )


def _category(record: Record) -> tuple[str, ...]:
    value = record.get("category")
    return (value,) if isinstance(value, str) and value not in ("", "default") else ()


def _textvqa(name: str, record: Record) -> BenchmarkItem:
    image = str(record["image_id"])
    return BenchmarkItem(
        str(record.get("question_id", name)), str(record["question"]), image, texts(record.get("answers"))
    )


def _scienceqa(name: str, record: Record) -> BenchmarkItem:
    choices = texts(record["choices"])
    label = int(record["answer"])
    return BenchmarkItem(
        id=name,
        question=str(record["question"]),
        image=name,
        answers=(choices[label],),
        choices=choices,
        label=label,
        groups=("image" if record.get("image") else NO_IMAGE,),
        prompt=with_letters(str(record["question"]), choices, str(record.get("hint") or "").strip()),
    )


def alternatives(answer: str) -> tuple[str, ...]:
    """Annotated answers of MM-Vet, any of which is right."""
    return tuple(part.replace("<AND>", " and ").strip() for part in answer.split("<OR>"))


def capabilities(told: Any) -> tuple[str, ...]:
    """Parts of MM-Vet that a question is of: each capability it asks for, and all of them together.

    >>> capabilities("rec,ocr"), capabilities(["ocr"])
    (('ocr', 'rec', 'ocr + rec'), ('ocr', 'ocr alone'))
    """
    names = sorted({str(one).strip() for one in (told.split(",") if isinstance(told, str) else told)} - {""})
    return (*names, " + ".join(names) if len(names) > 1 else f"{names[0]} alone") if names else ()


def _mm_vet(name: str, record: Record) -> BenchmarkItem:
    return BenchmarkItem(
        id=name,
        question=str(record["question"]),
        image=str(record.get("imagename", name)),
        answers=alternatives(str(record["answer"])),
        groups=capabilities(record["capability"]),
        aliases=(name.rpartition("_")[2],),
    )


def _vqa(name: str, record: Record) -> BenchmarkItem:
    return BenchmarkItem(
        id=str(record.get("question_id", name)),
        question=str(record.get("question", "")),
        image=str(record.get("image_id", record.get("image", ""))),
        answers=texts(record["answers"]),
        groups=texts(record.get("answer_type")),
    )


def _aokvqa(name: str, record: Record) -> BenchmarkItem:
    return BenchmarkItem(
        id=str(record["question_id"]),
        question=str(record["question"]),
        image=str(record["image_id"]),
        answers=texts(record["direct_answers"]),
        choices=texts(record["choices"]),
        label=int(record.get("correct_choice_idx", -1)),
        prompt=with_letters(str(record["question"]), texts(record["choices"])),
    )


def _soft(name: str, record: Record) -> BenchmarkItem:
    label: Mapping[str, float] = record["label"]
    return BenchmarkItem(
        id=str(record["question_id"]),
        question=str(record["sent"]),
        image=str(record["img_id"]),
        answers=tuple(sorted(label, key=lambda text: -label[text])),
        weights=tuple(sorted((float(value) for value in label.values()), reverse=True)),
    )


def _vsr(name: str, record: Record) -> BenchmarkItem:
    label = int(record["label"])
    return BenchmarkItem(
        id=str(record.get("id", name)),
        question=str(record["caption"]),
        image=str(record["image"]),
        answers=(("False", "True")[label],),
        choices=("False", "True"),
        label=label,
        prompt=STATEMENT[0].format(statement=record["caption"]),
        groups=texts(record.get("relation")),
    )


def _gvt(name: str, record: Record) -> BenchmarkItem:
    told = str(record["text_out"]).strip().rstrip(".")
    label = YES_NO.index(told.lower()) if told.lower() in YES_NO else -1
    return BenchmarkItem(
        id=name,
        question=str(record["text_in"]),
        image=str(record["image_id"]),
        answers=(told,),
        choices=YES_NO if label >= 0 else (),
        label=label,
    )


def _owl(name: str, record: Record) -> BenchmarkItem:
    return BenchmarkItem(
        id=str(record["question_id"]),
        question=str(record["question"]),
        image=str(record["image"]),
        groups=tuple(f"ability {one}" for one in str(record["ability"]).split(",") if one),
    )


def _haelm(name: str, record: Record) -> BenchmarkItem:
    labels = [str(one) for one in record["labels"]]
    return BenchmarkItem(
        id=str(record.get("id", name)),
        image=str(record.get("image_id") or "|".join(texts(record["references"]))),
        answers=texts(record["references"]),
        label=int(labels.count("yes") * 2 > len(labels)),
    )


def _chartqa(name: str, record: Record) -> BenchmarkItem:
    image = str(record.get("imgname", record.get("image", "")))
    kind = texts(record.get("human_or_machine") if "human_or_machine" in record else record.get("type"))
    return BenchmarkItem(
        str(record.get("question_id", name)), str(record["query"]), image, texts(record["label"]), groups=kind
    )


def _gqa(name: str, record: Record) -> BenchmarkItem:
    return BenchmarkItem(name, str(record["question"]), str(record["imageId"]), texts(record["answer"]))


def _vizwiz(name: str, record: Record) -> BenchmarkItem:
    image = str(record["image"])
    return BenchmarkItem(image, str(record["question"]), image, texts(record["answers"]))


def _karpathy(name: str, record: Record) -> BenchmarkItem:
    return BenchmarkItem(
        id=str(record.get("cocoid", record["filename"])),
        image=str(record["filename"]),
        answers=tuple(" ".join(str(one["raw"]).split()) for one in record["sentences"]),
    )


def _captions(name: str, record: Record) -> BenchmarkItem:
    image = str(record.get("image_id", record.get("image", name)))
    return BenchmarkItem(
        id=str(record.get("id", image)),
        question=str(record.get("question", "")),
        image=image,
        answers=texts(record.get("captions", record.get("references"))),
        objects=texts(record["objects"]) if record.get("objects") else None,
    )


def _asked(name: str, record: Record) -> BenchmarkItem:
    """A question without truth: LLaVA's question files, and `answers` of our own form."""
    told = record.get("answers", record.get("answer", record.get("gt_answer", record.get("label"))))
    choices = texts(record.get("choices", record.get("options")))
    label = told if isinstance(told, int) and choices else -1
    asked = str(record.get("question", record.get("text", record.get("instruction", ""))))
    return BenchmarkItem(
        id=str(record.get("question_id", record.get("id", name))),
        question=asked,
        image=str(record.get("image", record.get("image_id", ""))),
        answers=(choices[label],) if label >= 0 else texts(told),
        choices=choices,
        label=choices.index(told) if isinstance(told, str) and told in choices else label,
        groups=_category(record),
        prompt=with_letters(asked, choices) if choices else "",
    )


FORMS = (  # the first that fits
    Form("haelm", Metric.NONE, ("caption", "references", "labels"), _haelm, kind=Kind.CAPTION),
    Form("mm-vet", Metric.GRADE, ("capability", "question", "answer"), _mm_vet),
    Form("owleval", Metric.NONE, ("ability", "question_id", "question"), _owl, lacks=("answer",)),
    Form("okvqa", Metric.SOFT, ("sent", "label", "img_id", "question_id"), _soft),
    Form("aokvqa", Metric.CHOICE, ("direct_answers", "choices", "question_id"), _aokvqa),
    Form(
        "scienceqa",
        Metric.CHOICE,
        ("choices", "answer", "question", "hint|lecture|solution|subject"),
        _scienceqa,
        missing_is_wrong=True,
    ),
    Form("textvqa", Metric.TEXTVQA, ("image_id", "question", "image_classes|ocr_tokens|flickr_300k_url"), _textvqa),
    Form("gqa", Metric.EXACT, ("imageId", "question", "answer"), _gqa),
    Form("vsr", Metric.YES_NO, ("caption", "label", "image", "relation"), _vsr),
    Form("gvt", Metric.CONTAINED, ("text_in", "text_out", "image_id"), _gvt),
    Form("chartqa", Metric.RELAXED, ("query", "label"), _chartqa),
    Form("pope", Metric.YES_NO, ("label", "image", "text|question"), _pope, by_group=True),
    Form("vizwiz", Metric.VQA, ("image", "question", "answers", "answerable"), _vizwiz),
    Form("vqa", Metric.VQA, ("answers", "question_id|image_id"), _vqa, lacks=("choices",)),
    Form("captions", Metric.NONE, ("filename", "sentences"), _karpathy, kind=Kind.CAPTION),
    Form("captions", Metric.NONE, ("captions|references",), _captions, kind=Kind.CAPTION),
    Form("questions", Metric.EXACT, ("question|text|instruction",), _asked),
)


def form_of(record: Any) -> Form | None:
    """The form of a record; None where none fits."""
    if not isinstance(record, Mapping):
        return None
    return next((form for form in FORMS if form.fits(record)), None)


def named(sequence: Sequence[Form] = FORMS) -> str:
    """The forms for a message."""
    return ", ".join(dict.fromkeys(form.name for form in sequence))
