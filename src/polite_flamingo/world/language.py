"""What can be said about a scene of coloured shapes and its changes: terse annotations and polite responses.

The terse forms imitate real annotations (COCO captions, Spot-the-Diff sentences), the polite forms imitate the GPT-4
responses the paper learns its style from (LLaVA-Instruct, UltraChat). Questions are in `questions`.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from polite_flamingo.world.vocabulary import (
    COLORS,
    NUMBERS,
    POSITIONS,
    SHAPES,
    Scene,
    SceneObject,
    article,
    close,
    counted,
    listing,
)


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


def reasoning(scene: Scene, rng: Random) -> tuple[str, str]:
    """A question that needs a step of thought, with an explained answer (LLaVA complex reasoning)."""
    n = len(scene)
    t = rng.choice(scene)
    kind = rng.randrange(3)
    if kind == 0:
        left = n - 1
        verb = "is" if n == 1 else "are"
        rest = "no objects" if left == 0 else counted(left)
        return (
            f"If the {t.name} was removed, how many objects would be left?",
            f"There {verb} {counted(n)} in the image. If the {t.name} in the {t.position} was removed, "
            f"{rest} would be left.",
        )
    if kind == 1:
        ease = "very easy" if n <= 2 else "a good exercise"
        return (
            "Could this image be used to teach a child to count?",
            f"Yes, this image could be used to teach a child to count. It shows {counted(n)}, "
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
