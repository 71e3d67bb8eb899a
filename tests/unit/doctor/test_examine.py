from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage
from tests.unit.cases import case

from polite_flamingo.doctor.examine import ImageFacts, examine
from polite_flamingo.doctor.findings import BAD, judge


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return (tmp_path / "data").resolve()


def kinds(root, name, **options):
    return {finding.kind for finding in judge(examine(root, name), **options)}


def test_a_sound_picture_has_no_finding(root, save, picture):
    save("a.jpg", picture(1))
    found = examine(root, "a.jpg")
    assert not judge(found)
    assert (found.format, found.mode, found.width, found.height) == ("JPEG", "RGB", 96, 64)
    assert found.phash is not None


def test_a_cut_file_is_truncated_or_broken(root, save, picture, encoded) -> None:
    for kind in ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"]:
        with case(kind):
            data = encoded(picture(1), kind)
            save(f"a.{kind.lower()}", data[: len(data) // 2])
            assert kinds(root, f"a.{kind.lower()}") <= {"truncated", "broken", "not_an_image"}
            assert kinds(root, f"a.{kind.lower()}")


def test_a_cut_jpeg_is_named_truncated(root, save, picture, encoded):
    save("a.jpg", encoded(picture(1), "JPEG")[:-200])
    assert kinds(root, "a.jpg") == {"truncated"}


def test_an_empty_file_is_empty(root, save):
    save("a.jpg", b"")
    assert kinds(root, "a.jpg") == {"empty"}


def test_a_web_page_in_the_place_of_a_picture_is_not_an_image(root, save):
    save("a.jpg", b"<html>404 Not Found</html>")
    found = examine(root, "a.jpg")
    assert found.problem == "not_an_image"
    assert str(root) not in found.detail


def test_a_png_named_jpg_has_the_wrong_extension(root, save, picture, encoded):
    save("a.jpg", encoded(picture(1), "PNG"))
    assert kinds(root, "a.jpg") == {"wrong_extension"}


def test_an_animation_is_animated(root, save, picture):
    save("a.gif", picture(1), save_all=True, append_images=[picture(2)])
    assert "animated" in kinds(root, "a.gif")


def test_a_photograph_with_a_preview_is_no_animation(root, save, picture, encoded):
    save("a.jpg", encoded(picture(1), "MPO", save_all=True, append_images=[picture(2)]))
    assert examine(root, "a.jpg").format == "MPO"
    assert not kinds(root, "a.jpg")


def test_cmyk_is_named(root, save, picture):
    save("a.jpg", picture(1).convert("CMYK"))
    assert kinds(root, "a.jpg") == {"cmyk"}


def test_a_palette_is_named(root, save, picture):
    save("a.png", picture(1).convert("P"))
    assert kinds(root, "a.png") == {"palette"}


def test_sixteen_bit_grey_is_named(root, save, picture):
    save("a.png", PILImage.fromarray(np.asarray(picture(1).convert("L")).astype(np.uint16) * 257))
    assert kinds(root, "a.png") == {"16bit"}


def test_numbers_for_pixels_are_refused_as_everywhere(root, save):
    save("a.tif", PILImage.fromarray(np.ones((64, 64), np.float32)))
    assert kinds(root, "a.tif") == {"numbers"}


def test_sixteen_bit_colour_is_named_though_pillow_calls_it_rgb(root, save):
    save("a.png", _sixteen_bit_colour_png())
    found = examine(root, "a.png")
    assert found.mode == "RGB"
    assert "16bit" in kinds(root, "a.png")


def test_an_exif_rotation_is_named_and_does_not_hide_a_copy(root, save, picture):
    exif = PILImage.Exif()
    exif[0x0112] = 6
    save("upright.png", picture(1))
    save("turned.jpg", picture(1).transpose(PILImage.Transpose.ROTATE_90), exif=exif, quality=95)
    assert kinds(root, "turned.jpg") == {"exif_rotated"}
    one, other = (int(examine(root, name).phash, 16) for name in ("upright.png", "turned.jpg"))
    assert (one ^ other).bit_count() <= 4


def test_a_decompression_bomb_is_enormous_and_not_decoded(root, save, monkeypatch):
    save("a.png", PILImage.new("1", (15_000, 14_000)))
    decoded = []
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: decoded.append(self))
    assert kinds(root, "a.png") == {"enormous"}
    assert not decoded


def test_a_huge_file_is_enormous_and_not_read(root, save, monkeypatch, picture):
    save("a.png", picture(1))
    monkeypatch.setattr("polite_flamingo.doctor.examine.MAX_IMAGE_BYTES", 10)
    found = examine(root, "a.png")
    assert (found.problem, found.sha256) == ("enormous", None)


def test_a_short_side_is_tiny_below_the_limit_only(root, save, picture):
    save("a.png", picture(1, (96, 15)))
    assert kinds(root, "a.png") == {"tiny"}
    assert not kinds(root, "a.png", min_side=15)


def test_a_link_out_of_the_root_is_outside(root, save, picture, tmp_path):
    picture(1).save(tmp_path / "secret.png")
    (root / "a.png").symlink_to(tmp_path / "secret.png")
    found = examine(root, "a.png")
    assert (found.problem, found.sha256) == ("outside", None)


def test_a_file_that_vanished_is_missing(root):
    assert kinds(root, "a.png") == {"missing"}


def test_a_decoder_that_throws_anything_is_a_broken_picture(root, save, picture, monkeypatch):
    save("a.png", picture(1))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: 1 / 0)
    assert kinds(root, "a.png") == {"broken"}


def test_what_was_examined_survives_a_row(root, save, picture):
    save("a.png", picture(1))
    found = examine(root, "a.png")
    assert ImageFacts.from_row(found.to_row()) == found


def test_a_row_of_another_form_is_not_taken_for_a_result() -> None:
    for change in [{"version": 0}, {"more": 1}]:
        with case(change):
            assert ImageFacts.from_row({**ImageFacts("a.png").to_row(), **change}) is None


def test_what_the_pipeline_cannot_open_is_always_bad(root, save, picture, encoded):
    from polite_flamingo.errors import ImageError
    from polite_flamingo.images import open_image

    jpeg, png = encoded(picture(1), "JPEG"), encoded(picture(1), "PNG")
    files = {"sound.jpg": jpeg, "cut.jpg": jpeg[:-300], "wrong.png": jpeg, "cut.png": png[:500], "page.gif": b"<html>"}
    files |= {"empty.webp": b"", "flipped.png": png[:60] + bytes([png[60] ^ 255]) + png[61:], "named.JPEG": jpeg}
    for name, data in files.items():
        save(name, data)
        bad = bool(kinds(root, name) & BAD.keys())
        try:
            open_image(root, name)
        except ImageError:
            assert bad, name
        else:
            assert not bad, name


def _sixteen_bit_colour_png() -> bytes:
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    side = 20
    rows = b"".join(
        b"\0" + struct.pack(f">{3 * side}H", *(row * 3000 % 65536 for _ in range(3 * side))) for row in range(side)
    )
    header = struct.pack(">IIBBBBB", side, side, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
