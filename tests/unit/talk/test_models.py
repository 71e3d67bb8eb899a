"""What the name of a model stands for, and how a request is decoded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from polite_flamingo.errors import ConfigError, DataError, ModelError
from polite_flamingo.model.settings import GenerationSettings
from polite_flamingo.talk.decoding import GREEDY
from polite_flamingo.talk.models import find_model, known_params


def trained(folder: Path, configuration: dict[str, object]) -> Path:
    folder.mkdir(parents=True)
    (folder / "trainables.safetensors").write_bytes(b"")
    (folder / "training.json").write_text(json.dumps(configuration))
    return folder


def a_base(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "connector.safetensors").write_bytes(b"")
    return folder


def test_names_folders_and_bases_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    base = a_base(Path("models/tiny/backbones/flamingo"))
    folder = trained(Path("models/tiny/stage2"), {"tune": {}})
    rewriter = trained(Path("elsewhere/mine"), {"rewriter": {}})
    named, by_folder = find_model("stage2"), find_model("models/tiny/stage2", "assistant")
    assert (named.kind, named.folders) == ("assistant", (base, folder))
    assert by_folder.identity == named.identity and by_folder.base == str(base.resolve())
    with pytest.raises(ModelError, match="--base FOLDER"):
        find_model(rewriter)
    assert find_model(rewriter, base=base).kind == "rewriter"
    assert find_model(base, "rewriter").kind == "rewriter"  # a whole model is what it is asked to be
    Path("chat").mkdir()
    Path("chat/config.json").write_text("{}")
    assert [find_model(name).form for name in ("chat", "hf:chat", "hf:some/one@abc")] == ["chat"] * 3


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("stge3", None, "did you mean 'stage3'"),
        ("laptop", "assistant", "rewrite-one"),
        ("stage1", "assistant", "--until tune_stage1"),
        ("hf:some/one@abc", "rewriter", ""),
        ("models:/polite-flamingo-assistant", "assistant", "@champion"),
        (".", None, "holds no model"),
    ],
)
def test_what_cannot_be_used_says_what_to_do(
    name: str, kind: str | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if not words:
        assert find_model(name, kind).kind == kind  # type: ignore[arg-type]
        return
    with pytest.raises((ConfigError, ModelError)) as caught:
        find_model(name, kind)  # type: ignore[arg-type]
    assert words in str(caught.value)


def test_a_version_of_the_registry_is_found_by_its_parts_and_may_not_leave_its_folder(tmp_path: Path) -> None:
    parts = {"base": {"path": "artifacts/flamingo"}, "adapter": {"path": "artifacts/stage3"}}
    decoding = GenerationSettings(max_new_tokens=7).model_dump()
    config = {"kind": "assistant", "decoding": decoding, "parts": {}}
    flavor = {"artifacts": parts, "config": config}
    (tmp_path / "MLmodel").write_text(yaml.safe_dump({"flavors": {"python_function": flavor}}))
    place = find_model(tmp_path)
    assert (place.kind, place.decoding.max_tokens, place.trained) == ("assistant", 7, tmp_path / "artifacts/stage3")
    parts["base"]["path"] = "../elsewhere"
    (tmp_path / "MLmodel").write_text(yaml.safe_dump({"flavors": {"python_function": flavor}}))
    with pytest.raises(ModelError, match="outside"):
        find_model(tmp_path)


def test_decoding_is_greedy_until_it_is_told_and_says_what_does_not_fit() -> None:
    assert not GREEDY.generation.do_sample
    sampled = GREEDY.but({"temperature": 0.5, "stop": "\n", "seed": None}).generation
    assert (sampled.do_sample, sampled.temperature, sampled.num_beams) == (True, 0.5, 1)
    assert GREEDY.sampled.generation.do_sample
    for wrong in ({"temperature": float("nan")}, {"top_p": 0}, {"beams": 3}, {"stop": [""]}, {"max_tokens": 0}):
        with pytest.raises(DataError, match="cannot be done so"):
            GREEDY.but(wrong)


def test_params_that_cannot_be_read_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "params.yaml").write_text("base: {seed: [")
    assert known_params(tmp_path / "params.yaml", None) is None
    assert "params.yaml" in caplog.text and caplog.records[0].levelname == "WARNING"
