"""Messages and images as Parquet that the Hugging Face library opens with decoded images, and TRL trains on."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from polite_flamingo.export.images import image_bytes
from polite_flamingo.records import Sample
from polite_flamingo.sources.forms.conversations import ATTRIBUTES, attributes

ROLES = {"human": "user", "assistant": "assistant"}
GROUP_BYTES = 64 * 1024 * 1024  # of images and text, held until they become a row group
FILE_BYTES = 1024 * 1024 * 1024


class MessagesWriter:
    """Files ``data/pf1m-00000.parquet`` … of about a gigabyte; only one row group is held in memory.

    Args:
        folder: Folder of the export.
        root: Data root the images are read from.
        group_bytes: Size of a row group.
        file_bytes: Size after which the next file begins.
    """

    def __init__(self, folder: Path, root: Path, group_bytes: int = GROUP_BYTES, file_bytes: int = FILE_BYTES) -> None:
        self._folder = folder / "data"
        self._root = root
        self._limits = (group_bytes, file_bytes)
        self._rows: list[dict[str, Any]] = []
        self._held = 0
        self._written = 0
        self._file: Any = None
        self._count = 0

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def append(self, sample: Sample) -> None:
        """Write one sample with its images."""
        data = image_bytes(self._root, sample)
        messages = [
            {
                "role": ROLES[turn.role],
                "content": [
                    *({"type": "image", "text": None, "index": index} for index in turn.images),
                    {"type": "text", "text": turn.text, "index": None},
                ],
            }
            for turn in sample.turns
        ]
        images = [{"bytes": part, "path": image.path} for part, image in zip(data, sample.images, strict=True)]
        own = attributes(sample)
        plain = {  # for people, who see the columns in this order
            "id": sample.id,
            "images": images,
            "question": sample.instruction,
            "raw_answer": sample.extras.get("raw_answer"),
            "response": sample.response,
        }
        self._rows.append({**plain, "messages": messages, **own})
        self._held += sum(map(len, data)) + sum(len(turn.text) for turn in sample.turns) + len(own["details"])
        if self._held >= self._limits[0]:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = _schema()
        if self._file is None:
            path = self._folder / f"pf1m-{self._count:05d}.parquet"
            self._file = pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True)
            self._count += 1
        self._file.write_table(pa.Table.from_pylist(self._rows, schema=schema))
        self._written += self._held
        self._rows, self._held = [], 0
        if self._written >= self._limits[1]:
            self._file.close()
            self._file, self._written = None, 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and (self._rows or not self._count):  # a file even of no rows, so that it opens
            self._flush()
        if self._file is not None:
            self._file.close()
        for path in self._folder.glob("*.parquet") if kind is None else ():
            with open(path, "rb") as file:
                os.fsync(file.fileno())


def _schema() -> Any:
    import pyarrow as pa

    part = pa.struct([("type", pa.string()), ("text", pa.string()), ("index", pa.int64())])
    message = pa.struct([("role", pa.string()), ("content", pa.list_(part))])
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    plain = ("question", "raw_answer", "response")
    text = {name: {"dtype": "string", "_type": "Value"} for name in ("id", *plain, *ATTRIBUTES)}
    number = {"dtype": "int64", "_type": "Value"}
    content = [{"type": text["id"], "text": text["id"], "index": number}]
    features = {
        "id": text["id"],
        "images": {"feature": {"_type": "Image"}, "_type": "Sequence"},
        **{name: text[name] for name in plain},
        "messages": [{"role": text["id"], "content": content}],
        **{name: text[name] for name in ATTRIBUTES},
    }
    fields = [("id", pa.string()), ("images", pa.list_(image)), *((name, pa.string()) for name in plain)]
    fields += [("messages", pa.list_(message)), *((name, pa.string()) for name in ATTRIBUTES)]
    return pa.schema(fields).with_metadata({"huggingface": json.dumps({"info": {"features": features}})})
