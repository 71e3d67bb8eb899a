"""What can be said about a scene of coloured shapes: terse annotations and polite responses.

The terse forms imitate real annotations (COCO captions, VQAv2 answers, A-OKVQA rationales, Spot-the-Diff sentences),
the polite forms imitate the GPT-4 responses the paper learns its style from (LLaVA-Instruct, UltraChat).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

COLORS = ("red", "green", "blue", "yellow", "purple", "orange")
SHAPES = ("circle", "square", "triangle", "star")
SIZES = ("small", "large")
POSITIONS = ("top left", "top right", "bottom left", "bottom right")
NUMBERS = ("zero", "one", "two", "three", "four")

# Colour-shape pairs that appear in the out-of-domain scenes only.
HELD_OUT = frozenset({("purple", "star"), ("green", "square"), ("orange", "triangle"), ("yellow", "circle")})


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One object of a scene."""

    color: str
    shape: str
    size: str
    position: str

    @property
    def name(self) -> str:
        """Colour and shape, the category name in the COCO files."""
        return f"{self.color} {self.shape}"

    @property
    def pair(self) -> tuple[str, str]:
        """Colour and shape."""
        return self.color, self.shape


Scene = tuple[SceneObject, ...]


@dataclass(frozen=True, slots=True)
class SceneQuestion:
    """A question about a scene with its terse answer and a polite one."""

    kind: str
    text: str
    answer: str
    polite: str
    choices: tuple[str, ...] = ()
    rationales: tuple[str, ...] = ()


def article(words: str) -> str:
    """``a red circle``, ``an orange star``."""
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"


def listing(items: Sequence[str]) -> str:
    """``x``, ``x and y``, ``x, y, and z``."""
    if len(items) == 1:
        return items[0]
    if len(items) == 2:
        return f"{items[0]} and {items[1]}"
    return ", ".join(items[:-1]) + f", and {items[-1]}"


def _objects(count: int, color: str = "") -> str:
    noun = "object" if count == 1 else "objects"
    return f"{NUMBERS[count]} {color} {noun}".replace("  ", " ")


ENDINGS = (
    " Let me know if you have any other questions!",
    " I hope this helps!",
    " Please let me know if you would like to know more about the image.",
)


def close(text: str, rng: Random, *, always: bool = False) -> str:
    """`text` with a courteous ending, by default every other time."""
    return text + rng.choice(ENDINGS if always else ("", "", "", *ENDINGS))


def captions(scene: Scene, rng: Random) -> list[str]:
    """Three terse captions, each by another annotator."""
    full = [article(f"{t.size} {t.name}") for t in scene]
    short = [article(t.name) for t in scene]
    plain = [t.name for t in scene]
    rng.shuffle(plain)
    first = listing(full)
    third = rng.choice(
        [
            ", ".join(plain),
            f"{NUMBERS[len(scene)]} shapes" if len(scene) > 1 else "one shape",
            f"{short[0]} in the {scene[0].position}",
            f"picture with {listing(short)}",
        ]
    )
    return [
        first[0].upper() + first[1:] + ".",
        f"There {'is' if len(scene) == 1 else 'are'} {listing(short)}",
        third,
    ]


def detail(scene: Scene, rng: Random) -> str:
    """A detailed description in two paragraphs, as LLaVA-detailed-23k has them."""
    things = list(scene)
    placed = [f"{article(f'{t.size} {t.name}')} in the {t.position}" for t in things]
    opening = rng.choice(("The image features", "The image shows", "In the image, there is a drawing with"))
    shapes = "one shape" if len(things) == 1 else f"{NUMBERS[len(things)]} shapes"
    cut = (len(things) + 1) // 2
    verb = "is" if cut == 1 else "are"
    first = f"{opening} {shapes} on a plain background. There {verb} {listing(placed[:cut])}."
    rest = placed[cut:]
    if rest:
        lead = rng.choice(("In addition, there", "Additionally, there"))
        second = f"{lead} {'is' if len(rest) == 1 else 'are'} {listing(rest)}."
        largest = [t for t in things if t.size == "large"]
        if len(largest) == 1:
            second += f" The {largest[0].name} is the largest object in the scene."
    else:
        second = f"The rest of the image is empty, so the {things[0].name} is the main focus of the scene."
    return f"{first}\n\n{second}"


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
    polite = (f"There {verb} {_objects(n)} in the image.", f"There {verb} {_objects(n)} in the image: {named}.")
    return _ask("count", str(n), form, "Give the number of items drawn.", plain, polite, rng)


def _count_color(scene: Scene, color: str, rng: Random, form: str) -> SceneQuestion:
    positions = [t.position for t in scene if t.color == color]
    n = len(positions)
    formal, plain = f"Give the number of {color} items drawn.", [f"How many {color} objects are there?"]
    if n == 0:
        polite = [f"There are no {color} objects in the image."]
    else:
        sentence = f"There {'is' if n == 1 else 'are'} {_objects(n, color)} in the image"
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


def reasoning(scene: Scene, rng: Random) -> tuple[str, str]:
    """A question that needs a step of thought, with an explained answer (LLaVA complex reasoning)."""
    n = len(scene)
    t = rng.choice(scene)
    kind = rng.randrange(3)
    if kind == 0:
        left = n - 1
        verb = "is" if n == 1 else "are"
        rest = "no objects" if left == 0 else _objects(left)
        return (
            f"If the {t.name} was removed, how many objects would be left?",
            f"There {verb} {_objects(n)} in the image. If the {t.name} in the {t.position} was removed, "
            f"{rest} would be left.",
        )
    if kind == 1:
        ease = "very easy" if n <= 2 else "a good exercise"
        return (
            "Could this image be used to teach a child to count?",
            f"Yes, this image could be used to teach a child to count. It shows {_objects(n)}, "
            f"{listing([article(o.name) for o in scene])}, so counting them would be {ease}.",
        )
    return (
        "What could a teacher explain with this image?",
        f"A teacher could use this image to explain colors and shapes. For example, the {t.shape} in the {t.position} "
        f"is {t.color}, and the students could name {'it' if n == 1 else 'the other objects in the same way'}.",
    )


SIDES = {"circle": "no sides", "square": "four sides", "triangle": "three sides", "star": "five points"}
MIXES = {"purple": ("red", "blue"), "green": ("yellow", "blue"), "orange": ("red", "yellow")}


def small_talk(rng: Random) -> list[tuple[str, str]]:
    """A text-only dialogue of two rounds about shapes, colours and changes (UltraChat)."""
    mixed, (a, b) = rng.choice(list(MIXES.items()))
    shape = rng.choice(SHAPES)
    color, other = rng.sample(COLORS, 2)
    position = rng.choice(POSITIONS)
    name = f"{color} {shape}"
    pool = [
        (
            f"How many sides does {article(shape)} have?",
            f"{article(shape).capitalize()} has {SIDES[shape]}." + rng.choice(("", " It is easy to draw.")),
        ),
        (
            f"Which colors make {mixed}?",
            f"You can make {mixed} by mixing {a} and {b}. It is fun to try this with paint!",
        ),
        (
            f"Someone removed the {name} from a drawing. What changed?",
            f"The {name} is gone from the drawing, so it can no longer be seen.",
        ),
        (
            f"Someone painted the {name} {other}. What changed?",
            f"The {shape} is now {other} instead of {color}. The rest of the drawing stays the same.",
        ),
        (
            f"Someone added {article(name)} in the {position}. What changed?",
            f"{article(name).capitalize()} has been added in the {position} of the drawing.",
        ),
        (
            f"Can you give me an idea for a drawing with {article(name)}?",
            f"Sure! You could draw {article(f'large {name}')} in the {position} and leave the rest of the page empty. "
            "This makes it the main focus of the scene.",
        ),
    ]
    return [(q, close(r, rng)) for q, r in rng.sample(pool, 2)]


def difference(before: Scene, after: Scene) -> list[str]:
    """Terse sentences of what changed, as Spot-the-Diff has them: one per change."""
    sentences = []
    for position, old, new in _changes(before, after):
        if new is None and old is not None:
            sentences.append(f"the {old.name} is gone")
        elif old is None and new is not None:
            sentences.append(f"{article(new.name)} was added in the {position}")
        elif old is not None and new is not None:
            sentences.append(f"the {old.name} is now {new.color}")
    return sentences


def polite_difference(before: Scene, after: Scene, rng: Random) -> str:
    """The same changes in full sentences."""
    sentences = []
    for position, old, new in _changes(before, after):
        if new is None and old is not None:
            sentences.append(
                rng.choice((f"The {old.name} is gone from the image.", f"The {old.name} has been removed."))
            )
        elif old is None and new is not None:
            sentences.append(f"{article(new.name).capitalize()} has been added in the {position}.")
        elif old is not None and new is not None:
            sentences.append(f"The {old.shape} is now {new.color} instead of {old.color}.")
    return close(" ".join(sentences), rng)


def _changes(before: Scene, after: Scene) -> Iterator[tuple[str, SceneObject | None, SceneObject | None]]:
    """Position, object before and object after, where they differ."""
    old = {t.position: t for t in before}
    new = {t.position: t for t in after}
    for position in POSITIONS:
        if old.get(position) != new.get(position):
            yield position, old.get(position), new.get(position)
