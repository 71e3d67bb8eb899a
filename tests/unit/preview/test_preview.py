"""A look at a few records: what a run would do with them, what all of them would cost, and nothing left behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.unit.jobs.backends.faulty_server import FaultyServer, serving
from tests.unit.start.test_init import photographs, table

from polite_flamingo.cli import main
from polite_flamingo.errors import ConfigError, DataError
from polite_flamingo.params.reading import load_params
from polite_flamingo.params.schema import Params
from polite_flamingo.preview import choose as choosing
from polite_flamingo.preview.choose import choose
from polite_flamingo.preview.run import look


@pytest.fixture
def server():
    with serving(lambda record, number: None) as running:
        yield running


@pytest.fixture
def project(server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve photographs with questions, and the project that `init` makes of them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    table(tmp_path / "photos" / "questions.csv", photographs(tmp_path / "photos", 12))
    assert main(["init", "photos", "--rewriter", f"openai:{server.url}#model", "--yes"]) == 0
    return tmp_path


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_records_are_shown_with_the_costs_of_the_whole_run_and_nothing_is_recorded(project, server, capsys):
    before = _files(project)
    capsys.readouterr()
    assert main(["preview", "-n", "5", "--price-in", "2", "--price-out", "10"]) == 0
    out = capsys.readouterr().out
    assert "answer to record ?" in out and "numbers_changed" in out, "the answers hold no number: rejected"
    assert "0 of 5 kept" in out
    figures = {
        line.split("  ")[1].strip(): " ".join(line.split()) for line in out.splitlines() if line.startswith("  ")
    }
    assert figures["records"] == "records 12"
    assert figures["tokens in"] == "tokens in 120 10 an answer (rewrite)"
    assert figures["money"].startswith("money 0.00 ")
    new = {name for name in _files(project) - before if not name.startswith(".work/answers/")}
    assert new == {".work/preview/photos.html"}
    page = Path(".work/preview/photos.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 5 and "The whole run, by what these records took" in page
    assert "http" not in page.replace("http-equiv", ""), "one file, without network"

    asked = len(server.bodies)
    assert asked == 5
    with open("configs/profiles/photos.yaml", "a") as profile:
        profile.write("runtime: {tracking: none}\n")
    assert main(["download"]) == 0 and main(["rewrite"]) == 0
    assert len(server.bodies) == 12, "a run takes the answers of the preview"


def test_prices_multiply_and_json_has_everything(project, capsys):
    shown = look(load_params(), 3, page=Path("p.html"), records=1_000_000, prices={"price_in": 2, "price_out": 10})
    whole = shown.whole
    assert whole is not None
    assert (whole.tokens_in, whole.tokens_out) == (10e6, 3e6)
    assert whole.money == pytest.approx(10 * 2 + 3 * 10)
    assert whole.hours["rewrite"] is not None and whole.hours["rewrite"] > 0
    capsys.readouterr()
    assert main(["preview", "--id", "photos/3", "--json"]) == 0
    (record,) = json.loads(capsys.readouterr().out)["records"]
    assert (record["id"], record["raw"], record["kept"]) == ("table/all/photos/3", "4", False)
    assert record["prompt"].startswith("polite/counting@")


def _params(project: Path, **changes: object) -> Params:
    return load_params(project / "params.yaml").model_copy(update=changes)


def test_the_draw_is_a_runs_spread_over_sources_without_what_cannot_be_used(project, monkeypatch):
    params = _params(project)
    first = choose(params, 4)
    assert [s.id for s in choose(params, 4).samples] == [s.id for s in first.samples]
    assert (first.total, first.rejected) == (12, 0)
    (project / first.samples[0].images[0].path).write_bytes(b"no picture")
    again = choose(params, 4)
    assert again.samples[:3] == first.samples[1:4] and again.rejected == 1
    assert first.samples[0].id in again.reasons[0]
    table(project / "more" / "questions.csv", photographs(project / "more", 12))
    (spec,) = params.sources
    two = _params(project, sources=[spec, spec.model_copy(update={"folder": "more"})])
    assert [s.id.split("/")[2] for s in choose(two, 5).samples] == ["photos"] * 3 + ["more"] * 2
    monkeypatch.setattr(choosing, "READ", 7)
    assert choose(two, 2).total is None, "nobody knows without reading all"


def test_what_cannot_be_previewed_says_why(project):
    with pytest.raises(DataError, match="near ones: table/all/photos/"):
        choose(_params(project), 1, ["nobody"])
    with pytest.raises(DataError, match="several records match"):
        choose(_params(project), 1, ["photos"])
    with pytest.raises(ConfigError, match="contradicts itself"):
        look(_params(project, rewriter_backend="flamingo"), 1, page=project / "p.html")
