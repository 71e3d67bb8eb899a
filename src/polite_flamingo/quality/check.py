"""Run a suite on a frame, write Data Docs, name failing rows. The only importer of Great Expectations."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.errors import DataError, QualityError
from polite_flamingo.quality.suites import Expectation

if TYPE_CHECKING:
    import pandas as pd

NAMED_ROWS = 5
MAX_LISTED = 50_000  # rows up to which the Data Docs may list every unexpected one
SITE = "data_docs"
PLACE = ("id", "file", "row")  # columns of a frame that say which record a row is, and where it lies


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
        unexpected: Rows that do not comply (some may be allowed by ``mostly``).
        rows: The first of them.
        summary: What the rows have in common, where a figure of the whole fails.
    """

    expectation: str
    column: str
    because: str
    passed: bool
    unexpected: int = 0
    rows: tuple[NamedRow, ...] = ()
    summary: str = ""


@dataclass(frozen=True, slots=True)
class GateResult:
    """All checks of one gate."""

    name: str
    records: int
    checks: list[Check] = field(default_factory=list)

    @property
    def failed(self) -> list[Check]:
        """Those that do not hold."""
        return [check for check in self.checks if not check.passed]

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
        lines = []
        for check in self.failed:
            lines.append(f"{check.column}: {check.expectation}: {check.because}")
            if check.unexpected:
                lines.append(f"  {check.unexpected} of {self.records} rows do not comply, first of them:")
            lines += [f"  {check.summary}"] if check.summary else []
            lines += [f"    {row}" for row in check.rows]
        raise QualityError(
            f"gate {self.name!r} failed {len(self.failed)} of {len(self.checks)} checks:\n    " + "\n    ".join(lines),
            where=docs,
            next_step="`polite-flamingo explain ID` shows a row's life; mend the data or the stage before this gate",
        )


def run_suite(
    name: str, frame: pd.DataFrame, suite: Sequence[Expectation], *, docs: Path | None = None, store: Path | None = None
) -> GateResult:
    """Check `frame`, which has a column ``id``, against `suite`.

    Args:
        name: Name of the gate, and of its page in the Data Docs.
        frame: One row per record; columns ``file`` and ``row`` say where it lies.
        suite: What has to hold.
        docs: Folder of the Data Docs site, shared by the gates of a profile; None writes none.
        store: Folder where Great Expectations keeps the gates' last results; needed with `docs`.

    Raises:
        DataError: the frame lacks a column, or an expectation could not be computed.
    """
    missing = sorted({"id", *(expectation.column for expectation in suite)} - set(frame.columns))
    if missing:
        raise DataError("frame lacks columns its suite reads", value=missing, where=name)
    if frame.empty:
        because = "a stage that yields nothing is broken"
        return GateResult(name, 0, [Check("expect_table_row_count_to_be_between", "id", because, passed=False)])
    context, results = _validate(name, frame, suite, None if docs is None else store)
    checks = [_check(expectation, result) for expectation, result in zip(suite, results, strict=True)]
    if docs is not None:
        _write_docs(context, docs)
    return GateResult(name, len(frame), checks)


def at_most(name: str, value: float, limit: float, because: str, rows: Sequence[NamedRow] = ()) -> Check:
    """A figure that must not exceed a limit."""
    return Check(f"{value:.4f} <= {limit}", name, because, passed=value <= limit, rows=tuple(rows[:NAMED_ROWS]))


def at_least(name: str, value: float, limit: float, because: str, rows: Sequence[NamedRow] = ()) -> Check:
    """A figure that must reach a limit."""
    return Check(f"{value:.4f} >= {limit}", name, because, passed=value >= limit, rows=tuple(rows[:NAMED_ROWS]))


def _validate(
    name: str, frame: pd.DataFrame, suite: Sequence[Expectation], store: Path | None
) -> tuple[Any, list[Any]]:
    import great_expectations as gx
    from great_expectations.expectations.registry import get_expectation_impl

    if store is None:
        context: Any = gx.get_context(mode="ephemeral")
    else:
        store.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(store / "gx" / "uncommitted" / "validations" / name, ignore_errors=True)
        context = gx.get_context(mode="file", project_root_dir=str(store))
    context.variables.progress_bars = {"globally": False}
    batch = (
        context.data_sources.add_or_update_pandas("records")
        .add_dataframe_asset(name)
        .add_batch_definition_whole_dataframe("all")
    )
    expectations = []
    for number, item in enumerate(suite):
        kind = get_expectation_impl(item.kind)
        arguments = ", ".join(f"{name} {value}" for name, value in item.arguments.items())
        text = f"{item.column}: {item.because} ({item.kind}{': ' if arguments else ''}{arguments})".replace("$", "$$")
        # the number keeps results in the order of the suite, and two alike expectations apart
        expectations.append(kind(column=item.column, description=text, meta={"number": number}, **item.arguments))
    checked = context.suites.add_or_update(gx.ExpectationSuite(name=name, expectations=expectations))
    definition = context.validation_definitions.add_or_update(
        gx.ValidationDefinition(name=name, data=batch, suite=checked)
    )
    checkpoint = context.checkpoints.add_or_update(
        gx.Checkpoint(
            name=name,
            validation_definitions=[definition],
            result_format={
                "result_format": "COMPLETE" if len(frame) <= MAX_LISTED else "SUMMARY",
                "unexpected_index_column_names": [name for name in PLACE if name in frame.columns],
                "partial_unexpected_count": NAMED_ROWS,
            },
        )
    )
    outcome = checkpoint.run(batch_parameters={"dataframe": frame})
    (validation,) = outcome.run_results.values()
    results = sorted(validation.results, key=lambda result: result.expectation_config.meta["number"])
    return context, results


def _check(expectation: Expectation, result: Any) -> Check:
    raised = result.exception_info or {}
    if raised.get("raised_exception"):
        raise DataError(
            "an expectation could not be computed",
            value=raised.get("exception_message"),
            where=f"{expectation.kind}({expectation.column})",
        )
    details = result.result or {}
    rows = tuple(_row(entry, expectation.column) for entry in details.get("partial_unexpected_index_list") or ())
    return Check(
        expectation=expectation.kind,
        column=expectation.column,
        because=expectation.because,
        passed=bool(result.success),
        unexpected=int(details.get("unexpected_count") or 0),
        rows=rows[:NAMED_ROWS],
    )


def _row(entry: Any, column: str) -> NamedRow:
    if not isinstance(entry, dict):
        return NamedRow(str(entry))
    value = "" if column == "id" else repr(str(entry.get(column, ""))[:80])
    row = entry.get("row")
    return NamedRow(str(entry.get("id")), value, entry.get("file"), None if row is None else int(row))


def _write_docs(context: Any, docs: Path) -> None:
    shutil.rmtree(docs, ignore_errors=True)
    site: dict[str, Any] = {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs.resolve())},
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
    }
    names = context.get_site_names()
    (context.update_data_docs_site if SITE in names else context.add_data_docs_site)(SITE, site)
    context.build_data_docs(site_names=[SITE])
