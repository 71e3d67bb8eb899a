"""What a profile needs is known before anything is downloaded, and equals what is then built."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tests.model.micro import micro_tokenizer

from polite_flamingo.cli import main
from polite_flamingo.errors import ModelError
from polite_flamingo.model.assemble import assemble_flamingo
from polite_flamingo.model.bundle import named_tensors
from polite_flamingo.model.flamingo import load_flamingo
from polite_flamingo.model.freezing import set_trainable
from polite_flamingo.model.lora import inject_lora
from polite_flamingo.model.settings import LoraSettings
from polite_flamingo.model.shapes import blueprint, count
from polite_flamingo.params.reading import load_params
from polite_flamingo.params.schema import Params
from polite_flamingo.plan.page import render
from polite_flamingo.plan.paper import TABLE_4
from polite_flamingo.plan.training import plan
from polite_flamingo.train.memory import Workload, flops_per_token, memory

ROOT = Path(__file__).parents[2]


def profile(name: str) -> Params:
    return load_params(ROOT / "params.yaml", name)


@cache
def planned(name: str) -> dict[str, Any]:
    return plan(profile(name), tokens_per_second=1000 if name == "tiny" else None)


def test_counts_of_the_packaged_model_are_those_of_the_loaded_one(tmp_path):
    from polite_flamingo.model.origins import materialise

    materialise("packaged", "flamingo", tmp_path / "flamingo")
    bundle = load_flamingo(tmp_path / "flamingo")
    lora = LoraSettings(r=8)
    inject_lora(bundle, lora)
    for groups in (["lora"], ["perceiver", "xattn"], ["vision", "lora"]):
        counts = count(blueprint("packaged"), groups, lora)
        assert counts.trainable == set_trainable(bundle, groups), groups
    assert counts.total == sum(tensor.numel() for tensor in named_tensors(bundle.model).values())


def test_counts_of_a_model_to_be_built_are_those_of_the_built_one(tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = micro_tokenizer()
    sizes = {"hidden_size": 32, "num_hidden_layers": 12, "num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=len(tokenizer), intermediate_size=64, tie_word_embeddings=True, **sizes)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "lm")
    tokenizer.save_pretrained(tmp_path / "lm")
    origin = f"build:local:{tmp_path / 'lm'}|packaged:clip"
    assemble_flamingo(origin.removeprefix("build:"), tmp_path / "flamingo", seed=1)
    bundle = load_flamingo(tmp_path / "flamingo")
    counts = count(blueprint(origin), ["perceiver", "xattn"], None)
    assert counts.trainable == set_trainable(bundle, ["perceiver", "xattn"])
    assert counts.total == sum(tensor.numel() for tensor in named_tensors(bundle.model).values())


def test_the_papers_scale_has_the_papers_counts_or_the_page_says_why():
    trainings = planned("paper_8xa100")["trainings"]
    lora, embeddings = trainings["stage1"]["learned"], 32_003 * 4096
    # stage 1: LoRA alone is 0.16 B; with the input embeddings, which OpenFlamingo's code trains too, it is the paper's
    assert lora + embeddings == pytest.approx(TABLE_4["stage1"].learned, rel=0.05)
    assert round(trainings["stage2"]["learned"] / 1e9, 1) == TABLE_4["stage2"].learned / 1e9
    assert "input embeddings" in (ROOT / "docs" / "plan.md").read_text()


def test_the_papers_profile_has_the_samples_and_steps_of_table_4_and_one_throughput_gives_its_hours():
    trainings = planned("paper_8xa100")["trainings"]
    for name in ("stage1", "stage3"):
        assert trainings[name]["samples"] == trainings[name]["sequences"] == pytest.approx(772_000, rel=0.001)
        assert trainings[name]["steps"] == pytest.approx(3_016, rel=0.001)
    assert [one["paper"]["steps"] for one in trainings.values()] == [2_988, 3_016, 3_135, 3_016]
    for name, one in trainings.items():
        assert one["paper"]["hours_at_this_rate"] == pytest.approx(TABLE_4[name].hours, rel=0.035), name


def test_eight_gpus_take_an_eighth_of_the_hours_of_one():
    eight = profile("paper_8xa100")
    one = eight.model_copy(update={"runtime": eight.runtime.model_copy(update={"processes": 1})})
    hours = [p["trainings"]["stage2"]["hours"] for p in (plan(one), planned("paper_8xa100"))]
    assert hours[0] == pytest.approx(8 * hours[1])


def test_a_training_that_will_not_fit_is_named_with_what_to_change():
    small = profile("single_gpu")
    runtime = small.runtime.model_copy(update={"device_gb": 8, "gradient_checkpointing": False})
    warnings = plan(small.model_copy(update={"runtime": runtime}))["warnings"]
    assert [w for w in warnings if w.startswith("stage1: about") and "micro_batch_size" in w]
    assert not [w for w in planned("single_gpu")["warnings"] if "per device" in w]


def test_hours_need_a_throughput():
    assert any("runtime.tflops" in warning for warning in plan(profile("tiny"))["warnings"])
    assert planned("tiny")["trainings"]["stage1"]["hours"] > 0


def test_a_profile_that_downloads_nothing_says_so_and_one_that_does_names_every_model():
    assert "no model: everything is on this machine" in render(planned("tiny"))
    downloads = planned("paper_8xa100")["downloads"]
    assert len(downloads["models_mb"]) == 7
    assert all(downloads["models_mb"].values())


def test_a_base_of_unknown_sizes_is_an_error_that_says_what_to_write():
    with pytest.raises(ModelError, match=r"sizes of this model are neither listed nor on this machine"):
        blueprint("build:hub:someone/some-model@1|packaged:clip")
    with pytest.raises(ModelError, match=r"build:<LM>\|<CLIP>"):
        blueprint("hub:someone/some-flamingo@1")


BASE = {
    "frozen": 1000, "quantized": 0, "learned": 100, "blocks": 4, "width": 8, "vocabulary": 16, "tokens": 32,
    "supervised": 16, "bf16": False, "checkpointing": False,
}  # fmt: skip


def test_what_saves_memory_saves_it_where_it_should():
    before = memory(Workload(**BASE))
    for change, part in (
        ({"bf16": True}, "weights"),
        ({"quantized": 900}, "weights"),
        ({"checkpointing": True}, "activations"),
        ({"zero": 1, "processes": 4}, "optimizer"),
        ({"zero": 2, "processes": 4}, "gradients"),
        ({"zero": 3, "processes": 4}, "weights"),
    ):
        after = memory(Workload(**{**BASE, **change}))
        assert after[part] < before[part], change
        assert after["total"] < before["total"], change


def test_recomputation_costs_a_third_forward_pass():
    plain, again = (flops_per_token(10, 0, checkpointing=on) for on in (False, True))
    assert again == pytest.approx(1.5 * plain)


def test_the_verb_prints_the_plan_and_its_json(capsys):
    assert main(["plan", "--profile", "tiny", "--tokens-per-second", "4000"]) == 0
    assert "stage3" in capsys.readouterr().out
    assert main(["plan", "--profile", "tiny", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["profile"] == "tiny"
