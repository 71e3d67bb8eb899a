"""``polite-flamingo calibrate`` from scored shards to report, plots, figures and page."""

import json
from pathlib import Path

import pytest
from tests.unit.calibrate.scored import twins

from polite_flamingo.calibrate.run import Wanted, paper_thresholds, run, text_of
from polite_flamingo.calibrate.study import Settings
from polite_flamingo.errors import ConfigError, DataError
from polite_flamingo.io import write_shards
from polite_flamingo.params import Params, load_params

ROOT = Path(__file__).resolve().parents[3]
QUICK = Settings(resamples=20)


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
    params = load_params(ROOT / "params.yaml", "tiny")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("POLITE_FLAMINGO_DATA_ROOT", raising=False)
    write_shards(params.data / "scored", (record.rewrite.to_row() for record in twins(60)))
    return params


def labels(tmp_path: Path) -> Path:
    file = tmp_path / "labels.csv"
    rows = [f"{record.rewrite.id},{'corrupted' if record.corrupted[0] else 'clean'}" for record in twins(60)]
    file.write_text("\n".join(["id,label", *rows]))
    return file


def test_labels_become_a_report_plots_figures_and_a_page(params: Params, tmp_path: Path) -> None:
    page = tmp_path / "docs" / "calibration.md"
    page.parent.mkdir()
    page.write_text("<!-- begin labels -->\n<!-- end labels -->\n")
    tracker = Tracker()
    wanted = Wanted(("labels",), labels=labels(tmp_path), settings=QUICK, page=page)
    reports = run(params, tracker, wanted)
    assert reports["labels"]["records"]["kinds"] == {"clean": 60, "human": 60}
    assert reports["labels"]["prevalence"] == 0.5
    assert list(reports["labels"]["chain"]) == ["paper", "profile", "profile + checks"]
    written = json.loads((params.reports / "calibration" / "labels.json").read_text())
    assert written["chain"] == reports["labels"]["chain"]
    assert tracker.figures["labels.chain.profile.recall"] == reports["labels"]["chain"]["profile"]["recall"]["value"]
    assert [path.suffix for path in tracker.files] == [".json", ".png", ".png", ".png"]
    assert (page.parent / "calibration" / "labels_curves.png").is_file()
    assert "(calibration/labels_curves.png)" in page.read_text()
    assert "target" in text_of(reports, as_json=False)
    assert json.loads(text_of(reports, as_json=True)).keys() == {"labels"}


@pytest.mark.parametrize("parts", [(), ("wrld",), ("labels",)])
def test_a_part_that_is_unknown_or_lacks_its_file_is_refused(params: Params, parts: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError):
        run(params, Tracker(), Wanted(parts))


def test_without_ground_truth_there_is_no_world_to_calibrate_on(params: Params) -> None:
    with pytest.raises(DataError, match="no ground truth"):
        run(params, Tracker(), Wanted(("world",)))


def test_without_a_data_root_there_are_no_real_records(params: Params) -> None:
    with pytest.raises(ConfigError, match="--data-root"):
        run(params, Tracker(), Wanted(("real",)))


def test_the_papers_thresholds_are_those_of_params_yaml_whatever_the_profile_says(params: Params) -> None:
    found = paper_thresholds(params)
    assert (found.min_cosine, found.min_clip_logit, found.nli_reject) == (0.40, 17.0, ("contradiction",))
    assert found.min_cosine_per_task == ()
