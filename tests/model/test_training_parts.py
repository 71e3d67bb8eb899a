"""LoRA, freezing and saved trainables: which tensors change, and what comes back."""

from __future__ import annotations

import re

import pytest
import torch
from tests.model.micro import build_micro

from polite_flamingo.errors import ModelError
from polite_flamingo.model.bundle import named_tensors
from polite_flamingo.model.checkpoint import CONFIG, load_trainables, save_trainables
from polite_flamingo.model.flamingo import load_flamingo, save_flamingo
from polite_flamingo.model.freezing import set_trainable, trainable_tensors
from polite_flamingo.model.lora import inject_lora, merge_lora
from polite_flamingo.model.settings import LoraSettings

LORA = LoraSettings(r=4, alpha=4)


def step(bundle, image_root, rate=0.1):
    x = torch.tensor([bundle.tokenizer("<image><|endofchunk|>a red star", add_special_tokens=False).input_ids])
    optimizer = torch.optim.SGD(trainable_tensors(bundle).values(), lr=rate)
    tokens = bundle.encode_images(["0.png"], image_root)
    bundle.model.supervised_loss(x, None, x, tokens, torch.zeros(1, 1, dtype=torch.long)).backward()
    optimizer.step()
    optimizer.zero_grad()


def output(bundle, image_root):
    x = torch.tensor([bundle.tokenizer("<image><|endofchunk|>a red star", add_special_tokens=False).input_ids])
    index = torch.zeros(1, 1, dtype=torch.long)
    with torch.no_grad():
        return bundle.model(x, vision_tokens=bundle.encode_images(["0.png"], image_root), image_index=index).logits


@pytest.mark.parametrize(
    ("group", "pattern"),
    [
        ("lora", r"\.lora_B\."),  # A gets no gradient while B is zero
        ("perceiver", r"^perceiver\."),
        ("xattn", r"gated_cross_attn_layers\.\d+\.(attn\.|attn_gate)"),
        ("vision", r"^vision_encoder\.(?!post_layernorm)"),  # the patch tokens are taken before it
    ],
)
def test_one_step_changes_exactly_the_groups_tensors(micro_flamingo_folder, image_root, group, pattern):
    bundle = load_flamingo(micro_flamingo_folder)
    inject_lora(bundle, LORA)
    set_trainable(bundle, [group])
    before = {name: tensor.detach().clone() for name, tensor in named_tensors(bundle.model).items()}
    step(bundle, image_root)
    changed = {n for n, t in named_tensors(bundle.model).items() if not torch.equal(t, before[n])}
    expected = {n for n in before if re.search(pattern, n)}
    silent = {n for n in expected if n.endswith(("k_proj.bias", "class_embedding"))}  # no or tiny gradient
    assert changed <= expected
    assert expected - silent <= changed


def test_cross_attention_training_leaves_its_feed_forward_and_gate_alone(micro_flamingo_folder):
    bundle = load_flamingo(micro_flamingo_folder)
    set_trainable(bundle, ["perceiver", "xattn"])
    assert not [n for n in trainable_tensors(bundle) if (".ff." in n and "gated" in n) or n.endswith("ff_gate")]


def test_the_decoder_has_seven_adapters_per_block(micro_flamingo_folder):
    assert inject_lora(load_flamingo(micro_flamingo_folder), LORA) == 14


def test_fresh_lora_changes_nothing_and_merged_lora_keeps_the_function(micro_flamingo_folder, image_root):
    bundle = load_flamingo(micro_flamingo_folder)
    before = output(bundle, image_root)
    inject_lora(bundle, LORA)
    assert torch.allclose(output(bundle, image_root), before, atol=1e-5)
    set_trainable(bundle, ["lora"])
    step(bundle, image_root, rate=0.01)
    trained = output(bundle, image_root)
    assert not torch.allclose(trained, before, atol=1e-3)
    merge_lora(bundle)
    assert torch.allclose(output(bundle, image_root), trained, atol=1e-3, rtol=1e-3)
    assert not [n for n in named_tensors(bundle.model) if "lora" in n or "base_layer" in n]


def test_trainables_come_back_and_accumulate_over_stages(micro_flamingo_folder, image_root, tmp_path):
    bundle = load_flamingo(micro_flamingo_folder)
    inject_lora(bundle, LORA)
    set_trainable(bundle, ["lora"])
    step(bundle, image_root, rate=0.01)
    save_trainables(bundle, tmp_path / "one")
    bundle = load_flamingo(micro_flamingo_folder, trainables=tmp_path / "one", merge=False)
    set_trainable(bundle, ["perceiver", "xattn"])
    step(bundle, image_root, rate=0.01)
    save_trainables(bundle, tmp_path / "two")
    again = load_flamingo(micro_flamingo_folder, trainables=tmp_path / "two", merge=False)
    assert torch.equal(output(again, image_root), output(bundle, image_root))
    set_trainable(again, ["lora"])
    step(again, image_root, rate=0.01)
    save_trainables(again, tmp_path / "three")  # the connector, frozen now, is still part of what was learned
    third = load_flamingo(micro_flamingo_folder, trainables=tmp_path / "three", merge=False)
    assert torch.equal(output(third, image_root), output(again, image_root))


def test_only_what_differs_from_the_base_is_saved(micro_flamingo_folder, image_root, tmp_path):
    from safetensors.torch import load_file

    bundle = load_flamingo(micro_flamingo_folder)
    inject_lora(bundle, LORA)
    set_trainable(bundle, ["lora", "perceiver"])
    save_trainables(bundle, tmp_path)
    assert all(".lora_" in name for name in load_file(tmp_path / "trainables.safetensors"))


def test_trainables_of_another_base_are_refused(micro_flamingo_folder, tmp_path):
    bundle = load_flamingo(micro_flamingo_folder)
    inject_lora(bundle, LORA)
    save_trainables(bundle, tmp_path / "t")
    save_flamingo(build_micro(seed=9), tmp_path / "other")
    with pytest.raises(ModelError, match="another base"):
        load_flamingo(tmp_path / "other", trainables=tmp_path / "t")


def test_trainables_that_match_nothing_are_refused(micro_flamingo_folder, tmp_path):
    from safetensors.torch import save_file

    bundle = load_flamingo(micro_flamingo_folder)
    inject_lora(bundle, LORA)
    save_trainables(bundle, tmp_path)
    save_file({"nothing": torch.zeros(LORA.r)}, tmp_path / "trainables.safetensors")
    with pytest.raises(ModelError, match="0 of 1"):
        load_flamingo(micro_flamingo_folder, trainables=tmp_path)


def test_damaged_trainables_are_a_model_error(micro_flamingo_folder, tmp_path):
    bundle = load_flamingo(micro_flamingo_folder)
    inject_lora(bundle, LORA)
    save_trainables(bundle, tmp_path)
    (tmp_path / "trainables.safetensors").write_bytes(b"half")
    with pytest.raises(ModelError, match="cannot be read"):
        load_trainables(load_flamingo(micro_flamingo_folder), tmp_path)


def test_nothing_trained_is_not_saved(micro_flamingo_folder, tmp_path):
    with pytest.raises(ModelError, match="nothing to save"):
        save_trainables(load_flamingo(micro_flamingo_folder), tmp_path / "x")
    assert not (tmp_path / "x" / CONFIG).exists()


def test_a_model_with_lora_is_not_saved_as_a_base(micro_flamingo_folder, tmp_path):
    bundle = load_flamingo(micro_flamingo_folder)
    inject_lora(bundle, LORA)
    with pytest.raises(ModelError, match="LoRA"):
        save_flamingo(bundle, tmp_path)


def test_an_unknown_group_suggests_a_name(micro_flamingo_folder):
    with pytest.raises(ModelError, match="did you mean 'xattn'"):
        set_trainable(load_flamingo(micro_flamingo_folder), ["xatn"])


def test_lora_must_be_injected_before_it_is_trained(micro_flamingo_folder):
    with pytest.raises(ModelError, match="inject LoRA first"):
        set_trainable(load_flamingo(micro_flamingo_folder), ["lora"])
