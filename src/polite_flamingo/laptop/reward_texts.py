"""What the reward model learns: which of two responses people prefer, and that a full answer beats a terse one.

From people: hh-rlhf, DPO and KTO examples, ranks of OpenAssistant, ratings of QADialog, politeness scores of requests.
By rule: a sentence by a person above its short answer, an answer with its reason above the bare one, a text above its
damaged copy, a right statement above one that does not answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random

from polite_flamingo.calibrate.corruptions import truncate
from polite_flamingo.calibrate.statements import sentence
from polite_flamingo.distort.text_noise import add_noise
from polite_flamingo.laptop.answers import SLOT, Answered, read_rows, read_whole
from polite_flamingo.laptop.nli_texts import CLOSINGS, OPENINGS, as_sentence
from polite_flamingo.sources.photographs import Part, part_of

DESCRIBE = ("Describe the image.", "What is in the picture?", "Give a description of this image.", "")
MARGIN = 1.0  # of two politeness scores that are compared, in standard deviations
RATINGS = {"a": 0.0, "b": 1.0, "c": 1.0, "d": 2.5, "e": 4.0}  # wrong fragment … right, complete and fluent
CLEAR = 1.5  # difference of two mean ratings that are compared
NOISE = 0.5
LONGEST = 1500  # characters of a question, its end, and of a response, its beginning
TAGGED = 18  # every so-manieth description of the sample
TAGS = 2  # of an image's list of tags that are kept: what it shows
RANKED = 3  # best replies of a message that are compared with the worse ones


@dataclass(frozen=True, slots=True)
class PreferredPair:
    """Two responses, the better one first; the questions differ only where two requests are compared."""

    question: str
    better: str
    worse: str
    source: str
    part: Part
    other_question: str | None = None

    @property
    def pairs(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """(question, response), the better and the worse."""
        first, second = self.question, self.question if self.other_question is None else self.other_question
        return (first[-LONGEST:], self.better[:LONGEST]), (second[-LONGEST:], self.worse[:LONGEST])


def read_preferences(root: Path, seed: int) -> list[PreferredPair]:
    """Preferences of people below a data root, of data sets that are there; by their prompts in one part each."""
    rng = Random(f"{seed}:preferences")
    preference, photos = root / "preference", root / "photos"
    return [
        *_hh(preference / "hh-rlhf_harmless-base_test.jsonl.gz"),
        *_dpo(preference / "llamafactory_dpo_en_demo.json.gz"),
        *_kto(photos / "preference" / "kto_en_demo.json.gz", rng),
        *_oasst(root / "text" / "oasst_en_100_tree.jsonl.gz"),
        *_ratings(photos / "verbalised_answers" / "qadialog_ratings.jsonl.gz"),
        *_politeness(root / "politeness" / "wikipedia.annotated.csv.gz", rng),
        *_descriptions(photos / "image_text_only", rng),
    ]


def verbalised(answered: Sequence[Answered], seed: int, epoch: int) -> list[PreferredPair]:
    """Full answers above short ones, and whole ones above damaged ones; drawn anew in every epoch."""
    pairs: list[PreferredPair] = []
    for record in answered:
        rng = Random(f"{seed}:verbalised:{epoch}:{record.source}:{record.key}:{record.question}")
        full = as_sentence(record, record.answer, rng)
        if full is None:
            continue
        source = "verbalised" if record.sentences else "stated"
        if record.reasons:
            source = "reasons"
            reason = rng.choice(record.reasons).rstrip(". ")
            full = f"{full.rstrip('. ')}, because {reason[:1].lower()}{reason[1:]}"
        full = sentence(full)
        terse = rng.choice((record.answer, record.answer.capitalize(), f"{record.answer}."))
        pairs.append(PreferredPair(record.question, full, terse, source, record.part))
        friendly = _friendly(full, rng)
        damaged = rng.choice((truncate(full, "", rng), add_noise(full, rng, NOISE), _before(record, rng)))
        if damaged and damaged.strip() and damaged != full:
            pairs.append(PreferredPair(record.question, rng.choice((full, friendly)), damaged, "damaged", record.part))
        if rng.random() < 0.5:
            pairs.append(PreferredPair(record.question, friendly, rng.choice((full, terse)), "friendly", record.part))
    return pairs


def _friendly(full: str, rng: Random) -> str:
    if rng.random() < 0.5:
        return f"{full}{rng.choice(CLOSINGS)}"
    opening = rng.choice(OPENINGS)
    return f"{opening}{full[:1].lower()}{full[1:]}" if opening.endswith(", ") else f"{opening}{full}"


def _before(record: Answered, rng: Random) -> str | None:
    return rng.choice(record.sentences).partition(SLOT)[0].strip() if record.sentences else None


def _dialogue(text: str) -> tuple[str, str]:
    """The last question of a dialogue and the last answer."""
    before, _, answer = text.rpartition("\n\nAssistant:")
    return before.rpartition("\n\nHuman:")[2].strip(), answer.strip()


def _hh(path: Path) -> Iterator[PreferredPair]:
    for row in read_rows(path):
        question, better = _dialogue(row["chosen"])
        worse = _dialogue(row["rejected"])[1]
        first = row["chosen"].partition("\n\nHuman:")[2].partition("\n\nAssistant:")[0].strip()
        if better and worse and better != worse:
            yield PreferredPair(question, better, worse, "hh_rlhf", part_of(first))


def _dpo(path: Path) -> Iterator[PreferredPair]:
    for row in read_whole(path):
        turns = [turn["value"] for turn in row["conversations"]]
        yield PreferredPair(turns[-1], row["chosen"]["value"], row["rejected"]["value"], "dpo", part_of(turns[0]))


def _kto(path: Path, rng: Random) -> Iterator[PreferredPair]:
    """A good response above a bad one to another prompt of the same part: the data set has no pairs."""
    labelled: dict[tuple[bool, Part], list[tuple[str, str]]] = {}
    for row in read_whole(path):
        question, response = row["messages"][-2]["content"], row["messages"][-1]["content"]
        key = (bool(row["label"]), part_of(row["messages"][0]["content"]))
        labelled.setdefault(key, []).append((question, response))
    for (good, part), own in labelled.items():
        others = labelled.get((False, part), [])
        if good and others:
            for question, response in own:
                other, worse = rng.choice(others)
                yield PreferredPair(question, response, worse, "kto", part, other)


def _oasst(path: Path) -> Iterator[PreferredPair]:
    for tree in read_rows(path):
        part = part_of(tree["prompt"]["text"])
        waiting = [tree["prompt"]]
        while waiting:
            message = waiting.pop()
            waiting += message["replies"]
            ranked = sorted((r for r in message["replies"] if r.get("rank") is not None), key=lambda r: r["rank"])
            if message["role"] != "prompter":
                continue
            for place, better in enumerate(ranked[:RANKED]):
                for worse in ranked[place + 1 : place + 1 + RANKED]:
                    yield PreferredPair(message["text"], better["text"], worse["text"], "oasst", part)


def _ratings(path: Path) -> Iterator[PreferredPair]:
    rated: dict[str, list[tuple[float, str]]] = {}
    for row in read_rows(path):
        votes = {kind: count for kind, count in row["votes"].items() if kind in RATINGS}
        if votes:
            mean = sum(RATINGS[kind] * count for kind, count in votes.items()) / sum(votes.values())
            rated.setdefault(row["question"], []).append((mean, row["response"]))
    for question, responses in rated.items():
        for first, better in responses:
            for second, worse in responses:
                if first - second >= CLEAR:
                    yield PreferredPair(question, better, worse, "qadialog_ratings", part_of(question))


def _politeness(path: Path, rng: Random) -> Iterator[PreferredPair]:
    scored: dict[Part, list[tuple[float, str]]] = {}
    for row in read_rows(path):
        scored.setdefault(part_of(row["Request"]), []).append((float(row["Normalized Score"]), row["Request"]))
    for part, own in scored.items():
        for score, text in own:
            other, worse = rng.choice(own)
            if abs(score - other) >= MARGIN:
                better, less = (text, worse) if score > other else (worse, text)
                yield PreferredPair("", better, less, "politeness", part)


def _descriptions(folder: Path, rng: Random) -> Iterator[PreferredPair]:
    """A description above the list of tags that it was written from, and above its beginning."""
    for row in islice(read_rows(folder / "stablellava_sample.jsonl.gz"), 0, None, TAGGED):
        text, tags = row["answer"], ", ".join(re.sub(r"[()]", "", row["prompt"]).split(", ")[:TAGS])
        if text and tags:
            yield PreferredPair(rng.choice(DESCRIBE), text, tags, "descriptions", part_of(tags))
    for row in dict(read_whole(folder / "fohe_rewritten_captions.json") or {}).get("annotations", []):
        text = re.sub(r"\s+", " ", row["caption"]).strip()
        short = text.split(". ")[0][:60].lower().rstrip(".")
        if len(text) > 2 * len(short):
            yield PreferredPair(rng.choice(DESCRIBE), text, short, "descriptions", part_of(text))
