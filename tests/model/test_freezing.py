"""Which tensors one optimizer step changes, for every stage as params.yaml declares it and for the ablations."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
import yaml
from tests.model.families import LAYERS, build_family

from polite_flamingo.errors import ModelError
from polite_flamingo.model.bundle import named_tensors
from polite_flamingo.model.freezing import ORDER, group_of, set_trainable, trainable_tensors
from polite_flamingo.model.lora import inject_lora, lora_layers, merge_lora, unmerge_lora
from polite_flamingo.model.settings import LoraSettings

PARAMS = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))
DECLARED = {stage: tuple(PARAMS["tune"][stage]["trainable"]) for stage in ("stage1", "stage2", "stage3")}
DECLARED |= {"rewriter": ("lora",), "stage2 with LoRA": ("perceiver", "xattn", "lora")}
DECLARED |= {"stage2 with ViT": ("perceiver", "xattn", "vision")}
NAMES = {  # what a group must be, written down once more
    "lora": r"^lang_encoder\.old_decoder_blocks\..*\.lora_[AB]\.default\.weight$",
    "perceiver": r"^perceiver\.",
    "xattn": r"^lang_encoder\.gated_cross_attn_layers\.\d\.(attn\.(norm|to_q|to_kv|to_out)\.(weight|bias)|attn_gate)$",
    "vision": r"^vision_encoder\.",
}
SILENT = r"^vision_encoder\.(post_layernorm\.|.*k_proj\.bias$)"  # behind the tokens; and what softmax cancels


def one_step(bundle, root):
    """Names of the tensors that one step of AdamW changed."""
    before = {name: tensor.detach().clone() for name, tensor in named_tensors(bundle.model).items()}
    bundle.model.train()
    text = "<image><|endofchunk|>a red star <image><|endofchunk|>and a blue circle"
    x = torch.tensor([bundle.tokenizer(text, add_special_tokens=False).input_ids])
    optimizer = torch.optim.AdamW(bundle.model.parameters(), lr=1e-2, weight_decay=0.1)
    tokens = bundle.encode_images(["0.png", "1.png"], root)
    bundle.model.supervised_loss(x, None, x, tokens, torch.tensor([[0, 1]])).backward()
    optimizer.step()
    return {name for name, tensor in named_tensors(bundle.model).items() if not torch.equal(tensor, before[name])}


def with_lora(family):
    bundle = build_family(family)
    inject_lora(bundle, LoraSettings(r=4, alpha=4))
    with torch.no_grad():  # A gets no gradient while B is zero
        for _, layer in lora_layers(bundle):
            layer.lora_B["default"].weight.normal_(std=0.05)
    return bundle


@pytest.mark.parametrize("family", sorted(LAYERS))
def test_one_step_changes_exactly_what_the_stage_declares(family, image_root):
    for stage, groups in DECLARED.items():
        bundle = with_lora(family)
        set_trainable(bundle, groups)
        expected = {
            name for name in named_tensors(bundle.model) if any(re.search(NAMES[group], name) for group in groups)
        }
        changed = one_step(bundle, image_root)
        assert changed <= expected, stage
        assert {name for name in expected if not re.search(SILENT, name)} <= changed, stage
        assert {group_of(name) for name in changed} == set(groups), stage


def test_recomputing_and_bfloat16_change_the_same_tensors(image_root):
    bundle = with_lora("llama")
    set_trainable(bundle, ["lora", "perceiver"])
    bundle.checkpoint_activations()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        changed = one_step(bundle, image_root)
    assert changed == set(trainable_tensors(bundle))


def test_every_tensor_belongs_to_one_group():
    names = named_tensors(with_lora("opt").model)
    assert {group_of(name) for name in names} == set(ORDER)


def test_merged_lora_comes_out_again_and_learns_only_then(image_root):
    bundle = with_lora("llama")
    before = {name: tensor.detach().clone() for name, tensor in named_tensors(bundle.model).items()}
    merge_lora(bundle, keep=True)
    with pytest.raises(ModelError, match="unmerge_lora"):
        set_trainable(bundle, ["lora"])
    changed = {n for n, t in named_tensors(bundle.model).items() if not torch.equal(t, before[n])}
    assert changed and all(name.endswith("base_layer.weight") for name in changed)
    unmerge_lora(bundle)
    assert all(torch.allclose(t, before[n], atol=1e-6) for n, t in named_tensors(bundle.model).items())
    set_trainable(bundle, ["lora"])
    with pytest.raises(ModelError, match="no merged LoRA"):
        unmerge_lora(bundle)
