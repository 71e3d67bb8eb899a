"""What the reward model learns from: one answer in better and in worse manners.

The manners form a ladder (`RUNGS`), from a bare word to an explained and courteous answer; flaws (`FLAWS`) cost as much
as they annoy. Two answers differ by a margin, and the annotators imagined here agree the more the larger it is: the
better one is preferred with probability sigmoid(margin). Neighbours are compared, so that the model learns steps and
not extremes. Whether an answer is true is not the reward model's business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from random import Random

from polite_flamingo.distort.text_noise import CHAR_ACTIONS, char_noise, word_noise
from polite_flamingo.prompts.requests import CAPTION, CHANGE
from polite_flamingo.prompts.templates import BOX_SENTENCE
from polite_flamingo.world import language as say
from polite_flamingo.world import questions as ask
from polite_flamingo.world.questions import SceneQuestion
from polite_flamingo.world.render import DETAIL
from polite_flamingo.world.scenes import change_scene, draw_scene
from polite_flamingo.world.vocabulary import NUMBERS, SHAPES, Scene, article, close, listing

RUNGS = ("word", "fragment", "lower case", "sentence", "explained", "courteous")  # a step is worth one
FLAWS: dict[str, float] = {  # what each takes off
    "no capital": 0.5,
    "no full stop": 0.5,
    "repeated": 1.0,
    "truncated": 1.5,
    "swapped words": 1.5,
    "misspelt": 1.5,
    "coordinates": 2.0,
    "off topic": 2.5,
}
TOGETHER = 4  # answers to one instruction that are compared with each other


@dataclass(frozen=True, slots=True)
class Preference:
    """Two answers to one instruction and by how much the first one is better."""

    instruction: str
    better: str
    worse: str
    margin: float


def ladder(seed: int, index: int) -> tuple[str, dict[str, str]]:
    """An instruction and its answer at every rung that there is of it; pure in (seed, index)."""
    return _ladder(Random(f"{seed}:ladder:{index}"))


def manners(seed: int, index: int) -> tuple[str, list[tuple[str, float]]]:
    """An instruction and `TOGETHER` answers with their worth, for training; pure in (seed, index).

    Beside an answer of some rung there are the same with a flaw, one of a neighbouring rung, and any other.
    """
    rng = Random(f"{seed}:reward:{index}")
    while True:
        instruction, answers = _ladder(rng)
        if "explained" in answers and rng.random() < 0.4:  # courtesy without an explanation is worth as much
            answers["explained"] = close(answers["sentence"], rng, always=True)
        rungs = list(answers)
        place = rng.randrange(len(rungs))
        neighbour = place + 1 if place == 0 or (place + 1 < len(rungs) and rng.random() < 0.5) else place - 1
        first, near, other = rungs[place], rungs[neighbour], rng.choice(rungs)
        drawn = [
            (answers[first], float(RUNGS.index(first))),
            _flawed(answers[first], RUNGS.index(first), rng),
            (answers[near], float(RUNGS.index(near))),
            _flawed(answers[other], RUNGS.index(other), rng),
        ]
        if len({text for text, _ in drawn}) == TOGETHER and all(text.strip() for text, _ in drawn):
            return instruction, drawn


def preference(seed: int, index: int) -> Preference:
    """The best and the worst but one of `manners`; pure in (seed, index)."""
    instruction, drawn = manners(seed, index)
    (better, most), *_, (worse, less), _ = sorted(drawn, key=lambda answer: -answer[1])
    return Preference(instruction, better, worse, most - less)


def flaw(text: str, name: str, rng: Random) -> str:
    """`text` with one of `FLAWS`; unchanged where it has no place for it."""
    words = text.split(" ")
    how: dict[str, Callable[[], str]] = {
        "no capital": lambda: text[0].lower() + text[1:],
        "no full stop": lambda: text.rstrip(".!"),
        "repeated": lambda: f"{text} {text}" if rng.random() < 0.5 else f"{text}{f' {words[-1]}' * rng.randint(2, 5)}",
        "truncated": lambda: " ".join(words[: max(1, int(len(words) * rng.uniform(0.4, 0.85)))]).rstrip(".!"),
        "swapped words": lambda: word_noise(text, rng.choice(("swap", "delete")), rng.uniform(0.2, 0.6), rng),
        "misspelt": lambda: char_noise(
            text, rng.choice(CHAR_ACTIONS), rng.uniform(0.1, 0.5), rng.uniform(0.2, 0.7), rng
        ),
        "coordinates": lambda: f"{text}\n{_coordinates(rng)}",
        "off topic": lambda: _elsewhere(text, rng),
    }
    return how[name]()


def _flawed(text: str, worth: float, rng: Random) -> tuple[str, float]:
    name = "off topic" if rng.random() < 0.15 else rng.choice(list(FLAWS))
    changed = flaw(text, name, rng)
    if changed == text or (name in ("truncated", "swapped words", "misspelt") and len(text.split()) < 3):
        return text, worth
    return changed, worth - FLAWS[name]


def _ladder(rng: Random) -> tuple[str, dict[str, str]]:
    scene = draw_scene(rng, held_out=rng.random() < 0.15)
    draw = rng.random()
    if draw < 0.15:
        return _of_caption(scene, rng)
    if draw < 0.25:
        return _of_change(scene, rng)
    if draw < 0.4:
        return _of_dialogue(scene, rng)
    form = "formal" if rng.random() < 0.25 else "plain"
    q = ask.choice_question(scene, rng) if rng.random() < 0.2 else rng.choice(ask.questions(scene, rng, form))
    return q.text, _of_question(scene, q, rng)


def _of_question(scene: Scene, q: SceneQuestion, rng: Random) -> dict[str, str]:
    sentence = _bare(q.polite)
    if q.choices:
        sentence = sentence.split(". We")[0].split(", because")[0].rstrip(".") + "."
    n = len(scene)
    named = listing([article(f"{t.size} {t.name}") for t in scene])
    explained = rng.choice(
        (
            f"{sentence} The image shows {named}.",
            f"{sentence} It is a drawing with {NUMBERS[n]} {'shape' if n == 1 else 'shapes'} on a plain background.",
            f"{sentence} We can also see {article(rng.choice(scene).name)} in the image.",
        )
    )
    if q.choices:
        explained = _bare(q.polite)
    return _rungs(rng.choice((q.answer, q.answer, f"Answer: {q.answer}")), _fragment(q, rng), sentence, explained, rng)


def _fragment(q: SceneQuestion, rng: Random) -> str:
    a = q.answer
    if a.isdigit():
        return f"{NUMBERS[int(a)]} {rng.choice(('object', 'item', 'shape')) + ('' if a == '1' else 's')}"
    if a == "yes":
        return rng.choice(("yes, it is there", "yes, in the image"))
    if a == "no":
        return rng.choice(("no, not there", "no such shape"))
    if q.kind == "position":
        return f"in the {a}"
    if a in SHAPES:
        return rng.choice((article(a), f"{article(a)} there"))
    return rng.choice((f"{a} object", f"{article(a)} one", f"it's {a}"))


def _of_caption(scene: Scene, rng: Random) -> tuple[str, dict[str, str]]:
    named = [t.name for t in scene]
    rng.shuffle(named)
    short = listing([article(t.name) for t in scene])
    sentence = rng.choice(
        (f"There {'is' if len(scene) == 1 else 'are'} {short} in the image.", f"The image shows {short}.")
    )
    several = say.captions(scene, rng)
    fragment = rng.choice(
        (
            listing([article(f"{t.size} {t.name}") for t in scene]),
            f"picture with {short}",
            several[0],
            "\n".join(rng.sample(several, rng.randint(2, 3))),  # of several annotators, one below the other
            "\n".join(several),
        )
    )
    instruction = rng.choice((*CAPTION, *DETAIL))
    return instruction, _rungs(", ".join(named), fragment, sentence, say.detail(scene, rng), rng)


def _of_change(scene: Scene, rng: Random) -> tuple[str, dict[str, str]]:
    after = change_scene(scene, rng)
    terse = say.difference(scene, after)
    sentence = _bare(say.polite_difference(scene, after, rng))
    word = " ".join(w for w in terse[0].split() if w not in ("the", "a", "an", "is", "was", "in"))
    explained = f"{sentence} {rng.choice(('The rest of the image', 'Everything else'))} stays the same."
    return rng.choice(CHANGE), _rungs(
        word, terse[0].replace(" is ", " ").replace(" was ", " "), sentence, explained, rng
    )


def _of_dialogue(scene: Scene, rng: Random) -> tuple[str, dict[str, str]]:
    instruction, answer = rng.choice((say.reasoning(scene, rng), ask.comparison(scene, rng), *say.small_talk(rng)))
    words = answer.lower().replace(",", "").replace(".", "").split()
    start = rng.randrange(max(1, len(words) - 4))
    answers = _rungs(words[-1], " ".join(words[start : start + 3]), _bare(answer), "", rng)
    return instruction, {rung: text for rung, text in answers.items() if rung != "explained"}


def _rungs(word: str, fragment: str, sentence: str, explained: str, rng: Random) -> dict[str, str]:
    courteous = close(explained or sentence, rng, always=True)
    texts = (word, fragment, sentence.lower().rstrip(".!"), sentence, explained, courteous)
    return dict(zip(RUNGS, texts, strict=True))


def _bare(polite: str) -> str:
    return polite.split(" Let me")[0].split(" I hope")[0].split(" Please")[0]


def _coordinates(rng: Random) -> str:
    scene = draw_scene(rng)
    boxes = "\n".join(f"{t.name}: {[round(rng.random(), 3) for _ in range(4)]}" for t in scene[: rng.randint(1, 4)])
    return boxes if rng.random() < 0.4 else f"\n{BOX_SENTENCE}" + (f"\n{boxes}" if rng.random() < 0.7 else "")


def _elsewhere(text: str, rng: Random) -> str:
    """An answer to something else, in much the same manners as `text` (which decides length and ending alone)."""
    other = draw_scene(rng)
    kind = rng.randrange(4)
    if len(text.split()) < 4:
        return rng.choice([word for word in (*SHAPES, "purple", "two", "yes", "top left") if word not in text])
    if kind == 0:
        return rng.choice([answer for _, answer in say.small_talk(rng)])
    if kind == 1:
        return say.detail(other, rng)
    if kind == 2:
        return _bare(say.polite_difference(other, change_scene(other, rng), rng))
    return rng.choice(ask.questions(other, rng)).polite


def rung_steps(answers: Mapping[str, str]) -> list[tuple[str, str]]:
    """Neighbouring rungs among those that `answers` has."""
    present = [rung for rung in RUNGS if rung in answers]
    return list(pairwise(present))
