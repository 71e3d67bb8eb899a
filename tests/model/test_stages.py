"""The stages train_rewriter, rewrite and tune on a micro model: what they read, write and survive."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from polite_flamingo.errors import ConfigError, DataError, ModelError, QualityError
from polite_flamingo.io.shards import count_shards, read_shards, write_shards
from polite_flamingo.io.text import read_json, read_jsonl, write_jsonl
from polite_flamingo.jobs.backends import load
from polite_flamingo.params.reading import load_params
from polite_flamingo.params.schema import Params
from polite_flamingo.records import Image, Rewrite, RewritePair, Sample, Task, Turn
from polite_flamingo.stages import rewrite, train_rewriter, tune
from polite_flamingo.tracking.base import NullTracker
from polite_flamingo.world.probes import make_probes

ROOT = Path(__file__).parents[2]
COLORS = ("red", "blue", "green")


def project(micro_flamingo_folder: Path, image_root: Path) -> Params:
    """The tiny profile with small settings, here, with pairs, samples and a world of six images."""
    loaded = load_params(ROOT / "params.yaml", "tiny")
    rewriter = loaded.rewriter.model_copy(
        update={
            "epochs": 1.0,
            "global_batch_size": 4,
            "context_length": 300,
            "lora": loaded.rewriter.lora.model_copy(update={"r": 2, "alpha": 2}),
        }
    )
    small = {"epochs": 1.0, "context_length": 200, "global_batch_size": 2}
    tuned = loaded.tune.model_copy(
        update={
            "common": loaded.tune.common.model_copy(update={"lora": rewriter.lora}),
            **{s: getattr(loaded.tune, s).model_copy(update=small) for s in ("stage1", "stage2", "stage3")},
        }
    )
    made = loaded.model_copy(
        update={
            "rewriter": rewriter,
            "tune": tuned,
            "generation": loaded.generation.model_copy(update={"max_new_tokens": 6}),
            "limits": loaded.limits.model_copy(update={"probes": 3}),
        }
    )
    shutil.copytree(micro_flamingo_folder, made.models / "backbones" / "flamingo")
    shutil.copytree(image_root, made.image_root)
    write_jsonl(
        made.image_root / "ground_truth.jsonl",
        [
            {
                "image": f"{i}.png",
                "objects": [{"color": COLORS[i % 3], "shape": "star", "size": "small", "position": "top left"}],
            }
            for i in range(6)
        ],
    )
    pairs = [
        RewritePair(
            f"p{i}",
            f"s{i}",
            "t",
            "held_out" if i % 4 == 0 else "train",
            Task.VQA,
            "what color is the star ?",
            (Image(f"{i % 6}.png"),),
            COLORS[i % 3],
            f"The star is {COLORS[i % 3]}.",
            ("llm_rewrite", "text_noise")[i % 2],
            "",
            0,
        )
        for i in range(16)
    ]
    write_shards(made.data / "pairs", [p.to_row() for p in pairs])
    write_shards(made.data / "samples" / "annotation", [annotation(i).to_row() for i in range(12)])
    write_shards(made.data / "samples" / "instruction", [annotation(i, "It is a star.").to_row() for i in range(6)])
    kept = [
        Rewrite(
            f"t/train/{i}",
            "t",
            "train",
            "x",
            Task.VQA,
            "what color is the star ?",
            (Image(f"{i % 6}.png"),),
            COLORS[i % 3],
            f"The star is {COLORS[i % 3]}.",
            "stop",
        )
        for i in range(8)
    ]
    write_shards(made.data / "pf1m" / "kept", [r.to_row() for r in kept])
    return made


@pytest.fixture
def params(tmp_path, monkeypatch, micro_flamingo_folder, image_root) -> Params:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("POLITE_FLAMINGO_DATA_ROOT", raising=False)
    return project(micro_flamingo_folder, image_root)


@pytest.fixture(scope="module")
def trained_project(tmp_path_factory, micro_flamingo_folder, image_root) -> tuple[Path, Params, dict[str, Any]]:
    """A project in which the rewriter and the three stages were trained, and their reports."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("POLITE_FLAMINGO_DATA_ROOT", raising=False)
        made = project(micro_flamingo_folder, image_root)
        reports = {"rewriter": train_rewriter.run(made, NullTracker())}
        for which in ("stage1", "stage2", "stage3"):
            reports[which] = tune.run(made, NullTracker(), which)
    return folder, made, reports


@pytest.fixture
def trained(trained_project, monkeypatch) -> tuple[Params, dict[str, Any]]:
    folder, made, reports = trained_project
    monkeypatch.chdir(folder)
    monkeypatch.delenv("POLITE_FLAMINGO_DATA_ROOT", raising=False)
    return made, reports


def annotation(index: int, answer: str | None = None) -> Sample:
    return Sample(
        f"t/train/{index}",
        "t",
        "train",
        "x",
        Task.VQA,
        (Turn("human", "What color is the star?", (0,)), Turn("assistant", answer or COLORS[index % 3])),
        (Image(f"{index % 6}.png"),),
        {"question_type": "color"},
    )


def test_the_rewriter_is_trained_saved_and_measured_on_held_out_pairs(trained):
    params, reports = trained
    report = reports["rewriter"]
    assert (params.models / "rewriter" / "trainables.safetensors").is_file()
    assert (params.reports / "train_rewriter" / "loss.png").is_file()
    assert report == read_json(params.reports / "train_rewriter.json")
    assert count_shards(params.data / "revised" / "rewriter") == report["held_out_pairs"]
    assert report["rouge_l_gain"] == pytest.approx(report["rouge_l_revised"] - report["rouge_l_drafted"], abs=1e-3)
    assert report["held_out_pairs"] == 4
    assert report["train_pairs"] == 12
    assert sum(part["pairs"] for part in report["per_strategy"].values()) == 4


def test_training_without_pairs_says_what_to_run(params):
    write_shards(params.data / "pairs", [])
    with pytest.raises(DataError, match="distort"):
        train_rewriter.run(params, NullTracker())


@pytest.fixture
def rewriter(params) -> Params:
    from polite_flamingo.model.checkpoint import save_trainables
    from polite_flamingo.model.flamingo import load_flamingo
    from polite_flamingo.model.lora import inject_lora
    from polite_flamingo.model.settings import LoraSettings

    bundle = load_flamingo(params.models / "backbones" / "flamingo")
    inject_lora(bundle, LoraSettings(r=2, alpha=2))
    save_trainables(bundle, params.models / "rewriter")
    return params


def test_every_annotation_is_rewritten_and_a_second_run_gives_the_same_bytes(rewriter):
    report = rewrite.run(rewriter, NullTracker())
    rows = [Rewrite.from_row(r) for r in read_shards(rewriter.data / "rewrites")]
    assert [r.id for r in rows][:12] == [f"t/train/{i}" for i in range(12)]
    assert report["rewritten"] == 12
    assert report["lost"] == 0
    assert {r.finish_reason for r in rows} <= {"stop", "length"}
    first = (rewriter.data / "rewrites" / "part-000000.parquet").read_bytes()
    rewrite.run(rewriter, NullTracker())
    assert (rewriter.data / "rewrites" / "part-000000.parquet").read_bytes() == first


def test_an_image_that_broke_meanwhile_costs_its_records_only(rewriter):
    (rewriter.image_root / "3.png").write_bytes(b"no image")
    loose = rewriter.model_copy(update={"quality": rewriter.quality.model_copy(update={"max_rejected_share": 0.5})})
    report = rewrite.run(loose, NullTracker())
    assert (report["rewritten"], report["lost"]) == (10, 2)
    lost = list(read_jsonl(rewriter.data / "rewrites" / "quarantine.jsonl"))
    assert [row["row"] for row in lost] == ["t/train/3", "t/train/9"]
    assert "3.png" in lost[0]["reason"]
    with pytest.raises(QualityError, match="2 of 12"):
        rewrite.run(rewriter, NullTracker())


def test_records_without_an_answer_are_quarantined_and_tried_again_by_the_next_run(rewriter, monkeypatch):
    from tests.unit.jobs.stub import FAULTS, Stub, answer

    class Endpoint(Stub):
        down = frozenset({"t/train/3", "t/train/7"})

        def answer(self, questions):
            self.tries += [(q.key, q.attempt) for q in questions]
            return [FAULTS["error"](q) if q.key in self.down else answer(q) for q in questions]

    stub = Endpoint()
    monkeypatch.setattr(load, "make_backend", lambda spec, settings, options, use: use(stub))
    with pytest.raises(QualityError, match=r"2 of 12.*could not be rewritten") as caught:
        rewrite.run(rewriter, NullTracker())
    assert "2 x refused (samples/annotation, row t/train/3)" in str(caught.value)
    assert not (rewriter.data / "rewrites").exists()
    stub.tries, Endpoint.down = [], frozenset({"t/train/7"})
    loose = rewriter.model_copy(update={"quality": rewriter.quality.model_copy(update={"max_rejected_share": 0.1})})
    report = rewrite.run(loose, NullTracker())
    assert sorted(key for key, _ in stub.tries) == ["t/train/3", "t/train/7"]
    assert (report["rewritten"], report["lost"]) == (11, 1)
    (lost,) = read_jsonl(rewriter.data / "rewrites" / "quarantine.jsonl")
    assert (lost["row"], lost["reason"]) == ("t/train/7", "error: refused")
    assert not Path(".work/rewrite-tiny").exists()


def test_what_repair_saved_and_gave_up_is_in_the_report_and_the_records(rewriter, monkeypatch):
    from tests.unit.jobs.stub import Stub

    drafts = {3: "once:unchanged", 4: "never:leaked boxes", 5: "never:unchanged"}
    rows = [annotation(i, drafts.get(i)).to_row() for i in range(12)]
    write_shards(rewriter.data / "samples" / "annotation", rows)
    monkeypatch.setattr(load, "make_backend", lambda spec, settings, options, use: use(Stub()))
    repair = rewriter.repair.model_copy(update={"attempts": 2})
    report = rewrite.run(rewriter.model_copy(update={"repair": repair}), NullTracker())
    assert report["repair"] == {
        "tried": 3,
        "saved": 1,
        "kept_raw": 2,
        "tried_by_fault": {"leaked boxes": 1, "unchanged": 2},
        "saved_by_fault": {"unchanged": 1},
    }
    rows = [Rewrite.from_row(r) for r in read_shards(rewriter.data / "rewrites")]
    assert rows[4].rewritten == rows[4].raw_answer == "never:leaked boxes"
    assert rows[4].extras["repair"] == {"attempts": 2, "fault": "leaked boxes", "kept": "raw"}
    assert rows[3].extras["repair"]["kept"] == "rewrite"
    assert "repair" not in rows[2].extras


def test_probes_are_corrupted_copies_of_clean_rewrites(params):
    from polite_flamingo.world.truth import load_ground_truth

    world = load_ground_truth(params.image_root)
    made = [
        Rewrite(
            f"t/{i}",
            "t",
            "train",
            "x",
            Task.VQA,
            "What color is the star?",
            (Image(f"{i % 6}.png"),),
            COLORS[i % 3],
            f"The star is {COLORS[i % 3]}." if i < 6 else "The star is orange.",
            "stop",
        )
        for i in range(8)
    ]
    probes = make_probes(world, made, 4, seed=1)
    assert len(probes) == 4
    assert all(p.id.endswith("!probe") and p.extras["probe"] == "answer_changed" for p in probes)
    assert all(world.judge_rewrite(p).corrupted for p in probes)
    assert {p.id.removesuffix("!probe") for p in probes} <= {r.id for r in made[:6]}
    assert probes == make_probes(world, made, 4, seed=1)


def test_the_stages_of_the_u_build_on_each_other(trained):
    params, reports = trained
    for which in ("stage1", "stage2", "stage3"):
        assert reports[which] == read_json(params.reports / f"tune_{which}.json")
        assert reports[which]["steps"] >= 1
    assert set(read_json(params.reports / "tune_stage2.json")["trainable"]) == {"perceiver", "xattn"}

    from safetensors.torch import load_file

    learned = {w: load_file(params.models / w / "trainables.safetensors") for w in ("stage1", "stage2", "stage3")}
    assert all(".lora_" in name for name in learned["stage1"])
    lora = [name for name in learned["stage2"] if ".lora_" in name]
    assert all(bool((learned["stage1"][n] == learned["stage2"][n]).all()) for n in lora)
    connector = [name for name in learned["stage3"] if ".lora_" not in name]
    assert connector
    assert all(bool((learned["stage2"][n] == learned["stage3"][n]).all()) for n in connector)
    assert not all(bool((learned["stage2"][n] == learned["stage3"][n]).all()) for n in lora)


def test_the_comparison_learns_lora_and_connector_from_raw_answers(params):
    report = tune.run(params, NullTracker(), "raw")
    mixture = params.tune.stage1.mixture
    assert report["stage1"]["mixture"] == {"instruction": mixture["instruction"], "raw": mixture["pf1m"]}
    assert report["stage2"]["mixture"] == {"raw": 1.0}
    assert (params.models / "raw" / "trainables.safetensors").is_file()
    assert not list(Path(".work").rglob("trainables.safetensors"))


def _tuned(params: Params, **changes: object) -> Params:
    """Other settings that all stages share."""
    common = params.tune.common.model_copy(update=changes)
    return params.model_copy(update={"tune": params.tune.model_copy(update={"common": common})})


def test_a_seed_of_the_u_changes_what_is_learned_and_no_seed_is_the_runs(params, trained_project):
    folder, _, _ = trained_project
    without_seed = (folder / params.models / "stage1" / "trainables.safetensors").read_bytes()
    for seed, same in ((params.seed, True), (1, False)):
        tune.run(_tuned(params, seed=seed), NullTracker(), "stage1")
        assert ((params.models / "stage1" / "trainables.safetensors").read_bytes() == without_seed) is same


def test_without_stage_1_stage_2_starts_from_the_base(params):
    from safetensors.torch import load_file

    without = params.model_copy(update={"tune": params.tune.model_copy(update={"skip_stage1": True})})
    assert tune.run(without, NullTracker(), "stage1") == {"skipped": True, "steps": 0}
    assert (params.reports / "tune_stage1").is_dir()
    for which in ("stage2", "stage3"):
        assert tune.run(without, NullTracker(), which)["steps"] >= 1
    up = {n: t for n, t in load_file(params.models / "stage2" / "trainables.safetensors").items() if ".lora_B." in n}
    assert up
    assert all(not bool(tensor.any()) for tensor in up.values())


def test_raw_annotations_and_a_resolution_reach_the_training_and_the_resolution_stays_with_what_was_trained(params):
    from polite_flamingo.model.flamingo import load_flamingo

    base = params.models / "backbones" / "flamingo"
    native = load_flamingo(base).tower.visual.config
    side = native.image_size + native.patch_size
    report = tune.run(_tuned(params, data="raw", resolution=side), NullTracker(), "stage1")
    mixture = params.tune.stage1.mixture
    assert report["mixture"] == {"instruction": mixture["instruction"], "raw": mixture["pf1m"]}
    assert load_flamingo(base, trainables=params.models / "stage1").tower.visual.config.image_size == side


def test_the_second_generation_learns_from_the_assistant_and_is_compared_with_the_first(trained):
    from safetensors.torch import load_file

    from polite_flamingo.stages import compare_rewriters

    params, _ = trained
    report = train_rewriter.run(params, NullTracker(), "second")
    assert report == read_json(params.reports / "train_second_rewriter.json")
    first, assistant, second = (
        load_file(params.models / name / "trainables.safetensors") for name in ("rewriter", "stage3", "second_rewriter")
    )
    connector = [name for name in assistant if ".lora_" not in name]
    assert connector
    assert all(bool((assistant[name] == second[name]).all()) for name in connector)
    assert set(second) > set(first)
    assert any(bool((assistant[name] != second[name]).any()) for name in first)

    without_judges = params.backbones.model_copy(update=dict.fromkeys(("clip", "nli", "reward", "sts"), "none"))
    compared = compare_rewriters.run(params.model_copy(update={"backbones": without_judges}), NullTracker())
    assert compared == read_json(params.reports / "second_generation.json")
    assert (compared["held_out_pairs"]["drafts"], compared["annotations"]["drafts"]) == (4, 12)
    pairs = compared["held_out_pairs"]
    gain = {name: pairs[name]["rouge_l_gain"]["value"] for name in ("first", "second", "difference")}
    assert gain["difference"] == pytest.approx(gain["second"] - gain["first"], abs=1e-5)
    assert pairs["first"]["sts"] == {"value": None, "low": None, "high": None, "n": 0}


def test_a_stage_without_the_one_before_is_a_model_error(params):
    with pytest.raises(ModelError, match="missing"):
        tune.run(params, NullTracker(), "stage2")


def test_an_unknown_tuning_stage_suggests_one(params):
    with pytest.raises(ConfigError, match="stage1"):
        tune.run(params, NullTracker(), "stage01")


def test_a_token_budget_of_the_machine_reaches_the_decoder_and_changes_no_text(rewriter, monkeypatch):
    from polite_flamingo.model import generate as module

    seen = []
    decode = module.decode
    monkeypatch.setattr(module, "decode", lambda *a, **k: seen.append(k["token_budget"]) or decode(*a, **k))
    rewrite.run(rewriter, NullTracker())
    first = [r["rewritten"] for r in read_shards(rewriter.data / "rewrites")]
    runtime = rewriter.runtime.model_copy(update={"token_budget": 150})
    rewrite.run(rewriter.model_copy(update={"runtime": runtime}), NullTracker())
    assert seen[0] is None
    assert seen[-1] == 150
    assert [r["rewritten"] for r in read_shards(rewriter.data / "rewrites")] == first
