"""Probes: corrupted copies of clean rewrites, because a good rewriter makes too few errors to measure the filters with.

They are scored and judged like all other records, reported, and never part of what is trained on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from random import Random

from polite_flamingo.records import Rewrite, Task
from polite_flamingo.world.truth import CATEGORIES, MENTION, GroundTruth, bare_answer, mentions
from polite_flamingo.world.vocabulary import COLORS, NUMBERS, POSITIONS, SHAPES, article

PROBE = "!probe"  # ends the id of an injected corruption


def make_probes(truth: GroundTruth, rewrites: Iterable[Rewrite], count: int, seed: int) -> list[Rewrite]:
    """At most `count` corrupted copies of rewrites that the ground truth finds clean, in order of id.

    ``extras["probe"]`` names the kind of corruption.
    """
    clean = []
    for rewrite in sorted(rewrites, key=lambda r: r.id):
        judgement = truth.judge_rewrite(rewrite)
        if judgement is not None and not judgement.corrupted:
            clean.append(rewrite)
    Random(f"{seed}:probes").shuffle(clean)
    probes: list[Rewrite] = []
    for rewrite in clean:
        if len(probes) >= count:
            break
        corrupted = corrupt(truth, rewrite, Random(f"{seed}:{rewrite.id}:probe"))
        if corrupted is not None:
            text, kind = corrupted
            extras = {**rewrite.extras, "probe": kind}
            probes.append(replace(rewrite, id=rewrite.id + PROBE, rewritten=text, extras=extras))
    return sorted(probes, key=lambda r: r.id)


def corrupt(truth: GroundTruth, rewrite: Rewrite, rng: Random) -> tuple[str, str] | None:
    """Return a corrupted copy of a clean rewrite's text and the kind of corruption; None where none fits.

    Kinds: ``answer_changed`` (another answer of the same category), ``object_swapped`` (a named object becomes one that
    is not there), ``object_inserted`` (a sentence naming an absent object, as a paragraph of its own).
    """
    images = [i.path for i in rewrite.images]
    if not truth.knows(images):
        return None
    text = rewrite.rewritten
    absent = sorted({(c, s) for c in COLORS for s in SHAPES} - truth.pairs(images) - set(mentions(rewrite.instruction)))
    new = rng.choice(absent)
    kinds = ["answer_changed"] if rewrite.task is Task.VQA else ["object_swapped", "object_inserted"]
    kind = rng.choice(kinds)
    if kind == "answer_changed":
        changed = _change_answer(rewrite, rng)
    elif kind == "object_swapped":
        matches = list(MENTION.finditer(text))
        if not matches:
            return None
        match = rng.choice(matches)
        changed = f"{text[: match.start()]}{' '.join(new)}{text[match.end() :]}"
    else:
        position = rng.choice(POSITIONS)
        changed = f"{text}\n\nIn addition, there is {article('small ' + ' '.join(new))} in the {position}."
    judged = truth.judge_rewrite(rewrite, changed)
    if changed == text or judged is None or not judged.corrupted:
        return None
    return changed, kind


def _change_answer(rewrite: Rewrite, rng: Random) -> str:
    text = rewrite.rewritten
    answer = bare_answer(str(rewrite.extras.get("short_answer", "")) or rewrite.raw_answer)
    if answer in ("yes", "no"):
        if answer == "yes":
            flipped = re.sub(r"\b[Yy]es\b", "No", text)
            return re.sub(r"\bthere (is|are)\b", r"there \1 not", flipped)
        flipped = re.sub(r"\b[Nn]o\b,?", "Yes,", text, count=1)
        flipped = re.sub(r"\bthere (is|are) (no|not)\b", r"there \1", flipped)
        return flipped.replace("I do not see", "I see")
    category = next((terms for terms in CATEGORIES.values() if answer in terms), None)
    if category is None:
        return text
    if answer.isdigit():
        spoken = NUMBERS[int(answer)] if int(answer) < len(NUMBERS) else answer
        other = rng.choice([n for n in NUMBERS[1:] if n != spoken])
        if answer == "0":
            return re.sub(r"\bno\b", other, text, count=1)
        return re.sub(rf"\b({spoken}|{answer})\b", other, text)
    other = rng.choice([term for term in category if term != answer])
    return re.sub(rf"\b{answer}\b", other, text)
