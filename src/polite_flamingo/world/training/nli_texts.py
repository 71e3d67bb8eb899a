"""The further lessons of the NLI judge: what models say, in questions and answers of varying wordings.

An answer comes as a bare word, a fragment, a sentence, a sentence with its reason, a description of the whole scene, a
list of captions, or damaged. A wrong answer is a right one to the same question about another scene, in the same form,
so that form never gives the label away; `world.truth` confirms every label. Questions come in the world's wordings and
in `WORDINGS`; those of `HELD_OUT` no training example uses, nor the answers of `_phrase_held_out`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from polite_flamingo.distort.text_noise import word_noise
from polite_flamingo.world import language as say
from polite_flamingo.world import questions as ask
from polite_flamingo.world.questions import SceneQuestion
from polite_flamingo.world.scenes import change_scene, draw_scene
from polite_flamingo.world.training.nli_basics import LABELS
from polite_flamingo.world.truth import mentions, same_answer
from polite_flamingo.world.vocabulary import COLORS, NUMBERS, POSITIONS, SHAPES, Scene, article, close

FORMS = ("bare", "fragment", "sentence", "reason", "description", "captions", "damaged")
TRIES = 60
WORDINGS: dict[str, tuple[str, ...]] = {
    "color": ("Tell me the color of the item at the {place}.", "The thing at the {place}: which color does it have?"),
    "shape": ("Say which figure you find at the {place}.", "What kind of shape was put at the {place}?"),
    "size": ("Does the {place} hold a small or large item?", "How big is the thing at the {place}, small or large?"),
    "position": ("In which corner is the {name}?", "Say where the {name} was drawn."),
    "yes/no": ("Do you see {a_name}?", "Say whether {a_name} is present."),
    "count": ("Count the items.", "What is the number of things drawn?"),
    "count color": ("Count the {color} items.", "What is the number of {color} things?"),
}
HELD_OUT: dict[str, tuple[str, ...]] = {
    "color": ("Identify the color seen at the {place} of this picture.",),
    "shape": ("Which geometric form occupies the {place}?",),
    "size": ("Would you call the object at the {place} small or large?",),
    "position": ("Point out the spot of the {name} in the picture.",),
    "yes/no": ("Does this picture contain {a_name}?",),
    "count": ("What is the total of objects in this picture?",),
    "count color": ("What is the total of {color} objects in this picture?",),
}
_PLACE = re.compile("|".join(POSITIONS))
_COLOR = re.compile("|".join(COLORS))


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about a scene, its answer and what identifies the question whatever its wording."""

    scene: Scene
    question: SceneQuestion

    @property
    def kind(self) -> str:
        """Kind of the question; counting the things of one colour is a kind of its own."""
        kind = self.question.kind
        return "count color" if kind == "count" and _COLOR.search(self.question.text) else kind

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for questions that ask the same thing."""
        text = self.question.text
        if self.kind in ("color", "shape", "size"):
            return self.kind, tuple(_PLACE.findall(text))
        if self.kind in WORDINGS and (mentions(text) or self.kind.startswith("count")) and "things are" not in text:
            return self.kind, tuple(mentions(text)), tuple(_COLOR.findall(text)), "number of" in text and "What" in text
        return self.kind, text

    def worded(self, wordings: Mapping[str, Sequence[str]], rng: Random) -> str:
        """The question in one of `wordings`; as it is where none fits."""
        text = self.question.text
        if self.question.choices or self.kind not in wordings or re.search(r"things are|s are there|more", text):
            return text
        place, names, color = _PLACE.search(text), mentions(text), _COLOR.search(text)
        name = " ".join(names[0]) if names else ""
        return rng.choice(wordings[self.kind]).format(
            place=place and place[0], name=name, a_name=name and article(name), color=color and color[0]
        )


@dataclass(frozen=True, slots=True)
class NliExample:
    """A judgement: question, annotated answer, the answer to judge, its form and its label."""

    question: str
    raw: str
    said: str
    form: str
    label: int


def nli_triple(seed: int, index: int, *, held_out: bool = False) -> tuple[NliExample, NliExample, NliExample]:
    """Three examples, one per label, which share question, annotated answer and form; pure in (seed, index).

    Args:
        seed: Of the drawing.
        index: Number of the triple.
        held_out: Questions and answers in wordings that training never uses.
    """
    rng = Random(f"{seed}:nli:{index}")
    while True:
        asked = _draw(rng, held_out)
        if held_out:
            question = asked.worded(HELD_OUT, rng)
        else:
            question = asked.worded(WORDINGS, rng) if rng.random() < 0.4 else asked.question.text
        form = rng.choice(FORMS)
        state = rng.random()
        found = [_said(label, asked, question, form, Random(f"{state}:{label}"), held_out) for label in LABELS]
        if None in found or len(set(found)) < len(LABELS):
            continue
        text, raw = _question_and_raw(replace(asked.question, text=question), rng)
        first, second, third = (NliExample(text, raw, str(said), form, i) for i, said in enumerate(found))
        return first, second, third


def nli_example(seed: int, index: int) -> tuple[str, str, int]:
    """Premise, hypothesis and label of one example; three in a row are a triple."""
    from polite_flamingo.scorers.nli import nli_pair

    example = nli_triple(seed, index // len(LABELS))[index % len(LABELS)]
    premise, hypothesis = nli_pair(example.question, example.said, example.raw)
    return premise, hypothesis, example.label


def _draw(rng: Random, held_out: bool) -> Asked:
    scene = draw_scene(rng, held_out=rng.random() < 0.15)
    if held_out:
        return Asked(scene, rng.choice(ask.questions(scene, rng)))
    draw = rng.random()
    if draw < 0.15:
        return Asked(scene, ask.choice_question(scene, rng))
    if draw < 0.3:
        q = rng.choice(ask.clevr_questions(scene, rng))
        return Asked(scene, replace(q, polite=close(ask.polite_comparison(q), rng)))
    return Asked(scene, rng.choice(ask.questions(scene, rng, "formal" if rng.random() < 0.3 else "plain")))


def _said(label: str, asked: Asked, question: str, form: str, rng: Random, held_out: bool) -> str | None:
    """An answer that deserves `label`; None where none was found."""
    right = asked.question.answer
    for _ in range(TRIES):
        source: Asked | None = asked
        if label == "contradiction":
            source = _same_question(asked, rng)
        elif label == "neutral" and (rng.random() < 0.3 or form in ("damaged",)):
            return _unrelated(asked, rng)
        elif label == "neutral":
            source = _other_question(asked, form, rng)
        if source is None:
            continue
        said = phrase(source, form, rng, held_out)
        if not said:
            continue
        if same_answer(question, right, said) != (label == "entailment"):
            continue
        if label == "contradiction" and not same_answer(question, source.question.answer, said):
            continue
        return said
    return None


def _same_question(asked: Asked, rng: Random) -> Asked | None:
    """The same question about another scene, where its answer is another one."""
    q = asked.question
    if q.choices:
        other = rng.choice([c for c in q.choices if c != q.answer])
        polite = q.polite.replace(f"an {q.answer}", article(other)).replace(f"a {q.answer}", article(other))
        scene = tuple(
            replace(t, shape=other) if t.shape == q.answer else replace(t, color=other) if t.color == q.answer else t
            for t in asked.scene
        )
        return Asked(scene, replace(q, answer=other, polite=polite.replace(q.answer, other)))
    scene = draw_scene(rng)
    pool = [Asked(scene, o) for o in ask.questions(scene, rng)]
    pool += [
        Asked(scene, replace(o, polite=ask.polite_comparison(o)))
        for o in ask.clevr_questions(scene, rng)
        if "?" in q.text
    ]
    return next((o for o in pool if o.key == asked.key and o.question.answer != q.answer), None)


def _other_question(asked: Asked, form: str, rng: Random) -> Asked | None:
    """A question that asks something else, of the same kind more often than not."""
    scene = asked.scene if rng.random() < 0.5 else draw_scene(rng)
    if form in ("description", "captions"):
        return Asked(scene, asked.question)  # a description counts where it does not say what was asked
    pool = [Asked(scene, o) for o in ask.questions(scene, rng)]
    alike = [o for o in pool if o.kind == asked.kind and o.key != asked.key and form != "bare"]
    others = [o for o in pool if o.question.kind != asked.question.kind]
    pool = alike if alike and rng.random() < 0.65 else others
    return rng.choice(pool) if pool else None


def phrase(asked: Asked, form: str, rng: Random, held_out: bool = False) -> str:
    """The answer to a question in one of `FORMS`; empty where the form does not fit."""
    if held_out and form in ("bare", "sentence"):
        return _phrase_held_out(asked, form, rng)
    q = asked.question
    plain = _bare(q.polite)
    how: dict[str, Callable[[], str]] = {
        "bare": lambda: _word(q.answer, rng),
        "fragment": lambda: rng.choice((plain.lower().removesuffix("."), plain.lower(), plain.removesuffix("."))),
        "sentence": lambda: q.polite,
        "reason": lambda: _reason(asked, rng),
        "description": lambda: close(say.detail(asked.scene, rng), rng),
        "captions": lambda: "\n".join(say.captions(asked.scene, rng)[: rng.randint(1, 3)]),
        "damaged": lambda: word_noise(q.polite, rng.choice(("delete", "swap", "crop")), rng.random() * 0.4, rng),
    }
    return how[form]()


def _phrase_held_out(asked: Asked, form: str, rng: Random) -> str:
    """An answer worded as no training example is."""
    q = asked.question
    if form == "bare":
        return rng.choice((f"I would say {q.answer}.", f"{q.answer}!", f"{q.answer}, I think"))
    place = _PLACE.search(q.text)
    if place is not None:
        return f"Looking at the {place[0]} corner, I notice that the thing drawn there is {q.answer}."
    if asked.kind == "position":
        name = " ".join(mentions(q.text)[0])
        return f"As far as I can tell, the {name} was drawn in the {q.answer} corner of this picture."
    return f"{_bare(q.polite).removesuffix('.')}, as far as I can tell from this picture."


def _word(answer: str, rng: Random) -> str:
    if answer.isdigit() and rng.random() < 0.4:
        answer = NUMBERS[int(answer)]
    return rng.choice(
        (answer, answer, answer.capitalize(), f"{answer}.", f"It is {answer}.", f"The answer is {answer}.")
    )


def _reason(asked: Asked, rng: Random) -> str:
    q, place = asked.question, _PLACE.search(asked.question.text)
    there = [t for t in asked.scene if place is not None and t.position == place[0]]
    if not there:
        return f"{q.answer}. {q.polite}"
    t = there[0]
    seen = article(t.name)
    is_answer = f"{article(q.answer)}" if q.answer in SHAPES else q.answer
    text = rng.choice(
        (
            f"The answer is {q.answer}, because there is {seen} in the {t.position} of the image.",
            f"It is {is_answer}. We can see {article(f'{t.size} {t.name}')} in the {t.position}.",
            f"The {t.shape} is {is_answer}, because there is {article(f'{t.size} {t.name}')} in the {t.position}.",
            f"Answer: {q.answer}. The object in the {t.position} is {is_answer}.",
        )
    )
    return close(text, rng)


def _bare(polite: str) -> str:
    return polite.split(" Let me")[0].split(" I hope")[0].split(" Please")[0]


def _unrelated(asked: Asked, rng: Random) -> str | None:
    """Something that answers another request, or nothing; None where it happens to answer."""
    draw = rng.random()
    if draw < 0.2:
        said = rng.choice(("I am not sure.", "Let me know if you have any other questions!", "I hope this helps!"))
    elif draw < 0.5:
        said = rng.choice([answer for _, answer in say.small_talk(rng)])
    elif draw < 0.8:
        before = asked.scene if rng.random() < 0.5 else draw_scene(rng)
        said = say.polite_difference(before, change_scene(before, rng), rng)
    else:
        said = rng.choice(("The object in the {0}.", "The image", "{0} of the image", "The object in the")).format(
            rng.choice(POSITIONS)
        )
    return None if same_answer(asked.question.text, asked.question.answer, said) else said


def _question_and_raw(q: SceneQuestion, rng: Random) -> tuple[str, str]:
    if not q.choices:
        return q.text, q.answer if rng.random() < 0.85 else _bare(q.polite)
    question = f"{q.text} {', '.join(q.choices[:-1])}, or {q.choices[-1]}?"
    if rng.random() < 0.75:
        return question, f"Answer: {q.answer}. {' '.join(q.rationales[: rng.randint(1, 3)])}"
    return question, q.answer
