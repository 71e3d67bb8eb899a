"""The learned filter: trained on labelled records, kept as numbers that people can read."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from tests.unit.calibrate.scored import labelled, twins

from polite_flamingo.calibrate.labels import LabelledRecord
from polite_flamingo.calibrate.learned import learn, write_learned
from polite_flamingo.calibrate.verdicts import LabelledTable
from polite_flamingo.errors import ConfigError, DataError
from polite_flamingo.filter.chain import FilterSettings, decide
from polite_flamingo.filter.learned import LearnedFilter, read_model
from polite_flamingo.io.text import write_json


def _records() -> list[LabelledRecord]:
    """`twins`, and captions one of whose paragraphs the image does not bear out: another kind of error."""
    shown = [
        labelled(f"p{i}", wrong, kind="sentence_invented", sts=0.8, clip_logits=[8.0 if wrong else 21.0 + i % 5])
        for i in range(60)
        for wrong in (False, True)
    ]
    return [*twins(), *shown]


def test_it_catches_kinds_of_errors_seen_and_says_what_speaks_against_a_record(tmp_path: Path) -> None:
    table = LabelledTable.of(_records())
    learned = learn(table, prevalence=0.1, min_clean=0.9)
    rates = learned["measured"]["sentence_invented"]
    assert rates["seen"]["caught"] == 1 and rates["seen"]["clean_kept"] > 0.8
    assert rates["unseen"]["caught"] < rates["seen"]["caught"]  # nothing else had told it about images
    assert learned["measured"]["all"]["seen"]["corrupted"] == table.corrupted.sum()

    write_learned(tmp_path / "learned.json", learned)
    settings = FilterSettings().changed(
        {"learned.model": str(tmp_path / "learned.json"), "learned.max_risk": learned["max_risk"]}
    )
    verdicts = decide(table.batch, settings).verdicts["learned"]
    assert (~verdicts.rejected[~table.corrupted]).mean() >= 0.9
    wrong = next(i for i, record in enumerate(table.records) if record.kind == "sentence_invented")
    assert verdicts.rejected[wrong] and verdicts.score[wrong] > learned["max_risk"]
    assert "clip_lowest +" in settings.learned.reason(table.batch, wrong)


def test_the_model_that_comes_along_knows_its_features_and_what_they_add() -> None:
    batch = LabelledTable.of(twins(4)).batch
    model = read_model("laptop")
    assert sum(part[0] for part in model.parts(batch).values()) + model.intercept == pytest.approx(
        math.log(model.risk(batch)[0] / (1 - model.risk(batch)[0]))
    )


def test_without_a_model_it_is_off() -> None:
    table = LabelledTable.of(twins(4))
    verdicts = LearnedFilter(max_risk=0.0).judge(table.batch)
    assert not verdicts.rejected.any()


def test_a_model_that_is_absent_or_knows_other_features_is_refused(tmp_path: Path) -> None:
    batch = LabelledTable.of(twins(4)).batch
    with pytest.raises(ConfigError, match="no such model"):
        LearnedFilter(model=str(tmp_path / "absent.json"), max_risk=0.5).judge(batch)
    write_json(tmp_path / "other.json", {"model": {"intercept": 0.0, "features": {"colour": [0, 1, 1]}}})
    with pytest.raises(ConfigError, match="knows no such feature"):
        LearnedFilter(model=str(tmp_path / "other.json"), max_risk=0.5).judge(batch)


def test_it_needs_clean_and_corrupted_records() -> None:
    clean = [record for record in twins(40) if not record.corrupted[0]]
    with pytest.raises(DataError, match="clean and corrupted"):
        learn(LabelledTable.of(clean), prevalence=0.1, min_clean=0.9)
