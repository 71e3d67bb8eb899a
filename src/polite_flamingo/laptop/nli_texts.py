"""What the NLI judge learns: real premises and hypotheses, and answers of every form judged against a short answer.

An answer comes as a bare word, a sentence by a person or by rule, with its reason, with an opening or a closing. A
wrong answer is the right one to another question of the same sort, in the same form: form never gives the label away.
"""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from polite_flamingo.calibrate.statements import sentence, state
from polite_flamingo.errors import DataError
from polite_flamingo.laptop.answers import SLOT, Answered, read_rows
from polite_flamingo.scorers.nli import LABELS, nli_pair
from polite_flamingo.sources.photographs import Part, part_of

CAPTIONS = 2  # of a photograph at most as one premise
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
OPENINGS = (
    "Based on the image, ", "In the image, ", "From what I can see, ", "As far as I can tell, ", "Sure! ",
    "Certainly. ", "In this photo, ", "I believe that ", "It appears that ", "According to the picture, ",
)  # fmt: skip
CLOSINGS = (
    " I hope this helps!", " Let me know if you have any other questions.", " Please feel free to ask for more.",
    " This can be seen clearly in the image.", " Thank you for your question.",
)  # fmt: skip
NO_ANSWER = (
    "I am not sure.", "I cannot tell from the image.", "It is hard to say.", "I'm sorry, but I don't know the answer.",
    "Let me know if you have any other questions!", "Thank you for your question.", "The image shows a scene.",
    "That is an interesting question.", "The image does not provide enough information to answer this.",
)  # fmt: skip
VAGUE = ("something", "someone or something", "one of them", "it")

_AUXILIARY = re.compile(r"(is|are|was|were|can|could|does|do|did|has|have|will|would|should)\s+(.+)", re.IGNORECASE)
_ARTICLES = frozenset(
    ("be", "used", "going", "a", "an", "the", "any", "some", "in", "on", "at", "from", "for", "not", "likely", "all")
)
_POINTERS = frozenset(("this", "that", "these", "those", "it", "they", "he", "she", "you", "there"))
_BEFORE_STOP = re.compile(r"\s+([.,;:!?]|'s\b|n't\b)")


@dataclass(frozen=True, slots=True)
class Judged:
    """A labelled pair: an index into `scorers.nli.LABELS`, the data set, and the part it belongs to."""

    premise: str
    hypothesis: str
    label: int
    source: str
    part: Part


def read_entailment(root: Path) -> list[Judged]:
    """The pairs of e-SNLI, SICK (``nli/``) and e-SNLI-VE (``photos/esnlive``) below a data root.

    A premise that captions a photograph of Flickr8k has the photograph's part, any other one its own.

    Raises:
        DataError: none is there, or a label is unknown.
    """
    captions = flickr_captions(root / "photos" / "flickr8k" / "Flickr8k.token.txt")
    shown = {_bare(text): photo for photo, texts in captions.items() for text in texts}
    pairs = [*_esnli(root / "nli", shown), *_sick(root / "nli" / "SICK_train_trial.tsv.gz", shown)]
    pairs += _esnlive(root / "photos" / "esnlive", captions)
    if not pairs:
        raise DataError("no NLI files found", where=root, next_step="expected nli/esnli_*.dev.gz or photos/esnlive")
    return pairs


def flickr_captions(path: Path) -> dict[str, list[str]]:
    """Captions of each photograph of Flickr8k, by file name, in the order of the official file; none without it."""
    captions: dict[str, list[str]] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            name, _, text = line.partition("\t")
            captions.setdefault(name.partition("#")[0], []).append(tidy(text))
    return captions


def tidy(text: str) -> str:
    """A tokenised sentence as people write it.

    >>> tidy("Two dogs play , and a man does n't look . ")
    "Two dogs play, and a man doesn't look."
    """
    return _BEFORE_STOP.sub(r"\1", " ".join(text.split()))


def _bare(text: str) -> str:
    return re.sub(r"\W+", " ", text.lower()).strip()


def _label(name: str, where: Path, number: int) -> int:
    try:
        return LABELS.index(name.strip().lower())
    except ValueError:
        raise DataError("unknown NLI label", value=name.strip(), where=f"{where}:{number}") from None


def _esnli(folder: Path, shown: Mapping[str, str]) -> Iterator[Judged]:
    parts = [folder / f"esnli_{name}.dev.gz" for name in ("s1", "s2", "labels")]
    if not all(path.is_file() for path in parts):
        return
    columns = [gzip.decompress(path.read_bytes()).decode().splitlines() for path in parts]
    for number, (first, second, label) in enumerate(zip(*columns, strict=True), 1):
        key = shown.get(_bare(first), _bare(first))
        yield Judged(tidy(first), tidy(second), _label(label, parts[2], number), "esnli", part_of(key))


def _sick(path: Path, shown: Mapping[str, str]) -> Iterator[Judged]:
    if not path.is_file():
        return
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE), 2):
            origin = _bare(row["sentence_A_original"])
            label = _label(row["entailment_label"], path, number)
            yield Judged(row["sentence_A"], row["sentence_B"], label, "sick", part_of(shown.get(origin, origin)))


def _esnlive(folder: Path, captions: Mapping[str, Sequence[str]]) -> Iterator[Judged]:
    """A hypothesis about a photograph, judged against the caption it was written for and another one."""
    for path in (folder / "esnlive_dev.csv.gz", folder / "esnlive_test.csv.gz"):
        for number, row in enumerate(read_rows(path), 2):
            own = captions.get(row["image"])
            if not own:
                continue
            index = int(row["pairID"].partition("#")[2][:1] or 0) % len(own)
            premise = " ".join(map(sentence, [own[index], own[(index + 1) % len(own)]][:CAPTIONS]))
            label = _label(row["gold_label"], path, number)
            yield Judged(premise, tidy(row["hypothesis"]), label, "esnlive", part_of(row["image"]))


def statements(answered: Sequence[Answered], seed: int, epoch: int, most: Mapping[str, int]) -> list[Judged]:
    """Three judgements of each question, one per label, in the paper's wording; drawn anew in every epoch.

    Args:
        answered: Questions of one part.
        seed: Of all draws.
        epoch: Its number.
        most: Questions of a data set at most.
    """
    by_sort: dict[str, list[Answered]] = {}
    by_source: dict[str, list[Answered]] = {}
    for record in answered:
        by_sort.setdefault(record.sort, []).append(record)
        by_source.setdefault(record.source, []).append(record)
    pairs: list[Judged] = []
    for source, own in by_source.items():
        rng = Random(f"{seed}:statements:{source}:{epoch}")
        for record in rng.sample(own, min(len(own), most.get(source, len(own)))):
            others = by_sort[record.sort] if len(by_sort[record.sort]) > 1 else own
            wrong = _wrong_answer(record, others, rng)
            raw = _raw(record, rng)
            said = {
                "entailment": phrase(record, record.answer, rng),
                "contradiction": phrase(record, wrong, rng) if wrong else None,
                "neutral": _beside(record, own, rng),
            }
            pairs += [
                Judged(*nli_pair(record.question, text, raw), LABELS.index(label), source, record.part)
                for label, text in said.items()
                if text
            ]
    return pairs


def phrase(record: Answered, answer: str, rng: Random) -> str:
    """`answer` to the question of `record` as a rewriter might say it."""
    right = answer == record.answer
    if answer.isdigit() and int(answer) < len(NUMBERS) and rng.random() < 0.5:
        answer = NUMBERS[int(answer)]
    bare = rng.choice((answer, answer.capitalize(), f"{answer.capitalize()}.", f"The answer is {answer}."))
    full = as_sentence(record, answer, rng)
    if full is None or rng.random() < 0.2:
        full = bare if record.sort == "yes/no" or rng.random() < 0.5 else f"It is {answer}."
    draw = rng.random()
    if record.reasons and draw < (0.6 if right else 0.3):
        reason = rng.choice(record.reasons).rstrip(". ")
        return sentence(f"{full.rstrip('. ')}, because {reason[:1].lower()}{reason[1:]}")
    if draw < 0.7:
        return full
    if draw < 0.85:
        opening = rng.choice(OPENINGS)
        return f"{opening}{full[:1].lower()}{full[1:]}" if opening.endswith(", ") else f"{opening}{full}"
    return f"{sentence(full)}{rng.choice(CLOSINGS)}"


def as_sentence(record: Answered, answer: str, rng: Random) -> str | None:
    """`answer` as a sentence by a person or by rule; None where there is neither."""
    if record.sentences:
        text = rng.choice(record.sentences).replace(SLOT, answer)
        return sentence(text) if rng.random() < 0.8 else text
    if record.sort == "yes/no":
        clause = turned(record.question, negative=answer == "no")
        if clause is None:
            return None
        return sentence(clause if rng.random() < 0.3 else f"{answer}, {clause}")
    return state(record.question, answer)


def turned(question: str, *, negative: bool) -> str | None:
    """The statement behind a yes/no question.

    >>> turned("Is this man happy?", negative=True)
    'this man is not happy'
    """
    match = _AUXILIARY.fullmatch(" ".join(question.split()).rstrip("? "))
    if match is None:
        return None
    auxiliary, words = match[1].lower(), match[2].split()
    subject = 1
    if words[0].lower() not in _POINTERS or (len(words) > 2 and words[1].lower() not in _ARTICLES):
        subject = min(2, len(words) - 1)
    if words[0].lower() in ("there", "it", "they", "he", "she", "you"):
        subject = 1
    if subject < 1 or len(words) == subject:
        return None
    denied = " not" if negative else ""
    return f"{' '.join(words[:subject])} {auxiliary}{denied} {' '.join(words[subject:])}".lower()


def _raw(record: Answered, rng: Random) -> str:
    """The annotation: mostly the short answer, sometimes with its rationale as annotations have it."""
    if record.reasons and rng.random() < 0.3:
        return f"Answer: {record.answer}. {sentence(rng.choice(record.reasons))}"
    return record.answer


def _wrong_answer(record: Answered, others: Sequence[Answered], rng: Random) -> str | None:
    """An answer of the same type that nobody gave and that shares no word with the right one."""
    if record.sort == "yes/no":
        return "no" if record.answer.lower() == "yes" else "yes"
    if record.answer.isdigit() and rng.random() < 0.7:
        value = int(record.answer)
        return str(rng.choice([v for v in range(max(0, value - 3), value + 6) if v != value]))
    words = _words(record.answer) | {word for text in record.accepted for word in _words(text)}
    for _ in range(20):
        answer = rng.choice(others).answer
        if answer.lower() not in ("yes", "no") and not _words(answer) & words:
            return answer
    return None


def _words(text: str) -> set[str]:
    return {word.rstrip("s") for word in re.findall(r"\w+", text.lower())} - {"the", "a", "of", "and", "in"}


def _beside(record: Answered, own: Sequence[Answered], rng: Random) -> str | None:
    """Words that do not answer the question: about something else, broken off, vague, or none of an answer."""
    draw = rng.random()
    if draw < 0.25:
        return rng.choice(NO_ANSWER)
    if draw < 0.5 and record.sentences:
        before = rng.choice(record.sentences).partition(SLOT)[0].strip()
        if len(before.split()) >= 3:
            return before if draw < 0.4 else f"{before} {rng.choice(VAGUE)}."
    for _ in range(20):
        other = rng.choice(own)
        about = as_sentence(other, other.answer, rng)
        alike = _words(other.answer) & _words(record.answer) or other.question == record.question
        if (
            about
            and len(about.split()) > 3
            and not alike
            and not (record.sort == other.sort == "yes/no" and draw < 0.4)
        ):
            return about
    return rng.choice(NO_ANSWER)
