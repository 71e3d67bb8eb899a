"""Where models come from: shipped ones are verified, pickles are refused, hub models need a pinned revision."""

from pathlib import Path

import pytest
from tests.model.micro import micro_tokenizer

from polite_flamingo.errors import ModelError
from polite_flamingo.io import hash_file, write_json
from polite_flamingo.model import origins


def test_a_local_folder_is_copied_without_pickled_weights(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "model.safetensors").write_bytes(b"weights")
    (source / "pytorch_model.bin").write_bytes(b"pickle")
    origins.materialise(f"local:{source}", "nli", tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["model.safetensors"]


def test_a_folder_with_pickled_weights_alone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ModelError, match="no usable files"):
        origins.materialise(f"local:{tmp_path}", "nli", tmp_path / "out")


def test_an_altered_shipped_file_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nli").mkdir()
    weights = tmp_path / "nli" / "model.safetensors"
    weights.write_bytes(b"weights")
    write_json(tmp_path / "manifest.json", {"files": {"nli": {"model.safetensors": hash_file(weights)}}})
    monkeypatch.setattr(origins, "PACKAGED", tmp_path)
    origins.verify_packaged("nli")
    weights.write_bytes(b"other")
    with pytest.raises(ModelError, match="not the one that was trained"):
        origins.verify_packaged("nli")


def test_the_shipped_weights_are_the_ones_of_the_manifest_and_small() -> None:
    for name in ("clip", "flamingo", "nli", "reward"):
        origins.verify_packaged(name)
    assert sum(p.stat().st_size for p in origins.PACKAGED.rglob("*") if p.is_file()) <= 20_000_000


def test_a_hub_model_needs_a_pinned_revision(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="pinned revision"):
        origins.materialise("hub:some/model", "nli", tmp_path / "out")


def test_an_unknown_origin_suggests_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="packaged"):
        origins.materialise("packged", "nli", tmp_path / "out")


def test_a_missing_package_says_how_to_install_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="pip install no-such-package"):
        origins.materialise("pypi:no-such-package", "sts", tmp_path / "out")


def test_an_adapter_is_saved_with_its_bases_origin_and_merged_into_a_plain_model(tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification

    tokenizer = micro_tokenizer()
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    base = BertForSequenceClassification(BertConfig(vocab_size=len(tokenizer), num_labels=3, **sizes)).eval()
    base.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    model = get_peft_model(
        base, LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query", "value"], modules_to_save=["classifier"])
    ).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    labels = ("contradiction", "entailment", "neutral")
    origins.save_adapter(model, tmp_path / "adapter", base=f"local:{tmp_path / 'base'}", labels=labels)
    origins.materialise(f"local:{tmp_path / 'adapter'}", "nli", tmp_path / "merged")

    merged = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged").eval()
    ids = torch.arange(4, 12)[None]
    with torch.no_grad():
        assert torch.allclose(merged(ids).logits, model(input_ids=ids).logits, atol=1e-5)
    assert merged.config.id2label == dict(enumerate(labels))
