"""LoRA from an existing adapter, and LoRA on a decoder in four bits."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.model.families import LAYERS, build_family, language_model
from tests.model.micro import micro_tokenizer

from polite_flamingo.errors import ModelError
from polite_flamingo.model.bundle import named_tensors
from polite_flamingo.model.checkpoint import save_trainables
from polite_flamingo.model.flamingo import load_flamingo, save_flamingo
from polite_flamingo.model.freezing import set_trainable, trainable_tensors
from polite_flamingo.model.lora import TARGETS, inject_lora, lora_layers, merge_lora
from polite_flamingo.model.settings import LoraSettings

LORA = LoraSettings(r=4, alpha=8)
NF4 = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes (extra qlora) is not installed"
)


def save_adapter(folder, family="llama", **settings):
    """An adapter of a plain language model as PEFT itself saves it."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(2)
    values = {"r": 4, "lora_alpha": 8, "target_modules": list(TARGETS[family]), **settings}
    model = get_peft_model(language_model(family, len(micro_tokenizer())), LoraConfig(**values))
    for name, tensor in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(tensor, std=0.05)
    model.save_pretrained(folder)
    return model


def with_image(bundle, root):
    x = torch.tensor([bundle.tokenizer("<image><|endofchunk|>a red star", add_special_tokens=False).input_ids])
    return x, bundle.encode_images(["0.png"], root), torch.zeros(1, 1, dtype=torch.long)


def logits(bundle, root):
    x, tokens, index = with_image(bundle, root)
    with torch.no_grad():
        return bundle.model(x, vision_tokens=tokens, image_index=index).logits


@pytest.mark.parametrize("family", sorted(LAYERS))
def test_lora_starts_from_an_adapter_that_peft_saved(family, tmp_path):
    saved = dict(save_adapter(tmp_path, family).named_parameters())
    bundle = build_family(family)
    inject_lora(bundle, LORA, start_from=tmp_path)
    for name, layer in lora_layers(bundle):
        plain = name.replace(".decoder_layer", "")
        for part in ("lora_A", "lora_B"):
            ours = getattr(layer, part)["default"].weight
            assert torch.equal(ours, saved[f"base_model.model.{plain}.{part}.default.weight"])


def test_layers_the_adapter_leaves_out_keep_the_identity(tmp_path):
    save_adapter(tmp_path, target_modules=["q_proj", "v_proj"])
    bundle = build_family("llama")
    inject_lora(bundle, LORA, start_from=tmp_path)
    silent = {name.rsplit(".", 1)[1] for name, layer in lora_layers(bundle) if not layer.lora_B["default"].weight.any()}
    assert silent == {"k_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_a_bin_adapter_is_read_without_unpickling(tmp_path):
    save_adapter(tmp_path)
    torch.save(load_file(tmp_path / "adapter_model.safetensors"), tmp_path / "adapter_model.bin")
    (tmp_path / "adapter_model.safetensors").unlink()
    inject_lora(build_family("llama"), LORA, start_from=tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"r": 8}, "another rank or scale"),
        ({"lora_alpha": 16}, "another rank or scale"),
        ({"use_rslora": True}, "not implemented"),
        ({"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}, "not implemented"),
    ],
)
def test_an_adapter_of_other_settings_is_refused(settings, message, tmp_path):
    save_adapter(tmp_path, **settings)
    with pytest.raises(ModelError, match=message):
        inject_lora(build_family("llama"), LORA, start_from=tmp_path)


def test_an_adapter_of_another_family_is_refused(tmp_path):
    save_adapter(tmp_path, "opt")
    with pytest.raises(ModelError, match="no place in this model"):
        inject_lora(build_family("gpt_neox"), LORA, start_from=tmp_path)


def test_an_adapter_of_another_size_is_refused(tmp_path):
    save_adapter(tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    name = next(n for n in tensors if "lora_A" in n)
    save_file({**tensors, name: torch.zeros(4, 48)}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="another shape"):
        inject_lora(build_family("llama"), LORA, start_from=tmp_path)


def test_a_folder_without_an_adapter_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"adapter_config\.json"):
        inject_lora(build_family("llama"), LORA, start_from=tmp_path)


def test_a_cut_adapter_is_a_clear_error(tmp_path):
    save_adapter(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match="cannot be read"):
        inject_lora(build_family("llama"), LORA, start_from=tmp_path)


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_nf4_without_bitsandbytes_names_the_extra(micro_flamingo_folder):
    with pytest.raises(ModelError, match="qlora"):
        load_flamingo(micro_flamingo_folder, quantize="nf4")


def test_an_unknown_quantisation_is_refused(micro_flamingo_folder):
    with pytest.raises(ModelError, match="did you mean 'nf4'"):
        load_flamingo(micro_flamingo_folder, quantize="nf5")


@pytest.fixture
def nf4_folder(tmp_path):
    save_flamingo(build_family("gpt_neox"), tmp_path / "base")
    return tmp_path / "base"


@NF4
def test_nf4_keeps_the_logits_near_and_the_connector_untouched(nf4_folder, image_root):
    plain, small = load_flamingo(nf4_folder), load_flamingo(nf4_folder, quantize="nf4")
    one, two = logits(plain, image_root), logits(small, image_root)
    assert not torch.equal(one, two)
    assert torch.nn.functional.cosine_similarity(one.flatten(), two.flatten(), dim=0) > 0.9
    names = {name for name, tensor in named_tensors(small.model).items() if tensor.dtype == torch.uint8}
    assert len(names) == 2 * LAYERS["gpt_neox"] and all("old_decoder_blocks" in name for name in names)


@NF4
def test_lora_on_nf4_learns_saves_loads_and_merges(nf4_folder, image_root, tmp_path):
    bundle = load_flamingo(nf4_folder, quantize="nf4")
    inject_lora(bundle, LORA)
    set_trainable(bundle, ["lora"])
    x, tokens, index = with_image(bundle, image_root)
    optimizer = torch.optim.AdamW(trainable_tensors(bundle).values(), lr=1e-2)
    losses = []
    for _ in range(8):
        loss = bundle.model.supervised_loss(x, None, x, tokens, index)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    save_trainables(bundle, tmp_path / "trained")
    again = load_flamingo(nf4_folder, quantize="nf4", trainables=tmp_path / "trained", merge=False)
    assert torch.equal(logits(again, image_root), logits(bundle, image_root))
    load_flamingo(nf4_folder, trainables=tmp_path / "trained")  # also onto the plain base
    trained = logits(bundle, image_root)
    merge_lora(bundle)
    assert torch.allclose(logits(bundle, image_root), trained, atol=1e-2)
    save_flamingo(bundle, tmp_path / "merged")


@NF4
def test_a_quantised_model_is_not_saved_as_a_base(nf4_folder, tmp_path):
    with pytest.raises(ModelError, match="quantised"):
        save_flamingo(load_flamingo(nf4_folder, quantize="nf4"), tmp_path / "x")


@pytest.mark.parametrize(("rank", "dropout", "folded"), [(8, 0.0, True), (4, 0.0, False), (8, 0.1, False)])
def test_adapters_of_a_narrow_layer_are_folded_into_its_weight(rank, dropout, folded, monkeypatch):
    from peft.tuners.lora.layer import Linear

    bundle = build_family("llama")
    inject_lora(bundle, LoraSettings(r=rank, alpha=2 * rank, dropout=dropout))
    layer = next(layer for name, layer in lora_layers(bundle) if name.endswith("q_proj"))
    torch.nn.init.normal_(layer.lora_B["default"].weight, std=0.05)
    x = torch.randn(2, 5, 32, requires_grad=True)
    learned = [x, layer.lora_A["default"].weight.requires_grad_(), layer.lora_B["default"].weight.requires_grad_()]
    ways = []
    monkeypatch.setattr(Linear, "forward", lambda self, x, peft=Linear.forward: ways.append(x) or peft(self, x))
    found = layer.eval()(x)
    assert not ways if folded else ways
    expected = Linear.forward(layer, x)
    assert torch.allclose(found, expected, atol=1e-6)
    for ours, peft in zip(
        torch.autograd.grad(found.square().sum(), learned),
        torch.autograd.grad(expected.square().sum(), learned),
        strict=True,
    ):
        assert torch.allclose(ours, peft, atol=1e-4)
