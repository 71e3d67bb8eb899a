"""Checkpoints of the original code: OpenFlamingo 1 and 2, Clever and Polite Flamingo, and broken ones."""

from __future__ import annotations

import json
import string
from argparse import Namespace
from itertools import product
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.model.families import LAYERS, build_family, language_model
from tests.model.foreign import clever_flamingo, open_clip, open_flamingo, tensors_of

from polite_flamingo.errors import ModelError
from polite_flamingo.model.architecture import GatedCrossAttentionBlock
from polite_flamingo.model.bundle import named_tensors
from polite_flamingo.model.checkpoint import save_trainables
from polite_flamingo.model.flamingo import load_flamingo, save_flamingo
from polite_flamingo.model.hub import import_model
from polite_flamingo.model.layouts import read_tensors
from polite_flamingo.model.lora import TARGETS, inject_lora, lora_layers
from polite_flamingo.model.original import infer_config, load_original
from polite_flamingo.model.settings import LoraSettings

LORA = LoraSettings(r=4, alpha=4, dropout=0.0)
CONNECTOR = ("perceiver", "xattn", "xattn_ff")


def with_lora(family="llama", seed=5, **settings):
    bundle = build_family(family, seed=seed, **settings)
    inject_lora(bundle, LORA, seed=seed)
    with torch.no_grad():
        for _, layer in lora_layers(bundle):
            layer.lora_B["default"].weight.normal_(std=0.05)
    return bundle


def written(tmp_path, tensors, name="checkpoint.pt"):
    torch.save(tensors, tmp_path / name)
    return tmp_path / name


def assert_equal(bundle, tensors):
    model = named_tensors(bundle.model)
    assert tensors and all(torch.equal(model[name], tensor) for name, tensor in tensors.items())


def test_openflamingo_9b_v1_loads_whatever_wraps_it(tmp_path):
    source = build_family("llama", seed=5)
    for wrapper, whole in product(["", "module.", "module._orig_mod."], [True, False]):
        tensors = {wrapper + name: t for name, t in open_flamingo(source, *CONNECTOR, "embeddings").items()}
        path = written(tmp_path, {"epoch": 3, "model_state_dict": tensors} if whole else tensors)
        target = build_family("llama", attend_previous=False)
        report = load_original(target, path)
        assert_equal(target, tensors_of(source, *CONNECTOR, "embeddings"))
        assert report.matched["xattn"] == 12 and not report.unknown, (wrapper, whole)


def test_openflamingo_4b_loads_though_its_table_has_no_padding_rows(tmp_path):
    source, target = build_family("gpt_neox", seed=5), build_family("gpt_neox")
    target.model.lang_encoder.resize_token_embeddings(len(target.tokenizer) + 29, mean_resizing=False)
    path = written(tmp_path, open_flamingo(source, *CONNECTOR, "embeddings"))
    load_original(target, path)
    ours = target.model.lang_encoder.get_input_embeddings().weight
    theirs = source.model.lang_encoder.get_input_embeddings().weight
    assert torch.equal(ours[: len(theirs)], theirs) and len(ours) == len(theirs) + 29
    assert_equal(target, tensors_of(source, *CONNECTOR))


@pytest.mark.parametrize("family", ["llama", "gpt_neox", "opt", "mpt"])
def test_clever_flamingo_loads_with_its_lora(family, tmp_path):
    source, target = with_lora(family), build_family(family)
    path = written(tmp_path, {"model_state_dict": clever_flamingo(source, *CONNECTOR, "lora")})
    report = load_original(target, path, alpha=LORA.alpha)
    assert_equal(target, tensors_of(source, *CONNECTOR, "lora"))
    assert report.missing.keys() == {"embeddings", "vision", "lm"}
    assert target.lora == LORA


def test_a_whole_state_of_clever_flamingo_with_old_names_of_base_layers_loads(tmp_path):
    source, target = with_lora(), build_family("llama")
    tensors = {**clever_flamingo(source, *CONNECTOR, "lora", "lm", "embeddings"), **open_clip(source)}
    tensors["lang_encoder.base_model.model.model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.zeros(4)
    report = load_original(target, written(tmp_path, tensors), alpha=LORA.alpha)
    assert_equal(target, {n: t.detach() for n, t in named_tensors(source.model).items()})
    assert not report.unknown and set(report.missing) == set()


@pytest.mark.parametrize("prefix", ["vision_encoder.visual.", "vision_encoder."])
def test_the_tower_of_open_clip_gives_the_same_tokens(prefix, tmp_path, image_root):
    source, target = build_family("llama", seed=5), build_family("llama")
    before = target.encode_images(["0.png"], image_root)
    load_original(target, written(tmp_path, {**open_flamingo(source, *CONNECTOR), **open_clip(source, prefix)}))
    after = target.encode_images(["0.png"], image_root)
    assert torch.equal(after, source.encode_images(["0.png"], image_root)) and not torch.equal(before, after)


def test_lora_alone_is_loaded_when_that_is_asked_for(tmp_path):
    source = with_lora()
    path = written(tmp_path, clever_flamingo(source, "lora"))
    with pytest.raises(ModelError, match="xattn matched nothing"):
        load_original(build_family("llama"), path, alpha=LORA.alpha)
    target = build_family("llama")
    load_original(target, path, alpha=LORA.alpha, needs=("lora",))
    assert_equal(target, tensors_of(source, "lora"))


@pytest.mark.parametrize(("groups", "group"), [(("perceiver", "lora"), "xattn"), (CONNECTOR, "lora")])
def test_a_group_that_matches_nothing_refuses_and_leaves_the_weights(groups, group, tmp_path):
    target = with_lora(seed=0)
    before = {n: t.detach().clone() for n, t in named_tensors(target.model).items()}
    with pytest.raises(ModelError, match=f"{group} matched nothing"):
        load_original(target, written(tmp_path, clever_flamingo(with_lora(), *groups)))
    assert_equal(target, before)


def test_lora_under_an_unknown_spelling_refuses(tmp_path):
    tensors = clever_flamingo(with_lora(), *CONNECTOR, "lora")
    odd = {name.replace(".lora_A.default.", ".lora_A.other."): t for name, t in tensors.items()}
    for skip in (False, True):
        with pytest.raises(ModelError, match="no place in the model"):
            load_original(build_family("llama"), written(tmp_path, odd), alpha=LORA.alpha, skip_unknown=skip)


def test_half_a_connector_refuses(tmp_path):
    tensors = open_flamingo(build_family("llama"), *CONNECTOR)
    half = {name: t for name, t in tensors.items() if "layers.1.gated" not in name}
    with pytest.raises(ModelError, match="only a part"):
        load_original(build_family("llama"), written(tmp_path, half))


def test_lora_of_unknown_scale_is_refused_with_what_to_pass(tmp_path):
    path = written(tmp_path, clever_flamingo(with_lora(), *CONNECTOR, "lora"))
    with pytest.raises(ModelError, match=r"LoRA of rank 4, [\s\S]* --alpha N, or --adapter-config FILE"):
        load_original(build_family("llama"), path)


def test_another_size_is_named(tmp_path):
    path = written(tmp_path, open_flamingo(build_family("llama", heads=4), *CONNECTOR))
    with pytest.raises(ModelError, match="another shape"):
        load_original(build_family("llama"), path)


def stage_files(tmp_path):
    """OpenFlamingo's own checkpoint, then what a stage trained from it: LoRA and the perceiver, then the perceiver."""
    base, stage, last = build_family("llama", seed=5), with_lora(seed=6), build_family("llama", seed=7)
    files = [
        written(tmp_path, open_flamingo(base, *CONNECTOR, "embeddings"), "openflamingo.pt"),
        written(tmp_path, {"model_state_dict": clever_flamingo(stage, "lora", "perceiver")}, "stage.pt"),
        written(tmp_path, open_flamingo(last, "perceiver"), "last.pt"),
    ]
    return base, stage, last, files


def test_a_later_checkpoint_replaces_what_an_earlier_one_gave(tmp_path):
    base, stage, last, files = stage_files(tmp_path)
    for count, perceiver in ((2, stage), (3, last)):
        target = build_family("llama")
        report = load_original(target, files[:count], alpha=LORA.alpha)
        assert_equal(target, tensors_of(base, "xattn", "xattn_ff", "embeddings"))
        assert_equal(target, tensors_of(stage, "lora"))
        assert_equal(target, tensors_of(perceiver, "perceiver"))
        assert "lm" not in report.matched and target.lora == LORA
    assert str(report).splitlines()[:3] == [
        "openflamingo.pt: perceiver 14, xattn 12, xattn_ff 10, embeddings 2",
        "stage.pt: lora 28, perceiver 14, 14 replace those of an earlier file",
        "last.pt: perceiver 14, 14 replace those of an earlier file",
    ]


def test_a_stage_without_the_checkpoint_before_it_is_refused(tmp_path):
    _, _, _, files = stage_files(tmp_path)
    with pytest.raises(ModelError, match=r"xattn matched nothing[\s\S]*a file that belongs before it"):
        load_original(build_family("llama"), files[1:], alpha=LORA.alpha)


def test_a_later_file_of_another_model_is_refused_by_name(tmp_path):
    base, _, _, files = stage_files(tmp_path)
    other = written(tmp_path, {f"reward.{n}": t for n, t in open_flamingo(base, "perceiver").items()}, "other.pt")
    with pytest.raises(ModelError, match=r"no tensor of this model[\s\S]*reward.perceiver[\s\S]*other.pt"):
        load_original(build_family("llama"), [*files, other], alpha=LORA.alpha)
    odd = written(tmp_path, {**open_flamingo(base, "perceiver"), "head.bias": torch.zeros(2)}, "odd.pt")
    with pytest.raises(ModelError, match=r"1 keys of the checkpoint have no place[\s\S]*head.bias"):
        load_original(build_family("llama"), [*files, odd], alpha=LORA.alpha)
    report = load_original(build_family("llama"), [*files, odd], alpha=LORA.alpha, skip_unknown=True)
    assert report.unknown == ("head.bias",)


def test_a_later_file_with_half_of_its_lora_is_refused(tmp_path):
    _, stage, _, files = stage_files(tmp_path)
    half = {n: t for n, t in clever_flamingo(stage, "lora").items() if "layers.1." not in n}
    with pytest.raises(ModelError, match=r"only a part of the LoRA: 14 of 28[\s\S]*blocks.1[\s\S]*half.pt"):
        load_original(build_family("llama"), [*files, written(tmp_path, half, "half.pt")], alpha=LORA.alpha)


def test_two_versions_of_a_tensor_are_refused(tmp_path):
    source = build_family("llama")
    other = {f"module.{name}": tensor + 1 for name, tensor in open_flamingo(source, "perceiver").items()}
    with pytest.raises(ModelError, match="two versions"):
        load_original(build_family("llama"), written(tmp_path, {**open_flamingo(source, *CONNECTOR), **other}))


def test_a_truncated_checkpoint_is_a_clear_error(tmp_path):
    tensors = open_flamingo(build_family("llama"), *CONNECTOR)
    for name, save in (("checkpoint.pt", torch.save), ("checkpoint.safetensors", save_file)):
        path = tmp_path / name
        save(tensors, path)
        content = path.read_bytes()
        for share in (0, 0.3, 0.99):
            path.write_bytes(content[: int(len(content) * share)])
            with pytest.raises(ModelError, match=name):
                load_original(build_family("llama"), path)


def test_a_file_without_tensors_is_refused_and_never_unpickled(tmp_path):
    for content in ({"args": Namespace(lr=1)}, {"epoch": 3}, [1, 2], "text"):
        with pytest.raises(ModelError, match="tensors"):
            load_original(build_family("llama"), written(tmp_path, content))


def test_the_beginning_of_a_text_that_is_no_checkpoint_is_shown(tmp_path):
    path = tmp_path / "checkpoint.pt"
    pages = ["<!DOCTYPE html>", "version https://git-lfs.github.com/spec/v1", "hello, hello", "export nothing"]
    for text in [*pages, *(f"{first}rror 404" for first in string.printable)]:
        path.write_bytes(text.encode())
        with pytest.raises(ModelError) as caught:
            read_tensors(path)
        assert repr(text[:20].encode())[2:-1] in str(caught.value), f"{text!r} is not shown"
        assert "weights_only" not in str(caught.value)


def test_what_a_pickle_asks_for_is_named(tmp_path):
    path = tmp_path / "checkpoint.pt"
    torch.save({"settings": Path("x")}, path)
    with pytest.raises(ModelError, match="asks for pathlib"):
        read_tensors(path)


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(ModelError, match="does not exist"):
        load_original(build_family("llama"), tmp_path / "none.pt")


def test_an_imported_checkpoint_is_a_trained_model_of_the_pipeline(tmp_path, image_root):
    source, base = with_lora(), build_family("llama")
    save_flamingo(base, tmp_path / "base")
    path = written(tmp_path, clever_flamingo(source, *CONNECTOR, "lora"))
    import_model(tmp_path / "base", [path], tmp_path / "rewriter", alpha=LORA.alpha)
    loaded = load_flamingo(tmp_path / "base", trainables=tmp_path / "rewriter", merge=False)
    assert_equal(loaded, tensors_of(source, "perceiver", "xattn", "lora"))
    assert "Polite Flamingo" in (tmp_path / "rewriter" / "README.md").read_text()
    with pytest.raises(ModelError, match="not empty"):
        import_model(tmp_path / "base", [path], tmp_path / "rewriter", alpha=LORA.alpha)
    save_trainables(loaded, tmp_path / "again", name="rewriter")


def test_an_imported_adapter_of_alpha_16_is_what_peft_merges(tmp_path):
    """Guanaco-style: the scale is 16 over the rank, told by the adapter_config.json beside the checkpoint."""
    from peft import LoraConfig, get_peft_model

    base = build_family("llama")
    save_flamingo(base, tmp_path / "base")
    torch.manual_seed(2)
    config = LoraConfig(r=4, lora_alpha=16, lora_dropout=0.1, target_modules=list(TARGETS["llama"]))
    peft_model = get_peft_model(language_model("llama", len(base.tokenizer)), config)
    for name, tensor in peft_model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(tensor, std=0.05)
    adapters = {f"lang_encoder.{name}": t for name, t in peft_model.state_dict().items() if ".lora_" in name}
    path = written(tmp_path, adapters)
    guanaco = {"peft_type": "LORA", "r": 4, "lora_alpha": 16, "lora_dropout": 0.1, "bias": "none", "enable_lora": None}
    (tmp_path / "adapter_config.json").write_text(json.dumps({**guanaco, "merge_weights": False}))
    import_model(tmp_path / "base", [path], tmp_path / "rewriter", needs=("lora",))
    ours = load_flamingo(tmp_path / "base", trainables=tmp_path / "rewriter", merge=True)
    before = {name.replace(".base_layer", ""): t.clone() for name, t in peft_model.model.state_dict().items()}
    after = peft_model.merge_and_unload().state_dict()
    own = named_tensors(base.model)
    blocks = "lang_encoder.old_decoder_blocks."
    layers = {name: t for name, t in named_tensors(ours.model).items() if name.startswith(blocks) and "_proj." in name}
    assert len(layers) == 2 * LAYERS["llama"]
    for name, tensor in layers.items():
        plain = name.replace(blocks, "model.layers.")
        torch.testing.assert_close(tensor - own[name], after[plain] - before[plain])


@pytest.mark.parametrize("every", [1, 2])
def test_the_sizes_are_read_from_the_checkpoint(every):
    source = build_family("llama", heads=2, dim_head=64)
    tensors = open_flamingo(source, *CONNECTOR)
    if every == 2:
        tensors = {name: t for name, t in tensors.items() if "layers.0.gated" not in name}
    config = infer_config(tensors)
    assert config.cross_attn_every_n_layers == every
    assert (config.perceiver, config.xattn) == (source.config.perceiver, source.config.xattn)


def test_a_checkpoint_without_a_connector_is_refused():
    with pytest.raises(ModelError, match="lacks a tensor"):
        infer_config({"model.layers.0.self_attn.q_proj.weight": torch.zeros(2, 2)})


def test_block_names_are_openflamingos():
    assert "attn.to_q.weight" in GatedCrossAttentionBlock(dim=32, dim_visual=32).state_dict()
