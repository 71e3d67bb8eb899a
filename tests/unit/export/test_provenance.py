"""A card says what ran, and that it does not know what no report tells."""

from __future__ import annotations

from pathlib import Path

from tests.unit.export.exporting import Project, kept

from polite_flamingo.export.provenance import UNKNOWN, read_provenance
from polite_flamingo.io.text import write_json
from polite_flamingo.model.settings import GenerationSettings
from polite_flamingo.records import Task
from polite_flamingo.rewrite.provenance import describe_rewriter


def test_an_endpoints_card_names_its_model_and_what_was_sent_to_it(tmp_path: Path) -> None:
    rewriter = describe_rewriter("openai:http://10.0.0.7:8000/v1#qwen", GenerationSettings(seed=3), "packaged", "rules")
    texts = {"polite@1": "Rewrite {answer}.", "polite@2": "Not asked."}
    row = {"folder": "birds", "split": "train", "role": "annotation", "read": 12, "rejected": 1, "kept": 11}
    write_json(tmp_path / "download.json", {"sources": [{"name": "table", **row}]})
    write_json(tmp_path / "rewrite.json", {"rewriter": rewriter, "prompts": {"polite@1": 11}, "prompt_texts": texts})
    write_json(tmp_path / "score.json", {"models": {}})
    write_json(tmp_path / "calibration" / "labels.json", {"records": {"total": 40, "corrupted": 3}})
    share = {"value": 0.97, "low": 0.92, "high": 0.99, "n": 120}
    people = {"kept": {"right_and_grounded": share}, "annotators": 2, "of": 900, "gate": {"least": 0.9, "held": True}}
    write_json(tmp_path / "people.json", people)
    provenance = read_provenance(tmp_path, False, seed=3)
    assert provenance.rewriter == "`qwen` behind an OpenAI-compatible endpoint, asked in words"
    assert provenance.table["decoding sent"] == {"max_tokens": 1024, "temperature": 1.0, "top_p": 0.9}
    assert provenance.table["scorers"] == "none"
    assert provenance.sources == (("table", "a table of one's own", "birds", "train", 12, 1, 11),)
    project = Project(tmp_path, [kept(1, Task.VQA, source="table", licence="CC BY 4.0")])
    report = {**project.report, "concerns": [{"source": "table", "what": "all alike"}]}
    write_json(tmp_path / "filter.json", report)
    card = (project.export("llava", provenance=provenance) / "README.md").read_text()
    assert "Flamingo" not in card.replace("Polite Flamingo", "")
    assert not [word for word in ("num_beams", "official", "10.0.0.7", "packaged") if word in card]
    assert "| table | train | vqa | 1 | CC BY 4.0 | yes |" in card
    assert "license: [cc-by-4.0]" in card
    assert "- **table**: all alike" in card
    assert "    Rewrite {answer}." in card
    assert "Not asked" not in card
    assert "People judged 40 rewrites, before filtering, and called 3 of them wrong." in card
    assert "| right and grounded | 120 | 0.970 | 0.920 to 0.990 |" in card
    assert "The gate, at least 0.9 right and grounded, held." in card
    assert "**Another filtering was judged**" in card


def test_what_no_report_tells_is_said_to_be_unknown(tmp_path: Path) -> None:
    provenance = read_provenance(tmp_path, False)
    assert provenance.rewriter == UNKNOWN
    assert {*provenance.table.values()} == {UNKNOWN}


def test_decoding_that_a_backend_does_not_use_is_not_told() -> None:
    settings = GenerationSettings(do_sample=False)
    assert "num_beams" not in describe_rewriter("hf:some/model@1", settings, "", "")["decoding"]
    greedy = describe_rewriter("openai:http://h/v1#m", settings, "", "")["decoding"]
    assert greedy == {"max_tokens": 1024, "temperature": 0.0}
    trained = describe_rewriter("flamingo", settings, "packaged", "terse_rules")
    assert (trained["decoding"]["num_beams"], trained["distortion"]) == (3, "terse_rules")
