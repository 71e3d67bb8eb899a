import math

import pytest
from tests.unit.cases import case

from polite_flamingo.errors import DataError, ImageError
from polite_flamingo.images import open_image
from polite_flamingo.records import Image
from polite_flamingo.sources.forms import regions
from polite_flamingo.sources.forms.regions import (
    COLOURS,
    RGB,
    Mark,
    derived_from,
    draw_colour,
    draw_region,
    need_writable,
)


def picture(root, size=(200, 100)) -> Image:
    root.image("demo/a.png", size)
    return Image("demo/a.png")


def drawn(root, kind, geometry, size=(200, 100), colour="green"):
    """Pixels of the mark's colour on the drawn image."""
    image = open_image(root.path, draw_region(root.path, picture(root, size), Mark(kind, colour, geometry)).path)
    assert image.size == size
    return {(x, y) for x in range(size[0]) for y in range(size[1]) if image.getpixel((x, y)) == RGB[colour]}


def test_a_box_is_drawn_around_the_region(root) -> None:
    pixels = drawn(root, "box", (20, 30, 120, 80))
    assert {(18, 28), (122, 82), (19, 50), (70, 29)} <= pixels
    assert all(not (20 <= x <= 120 and 30 <= y <= 80) for x, y in pixels)


def test_a_circle_surrounds_the_region(root) -> None:
    pixels = drawn(root, "circle", (80, 40, 120, 60))
    assert pixels
    assert all(not (80 <= x <= 120 and 40 <= y <= 60) for x, y in pixels)
    assert max(math.hypot((x - 100) / 20, (y - 50) / 10) for x, y in pixels) < 1.8


def test_a_region_beyond_the_image_is_drawn_along_its_edge(root) -> None:
    for kind in ["box", "circle"]:
        with root.case(kind):
            pixels = drawn(root, kind, (-50, -50, 500, 500))
            assert {x for x, _ in pixels} >= {0, 199}
            assert {y for _, y in pixels} >= {0, 99}


def test_an_arrow_points_at_its_tip_from_inside_the_image(root) -> None:
    for tip in [(0, 0), (199, 99), (100, 50), (30, 80)]:
        with root.case(tip):
            pixels = drawn(root, "arrow", tip)
            nearest = min(math.dist(tip, pixel) for pixel in pixels)
            farthest = max(pixels, key=lambda pixel: math.dist(tip, pixel))
            assert nearest < 2
            assert 20 < math.dist(tip, farthest) < 40
            assert 2 < farthest[0] < 197 and 2 < farthest[1] < 97


def test_tiny_and_narrow_images_are_drawn_on_too(root) -> None:
    for kind, geometry in [("box", (0, 0, 1, 1)), ("circle", (0, 0, 0.5, 0.2)), ("arrow", (0, 0))]:
        for size in [(2, 2), (5, 300), (1, 1)]:
            with root.case(size, kind, geometry):
                assert drawn(root, kind, geometry, size)


def test_the_same_source_and_mark_give_the_same_file_drawn_once(root, monkeypatch) -> None:
    source, mark = picture(root), Mark("box", "red", (1, 2, 50, 60))
    first = draw_region(root.path, source, mark)
    head, folder, name = first.path.split("/")
    assert (head, folder, len(name)) == ("derived", name[:2], 68)
    monkeypatch.setattr(regions, "open_image", lambda *_: pytest.fail("drawn again"))
    assert draw_region(root.path, source, mark) == first


def test_another_mark_or_another_content_gives_another_file(root) -> None:
    source = picture(root)
    marks = [
        Mark("box", "red", (1, 2, 50, 60)),
        Mark("circle", "red", (1, 2, 50, 60)),
        Mark("box", "blue", (1, 2, 50, 60)),
    ]
    paths = {draw_region(root.path, source, mark).path for mark in marks}
    paths.add(draw_region(root.path, picture(root, (210, 100)), marks[0]).path)
    assert len(paths) == 4


def test_a_drawn_image_says_where_it_came_from() -> None:
    made = derived_from(Image("derived/ab/ab.png"), Image("demo/a.png"), Mark("arrow", "pink", (3, 4)))
    mark = {"kind": "arrow", "colour": "pink", "geometry": [3, 4]}
    assert made == {"derived/ab/ab.png": {"image": "demo/a.png", "mark": mark}}


def test_marks_are_named_as_instructions_name_them() -> None:
    assert Mark("box", "green", (0, 0, 1, 1)).words == "green bounding box"
    assert Mark("circle", "red", (0, 0, 1, 1)).words == "red circle"
    assert Mark("arrow", "cyan", (0, 0)).words == "cyan arrow"


def test_the_colour_depends_on_seed_and_id_alone() -> None:
    colours = [draw_colour(1, f"a/train/{i}") for i in range(100)]
    assert colours == [draw_colour(1, f"a/train/{i}") for i in range(100)]
    assert set(colours) == set(COLOURS)


def test_a_mark_that_is_none_is_refused() -> None:
    for kind, colour, geometry in [
        ("box", "red", (5, 5, 5, 9)),
        ("box", "red", (5, 9, 8, 2)),
        ("circle", "red", (1, 2, 3)),
        ("arrow", "red", (1, math.nan)),
        ("arrow", "red", (1, 2, 3, 4)),
        ("box", "mauve", (0, 0, 1, 1)),
        ("star", "red", (0, 0, 1, 1)),
    ]:
        with case(kind, colour, geometry), pytest.raises(DataError):
            Mark(kind, colour, geometry)


def test_a_mark_outside_the_image_is_refused(root) -> None:
    for kind, geometry in [("box", (300, 0, 400, 9)), ("arrow", (10, 100)), ("arrow", (-1, 5))]:
        with root.case(kind, geometry), pytest.raises(DataError, match="outside the image"):
            draw_region(root.path, picture(root), Mark(kind, "red", geometry))


def test_a_missing_and_a_broken_source_are_image_errors(root) -> None:
    mark = Mark("arrow", "red", (1, 1))
    with pytest.raises(ImageError, match="missing"):
        draw_region(root.path, Image("demo/b.png"), mark)
    root.text("demo/c.png", "no image")
    with pytest.raises(ImageError, match="decoded"):
        draw_region(root.path, Image("demo/c.png"), mark)
    assert not (root.path / "derived").exists()


def test_a_data_root_that_cannot_be_written_is_a_clear_error(root, monkeypatch) -> None:
    source = picture(root)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Read-only file system")

    monkeypatch.setattr(regions, "write_atomic", refuse)
    with pytest.raises(DataError, match=r"cannot be written[\s\S]*Read-only[\s\S]*writable"):
        draw_region(root.path, source, Mark("arrow", "red", (1, 1)))
    with pytest.raises(DataError, match=r"cannot be written[\s\S]*Read-only[\s\S]*writable"):
        need_writable(root.path)


def test_a_writable_data_root_is_left_as_it_was(root) -> None:
    need_writable(root.path)
    assert [path for path in root.path.rglob("*") if path.is_file()] == []
