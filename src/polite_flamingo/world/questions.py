"""Questions about a scene of coloured shapes, each with its terse and its polite answer.

The terse forms imitate real annotations (VQAv2 answers, A-OKVQA rationales, CLEVR), the polite forms imitate the GPT-4
responses the paper learns its style from (LLaVA-Instruct).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from polite_flamingo.world.vocabulary import (
    COLORS,
    HELD_OUT,
    NUMBERS,
    SHAPES,
    SIZES,
    Scene,
    SceneObject,
    article,
    close,
    counted,
    listing,
)


@dataclass(frozen=True, slots=True)
class SceneQuestion:
    """A question about a scene with its terse answer and a polite one."""

    kind: str
    text: str
    answer: str
    polite: str
    choices: tuple[str, ...] = ()
    rationales: tuple[str, ...] = ()


def questions(scene: Scene, rng: Random, form: str = "plain") -> list[SceneQuestion]:
    """Every question that can be asked about `scene`, in random order.

    Args:
        scene: The objects.
        rng: Draws wordings.
        form: ``plain`` or ``formal``, the out-of-domain wording.
    """
    pool = [_color_at(t, rng, form) for t in scene]
    pool += [_shape_at(t, rng, form) for t in scene]
    pool += [_size_at(t, rng, form) for t in scene]
    pool.append(_count(scene, rng, form))
    pool.append(_count_color(scene, rng.choice(COLORS), rng, form))
    pool.append(_count_color(scene, rng.choice(scene).color, rng, form))
    pool += [_where(t, rng, form) for t in scene if [o.pair for o in scene].count(t.pair) == 1]
    present = rng.choice(scene)
    pool.append(_exists(scene, present.pair, rng, form))
    absent = rng.choice([(c, s) for c in COLORS for s in SHAPES if (c, s) not in {t.pair for t in scene} | HELD_OUT])
    pool.append(_exists(scene, absent, rng, form))
    rng.shuffle(pool)
    return pool


def choice_question(scene: Scene, rng: Random) -> SceneQuestion:
    """A question with four choices and three rationales, as A-OKVQA has them."""
    t = rng.choice(scene)
    if rng.random() < 0.5:
        choices, answer, noun = list(SHAPES), t.shape, "shape"
        text = f"Which shape is in the {t.position}?"
    else:
        others = [c for c in COLORS if c != t.color]
        choices, answer, noun = [t.color, *rng.sample(others, 3)], t.color, "color"
        text = f"Which color is in the {t.position}?"
    rng.shuffle(choices)
    is_answer = article(answer) if noun == "shape" else answer
    rationales = (
        f"The object in the {t.position} is {is_answer}.",
        f"We can see {article(t.name)} in the {t.position}.",
        f"The {noun} is {answer}.",
    )
    polite = rng.choice(
        (
            f"The {noun} in the {t.position} of the image is {answer}. We can see {article(t.name)} there.",
            f"The answer is {answer}, because there is {article(t.name)} in the {t.position} of the image.",
        )
    )
    return SceneQuestion("choice", text, answer, close(polite, rng), tuple(choices), rationales)


def clevr_questions(scene: Scene, rng: Random) -> list[SceneQuestion]:
    """Counting and comparing questions as CLEVR words them; their answers stay terse."""
    size = rng.choice(SIZES)
    shape = rng.choice(SHAPES)
    other = rng.choice([s for s in SHAPES if s != shape])
    n_shape, n_other = (sum(t.shape == s for t in scene) for s in (shape, other))
    n_size = sum(t.size == size for t in scene)
    return [
        SceneQuestion("count", f"How many {size} things are there?", str(n_size), ""),
        SceneQuestion("count", f"What number of {shape}s are there?", str(n_shape), ""),
        SceneQuestion("yes/no", f"Are there more {shape}s than {other}s?", "yes" if n_shape > n_other else "no", ""),
    ]


def comparison(scene: Scene, rng: Random) -> tuple[str, str]:
    """A CLEVR-like question with a polite answer (part of the conversation data)."""
    q = rng.choice(clevr_questions(scene, rng))
    return q.text, close(polite_comparison(q), rng)


def polite_comparison(q: SceneQuestion) -> str:
    """Full answer to one of `clevr_questions`."""
    if q.kind == "yes/no":
        shape, other = q.text.removeprefix("Are there more ").removesuffix("?").split(" than ")
        if q.answer == "yes":
            return f"Yes, there are more {shape} than {other} in the image."
        return f"No, there are not more {shape} than {other} in the image."
    noun = q.text.removeprefix("How many ").removeprefix("What number of ").removesuffix(" are there?")
    n = int(q.answer)
    if n == 0:
        return f"There are no {noun} in the image."
    if n == 1:
        return f"There is one {noun.removesuffix('s')} in the image."
    return f"There are {NUMBERS[n]} {noun} in the image."


def _ask(
    kind: str, answer: str, form: str, formal: str, plain: Sequence[str], polite: Sequence[str], rng: Random
) -> SceneQuestion:
    """A question in one of its wordings and a polite answer in one of its own."""
    text = formal if form == "formal" else _draw(plain, rng)
    return SceneQuestion(kind, text, answer, close(_draw(polite, rng), rng))


def _draw(wordings: Sequence[str], rng: Random) -> str:
    return rng.choice(wordings) if len(wordings) > 1 else wordings[0]


def _color_at(t: SceneObject, rng: Random, form: str) -> SceneQuestion:
    formal = f"Name the color used for the item located at the {t.position}."
    plain = (
        f"What color is the object in the {t.position}?",
        f"What is the color of the shape in the {t.position}?",
        f"Which color is the {t.shape} in the {t.position}?",
    )
    polite = (
        f"The object in the {t.position} of the image is {t.color}.",
        f"The {t.shape} in the {t.position} is {t.color}.",
        f"In the {t.position} of the image, the {t.size} {t.shape} is {t.color}.",
    )
    return _ask("color", t.color, form, formal, plain, polite, rng)


def _shape_at(t: SceneObject, rng: Random, form: str) -> SceneQuestion:
    formal = f"Name the figure drawn at the {t.position}."
    plain = (f"What shape is in the {t.position}?", f"What is in the {t.position} of the image?")
    polite = (
        f"The shape in the {t.position} of the image is {article(t.shape)}.",
        f"There is {article(t.shape)} in the {t.position} of the image.",
        f"The object in the {t.position} is {article(t.shape)}, and its color is {t.color}.",
    )
    return _ask("shape", t.shape, form, formal, plain, polite, rng)


def _size_at(t: SceneObject, rng: Random, form: str) -> SceneQuestion:
    formal = f"State whether the item at the {t.position} is small or large."
    plain = [f"Is the object in the {t.position} small or large?"]
    polite = (
        f"The object in the {t.position} of the image is {t.size}.",
        f"The {t.shape} in the {t.position} is {t.size}.",
    )
    return _ask("size", t.size, form, formal, plain, polite, rng)


def _count(scene: Scene, rng: Random, form: str) -> SceneQuestion:
    n = len(scene)
    verb = "is" if n == 1 else "are"
    named = listing([article(t.name) for t in scene])
    plain = ("How many objects are there?", "How many shapes are in the image?")
    polite = (f"There {verb} {counted(n)} in the image.", f"There {verb} {counted(n)} in the image: {named}.")
    return _ask("count", str(n), form, "Give the number of items drawn.", plain, polite, rng)


def _count_color(scene: Scene, color: str, rng: Random, form: str) -> SceneQuestion:
    positions = [t.position for t in scene if t.color == color]
    n = len(positions)
    formal, plain = f"Give the number of {color} items drawn.", [f"How many {color} objects are there?"]
    if n == 0:
        polite = [f"There are no {color} objects in the image."]
    else:
        sentence = f"There {'is' if n == 1 else 'are'} {counted(n, color)} in the image"
        polite = [f"{sentence}.", f"{sentence}, {listing([f'in the {position}' for position in positions])}."]
    return _ask("count", str(n), form, formal, plain, polite, rng)


def _where(t: SceneObject, rng: Random, form: str) -> SceneQuestion:
    polite = (f"The {t.name} is in the {t.position} of the image.", f"You can find the {t.name} in the {t.position}.")
    formal = f"Give the location of the {t.name}."
    return _ask("position", t.position, form, formal, [f"Where is the {t.name}?"], polite, rng)


def _exists(scene: Scene, pair: tuple[str, str], rng: Random, form: str) -> SceneQuestion:
    name = " ".join(pair)
    formal, plain = f"State whether {article(name)} was drawn.", [f"Is there {article(name)} in the image?"]
    position = next((t.position for t in scene if t.pair == pair), None)
    if position is None:
        polite = (f"No, there is no {name} in the image.", f"No, I do not see {article(name)} in the image.")
        return _ask("yes/no", "no", form, formal, plain, polite, rng)
    polite = (
        f"Yes, there is {article(name)} in the image.",
        f"Yes, there is {article(name)} in the {position} of the image.",
    )
    return _ask("yes/no", "yes", form, formal, plain, polite, rng)
