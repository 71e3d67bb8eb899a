"""The stage `evaluate`: what it asks, writes and reports, with models and judges replaced by small functions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PILImage
from pydantic import ValidationError

from polite_flamingo.errors import ConfigError, DataError, ImageError, ModelError
from polite_flamingo.evaluate import model_answers
from polite_flamingo.evaluate.answers import MODELS, Judges, as_answer
from polite_flamingo.evaluate.settings import EvaluateSettings, OtherModel
from polite_flamingo.io.shards import count_shards, read_shards, write_shards
from polite_flamingo.io.text import write_jsonl
from polite_flamingo.params.reading import load_params
from polite_flamingo.params.schema import Params
from polite_flamingo.records import Image, Rewrite, Sample, Task, Turn
from polite_flamingo.sources.selection import SourceSpec
from polite_flamingo.stages import evaluate
from polite_flamingo.tracking.base import NullTracker
from polite_flamingo.world.truth import load_ground_truth

ROOT = Path(__file__).resolve().parents[3]
SAMPLES = [
    *[
        Sample(
            f"vqav2/{split}/{i}",
            "vqav2",
            split,
            "x",
            Task.VQA,
            (Turn("human", "What color is the circle?", (0,)), Turn("assistant", "red")),
            (Image("a.png"),),
        )
        for split, count in (("test", 3), ("out_of_domain", 2))
        for i in range(count)
    ],
    Sample(
        "coco/test/1",
        "coco",
        "test",
        "x",
        Task.CAPTION,
        (Turn("human", "Describe it.", (0,)), Turn("assistant", "a red circle")),
        (Image("a.png"),),
    ),
    Sample(
        "spot_the_diff/test/1",
        "spot_the_diff",
        "test",
        "x",
        Task.CHANGE,
        (Turn("human", "What changed?", (0, 1)), Turn("assistant", "the red circle is gone")),
        (Image("a.png"), Image("a.png")),
    ),
]


ASIDE = replace(SAMPLES[0], id="alpaca/train/1", source="alpaca", split="train")


class Longest:
    """Reward: number of letters."""

    def score(self, rewrites: Sequence[Rewrite]) -> list[float]:
        return [float(len(r.rewritten)) for r in rewrites]


class Contains:
    """Entailed when the annotated answer stands in the model's."""

    def score(self, rewrites: Sequence[Rewrite]) -> list[list[float]]:
        return [[0.0, 1.0, 0.0] if r.raw_answer in r.rewritten else [1.0, 0.0, 0.0] for r in rewrites]


class Run:
    """One evaluation in a folder of its own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(folder)
        self.params: Params = load_params(ROOT / "params.yaml", profile="tiny")
        self.asked: list[tuple[str, int, bool]] = []
        raw = self.params.image_root
        raw.mkdir(parents=True)
        PILImage.new("RGB", (8, 8), "red").save(raw / "a.png")
        write_jsonl(raw / "ground_truth.jsonl", [{"image": "a.png", "objects": [{"color": "red", "shape": "circle"}]}])
        self.samples([*SAMPLES, ASIDE])
        chat = {"name": "alpaca", "folder": "alpaca", "role": "evaluation", "split": "train", "reward_only": True}
        sources = [*self.params.sources, SourceSpec.model_validate(chat)]
        self.params = self.params.model_copy(update={"sources": sources})
        for name in (*MODELS, "backbones/flamingo", "backbones/nli", "backbones/sts", "backbones/reward"):
            (self.params.models / name).mkdir(parents=True)
            (self.params.models / name / "weights").write_text(name)
        monkeypatch.setattr(model_answers.ModelAnswers, "_load", lambda _, weights: weights.name)
        panel = Judges(Longest(), Contains(), Longest(), load_ground_truth(raw))
        monkeypatch.setattr(model_answers.ModelAnswers, "judges", panel)
        monkeypatch.setattr(model_answers, "ask", self.ask)

    def samples(self, samples: Sequence[Sample]) -> None:
        write_shards(self.params.data / "samples" / "evaluation", [s.to_row() for s in samples])

    def ask(self, model: str, chunk: Sequence[Sample], settings: Any, *, with_images: bool, **_: Any) -> list[Rewrite]:
        assert settings.max_new_tokens == self.params.evaluate.max_new_tokens
        self.asked.append((model, len(chunk), with_images))
        knows = with_images and model != "stage1"
        text = {"raw": "red", "stage1": "It is blue."}.get(model, "The circle is red." if knows else "It is green.")
        return [as_answer(s, text, with_images=with_images) for s in chunk]

    def __call__(self) -> dict[str, Any]:
        return evaluate.run(self.params, NullTracker())


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Run, dict[str, Any]]]:
    """An evaluation that has run once, with its report, in its folder."""
    with pytest.MonkeyPatch.context() as patch:
        run = Run(tmp_path_factory.mktemp("evaluation"), patch)
        whole = [{"question_id": sample.id, "text": "It is a red circle."} for sample in SAMPLES]
        write_jsonl(Path("answers", "whole.jsonl"), [*whole, {"question_id": "nobody's", "text": "x"}])
        write_jsonl(Path("answers", "part.jsonl"), whole[:2])
        others = ["mine=answers/whole.jsonl", "answers/part.jsonl"]
        chosen = EvaluateSettings(models=[*run.params.evaluate.models, *others])
        run.params = run.params.model_copy(update={"evaluate": chosen})
        yield run, run()


def test_every_model_answers_everything_and_stage_3_also_blind(finished: tuple[Run, dict[str, Any]]) -> None:
    run, _ = finished
    total, in_domain = len(SAMPLES), 3
    assert sorted(run.asked) == sorted(
        [(name, total, True) for name in ("raw", "stage1", "stage2", "stage3")] + [("stage3", in_domain, False)]
    )
    answers = run.params.data / "answers"
    assert {p.name: count_shards(p) for p in answers.iterdir()} == {
        "annotation": 7,
        "raw": 7,
        "stage1": 7,
        "stage2": 7,
        "stage3": 7,
        "stage3_without_image": 3,
        "responses": 1,
        "mine": 7,
        "part": 2,
    }
    rows = list(map(Rewrite.from_row, read_shards(answers / "stage2")))
    assert [r.id for r in rows] == [s.id for s in SAMPLES]
    assert rows[0].scores == {
        **{"reward": 18.0, "rouge_l": 0.4, "nli": [0.0, 1.0, 0.0], "entailed": True, "exact": True}
    }


def test_the_report_holds_every_figure_with_interval_and_number(finished: tuple[Run, dict[str, Any]]) -> None:
    run, report = finished
    assert json.loads((run.params.reports / "evaluate.json").read_text()) == report
    stage3 = report["models"]["stage3"]
    assert (stage3["qa_in_domain"]["value"], stage3["qa_in_domain"]["n"]) == (1.0, 3)
    assert stage3["qa_in_domain_exact"]["value"] == 1.0
    assert stage3["qa_in_domain_without_image"] == {"value": 0.0, "low": 0.0, "high": 0.0, "n": 3}
    assert stage3["qa_in_domain_without_image_exact"]["value"] == 0.0
    assert stage3["qa_out_of_domain"]["n"] == 2
    assert stage3["caption_rouge_l"]["n"] == stage3["change_sts"]["n"] == 1
    assert report["models"]["stage1"]["qa_in_domain"]["value"] == 0.0
    assert set(report["models"]["annotation"]) == {"reward"}
    assert report["judges"]["nli"]["source"] == run.params.backbones.nli
    row = report["sets"]["vqav2/out_of_domain"]
    assert (row["kind"], row["in_domain"], row["n"]) == ("question", False, 2)
    assert row["models"]["stage3"]["nli"] == stage3["qa_out_of_domain"]
    assert set(report["sets"]) == {"coco", "spot_the_diff", "vqav2", "vqav2/out_of_domain"}


def test_what_a_profile_names_for_its_reward_alone_is_asked_of_no_model(finished: tuple[Run, dict[str, Any]]) -> None:
    _, report = finished
    assert report["responses"] == {"alpaca": {"value": 3.0, "low": 3.0, "high": 3.0, "n": 1, "median": 3.0}}
    assert report["samples"]["all"] == len(SAMPLES)


def test_files_of_other_models_stand_in_the_same_tables(finished: tuple[Run, dict[str, Any]]) -> None:
    _, report = finished
    assert report["models"]["mine"]["qa_in_domain"]["value"] == 1.0
    assert report["sets"]["coco"]["models"]["mine"]["rouge_l"]["n"] == 1
    assert report["others"]["mine"]["unmatched"] == 1
    told = report["others"]["part"]
    assert (told["from"], told["asked"], told["answered"], told["missing"]) == ("answers/part.jsonl", 7, 2, 1)
    assert report["models"]["part"]["qa_in_domain"]["n"] == 2


def test_the_win_rate_compares_the_annotation_and_all_models(finished: tuple[Run, dict[str, Any]]) -> None:
    rates = finished[1]["win_rate"]
    order = rates["order"]
    assert order == ["annotation", "raw", "stage1", "stage2", "stage3", "mine"]
    assert rates["matrix"][order.index("stage3")][order.index("raw")] == 1.0
    assert rates["matrix"][order.index("stage2")][order.index("stage3")] == 0.5


def test_a_second_run_writes_the_same_bytes(finished: tuple[Run, dict[str, Any]]) -> None:
    run, _ = finished

    def outputs() -> dict[str, bytes]:
        folders = (run.params.reports, run.params.data / "answers")
        return {str(p): p.read_bytes() for folder in folders for p in sorted(folder.rglob("*")) if p.is_file()}

    first = outputs()
    run()
    assert first == outputs()
    assert {Path(p).name for p in first if p.endswith(".png")} == {
        "reward_distributions.png",
        "win_rate.png",
        "u_curve.png",
        "instruction_sets.png",
    }


def test_a_missing_model_names_the_command_that_makes_it(run: Run) -> None:
    (run.params.models / "stage2" / "weights").unlink()
    (run.params.models / "stage2").rmdir()
    with pytest.raises(ModelError, match="polite-flamingo tune_stage2"):
        run()


def test_a_vanished_image_is_named(run: Run) -> None:
    (run.params.image_root / "a.png").unlink()
    with pytest.raises(ImageError, match=r"a\.png"):
        run()


def test_nothing_to_evaluate_is_said(run: Run) -> None:
    run.samples([])
    with pytest.raises(DataError, match="no evaluation samples"):
        run()


def test_a_profile_without_a_judge_is_told_which(run: Run) -> None:
    backbones = run.params.backbones.model_copy(update={"reward": "none"})
    run.params = run.params.model_copy(update={"backbones": backbones})
    with pytest.raises(ConfigError, match=r"backbones\.reward"):
        run()


@pytest.mark.parametrize(
    ("text", "name", "is_file"),
    [
        ("hf:llava-hf/llava-1.5-7b-hf@0123abc", "llava-1.5-7b-hf", False),
        ("openai:http://localhost:8000/v1?a=b#org/llava 1.6", "llava-1.6", False),
        ("theirs=openai:http://localhost:8000/v1#m", "theirs", False),
        ("answers/llava-v1.5-13b.jsonl.gz", "llava-v1.5-13b", True),
        ("before=data/other/answers/stage3", "before", True),
    ],
)
def test_another_model_has_a_name_and_a_place(text: str, name: str, is_file: bool) -> None:
    model = OtherModel.parse(text)
    assert (model.name, model.file is not None) == (name, is_file)


@pytest.mark.parametrize(
    ("models", "word"),
    [
        (["stage4"], "did you mean 'stage3'"),
        (["openai:http://x/v1"], "openai:<base url>#<model>"),
        (["raw=a.jsonl"], "no name for a model"),
        (["a/x.jsonl", "b/x.json"], "models of the same name: x"),
    ],
)
def test_a_model_that_is_none_is_refused(models: list[str], word: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(word)):
        EvaluateSettings(models=models)
