"""``polite-flamingo calibrate`` from scored shards to report, plots, figures and page."""

import json
from contextlib import nullcontext
from pathlib import Path

import pytest
from tests.unit.calibrate.scored import twins

from polite_flamingo import cli, tracking
from polite_flamingo.cli.calibrate import paper_thresholds
from polite_flamingo.io.shards import write_shards
from polite_flamingo.params.reading import load_params
from polite_flamingo.params.schema import Params

ROOT = Path(__file__).resolve().parents[3]


class Tracker:
    def __init__(self) -> None:
        self.figures: dict[str, float] = {}
        self.files: list[Path] = []

    def params(self, values: object) -> None: ...

    def metrics(self, values: dict[str, float], step: int | None = None) -> None:
        self.figures.update(values)

    def artifact(self, path: Path) -> None:
        self.files.append(path)


@pytest.fixture
def params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Params:
    """The profile tiny in a project of its own, with scored records and a short bootstrap."""
    (tmp_path / "configs" / "profiles").mkdir(parents=True)
    for name in ("params.yaml", "configs/profiles/tiny.yaml"):
        text = (ROOT / name).read_text().replace("bootstrap_samples: 1000", "bootstrap_samples: 20")
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("POLITE_FLAMINGO_DATA_ROOT", raising=False)
    params = load_params(Path("params.yaml"), "tiny")
    write_shards(params.data / "scored", (record.rewrite.to_row() for record in twins(60)))
    return params


@pytest.fixture
def tracker(monkeypatch: pytest.MonkeyPatch) -> Tracker:
    one = Tracker()
    monkeypatch.setattr(tracking, "start_tracker", lambda *_, **__: nullcontext(one))
    return one


def labels(tmp_path: Path) -> Path:
    file = tmp_path / "labels.csv"
    rows = [f"{record.rewrite.id},{'corrupted' if record.corrupted[0] else 'clean'}" for record in twins(60)]
    file.write_text("\n".join(["id,label", *rows]))
    return file


def test_labels_become_a_report_plots_figures_and_a_page(
    params: Params, tracker: Tracker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "docs" / "calibration.md"
    page.parent.mkdir()
    page.write_text("<!-- begin labels -->\n<!-- end labels -->\n")
    arguments = ["calibrate", "--labels", str(labels(tmp_path)), "--page", str(page)]
    assert cli.main(arguments) == 0
    assert "target" in capsys.readouterr().out
    report = json.loads((params.reports / "calibration" / "labels.json").read_text())
    assert report["records"]["kinds"] == {"clean": 60, "human": 60}
    assert report["prevalence"] == 0.5
    assert list(report["chain"]) == ["paper", "profile", "profile + checks"]
    assert tracker.figures["labels.chain.profile.recall"] == report["chain"]["profile"]["recall"]["value"]
    assert [path.suffix for path in tracker.files] == [".json", ".png", ".png", ".png"]
    assert (page.parent / "calibration" / "labels_curves.png").is_file()
    assert "(calibration/labels_curves.png)" in page.read_text()
    assert cli.main([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"labels": report}


def test_a_part_that_is_unknown_or_lacks_what_it_needs_is_refused(
    params: Params, tracker: Tracker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, words in (
        (["wrld"], "some of world, labels, real"),
        (["labels"], "belong together"),
        (["world", "--labels", str(labels(tmp_path))], "belong together"),
        (["world"], "no ground truth"),
        (["real"], "--data-root"),
    ):
        assert cli.main(["calibrate", *arguments]) == cli.USER_ERROR, arguments
        assert words in capsys.readouterr().err, arguments


def test_the_papers_thresholds_are_those_of_params_yaml_whatever_the_profile_says(params: Params) -> None:
    paper = paper_thresholds(params)
    assert (paper.sts.min_cosine, paper.paragraphs.min_clip_logit, paper.nli.reject) == (0.40, 17.0, ["contradiction"])
    assert paper.sts.per_task == {}
