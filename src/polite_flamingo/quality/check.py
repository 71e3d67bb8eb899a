"""What a gate found: its checks, the rows they name, and the error that stops the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from polite_flamingo.errors import QualityError

NAMED_ROWS = 5


@dataclass(frozen=True, slots=True)
class NamedRow:
    """A row that people are to look at.

    Args:
        id: Id of the record, or what else it is known by.
        note: The offending value, or what is wrong with it.
        file: Where it lies; None where it is not known.
        row: Its number in the file, from 0; in a foreign file whatever names a row there.
    """

    id: str
    note: str = ""
    file: str | None = None
    row: int | str | None = None

    def __str__(self) -> str:
        note = f": {self.note}" if self.note else ""
        place = "" if self.file is None else f" ({self.file}, row {self.row})"
        return f"{self.id}{note}{place}"


@dataclass(frozen=True, slots=True)
class Check:
    """What became of one expectation, or of one figure of the whole.

    Args:
        expectation: Its kind.
        column: The column it reads; for a share of records, its name.
        because: Why it matters.
        passed: Whether it holds.
        severity: ``critical`` stops the pipeline, ``warning`` is told.
        unexpected: Rows that do not comply (some may be allowed by ``mostly``).
        rows: The first of them.
        summary: What the rows have in common, where a figure of the whole fails.
        drift: Whether it compares with the accepted run.
    """

    expectation: str
    column: str
    because: str
    passed: bool
    severity: str = "critical"
    unexpected: int = 0
    rows: tuple[NamedRow, ...] = ()
    summary: str = ""
    drift: bool = False

    def lines(self, records: int) -> list[str]:
        """What does not hold and which rows, for people."""
        lines = [f"{self.column}: {self.expectation}: {self.because}"]
        if self.unexpected:
            lines.append(f"  {self.unexpected} of {records} rows do not comply, first of them:")
        lines += [f"  {self.summary}"] if self.summary else []
        return [*lines, *(f"    {row}" for row in self.rows)]


@dataclass(frozen=True, slots=True)
class GateResult:
    """All checks of one gate."""

    name: str
    records: int
    checks: list[Check] = field(default_factory=list)

    @property
    def failed(self) -> list[Check]:
        """Those that stop the pipeline."""
        return [check for check in self.checks if not check.passed and check.severity == "critical"]

    @property
    def warned(self) -> list[Check]:
        """Those that do not hold and stop nothing."""
        return [check for check in self.checks if not check.passed and check.severity != "critical"]

    def to_json(self) -> dict[str, Any]:
        """For the report of the gate; the same data give the same report."""
        checks = [asdict(check) | {"rows": [asdict(row) for row in check.rows]} for check in self.checks]
        return {"name": self.name, "records": self.records, "passed": not self.failed, "findings": checks}

    def require(self, docs: Path | None = None) -> None:
        """Stop here unless everything holds.

        Raises:
            QualityError: names each failed expectation and its first rows.
        """
        if not self.failed:
            return
        lines = [line for check in self.failed for line in check.lines(self.records)]
        raise QualityError(
            f"gate {self.name!r} failed {len(self.failed)} of {len(self.checks)} checks:\n    " + "\n    ".join(lines),
            where=docs,
            next_step="`polite-flamingo explain ID` shows a row's life; mend the data or the stage before this gate",
        )


def at_most(name: str, value: float, limit: float, because: str, rows: Sequence[NamedRow] = ()) -> Check:
    """A figure that must not exceed a limit."""
    return Check(f"{value:.4f} <= {limit}", name, because, passed=value <= limit, rows=tuple(rows[:NAMED_ROWS]))


def at_least(name: str, value: float, limit: float, because: str, rows: Sequence[NamedRow] = ()) -> Check:
    """A figure that must reach a limit."""
    return Check(f"{value:.4f} >= {limit}", name, because, passed=value >= limit, rows=tuple(rows[:NAMED_ROWS]))
