"""The four steps as functions, and the notebook that shows them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PILImage

import polite_flamingo as pf
from polite_flamingo.errors import DataError
from polite_flamingo.jobs.questions import Failure
from polite_flamingo.records import Generated

NOTEBOOK = Path(__file__).parents[2] / "docs" / "notebooks" / "curation.ipynb"
MAPPING = {"task": "vqa", "licence": "MIT", "question": "q", "answer": "a", "image": "image"}


class Stub:
    """Says the raw answer in a sentence; cannot answer a question about fog."""

    identity, batch_size = "stub", 2

    def answer(self, questions: Any) -> list[Any]:
        return [
            Failure("fog") if "fog" in q.instruction else Generated(f"It is {q.draft}.", "stop", 3) for q in questions
        ]

    def close(self) -> None:
        pass


def test_the_notebook_runs() -> None:
    cells = [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    names: dict[str, Any] = {"__name__": "notebook"}
    for cell in cells:
        exec(compile("".join(cell["source"]), NOTEBOOK.name, "exec"), names)
    assert names["dataset"].num_rows == 10


def test_a_dataset_goes_in_and_a_dataset_comes_out(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    picture = io.BytesIO()
    PILImage.new("RGB", (2, 2)).save(picture, "PNG")
    rows = [{"q": "What colour?", "a": "red", "image": {"bytes": picture.getvalue(), "path": None}}] * 3
    features = {"q": datasets.Value("string"), "a": datasets.Value("string"), "image": datasets.Image()}
    own = datasets.Dataset.from_list(rows, features=datasets.Features(features))
    samples = pf.read_samples(own, tmp_path / "mine", mapping=MAPPING)
    rewrites = pf.rewrite_samples(samples, Stub(), images=tmp_path)
    kept = pf.filter_rewrites(pf.score_rewrites(rewrites, images=tmp_path), {"length": {"min_words": 2}})
    assert kept["rewritten"] == ["It is red."] * 3
    (first, *_) = pf.as_records(pf.Rewrite, kept)
    assert (first.raw_answer, first.licence, (tmp_path / first.images[0].path).is_file()) == ("red", "MIT", True)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == []


def test_what_cannot_be_used_is_an_error_or_goes_to_the_list(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    lines = [{"q": "Is there fog?", "a": "yes"}, {"q": "No answer?", "a": None}, {"q": "What is it?", "a": "a robin"}]
    (tmp_path / "mine" / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    mapping = {"file": "rows.jsonl", **{key: MAPPING[key] for key in ("task", "licence", "question", "answer")}}
    with pytest.raises(DataError, match="pass a list as `rejects`"):
        list(pf.read_samples("table", tmp_path / "mine", mapping=mapping))
    rejects: list[pf.Reject] = []
    samples = pf.read_samples("table", tmp_path / "mine", mapping=mapping, rejects=rejects)
    (rewrite,) = pf.rewrite_samples(samples, Stub(), rejects=rejects)
    assert rewrite.rewritten == "It is a robin."
    assert {reject.reason for reject in rejects} == {"fog", "'a' is empty"}
