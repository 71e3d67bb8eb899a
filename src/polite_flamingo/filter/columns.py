"""Score columns of a batch of records: NaN is "does not apply or has no model", neither below nor above any threshold.

A missing column is an error: a record that was never scored must not pass. One record is a batch of one row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from polite_flamingo.errors import DataError
from polite_flamingo.records import Task
from polite_flamingo.scorers.columns import BY_CUT
from polite_flamingo.scorers.likeness import BYTES, VALUES

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    Floats = np.ndarray[Any, np.dtype[np.float64]]
    Ints = np.ndarray[Any, np.dtype[np.int64]]
    Mask = np.ndarray[Any, np.dtype[np.bool_]]


def by_cut(column: str) -> str:
    """Name of the column that holds `column` after every possible cut of paragraphs."""
    return f"{column}_by_cut"


def _not_scored(column: str, where: object) -> DataError:
    step = "run `polite-flamingo run --until score`"
    return DataError("record has not been scored", value=column, where=where, next_step=step)


@dataclass(frozen=True, slots=True)
class Lists:
    """A column of lists, flat: those of row i are ``values[starts[i] : starts[i] + lengths[i]]``."""

    values: Floats
    starts: Ints
    lengths: Ints

    def of(self, row: int) -> Floats:
        """The values of one row."""
        start = int(self.starts[row])
        return self.values[start : start + int(self.lengths[row])]

    def pick(self, indices: Ints) -> Floats:
        """One value of each list; NaN beyond its end."""
        import numpy as np

        inside = indices < self.lengths
        picked = np.full(len(self.lengths), np.nan)
        picked[inside] = self.values[(self.starts + indices)[inside]]
        return picked

    def rows(self) -> Ints:
        """The row each of `values` belongs to."""
        import numpy as np

        return np.repeat(np.arange(len(self.lengths)), self.lengths)


@dataclass(frozen=True)
class ScoreBatch:
    """Rows of the score table (`filter/table.py`) as NumPy arrays.

    Args:
        rows: The columns that were read.
        cut: Number of lowest paragraphs cut, per row; None before the paragraph step.
    """

    rows: pa.RecordBatch
    cut: Ints | None = None
    _known: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    def after_cut(self, cut: Ints) -> ScoreBatch:
        """The same rows with the scores they have after cutting paragraphs."""
        return replace(self, cut=cut, _known={})

    def number(self, column: str) -> Floats:
        """A column of single scores, float64, shape (rows,)."""
        if column not in self._known:
            self._known[column] = self._number(column)
        values: Floats = self._known[column]
        return values

    def _number(self, column: str) -> Floats:
        import numpy as np

        plain: Floats = self._column(column).cast("float64").to_numpy(zero_copy_only=False)
        if self.cut is None or column not in BY_CUT:
            return plain
        edited = self.cut > 0
        if not edited.any():
            return plain
        after = self.numbers(by_cut(column)).pick(self.cut)
        lost = edited & np.isnan(after) & ~np.isnan(plain)
        if lost.any():
            raise _not_scored(by_cut(column), self._column("id")[int(lost.argmax())].as_py())
        return np.where(edited, after, plain)

    def numbers(self, column: str) -> Lists:
        """A column of lists; None is an empty one."""
        import numpy as np

        array = self._column(column)
        lengths = array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        values = array.flatten().cast("float64").to_numpy(zero_copy_only=False)
        return Lists(values, np.cumsum(lengths) - lengths, lengths)

    def texts(self, column: str) -> tuple[Ints, list[str]]:
        """A column of few distinct texts: the code of each row, and the text of each code."""
        if column not in self._known:
            array = self._column(column)
            encoded = array if hasattr(array, "indices") else array.dictionary_encode()
            self._known[column] = (encoded.indices.to_numpy(zero_copy_only=False), encoded.dictionary.to_pylist())
        coded: tuple[Ints, list[str]] = self._known[column]
        return coded

    def ids(self) -> list[str]:
        """The ids of the records."""
        ids: list[str] = self._column("id").to_pylist()
        return ids

    def text(self, column: str, row: int) -> str:
        """One text."""
        return str(self._column(column)[row].as_py())

    def signatures(self) -> np.ndarray[Any, np.dtype[np.uint16]]:
        """MinHash signatures, shape (rows, `VALUES`)."""
        import numpy as np

        column = self._column("signature")
        start = column.offset * BYTES
        data = np.frombuffer(column.buffers()[1], dtype="<u2", count=len(column) * VALUES, offset=start)
        return data.reshape(len(column), VALUES)

    def among(self, column: str, values: Iterable[str]) -> Mask:
        """Where a column of few distinct texts is one of `values`."""
        import numpy as np

        codes, names = self.texts(column)
        selected = set(values)
        mask: Mask = np.array([name in selected for name in names], dtype=bool)[codes]
        return mask

    @property
    def captions(self) -> Mask:
        """Rows of captioning tasks."""
        return self.among("task", [task for task in Task if task.is_caption])

    @property
    def questions(self) -> Mask:
        """Rows of visual questions."""
        return self.among("task", [task for task in Task if task.is_vqa])

    def _column(self, column: str) -> Any:
        index = self.rows.schema.get_field_index(column)
        if index < 0:
            raise _not_scored(column, "score table")
        return self.rows.column(index)


@dataclass(frozen=True, slots=True)
class Verdicts:
    """A filter's decision on a batch.

    Args:
        score: float64, shape (rows,); NaN where the filter does not apply.
        rejected: bool, shape (rows,).
    """

    score: Floats
    rejected: Mask
