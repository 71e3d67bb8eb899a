"""Tokenised samples on disk: tokenised once, memory-mapped by every stage, epoch and process that reads them.

An Arrow file named by the content hash of what decides it: the samples, the tokenizer and the code that joins both. In
memory stay a few bytes per sample (`Shapes`); tokens, masks and image paths are read from the file when an example is
decoded.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.errors import DataError
from polite_flamingo.io.chunks import chunked
from polite_flamingo.io.files import replacing, set_aside
from polite_flamingo.io.hashes import OTHER_BYTES, fingerprint, hash_file
from polite_flamingo.model.tokens import images_last
from polite_flamingo.train.data import IGNORED, Example

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

LOG = logging.getLogger(__name__)

CACHE = Path(".work/tokens")  # where token files lie unless said otherwise
ROWS = 1024  # samples per record batch
KEPT_FILES = 8  # token files that stay in a cache folder; the least recently used goes first
CODE = (
    Path(__file__),
    Path(__file__).with_name("dialogue.py"),
    *(Path(__file__).parents[1] / name for name in ("model/tokens.py", "prompts/templates.py")),
)


@dataclass(frozen=True, slots=True)
class Segment:
    """A tokenised sample: a dialogue without the system message, ready to be joined with others, or a whole sequence.

    Args:
        id: The sample's id.
        input_ids: Token ids.
        labels: Token ids where learned, -100 elsewhere.
        images: Path of the image of each ``<image>`` token.
        turns: Number of human turns.
        source: Data set it comes from.
        image_first: Whether its first turn shows an image.
    """

    id: str
    input_ids: tuple[int, ...]
    labels: tuple[int, ...]
    images: tuple[str, ...]
    turns: int
    source: str = ""
    image_first: bool = False

    def as_example(self) -> Example:
        """The segment alone as a training sequence."""
        return Example(self.id, self.input_ids, self.labels, self.images)


@dataclass(frozen=True, slots=True)
class Shapes:
    """What packing has to know of n samples, each an array of shape (n,).

    Args:
        lengths: Number of tokens (int32).
        first_learned: Position of the first learned token (int32).
        turns: Number of human turns (int16).
        images: Number of images (int16).
        image_first: Whether the first turn shows an image (bool).
    """

    lengths: npt.NDArray[np.int32]
    first_learned: npt.NDArray[np.int32]
    turns: npt.NDArray[np.int16]
    images: npt.NDArray[np.int16]
    image_first: npt.NDArray[np.bool_]

    @classmethod
    def joined(cls, shapes: Iterable[Shapes]) -> Shapes:
        """One after the other."""
        import numpy as np

        parts = list(shapes)
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__slots__))


class TokenStore:
    """Segments in a memory-mapped Arrow file.

    Args:
        path: File written by `write`.

    Raises:
        DataError: the file is none of ours or damaged.
    """

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        self.path = path
        try:
            self._table: pa.Table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            self._batches = self._table.to_batches()
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(
                "tokenised samples cannot be read", value=str(error), where=path, next_step="delete the file, re-run"
            ) from error

    def __len__(self) -> int:
        """Number of segments."""
        return int(self._table.num_rows)

    @property
    def identity(self) -> str:
        """Content hash (the file's name)."""
        return self.path.stem

    @cached_property
    def shapes(self) -> Shapes:
        """Sizes of all segments."""
        import pyarrow.compute as pc

        def column(values: pa.ChunkedArray, kind: str) -> Any:
            return values.to_numpy().astype(kind)

        table = self._table
        return Shapes(
            lengths=column(pc.list_value_length(table["input_ids"]), "int32"),
            first_learned=column(table["first_learned"], "int32"),
            turns=column(table["turns"], "int16"),
            images=column(pc.list_value_length(table["images"]), "int16"),
            image_first=column(table["image_first"], "bool"),
        )

    def sources(self) -> tuple[list[str], npt.NDArray[np.int32]]:
        """Names of the data sets, and the number of the data set of every segment, shape (n,)."""
        encoded = self._table["source"].combine_chunks().dictionary_encode()
        return encoded.dictionary.to_pylist(), encoded.indices.to_numpy()

    def segment(self, index: int) -> Segment:
        """Read one segment."""
        row = self._batches[index // ROWS].slice(index % ROWS, 1)
        ids = row["input_ids"].flatten().to_pylist()
        learned = row["learned"].flatten().to_pylist()
        return Segment(
            id=row["id"][0].as_py(),
            input_ids=tuple(ids),
            labels=tuple(token if known else IGNORED for token, known in zip(ids, learned, strict=True)),
            images=tuple(row["images"].flatten().to_pylist()),
            turns=row["turns"][0].as_py(),
            source=row["source"][0].as_py(),
            image_first=row["image_first"][0].as_py(),
        )

    @staticmethod
    def write(path: Path, segments: Iterable[Segment]) -> TokenStore:
        """Write segments as they come, atomically; memory holds `ROWS` of them."""
        import pyarrow as pa

        schema = _schema()
        with replacing(path) as tmp, pa.OSFile(str(tmp), "wb") as file, pa.ipc.new_file(file, schema) as writer:
            for chunk in chunked(segments, ROWS):
                writer.write_batch(pa.RecordBatch.from_pylist([_row(segment) for segment in chunk], schema))
        return TokenStore(path)


def cached(folder: Path, key: str, segments: Callable[[], Iterable[Segment]]) -> TokenStore:
    """The store of a key; made from `segments` where it is missing, by one process while others wait.

    Its file, ``<key>-<hash>.arrow``, has the hash of its bytes in its name: a damaged one is set aside and made again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for path in folder.glob(f"{key}-*.arrow"):
            if hash_file(path) == path.stem.removeprefix(f"{key}-"):
                os.utime(path)
                return TokenStore(path)
            set_aside(path, OTHER_BYTES)
        LOG.info("tokenising into %s", folder)
        unnamed = folder / "unnamed"
        TokenStore.write(unnamed, segments())
        path = folder / f"{key}-{hash_file(unnamed)}.arrow"
        os.replace(unnamed, path)
        store = TokenStore(path)
        files = sorted(folder.glob("*.arrow"), key=lambda file: (file == path, file.stat().st_mtime))  # clocks go back
        for old in files[:-KEPT_FILES]:
            old.unlink()  # whoever has it open keeps it
        return store


def token_key(tokenizer: Any, *content: object) -> str:
    """Content hash of tokenised samples: `content` (a path counts with its bytes), the tokenizer, and this code."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    words: Any = sorted(tokenizer.get_vocab().items())
    if backend is not None:
        words = {**json.loads(backend.to_str()), "padding": None, "truncation": None}  # every call sets these two anew
    special = sorted(map(str, tokenizer.all_special_tokens))
    return fingerprint(
        *content, words, special, tokenizer.bos_token, tokenizer.eos_token, images_last(tokenizer), *CODE
    )


def _schema() -> pa.Schema:
    import pyarrow as pa

    return pa.schema(
        {
            "id": pa.string(),
            "source": pa.string(),
            "turns": pa.int16(),
            "first_learned": pa.int32(),
            "image_first": pa.bool_(),
            "input_ids": pa.list_(pa.int32()),
            "learned": pa.list_(pa.bool_()),
            "images": pa.list_(pa.string()),
        }
    )


def _row(segment: Segment) -> dict[str, Any]:
    learned = [label != IGNORED for label in segment.labels]
    return {
        "id": segment.id,
        "source": segment.source,
        "turns": segment.turns,
        "first_learned": learned.index(True) if True in learned else len(learned),
        "image_first": segment.image_first,
        "input_ids": segment.input_ids,
        "learned": learned,
        "images": segment.images,
    }
