"""The first lessons of the NLI judge: plain answers that are right, wrong or about something else.

They teach it to compare two answers at all; `nli_texts` has what it meets later.
"""

from __future__ import annotations

from random import Random

from polite_flamingo.world import language as say
from polite_flamingo.world import questions as ask
from polite_flamingo.world.questions import SceneQuestion
from polite_flamingo.world.scenes import draw_scene
from polite_flamingo.world.vocabulary import COLORS, NUMBERS, POSITIONS, SHAPES, SIZES, article

LABELS = ("contradiction", "entailment", "neutral")  # the order of cross-encoder/nli-deberta-v3-base


def basic_example(seed: int, index: int) -> tuple[str, str, int]:
    """Premise, hypothesis and label of one synthetic example; pure in (seed, index).

    Three examples in a row share question, raw answer and wording and differ in the label alone, so that nothing but
    the answer tells entailment from contradiction.
    """
    from polite_flamingo.scorers.nli import nli_pair

    rng = Random(f"{seed}:nli:{index // 3}")
    scene = draw_scene(rng, held_out=rng.random() < 0.15)
    questions = ask.questions(scene, rng, "formal" if rng.random() < 0.2 else "plain")
    q = ask.choice_question(scene, rng) if rng.random() < 0.2 else rng.choice(questions)
    text, raw = _question_and_raw(q, rng)
    label = index % len(LABELS)
    said = _response(q, rng)
    if label == LABELS.index("contradiction"):
        said = _contradict(said, q, rng)
    elif label == LABELS.index("neutral"):
        others = [o for o in questions if o.kind != q.kind and o.text != q.text]
        said = _response(rng.choice(others), rng) if others and rng.random() < 0.5 else _unrelated(rng)
    premise, hypothesis = nli_pair(text, said, raw)
    return premise, hypothesis, label


def _question_and_raw(q: SceneQuestion, rng: Random) -> tuple[str, str]:
    if not q.choices:
        return q.text, q.answer if rng.random() < 0.85 else q.polite
    question = f"{q.text} {', '.join(q.choices[:-1])}, or {q.choices[-1]}?"
    if rng.random() < 0.75:
        return question, f"Answer: {q.answer}. {' '.join(q.rationales[: rng.randint(1, 3)])}"
    return question, q.answer


def _response(q: SceneQuestion, rng: Random) -> str:
    draw = rng.random()
    if draw < 0.2:
        return q.answer
    if draw < 0.25:
        return NUMBERS[int(q.answer)] if q.answer.isdigit() else f"It is {q.answer}."
    if draw < 0.35:
        return q.polite.split(" Let me")[0].split(" I hope")[0].split(" Please")[0].lower()
    return q.polite


def _contradict(said: str, q: SceneQuestion, rng: Random) -> str:
    """`said`, a right answer to `q`, with its answer replaced by another of the same kind."""
    if q.answer in ("yes", "no"):
        return _flip(said)
    if q.answer.isdigit():
        right = int(q.answer)
        wrong = rng.choice([n for n in range(len(NUMBERS)) if n != right])
        if said == q.answer:
            return str(wrong)
        spoken = ("no", *NUMBERS[1:])
        changed = said.replace(f" {spoken[right]} ", f" {spoken[wrong]} ", 1)
        return changed if changed != said else said.replace(NUMBERS[right], NUMBERS[wrong])
    terms = next(t for t in (COLORS, SHAPES, SIZES, POSITIONS) if q.answer in t)
    other = rng.choice([t for t in terms if t != q.answer])
    changed = said.replace(f"an {q.answer}", article(other)).replace(f"a {q.answer}", article(other))
    return changed.replace(q.answer, other)


def _flip(said: str) -> str:
    if said in ("yes", "no"):
        return "no" if said == "yes" else "yes"
    if said.lower().startswith("yes"):
        changed = said.replace("Yes, ", "No, ").replace("yes, ", "no, ")
        changed = changed.replace("there is an ", "there is no ").replace("there is a ", "there is no ")
        return changed.replace("there are more", "there are not more")
    if said.lower().startswith("no"):
        changed = said.replace("No, ", "Yes, ").replace("no, ", "yes, ").replace("there is no ", "there is a ")
        changed = changed.replace("I do not see", "I see").replace("i do not see", "i see")
        return changed.replace("there are not more", "there are more")
    return said.replace(" yes.", " no!").replace(" no.", " yes.").replace(" no!", " no.")


def _unrelated(rng: Random) -> str:
    if rng.random() < 0.3:
        return rng.choice(("I am not sure.", "Let me know if you have any other questions!", "I hope this helps!"))
    return rng.choice([answer for _, answer in say.small_talk(rng)])
