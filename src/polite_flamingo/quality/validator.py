"""Suites run by Great Expectations on frames, with Data Docs and their history."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.errors import DataError
from polite_flamingo.io.hashes import fingerprint
from polite_flamingo.quality.check import NAMED_ROWS, Check, GateResult, NamedRow
from polite_flamingo.quality.suites import Expectation
from polite_flamingo.quality.versions import notes

if TYPE_CHECKING:
    import pandas as pd

MAX_LISTED = 50_000  # rows up to which the Data Docs may list every unexpected one
KEPT_RUNS = 20  # results of a suite that the Data Docs show
PLACE = ("id", "file", "row")  # columns of a frame that say which record a row is, and where it lies
SITE = "gates"
PAGES = Path(__file__).parent / "pages"


@dataclass(frozen=True, slots=True)
class Site:
    """The Data Docs of a profile.

    Args:
        docs: Folder of the site.
        store: Folder where Great Expectations keeps suites and results.
        run: Name of the run that checks now.
    """

    docs: Path
    store: Path
    run: str


class Validator:
    """Runs suites; with a `site`, keeps their results and shows them.

    Args:
        site: Where; None keeps nothing.
    """

    def __init__(self, site: Site | None = None) -> None:
        self._site = site
        self._context: Any = None
        self._results: dict[str, Any] = {}  # identifiers by suite

    def run(self, name: str, frame: pd.DataFrame, suite: Sequence[Expectation]) -> GateResult:
        """Check a frame.

        Args:
            name: Name of the suite.
            frame: One row per record, with a column ``id``; columns ``file`` and ``row`` say where it lies.
            suite: What has to hold.

        Raises:
            DataError: the frame lacks a column, or an expectation could not be computed.
        """
        missing = sorted({"id", *(expectation.column for expectation in suite)} - set(frame.columns))
        if missing:
            raise DataError("frame lacks columns its suite reads", value=missing, where=name)
        if frame.empty:
            because = "a stage that yields nothing is broken"
            return GateResult(name, 0, [Check("expect_table_row_count_to_be_between", "id", because, passed=False)])
        results = self._validate(name, frame, suite)
        checks = [_check(expectation, result) for expectation, result in zip(suite, results, strict=True)]
        return GateResult(name, len(frame), checks)

    def publish(self) -> dict[str, Path]:
        """Write the pages of what was run and the index of the site; the pages by suite.

        A site whose pages were made from other templates is written anew.
        """
        if self._site is None or not self._results:
            return {}
        docs = self._site.docs
        style, made_with = docs / ".style", fingerprint(PAGES)
        if not style.is_file() or style.read_text(encoding="utf-8") != made_with:
            shutil.rmtree(docs, ignore_errors=True)
        context = self._context
        known = context.get_site_names()
        (context.update_data_docs_site if SITE in known else context.add_data_docs_site)(SITE, _site_config(docs))
        only = [identifier for pair in self._results.values() for identifier in pair] if docs.is_dir() else None
        context.build_data_docs(site_names=[SITE], resource_identifiers=only)
        shutil.rmtree(docs / "static", ignore_errors=True)  # fonts and images that our pages do not use
        style.write_text(made_with, encoding="utf-8")
        return {name: _page(docs, result) for name, (_, result) in self._results.items()}

    def _open(self) -> Any:
        import great_expectations as gx

        logging.getLogger("great_expectations").setLevel(logging.CRITICAL)  # what it cannot do it raises as well
        if self._context is None:
            if self._site is None:
                self._context = gx.get_context(mode="ephemeral")
            else:
                _forget_set_up(self._site.store / "gx")
                self._context = gx.get_context(mode="file", project_root_dir=str(self._site.store))
            self._context.variables.progress_bars = {"globally": False}
        return self._context

    def _validate(self, name: str, frame: pd.DataFrame, suite: Sequence[Expectation]) -> list[Any]:
        import great_expectations as gx
        from great_expectations.core.run_identifier import RunIdentifier
        from great_expectations.data_context.types.resource_identifiers import ExpectationSuiteIdentifier

        context = self._open()
        batch = (
            context.data_sources.add_or_update_pandas("records")
            .add_dataframe_asset(name)
            .add_batch_definition_whole_dataframe("all")
        )
        texts = [expectation.text for expectation in suite]
        if self._site is not None:
            (self._site.store / "gx" / "expectations" / f"{name}.json").unlink(missing_ok=True)  # may be torn
        versions = [] if self._site is None else notes(self._site.store / "versions" / name, texts, self._site.run)
        definition = context.validation_definitions.add_or_update(
            gx.ValidationDefinition(
                name=name,
                data=batch,
                suite=context.suites.add_or_update(
                    gx.ExpectationSuite(name=name, expectations=_expectations(suite), notes=versions)
                ),
            )
        )
        checkpoint = context.checkpoints.add_or_update(
            gx.Checkpoint(
                name=name,
                validation_definitions=[definition],
                result_format={
                    "result_format": "COMPLETE" if len(frame) <= MAX_LISTED else "SUMMARY",
                    "unexpected_index_column_names": [column for column in PLACE if column in frame.columns],
                    "partial_unexpected_count": NAMED_ROWS,
                },
            )
        )
        name_of_run = None if self._site is None else self._site.run
        run = RunIdentifier(run_name=name_of_run, run_time=datetime.now(UTC))
        outcome = checkpoint.run(batch_parameters={"dataframe": frame}, run_id=run)
        ((identifier, validation),) = outcome.run_results.items()
        self._results[name] = (ExpectationSuiteIdentifier(name), identifier)
        if self._site is not None:
            _drop_old(self._site.store / "gx" / "uncommitted" / "validations" / name)
        return sorted(validation.results, key=lambda result: result.expectation_config.meta["number"])


def _forget_set_up(folder: Path) -> None:
    """Remove what Great Expectations keeps beside suites and results: it is made anew, and a kill may have torn it."""
    for name in ("great_expectations.yml", "uncommitted/config_variables.yml"):
        (folder / name).unlink(missing_ok=True)
    for name in ("validation_definitions", "checkpoints"):
        shutil.rmtree(folder / name, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)


def _expectations(suite: Sequence[Expectation]) -> list[Any]:
    from great_expectations.expectations.registry import get_expectation_impl

    made = []
    for number, item in enumerate(suite):
        kind = get_expectation_impl(item.kind)
        # the number keeps results in the order of the suite, and two alike expectations apart
        meta = {"number": number}
        text = item.text.replace("$", "$$")
        made.append(
            kind(column=item.column, description=text, meta=meta, severity=item.severity, **dict(item.arguments))
        )
    return made


def _site_config(docs: Path) -> dict[str, Any]:
    view = {"view": {"module_name": "polite_flamingo.quality.views", "class_name": "OfflinePage"}}
    return {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs.resolve())},
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder", **view},
        "site_section_builders": {"expectations": view, "validations": view, "profiling": "None"},
    }


def _page(docs: Path, result: Any) -> Path:
    return docs.joinpath("validations", *result.to_tuple()).with_suffix(".html")


def _drop_old(folder: Path) -> None:
    """Keep a suite's last results; the pages of others go when the index is written."""
    results = sorted(folder.glob("*/*/*.json"), key=lambda path: path.parent.name)
    for path in results[:-KEPT_RUNS]:
        shutil.rmtree(path.parent)
        if not any(path.parent.parent.iterdir()):
            path.parent.parent.rmdir()


def _check(expectation: Expectation, result: Any) -> Check:
    raised: Mapping[str, Any] = result.exception_info or {}
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
        severity=expectation.severity,
        unexpected=int(details.get("unexpected_count") or 0),
        rows=rows[:NAMED_ROWS],
    )


def _row(entry: Any, column: str) -> NamedRow:
    if not isinstance(entry, dict):
        return NamedRow(str(entry))
    value = "" if column == "id" else repr(str(entry.get(column, ""))[:80])
    row = entry.get("row")
    return NamedRow(str(entry.get("id")), value, entry.get("file"), None if row is None else int(row))
