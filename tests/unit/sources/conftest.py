import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PILImage
from tests.unit.cases import case

from polite_flamingo.records import Reject, Sample
from polite_flamingo.sources import load_source


class Root:
    """A data root under construction."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def case(self, *values: object) -> Iterator[None]:
        """An empty data root for one case of a table, which a failure names."""
        for path in self.path.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        with case(*values):
            yield

    def json(self, name: str, value: Any) -> None:
        self.text(name, json.dumps(value))

    def lines(self, name: str, *rows: Any) -> None:
        self.text(name, "".join(json.dumps(row) + "\n" for row in rows))

    def text(self, name: str, text: str) -> None:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def image(self, name: str, size: tuple[int, int] = (8, 8)) -> Path:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        PILImage.new("RGB", size, "red").save(file)
        return file

    def read(self, name: str, folder: str, split: str, **options: Any) -> tuple[list[Sample], list[Reject]]:
        items = list(load_source(name).read(self.path, folder, split, seed=1, **options))
        return [i for i in items if isinstance(i, Sample)], [i for i in items if isinstance(i, Reject)]


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path)


@pytest.fixture
def coco_files(root: Root) -> Callable[..., None]:
    """Writes COCO captions and instances of train2014 with one image, 100 x 50 pixels, id 7."""

    def write(captions: Any = None, instances: Any = None, image: Any = None) -> None:
        listed = {"id": 7, "file_name": "COCO_train2014_000000000007.jpg", "width": 100, "height": 50, **(image or {})}
        captions = [{"id": 1, "image_id": 7, "caption": " A  cat.\n"}] if captions is None else captions
        instances = [_box(bbox=[10, 10, 30, 20])] if instances is None else instances
        root.json("coco/annotations/captions_train2014.json", {"images": [listed], "annotations": captions})
        categories = [{"id": 17, "name": "cat"}, {"id": 90, "name": "toothbrush"}]
        root.json(
            "coco/annotations/instances_train2014.json",
            {"images": [listed], "annotations": instances, "categories": categories},
        )

    return write


def _box(**values: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": 7, "category_id": 17, "iscrowd": 0, "bbox": [0, 0, 1, 1], **values}


@pytest.fixture
def box() -> Callable[..., dict[str, Any]]:
    return _box
