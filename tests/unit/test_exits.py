"""What comes from strangers is cleaned where it comes in, and shown as what it is where it goes out.

Pages of HTML have tests of their own: `reports/filtering/test_page.py`, `benchmarks/test_report.py`,
`quality/test_check.py`, `study/test_page.py`.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from tests.unit.export.exporting import Project, kept
from tests.unit.reports.filtering.decided import record, write
from tests.unit.study.studies import judge_all, pool, study

from polite_flamingo import cli
from polite_flamingo.cli.command import verb
from polite_flamingo.cli.terminal import PrintableFormatter, printable_output
from polite_flamingo.errors import DataError, printable
from polite_flamingo.evaluate.drawing import canvas, styled
from polite_flamingo.export.provenance import Provenance
from polite_flamingo.io.text import from_cell, write_csv
from polite_flamingo.launch.registration import _card
from polite_flamingo.markdown import code, escaped, table
from polite_flamingo.records import Generated, Image, Reject, Sample, Task, Turn
from polite_flamingo.reports.headline import first_records
from polite_flamingo.sources.base import attempt
from polite_flamingo.study import report
from polite_flamingo.texts import cleaned
from polite_flamingo.tracking.pipeline import _table

HOSTILE = (
    "<script>alert(1)</script> | ![x](https://evil.example/a.png) [y](javascript:alert(1)) `code` **bold** "
    "https://evil.example www.evil.example a@evil.example &lt; \x1b[31m \u202e # x"
)
RENDERER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
LINKS = re.compile(r"(?<!\\):(?=//evil)|(?<!\\)\.(?=evil)|(?<!\\)@(?=evil)")
ANY = st.text(alphabet=st.characters(codec=None), max_size=40) | st.text(
    alphabet="\x1b[\\`*_]<>|#-+=~!&;:/.@ 1a\n\r\t", max_size=20
)


@given(ANY)
@example(HOSTILE)
@example("- a")
@example("1. a")
@example("a\\")
@example("__0__")
@example("a__0__b _c_")
@example("&#x3c;b&#x3e;")
def test_an_escaped_text_is_read_as_that_text_and_as_nothing_else(text: str) -> None:
    shown = " ".join(printable(text).split())
    if not shown:
        return
    for page, kinds in ((escaped(text), []), (table(["head"], [[text]]), ["table"])):
        tokens = RENDERER.parse(page)
        assert [
            token.type for token in tokens if token.type.endswith(("heading_open", "html_block", "list_open"))
        ] == []
        assert [t.type.removesuffix("_open") for t in tokens if t.level == 0 and t.nesting == 1] == (
            kinds or ["paragraph"]
        )
        inline = [token for token in tokens if token.type == "inline"]
        assert {child.type for token in inline for child in token.children or ()} <= {"text", "text_special"}
        assert "".join(child.content for child in inline[-1].children or ()) == shown
    (said,) = RENDERER.parseInline(f"a {code(text)} b")[0].children[1:-1]
    assert said.type == "code_inline"


def _dataset_card(folder: Path) -> str:
    project = Project(folder, [kept(1, Task.VQA, ["coco/a.png"], source=HOSTILE, split=HOSTILE, licence=HOSTILE)])
    row = tuple([HOSTILE] * 7)
    told = Provenance("nobody", {HOSTILE: HOSTILE}, (row,), {HOSTILE: HOSTILE})
    return (project.export("messages", provenance=told) / "README.md").read_text()


def _study_page(folder: Path) -> str:
    own = study(folder, 2, own=pool(2, (HOSTILE, f"{HOSTILE}2"), stratum=HOSTILE))
    for name in ("Anna", "Ben"):
        judge_all(own, name, ["matched"] * 4)
    measured, _ = report.measure(own, resamples=20, seed=1)
    return report.render({**measured, "title": HOSTILE})


def _first_records(folder: Path) -> str:
    from dataclasses import replace

    one = replace(record(1, text=HOSTILE), source=HOSTILE, id=HOSTILE, instruction=HOSTILE, raw_answer=HOSTILE)
    write(folder, [one])
    return first_records(SimpleNamespace(data=folder), 3)  # type: ignore[arg-type]


def _model_version(folder: Path) -> str:
    kind = SimpleNamespace(what="A model.", asked={})
    measured = SimpleNamespace(means=lambda: {HOSTILE: 1.0}, scores={HOSTILE: [1.0]})
    return _card(kind, measured, folder)  # type: ignore[arg-type]


def _changed_parameters(folder: Path) -> str:
    return "\n".join(_table("parameter", {HOSTILE: 1, "b": HOSTILE}, {HOSTILE: HOSTILE, "b": 2}))


@pytest.mark.parametrize("page", [_dataset_card, _study_page, _first_records, _model_version, _changed_parameters])
def test_a_page_of_markdown_has_no_code_links_or_pictures_of_the_data(
    tmp_path: Path, page: Callable[[Path], str]
) -> None:
    text = page(tmp_path)
    assert "evil" in text and not STEERING.search(text)
    tokens = RENDERER.parse(text.split("---\n")[-1] if text.startswith("---\n") else text)
    inline = [child for token in tokens if token.type == "inline" for child in token.children or ()]
    assert {token.type for token in [*tokens, *inline]} & {"html_block", "html_inline", "link_open", "image"} == set()
    outside = "\n".join(line for line in text.splitlines() if not line.startswith("    ") and "`" not in line)
    assert not LINKS.search(outside)


@given(st.text(max_size=20) | st.text(alphabet="'=+-@\t\n 1a", max_size=6))
@example("=cmd|' /C calc'!A0")
def test_a_cell_is_never_a_formula_and_comes_back(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "cells.csv"
    write_csv(path, ("id", "number"), [(text, -1.5)])
    _, (cell, number) = csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline=""))
    assert not re.match(r"\s*[=+\-@]|[\t\r\n]", cell)
    assert (from_cell(cell), number) == (re.sub("\r\n?", "\n", text), "-1.5")


def test_a_plot_takes_any_name(tmp_path: Path) -> None:
    @styled
    def draw() -> Any:
        figure, axes = canvas(2, 1)
        axes.set_yticks([0], ["$\\frac{ $ _ ^"])
        return figure

    assert draw(tmp_path / "a.png").stat().st_size


@verb("shout")
def _shout() -> None:
    """Print what is hostile, as a text and as JSON."""
    sys.stdout.write(f"{HOSTILE} \ud800\n")
    click.echo(json.dumps([HOSTILE], ensure_ascii=False))


def test_what_a_verb_prints_steers_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(cli.VERBS.commands, "shout", _shout)
    assert cli.main(["shout"]) == 0
    out = capsys.readouterr().out
    assert not STEERING.search(out) and "\\u001b[31m \\u202e" in out and "\\ud800" in out
    assert json.loads(out.splitlines()[-1]) == [HOSTILE]
    with printable_output():
        assert sys.stdout.isatty() is False
    line = PrintableFormatter().format(logging.LogRecord("a", 20, "", 1, "row %s", (HOSTILE,), None))
    assert not STEERING.search(line)


FIELDS = ("id", "source", "split", "licence", "human", "assistant", "key", "extra", "deep", "image", "rejected")


@given(st.sampled_from(FIELDS), ANY)
@example("extra", "\x1b]0;x\x07")
@example("licence", "\ud800")
@example("image", "a\x00.png")
def test_every_text_of_a_record_is_clean_or_its_row_is_rejected(field: str, text: str) -> None:
    def make() -> Sample:
        at = dict.fromkeys(FIELDS, "x") | {field: text}
        turns = (Turn("human", at["human"]), Turn("assistant", at["assistant"]))
        extras = {at["key"]: at["extra"], "captions": [{"a": [at["deep"], 1.5]}]}
        images = (Image(at["image"]),)
        return Sample(at["id"], at["source"], at["split"], at["licence"], Task.TEXT, turns, images, extras)

    made = attempt("s", "f" if field != "rejected" else text, 1, make)
    if isinstance(made, Reject):
        json.dumps(made.to_row()).encode()
        assert all(value.encode() is not None for value in made.to_row().values())
        return
    row = made.to_row()
    stored = "".join(str(value) for name, value in row.items() if name != "task")
    assert cleaned(stored) == stored and "\\u00" not in stored.replace("\\u001c", "").replace("\\\\u00", "")
    assert Sample.from_row(row) == made


@given(ANY)
def test_a_models_answer_is_clean(text: str) -> None:
    said = Generated(text, "stop", 1).text
    assert cleaned(said) == said


def test_an_id_is_never_cleaned_into_another(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="control characters"):
        from polite_flamingo.records import cleaned_sample

        turns = (Turn("human", "a"), Turn("assistant", "b"))
        cleaned_sample(Sample("a\x00", "s", "t", "l", Task.TEXT, turns))
