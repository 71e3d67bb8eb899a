"""What lies beside trained weights, and a trained model as one folder."""

from __future__ import annotations

import json
import shutil
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.model.families import build_family
from tests.model.foreign import open_flamingo, tensors_of
from tests.model.micro import build_micro
from transformers import AutoTokenizer

from polite_flamingo.cli import main
from polite_flamingo.errors import ModelError
from polite_flamingo.model.assemble import assemble_flamingo
from polite_flamingo.model.bundle import named_tensors
from polite_flamingo.model.checkpoint import load_trainables, save_trainables
from polite_flamingo.model.flamingo import load_flamingo, save_flamingo
from polite_flamingo.model.freezing import set_trainable
from polite_flamingo.model.hub import export_model
from polite_flamingo.model.lora import inject_lora, lora_layers
from polite_flamingo.model.settings import LoraSettings

SETTINGS = {"seed": 7, "tune": {"stage2": {"learning_rate": 1e-4, "where": Path("data")}}}


@pytest.fixture
def trained(loaded_micro, tmp_path):
    bundle = deepcopy(loaded_micro)
    inject_lora(bundle, LoraSettings(r=4, alpha=4))
    set_trainable(bundle, ["perceiver", "xattn"])
    with torch.no_grad():
        for tensor in bundle.model.perceiver.parameters():
            tensor.add_(0.01)
        for _, layer in lora_layers(bundle):
            layer.lora_B["default"].weight.normal_(std=0.05)
    save_trainables(bundle, tmp_path / "stage2", configuration=SETTINGS)
    return tmp_path / "stage2"


def logits(bundle, root):
    x = torch.tensor([bundle.tokenizer("<image><|endofchunk|>a red star", add_special_tokens=False).input_ids])
    tokens = bundle.encode_images(["0.png"], root)
    with torch.no_grad():
        return bundle.model(x, vision_tokens=tokens, image_index=torch.zeros(1, 1, dtype=torch.long)).logits


def test_trained_weights_hold_trainables_alone(trained):
    names = set(load_file(trained / "trainables.safetensors"))
    assert names and all(name.startswith("perceiver.") or ".lora_" in name for name in names)


def test_settings_tokenizer_and_card_lie_beside_the_weights(trained):
    assert json.loads((trained / "training.json").read_text())["tune"]["stage2"]["learning_rate"] == 1e-4
    assert AutoTokenizer.from_pretrained(trained).convert_tokens_to_ids("<image>") > 0
    card = (trained / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: polite-flamingo")
    assert "tune.stage2.learning_rate" in card and "| perceiver |" in card and "rank 4" in card


def test_the_same_weights_give_the_same_bytes(trained, micro_flamingo_folder, tmp_path):
    bundle = load_flamingo(micro_flamingo_folder, trainables=trained, merge=False)
    save_trainables(bundle, tmp_path / "again" / "stage2", configuration=SETTINGS)
    one, two = (
        {p.name: p.read_bytes() for p in folder.iterdir()} for folder in (trained, tmp_path / "again" / "stage2")
    )
    assert one == two


def test_an_exported_model_loads_back_equal(trained, micro_flamingo_folder, image_root, tmp_path):
    done = export_model(micro_flamingo_folder, trained, tmp_path / "out")
    merged, again = load_flamingo(micro_flamingo_folder, trainables=trained), load_flamingo(tmp_path / "out")
    assert torch.equal(logits(again, image_root), logits(merged, image_root))
    assert done["parameters"] == sum(t.numel() for t in named_tensors(again.model).values())
    files = {path.suffix for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert files == {".json", ".safetensors", ".md"}
    assert "whole model" in (tmp_path / "out" / "README.md").read_text()


def test_a_folder_in_use_is_not_exported_to(trained, micro_flamingo_folder, tmp_path):
    with pytest.raises(ModelError, match="not empty"):
        export_model(micro_flamingo_folder, trained, trained)


def test_an_incomplete_folder_of_trained_weights_is_refused(trained, micro_flamingo_folder):
    (trained / "config.json").unlink()
    with pytest.raises(ModelError, match=r"config\.json"):
        load_trainables(load_flamingo(micro_flamingo_folder), trained)


def parts(tmp_path):
    """Folders of a language model and a CLIP."""
    from transformers import CLIPConfig, CLIPModel

    bundle = build_micro()
    save_flamingo(bundle, tmp_path / "whole")
    sides = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = {**sides, "image_size": 32, "patch_size": 8}
    CLIPModel(CLIPConfig(text_config=sides, vision_config=vision)).save_pretrained(tmp_path / "clip")
    (tmp_path / "clip" / "preprocessor_config.json").write_bytes(
        (tmp_path / "whole" / "vision" / "preprocessor_config.json").read_bytes()
    )
    return f"local:{tmp_path / 'whole' / 'lm'}|local:{tmp_path / 'clip'}"


@pytest.mark.parametrize("old", [True, False])
def test_a_flamingo_is_built_with_the_connector_of_a_checkpoint(old, tmp_path):
    source = build_family("llama", heads=1, dim_head=64)
    groups = [("perceiver", "xattn", "xattn_ff")] if old else [("perceiver", "xattn_ff"), ("xattn",)]
    files = [tmp_path / f"{number}.pt" for number, _ in enumerate(groups)]
    for file, some in zip(files, groups, strict=True):
        torch.save(open_flamingo(source, *some), file)
    origin = "|".join([parts(tmp_path), *(f"local:{file}" for file in files)])
    assemble_flamingo(origin + ("|attend_previous=false" if old else ""), tmp_path / "out", seed=1)
    bundle = load_flamingo(tmp_path / "out")
    tensors = named_tensors(bundle.model)
    for name, tensor in tensors_of(source, "perceiver", "xattn", "xattn_ff").items():
        assert torch.equal(tensors[name], tensor)
    assert bundle.config.attend_previous is not old
    torch.save({"lang_encoder.model.layers.0.q_proj.lora_A.weight": torch.zeros(2, 2)}, tmp_path / "lora.pt")
    with pytest.raises(ModelError, match=r"without LoRA[\s\S]*import-model"):
        assemble_flamingo(f"{origin}|local:{tmp_path / 'lora.pt'}", tmp_path / "other", seed=1)


def test_wrong_parts_are_named(tmp_path):
    for tail, message in (
        ("|local:none.pt", "does not exist"),
        ("|x:y", "unknown origin"),
        ("|a", "built from"),
        ("|attend_previous=false", "built from"),
        ("|local:a|attend_previous=no", "built from"),
        ("|local:a|attend_previous=false|local:c", "built from"),
    ):
        with pytest.raises(ModelError, match=message):
            assemble_flamingo("local:a|local:b" + tail, tmp_path / "out", seed=1)


PARAMS = Path(__file__).parents[2] / "params.yaml"


def test_the_verbs_export_and_import_a_profiles_models(trained, micro_flamingo_folder, tmp_path, monkeypatch, capsys):
    models = tmp_path / "models" / "tiny"
    shutil.copytree(micro_flamingo_folder, models / "backbones" / "flamingo")
    shutil.copytree(trained, models / "stage3")
    monkeypatch.chdir(tmp_path)
    assert main(["export-model", "--params", str(PARAMS), "--profile", "tiny", "out"]) == 0
    assert json.loads(capsys.readouterr().out)["folder"] == "out"
    assert "after stage 3 of 3" in Path("out/README.md").read_text()
    bundle = load_flamingo(micro_flamingo_folder)
    torch.save(open_flamingo(bundle, "perceiver", "xattn"), "checkpoint.pt")
    asked = ["import_model", "--params", str(PARAMS), "--profile", "tiny", "--stage", "stage1", "checkpoint.pt"]
    assert main(asked) == 2  # equals the base: nothing to save
    with torch.no_grad():
        bundle.model.perceiver.latents.add_(1.0)
    torch.save(open_flamingo(bundle, "perceiver"), "later.pt")
    assert main([*asked, "later.pt"]) == 0
    printed = capsys.readouterr().out
    assert "xattn: 12 loaded, 0 kept from the base" in printed
    assert "later.pt: perceiver 14, 14 replace those of an earlier file" in printed
    assert list(load_file(models / "stage1" / "trainables.safetensors")) == ["perceiver.latents"]
