"""Scenes of coloured shapes: drawn by chance, laid out, rendered, changed."""

from __future__ import annotations

import math
from random import Random
from typing import Any

from polite_flamingo.world.vocabulary import COLORS, HELD_OUT, POSITIONS, SHAPES, SIZES, Scene, SceneObject

RGB = {
    "red": (214, 39, 40),
    "green": (44, 150, 44),
    "blue": (31, 90, 220),
    "yellow": (240, 215, 30),
    "purple": (130, 60, 170),
    "orange": (250, 130, 20),
}
OVERSAMPLING = 4
_PLAIN_PAIRS = [(c, s) for c in COLORS for s in SHAPES if (c, s) not in HELD_OUT]
Placement = tuple[float, float, float]  # centre x, centre y and radius of an object, pixels


def draw_scene(rng: Random, held_out: bool = False) -> Scene:
    """Draw 1 to 4 objects in distinct cells; held-out colour-shape pairs appear only, and always, with `held_out`."""
    positions = sorted(rng.sample(POSITIONS, rng.randint(1, 4)), key=POSITIONS.index)
    things = [SceneObject(*rng.choice(_PLAIN_PAIRS), rng.choice(SIZES), position) for position in positions]
    if held_out:
        index = rng.randrange(len(things))
        old = things[index]
        things[index] = SceneObject(*rng.choice(sorted(HELD_OUT)), old.size, old.position)
    return tuple(things)


def layout(scene: Scene, image_size: float, rng: Random) -> list[Placement]:
    """Centre x, centre y and radius of each object, in pixels of an image of `image_size` squared."""
    cell = image_size / 2
    placed = []
    for thing in scene:
        row, column = divmod(POSITIONS.index(thing.position), 2)
        radius = cell * (0.22 if thing.size == "small" else 0.40)
        slack = cell * 0.06
        placed.append(
            (
                (column + 0.5) * cell + rng.uniform(-slack, slack),
                (row + 0.5) * cell + rng.uniform(-slack, slack),
                radius,
            )
        )
    return placed


def draw_image(scene: Scene, placed: list[Placement], image_size: int, rng: Random) -> Any:
    """Render a scene with anti-aliased edges; returns a PIL image."""
    from PIL import Image, ImageDraw

    side = image_size * OVERSAMPLING
    shade = rng.randint(215, 250)
    image = Image.new("RGB", (side, side), (shade, shade, shade))
    pen = ImageDraw.Draw(image)
    for thing, (x, y, radius) in zip(scene, placed, strict=True):
        x, y, radius = x * OVERSAMPLING, y * OVERSAMPLING, radius * OVERSAMPLING
        color = RGB[thing.color]
        if thing.shape == "circle":
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
        elif thing.shape == "square":
            half = radius * 0.85
            pen.rectangle((x - half, y - half, x + half, y + half), fill=color)
        elif thing.shape == "triangle":
            pen.polygon([(x, y - radius), (x - radius, y + radius * 0.8), (x + radius, y + radius * 0.8)], fill=color)
        else:
            pen.polygon(_star(x, y, radius), fill=color)
    return image.resize((image_size, image_size), Image.Resampling.LANCZOS)


def _star(x: float, y: float, radius: float) -> list[tuple[float, float]]:
    reaches = [radius if corner % 2 == 0 else radius * 0.4 for corner in range(10)]
    return [
        (x + math.sin(corner * math.pi / 5) * reach, y - math.cos(corner * math.pi / 5) * reach)
        for corner, reach in enumerate(reaches)
    ]


def change_scene(scene: Scene, rng: Random) -> Scene:
    """Paint, remove or add one object."""
    things = {t.position: t for t in scene}
    actions = ["paint"] + (["remove"] if len(things) > 1 else []) + (["add"] if len(things) < 4 else [])
    action = rng.choice(actions)
    if action == "add":
        position = rng.choice([p for p in POSITIONS if p not in things])
        things[position] = SceneObject(*rng.choice(_PLAIN_PAIRS), rng.choice(SIZES), position)
    else:
        position = rng.choice(sorted(things))
        old = things.pop(position)
        if action == "paint":
            color = rng.choice([c for c in COLORS if c != old.color and (c, old.shape) not in HELD_OUT])
            things[position] = SceneObject(color, old.shape, old.size, position)
    return tuple(things[p] for p in POSITIONS if p in things)
