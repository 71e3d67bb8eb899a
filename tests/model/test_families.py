"""Llama, GPT-NeoX, OPT and MPT decoders: logits, LoRA targets, generation, saving, checkpointed and eager attention."""

from __future__ import annotations

import pytest
import torch
from tests.model.families import LAYERS, build_family

from polite_flamingo.model.flamingo import load_flamingo, save_flamingo
from polite_flamingo.model.freezing import set_trainable, trainable_tensors
from polite_flamingo.model.generate import Prompt, generate
from polite_flamingo.model.lora import inject_lora, lora_layers, merge_lora
from polite_flamingo.model.settings import GenerationSettings, LoraSettings
from polite_flamingo.texts import cleaned

FAMILIES = sorted(LAYERS)
IMG = "<image><|endofchunk|>"
TEXT = f"red {IMG}a star {IMG}two circle"
LORA = LoraSettings(r=4, alpha=4)


def ids(bundle, text=TEXT):
    return torch.tensor([bundle.tokenizer(text, add_special_tokens=False).input_ids])


def logits(bundle, root, text=TEXT, shown=(0, 1)):
    tokens = bundle.encode_images(["0.png", "1.png", "2.png"], root)
    with torch.no_grad():
        return bundle.model(ids(bundle, text), vision_tokens=tokens, image_index=torch.tensor([shown])).logits


def loss(bundle, root):
    x = ids(bundle)
    tokens = bundle.encode_images(["0.png", "1.png"], root)
    return bundle.model.supervised_loss(x, None, x, tokens, torch.tensor([[0, 1]]))


def gradients(bundle, root):
    bundle.model.zero_grad()
    loss(bundle, root).backward()
    return {name: tensor.grad.clone() for name, tensor in trainable_tensors(bundle).items() if tensor.grad is not None}


@pytest.mark.parametrize("family", FAMILIES)
def test_an_image_changes_the_text_after_it_only(family, image_root):
    bundle = build_family(family)
    head = ids(bundle, f"red {IMG}a star ").shape[1]
    one, two = logits(bundle, image_root), logits(bundle, image_root, shown=(0, 2))
    assert torch.allclose(one[:, :head], two[:, :head], atol=1e-5)
    assert not torch.allclose(one[:, head:], two[:, head:], atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_lora_stands_on_attention_and_feed_forward_alone(family):
    bundle = build_family(family)
    assert inject_lora(bundle, LORA) == 2 * LAYERS[family]
    names = {name for name, _ in lora_layers(bundle)}
    assert not [name for name in names if "gated_cross_attn" in name or "head" in name]
    assert any("mlp" in name or "fc1" in name or "ffn" in name for name in names) and any(
        "attn" in name or "attention" in name for name in names
    )


@pytest.mark.parametrize("attend_previous", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_answers_equal_decoding_without_a_cache(family, attend_previous, image_root):
    bundle = build_family(family, attend_previous=attend_previous)
    text = f"{IMG}what color is the star in this image and that one : "
    prompts = [Prompt(text + tail, ("0.png",)) for tail in ("red", "a blue circle", "")]
    settings = GenerationSettings(max_new_tokens=6, num_beams=1, do_sample=False, no_repeat_ngram_size=0)
    answers = generate(bundle, prompts, settings, image_root=image_root, batch_size=2)
    never = [bundle.media_token_id, bundle.tokenizer.pad_token_id]
    for prompt, answer in zip(prompts, answers, strict=True):
        x, made = ids(bundle, prompt.text), []
        while len(made) < 6:
            with torch.no_grad():
                scores = bundle.model(
                    x, vision_tokens=bundle.encode_images(["0.png"], image_root), image_index=torch.tensor([[0]])
                ).logits[0, -1]
            scores[never] = -torch.inf
            token = int(scores.argmax())
            if token == bundle.tokenizer.eos_token_id:
                break
            made.append(token)
            x = torch.cat([x, torch.tensor([[token]])], dim=1)
        assert answer.text == cleaned(bundle.tokenizer.decode(made, skip_special_tokens=True).strip())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_family_gives_the_same_logits_when_loaded(family, image_root, tmp_path):
    built = build_family(family)
    save_flamingo(built, tmp_path)
    loaded = load_flamingo(tmp_path)
    assert torch.equal(logits(built, image_root), logits(loaded, image_root))
    eager = load_flamingo(tmp_path, attention="eager")
    assert eager.model.lang_encoder.config._attn_implementation == "eager"
    assert torch.allclose(logits(eager, image_root), logits(loaded, image_root), atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_merged_lora_can_be_dropped_for_good(family, image_root):
    bundle = build_family(family)
    inject_lora(bundle, LORA)
    with torch.no_grad():
        for _, layer in lora_layers(bundle):
            layer.lora_B["default"].weight.normal_(std=0.05)
    before = logits(bundle, image_root)
    merge_lora(bundle)
    assert torch.allclose(logits(bundle, image_root), before, atol=1e-3, rtol=1e-3)
    assert lora_layers(bundle) == [] and bundle.lora is None


@pytest.mark.parametrize("family", FAMILIES)
def test_recomputed_activations_give_equal_gradients(family, image_root):
    bundle = build_family(family)
    inject_lora(bundle, LoraSettings(r=4, alpha=4, dropout=0.2))
    with torch.no_grad():
        for _, layer in lora_layers(bundle):
            layer.lora_B["default"].weight.normal_(std=0.05)
    for groups in (["lora"], ["perceiver", "xattn"], ["vision"]):
        set_trainable(bundle, groups)
        bundle.model.train()
        bundle.checkpoint_activations(False)
        torch.manual_seed(3)
        kept = gradients(bundle, image_root)
        bundle.checkpoint_activations()
        torch.manual_seed(3)
        recomputed = gradients(bundle, image_root)
        assert kept.keys() == recomputed.keys() and len(kept) > 0
        assert all(torch.equal(kept[name], recomputed[name]) for name in kept), f"{groups} learn"


def test_recomputing_keeps_fewer_activations(image_root):
    bundle = build_family("llama")
    inject_lora(bundle, LORA)
    set_trainable(bundle, ["lora"])

    def kept_bytes():
        sizes: dict[int, int] = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: (sizes.__setitem__(t.data_ptr(), t.numel()), t)[1], lambda t: t
        ):
            loss(bundle, image_root)
        return sum(sizes.values())

    full = kept_bytes()
    bundle.checkpoint_activations()
    assert kept_bytes() < full / 2


def test_an_unknown_attention_is_refused(micro_flamingo_folder):
    from polite_flamingo.errors import ModelError

    with pytest.raises(ModelError, match="did you mean 'sdpa'"):
        load_flamingo(micro_flamingo_folder, attention="spda")
