"""OpenFlamingo-9B v2 and Clever Flamingo v2 in small: MPT from MosaicML's files, beside open_flamingo's own model."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from tests.model.families import build_family
from tests.model.micro import micro_tokenizer

from polite_flamingo.errors import ModelError
from polite_flamingo.model.assemble import assemble_flamingo
from polite_flamingo.model.flamingo import load_flamingo
from polite_flamingo.model.generate import Prompt, generate
from polite_flamingo.model.hub import import_model
from polite_flamingo.model.settings import GenerationSettings

TEXT = "red <image><|endofchunk|>a star <image><|endofchunk|>two circle"
MOSAIC = {  # config.json of mosaicml/mpt-7b, its sizes made small
    "architectures": ["MPTForCausalLM"],
    "attn_config": {
        "alibi": True, "alibi_bias_max": 8, "attn_impl": "torch", "attn_pdrop": 0, "attn_type": "multihead_attention",
        "attn_uses_sequence_id": False, "clip_qkv": None, "prefix_lm": False, "qk_ln": False, "softmax_scale": None,
    },
    "auto_map": {"AutoConfig": "configuration_mpt.MPTConfig", "AutoModelForCausalLM": "modeling_mpt.MPTForCausalLM"},
    "d_model": 32, "emb_pdrop": 0, "embedding_fraction": 1.0, "expansion_ratio": 4,
    "init_config": {"init_std": 0.02, "name": "kaiming_normal_", "verbose": 0}, "init_device": "cpu",
    "learned_pos_emb": True, "logit_scale": None, "max_seq_len": 128, "model_type": "mpt", "n_heads": 4, "n_layers": 2,
    "no_bias": True, "norm_type": "low_precision_layernorm", "resid_pdrop": 0, "torch_dtype": "bfloat16",
    "use_cache": False, "verbose": 0,
}  # fmt: skip
AUTHORS_TARGETS = [  # of Clever Flamingo v2's LoRA
    "Wqkv", "out_proj", "up_proj", "down_proj", "q_proj", "k_proj", "v_proj", "o_proj", "to_q", "to_kv", "to_out",
    "ff.1", "ff.3",
]  # fmt: skip


TABLE = 432  # rows of the published table of embeddings, more than the tokenizer has tokens


def open_flamingos_own(seed):
    """open_flamingo's model on transformers' MPT as its factory makes it, gates open, and the plain MPT's weights."""
    from open_flamingo.src.flamingo import Flamingo
    from open_flamingo.src.flamingo_lm import FlamingoLMMixin
    from open_flamingo.src.utils import extend_instance
    from transformers import MptConfig, MptForCausalLM

    tokenizer = micro_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|endofchunk|>", "<image>"]})
    tokenizer.add_special_tokens({"pad_token": "<PAD>"})
    torch.manual_seed(seed)
    lm = MptForCausalLM(MptConfig(**MOSAIC, initializer_range=0.3, vocab_size=TABLE))
    plain = {n: t.clone() for n, t in lm.state_dict().items() if n != "lm_head.weight"}
    extend_instance(lm, FlamingoLMMixin)
    lm.set_decoder_layers_attr_name("transformer.blocks")
    lm.resize_token_embeddings(len(tokenizer))
    media, chunk = tokenizer.convert_tokens_to_ids(["<image>", "<|endofchunk|>"])
    tower = SimpleNamespace(visual=torch.nn.Identity())
    model = Flamingo(tower, lm, chunk, media, vis_dim=32, cross_attn_every_n_layers=2).eval()
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if name.endswith("_gate"):
                tensor.fill_(1.0)
    return model, plain


def logits_of(model, ids, tokens):
    """Logits of open_flamingo's model; its images go in as their patch tokens (N, v, d)."""
    with torch.no_grad():
        media = model.perceiver(tokens[None, :, None])
        for layer in model.lang_encoder._get_decoder_layers():
            layer.condition_vis_x(media)
        return model.lang_encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).logits


def saved(model, learned, path):
    """A checkpoint as the authors' training writes it: what was learned, decoder and cross-attention in their place."""
    doubled = ("lang_encoder.old_decoder_blocks", "lang_encoder.gated_cross_attn_layers")
    tensors = {
        f"module.{name}": tensor.clone()
        for name, tensor in model.state_dict().items()
        if learned(name) and not name.replace("base_model.model.", "").startswith(doubled)
    }
    torch.save({"epoch": 1, "model_state_dict": tensors}, path)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Small files in the layout of the public ones: MPT, CLIP, OpenFlamingo's checkpoint; and open_flamingo's model."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    folder = tmp_path_factory.mktemp("published")
    model, plain = open_flamingos_own(1)
    (folder / "lm").mkdir()
    micro_tokenizer().save_pretrained(folder / "lm")
    (folder / "lm" / "config.json").write_text(json.dumps({**MOSAIC, "vocab_size": TABLE}))
    save_file(plain, folder / "lm" / "model.safetensors", metadata={"format": "pt"})
    sides = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    CLIPVisionModel(CLIPVisionConfig(**sides, image_size=32, patch_size=8)).save_pretrained(folder / "clip")
    processor = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    (folder / "clip" / "preprocessor_config.json").write_text(json.dumps(processor))
    saved(
        model,
        lambda name: name.startswith("perceiver") or "gated_cross_attn" in name or "wte" in name,
        folder / "openflamingo.pt",
    )
    origin = f"local:{folder / 'lm'}|local:{folder / 'clip'}|local:{folder / 'openflamingo.pt'}"
    assemble_flamingo(origin, folder / "base", seed=1)
    return folder, model


def ours(bundle, ids, tokens):
    with torch.no_grad():
        return bundle.model(ids, vision_tokens=tokens, image_index=torch.arange(len(tokens))[None]).logits


def inputs(bundle, image_root):
    ids = torch.tensor([bundle.tokenizer(TEXT, add_special_tokens=False).input_ids])
    return ids, bundle.encode_images(["0.png", "1.png"], image_root)


def test_openflamingo_on_mpt_gives_open_flamingos_own_logits(published, image_root):
    folder, model = published
    bundle = load_flamingo(folder / "base")
    ids, tokens = inputs(bundle, image_root)
    theirs, mine = logits_of(model, ids, tokens), ours(bundle, ids, tokens)
    torch.testing.assert_close(mine[..., : theirs.shape[-1]], theirs, atol=1e-4, rtol=1e-4)
    assert (ours(bundle, ids, tokens.flip(0)) - mine).abs().max() > 0.01


def test_a_language_model_that_brings_its_own_code_is_refused(published, tmp_path):
    folder, _ = published
    shutil.copytree(folder / "lm", tmp_path / "lm")
    (tmp_path / "lm" / "config.json").write_text(json.dumps({**MOSAIC, "model_type": "mosaic_gpt"}))
    with pytest.raises(ModelError, match="needs code from its own repository"):
        assemble_flamingo(f"local:{tmp_path / 'lm'}|local:{folder / 'clip'}", tmp_path / "out", seed=1)


def test_clever_flamingo_v2_stacks_on_openflamingo_with_lora_on_both(published, image_root, tmp_path):
    from peft import LoraConfig, get_peft_model

    folder, _ = published
    model, _ = open_flamingos_own(1)  # the same seed: the same base
    config = LoraConfig(r=8, lora_alpha=4, lora_dropout=0.0, target_modules=AUTHORS_TARGETS)
    model.lang_encoder = get_peft_model(model.lang_encoder, config)
    torch.manual_seed(2)
    with torch.no_grad():
        model.perceiver.latents.normal_()
        for name, tensor in model.named_parameters():
            if "lora_B" in name:
                tensor.normal_(std=0.1)
    saved(model, lambda name: name.startswith("perceiver") or ".lora_" in name, tmp_path / "clever.pt")
    files = [folder / "openflamingo.pt", tmp_path / "clever.pt"]
    report = import_model(folder / "base", files, tmp_path / "stage3", alpha=4)
    assert [file.folded for file in report.files] == [0, 5]
    bundle = load_flamingo(folder / "base", trainables=tmp_path / "stage3")
    ids, tokens = inputs(bundle, image_root)
    theirs = logits_of(model, ids, tokens)
    torch.testing.assert_close(ours(bundle, ids, tokens)[..., : theirs.shape[-1]], theirs, atol=1e-4, rtol=1e-4)


def test_left_padding_and_beams_leave_alibi_right(image_root):
    bundle = build_family("mpt")
    prompts = [Prompt("<image><|endofchunk|>red " + tail, ("0.png",)) for tail in ("star", "a blue circle and one", "")]
    settings = GenerationSettings(max_new_tokens=6, num_beams=3, do_sample=False, no_repeat_ngram_size=1)
    together = generate(bundle, prompts, settings, image_root=image_root, batch_size=3)
    alone = [generate(bundle, [prompt], settings, image_root=image_root, batch_size=1)[0] for prompt in prompts]
    assert together == alone and len({one.text for one in together}) > 1


def test_a_prompt_that_fills_the_context_of_mpt_has_no_room(image_root):
    bundle = build_family("mpt")
    settings = GenerationSettings(max_new_tokens=4, num_beams=1, do_sample=False, no_repeat_ngram_size=0)
    long, short = (Prompt("red " * count) for count in (600, 510))
    answers = generate(bundle, [long, short], settings, image_root=image_root, batch_size=2)
    assert (answers[0].text, answers[0].finish_reason, answers[1].tokens <= 2) == ("", "length", True)
