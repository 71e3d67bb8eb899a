"""Shared storage: everything by content, once, and never old bytes for new ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from polite_flamingo.errors import StorageError
from polite_flamingo.jobs.shared import ImageCache, Shared


@pytest.fixture(params=["file", "memory"])
def shared(request, tmp_path: Path) -> Shared:
    return Shared(f"file://{tmp_path}/store" if request.param == "file" else f"memory://{tmp_path.name}")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "flamingo"
    (folder / "vision").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "vision" / "weights").write_bytes(b"123")
    return folder


def test_a_folder_arrives_with_its_name_and_content(shared, model, tmp_path):
    name = shared.publish_folder(model)
    fetched = shared.fetch_folder(name, tmp_path / "cache")
    assert fetched.name == "flamingo"
    assert {p.relative_to(fetched).as_posix(): p.read_bytes() for p in fetched.rglob("*") if p.is_file()} == {
        "config.json": b"{}",
        "vision/weights": b"123",
    }
    assert shared.fetch_folder(name, tmp_path / "cache") == fetched
    assert not list(fetched.parent.glob(".fetching-*"))


def test_other_content_is_another_folder(shared, model):
    name = shared.publish_folder(model)
    (model / "config.json").write_text("{ }")
    assert shared.publish_folder(model) != name


def test_a_folder_that_was_published_halfway_is_published_again(tmp_path, model):
    shared = Shared(f"file://{tmp_path}/store")
    name = shared.publish_folder(model)
    (tmp_path / "store" / name / ".complete").unlink()
    (tmp_path / "store" / name / "config.json").unlink()
    shared.publish_folder(model)
    assert (shared.fetch_folder(name, tmp_path / "cache") / "config.json").read_text() == "{}"


def test_a_folder_nobody_published_is_a_clear_error(shared, tmp_path):
    with pytest.raises((StorageError, FileNotFoundError)):
        shared.fetch_folder("models/x/flamingo", tmp_path / "cache")
    assert not (tmp_path / "cache" / "models" / "x" / "flamingo").exists()


def test_a_copy_that_a_disk_has_damaged_is_taken_again(shared, model, tmp_path):
    name = shared.publish_folder(model)
    fetched = shared.fetch_folder(name, tmp_path / "cache")
    (fetched / "vision" / "weights").write_bytes(b"133")
    assert (shared.fetch_folder(name, tmp_path / "cache") / "vision" / "weights").read_bytes() == b"123"
    assert (fetched.with_name("flamingo.damaged") / "vision" / "weights").read_bytes() == b"133"


def test_what_is_damaged_on_the_storage_is_refused_and_published_again(tmp_path, model):
    shared = Shared(f"file://{tmp_path}/store")
    name = shared.publish_folder(model)
    (tmp_path / "store" / name / "vision" / "weights").write_bytes(b"133")
    with pytest.raises(StorageError, match="not as it was published"):
        shared.fetch_folder(name, tmp_path / "cache")
    shared.publish_folder(model)
    assert (shared.fetch_folder(name, tmp_path / "cache") / "vision" / "weights").read_bytes() == b"123"

    (tmp_path / "1.png").write_bytes(b"one")
    image = shared.publish_images(tmp_path, ["1.png"])["1.png"]
    (tmp_path / "store" / image).write_bytes(b"onf")
    with pytest.raises(StorageError, match="not as it was published"):
        shared.fetch_image(image, tmp_path / "fetched.png")
    assert not (tmp_path / "fetched.png").exists()
    assert not (tmp_path / "store" / image).exists()


def test_images_arrive_and_a_changed_one_arrives_changed(shared, tmp_path):
    root = tmp_path / "images"
    (root / "a").mkdir(parents=True)
    (root / "a" / "1.png").write_bytes(b"one")
    (root / "2.png").write_bytes(b"two")
    cache = ImageCache(shared)
    cache.fetch(shared.publish_images(root, ["a/1.png", "2.png"]))
    assert (cache.root / "a" / "1.png").read_bytes() == b"one"
    changed = tmp_path / "changed"
    changed.mkdir()
    (changed / "2.png").write_bytes(b"three")
    cache.fetch(shared.publish_images(changed, ["2.png"]))
    assert (cache.root / "2.png").read_bytes() == b"three"
    cache.close()
    assert not cache.root.exists()


def test_a_worker_keeps_a_bounded_number_of_images(shared, tmp_path):
    for index in range(6):
        (tmp_path / f"{index}.png").write_bytes(bytes([index]))
    cache = ImageCache(shared, keep=2)
    for index in range(6):
        cache.fetch(shared.publish_images(tmp_path, [f"{index}.png"]))
    assert sorted(p.name for p in cache.root.iterdir()) == ["4.png", "5.png"]
    cache.close()


def test_an_unknown_scheme_names_the_url():
    with pytest.raises(StorageError, match="nosuch://"):
        Shared("nosuch://bucket").publish_images(Path(__file__).parent, ["conftest.py"])
