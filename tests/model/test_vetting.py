"""Model folders of strangers: what asks for code, reaches outside, asks for endless memory or holds no numbers."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from polite_flamingo.errors import ModelError
from polite_flamingo.io.text import read_json, write_json
from polite_flamingo.jobs.backends.chat_model import load_chat_model
from polite_flamingo.jobs.backends.templates import TemplateProcess
from polite_flamingo.model.checkpoint import load_trainables, save_trainables
from polite_flamingo.model.flamingo import load_flamingo
from polite_flamingo.model.image_text import load_image_text
from polite_flamingo.model.lora import inject_lora
from polite_flamingo.model.origins import materialise
from polite_flamingo.model.patterns import is_endless
from polite_flamingo.model.settings import LoraSettings
from polite_flamingo.model.vetting import MAX_HEADER, inside, read_safetensors, vet
from polite_flamingo.scorers.classifier import load_classifier
from polite_flamingo.scorers.clip import load_clip
from polite_flamingo.scorers.sts import load_sts

CODE = "never run"


def _json(name: str, content: Any) -> Callable[[Path], None]:
    return lambda folder: write_json(folder / name, content)


def _link(name: str, target: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).symlink_to(target)


def _header(length: int, text: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / "w.safetensors").write_bytes(struct.pack("<Q", length) + text)


HOSTILE = {
    "code of a model": (_json("config.json", {"model_type": "own", "auto_map": {"AutoModel": "m.Own"}}), CODE),
    "a kernel of the hub": (_json("config.json", {"text_config": {"attn_implementation": "who/kernel"}}), CODE),
    "a class of another package": (_json("modules.json", [{"type": "subprocess.Popen", "path": ""}]), CODE),
    "a part outside": (_json("modules.json", [{"type": "sentence_transformers.x.Y", "path": "../up"}]), "outside"),
    "weights outside": (_json("model.safetensors.index.json", {"weight_map": {"w": "../../w.safetensors"}}), "outside"),
    "a vocabulary outside": (_json("tokenizer_config.json", {"vocab_file": "/etc/passwd"}), "outside"),
    "a base elsewhere": (_json("adapter_config.json", {"base_model_name_or_path": "/root"}), "base of its own"),
    "a link outside": (_link("vocab.txt", "/etc/passwd"), "leads out"),
    "a link up": (_link("up", ".."), "leads out"),
    "a long header": (_header(MAX_HEADER + 1, b"{}" * (MAX_HEADER // 2 + 9)), "header is longer"),
    "a longer header than file": (_header(1 << 62, b"{}"), "header is longer"),
    "a header of brackets": (_header(100_000, b"[" * 100_000), "header is no JSON"),
    "a list as a header": (_header(2, b"[]"), "header is no object"),
    "a billion layers": (_json("config.json", {"num_hidden_layers": 10**9}), "larger than its weights"),
    "a pattern without end": (
        _json("tokenizer.json", {"pre_tokenizer": [{"type": "Split", "pattern": {"Regex": "(a+)+$"}}]}),
        "anybody waits",
    ),
    "brackets without end": (lambda folder: (folder / "config.json").write_text("[" * 100_000), "valid JSON"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_folder_is_refused_before_anything_reads_it(tmp_path: Path, name: str) -> None:
    spoil, told = HOSTILE[name]
    spoil(tmp_path)
    with pytest.raises(ModelError, match=told) as refusal:
        vet(tmp_path)
    assert len(str(refusal.value)) < 2000


def test_patterns_that_go_back_without_end_are_told_from_those_of_published_tokenizers() -> None:
    for endless in (r"(?:a|a)*$", r"((a|a))*b", r"(?:(?:a)*)*b", r"(.*)\1+", r"(a+){20}$", r"\s*" * 12, "a" * 9000):
        assert is_endless(endless), endless
    gpt = r"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    upper, lower = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
    omni = rf"[^\r\n\p{{L}}]?{upper}*{lower}+(?i:'s|'t)?|[^\r\n\p{{L}}]?{upper}+{lower}*(?i:'s)?|\s*[\r\n]+"
    for known in (gpt, omni, r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+", r"\d{1,3}(?=(?:\d{3})*\b)", ")("):
        assert not is_endless(known), known


def test_sizes_that_no_weight_has_are_refused_and_old_paths_of_others_are_not(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(4, 4)}, tmp_path / "model.safetensors")
    write_json(tmp_path / "tokenizer_config.json", {"tokenizer_file": "/elsewhere/tokenizer.json"})
    write_json(
        tmp_path / "config.json", {"num_hidden_layers": 1, "hidden_size": 16, "model_type": "mpt", "auto_map": {}}
    )
    vet(tmp_path)
    write_json(tmp_path / "config.json", {"text_config": {"vocab_size": 10**12}})
    with pytest.raises(ModelError, match="larger than its weights"):
        vet(tmp_path)


@pytest.mark.parametrize(
    "load",
    [
        load_classifier,
        load_sts,
        lambda folder: load_clip(folder, image_root=folder),
        lambda folder: load_image_text(folder, torch.float32),
        lambda folder: load_chat_model(str(folder), "cpu", "float32"),
        lambda folder: materialise(f"local:{folder}", "nli", folder.parent / "out"),
    ],
    ids=["classifier", "sts", "clip", "image-text", "chat", "origin"],
)
def test_every_loader_looks_first(tmp_path: Path, load: Callable[[Path], object]) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    HOSTILE["code of a model"][0](folder)
    with pytest.raises(ModelError, match=CODE):
        load(folder)


@pytest.mark.parametrize(
    "base", ["/root", "local:../other", "../other", "evil/model", "hub:some/model", None, "laptop:nli"], ids=str
)
def test_an_adapters_base_is_an_origin_with_a_revision(tmp_path: Path, base: str | None) -> None:
    write_json(tmp_path / "a" / "labels.json", ["x"])
    write_json(tmp_path / "a" / "adapter_config.json", {"base_model_name_or_path": base, "target_modules": ["q"]})
    with pytest.raises(ModelError, match=r"named by its origin|pinned revision|another adapter"):
        materialise(f"local:{tmp_path / 'a'}", "nli", tmp_path / "out")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_weights_are_numbers(tmp_path: Path, kind: torch.dtype, value: float) -> None:
    save_file({"good": torch.zeros(3), "bad": torch.tensor([0.0, value]).to(kind)}, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"no number\n  value: 'bad'"):
        read_safetensors(tmp_path / "w.safetensors")


def _spoil(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    path = folder / "lm" / "model.safetensors"
    tensors = read_safetensors(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda t: t["model.norm.weight"].fill_(float("nan")), "no number"),
        (lambda t: t.pop("model.norm.weight"), "weights of the model are missing"),
        (lambda t: t.update({"model.norm.weight": torch.zeros(7)}), "cannot be loaded"),
    ],
    ids=["NaN", "missing", "another shape"],
)
def test_a_flamingos_language_model_is_whole(
    tmp_path: Path, micro_flamingo_folder: Path, change: Callable[..., Any], told: str
) -> None:
    import shutil

    shutil.copytree(micro_flamingo_folder, tmp_path / "model")
    _spoil(tmp_path / "model", change)
    with pytest.raises(ModelError, match=told):
        load_flamingo(tmp_path / "model")


@pytest.mark.parametrize(
    "change",
    [
        {"lora": {"r": 10**9}},
        {"lora": {"r": "x"}},
        {"lora": 3},
        {"lora": {"r": 4, "own": 1}},
        {"resolution": "big"},
    ],
    ids=str,
)
def test_what_a_training_says_of_itself_is_checked(micro: Any, tmp_path: Path, change: dict[str, Any]) -> None:
    inject_lora(micro, LoraSettings(r=2, alpha=4))
    save_trainables(micro, tmp_path)
    described = read_json(tmp_path / "config.json")
    write_json(tmp_path / "config.json", {**described, **change})
    micro.lora = None
    with pytest.raises(ModelError):
        load_trainables(micro, tmp_path)


@pytest.mark.parametrize("values", [{"perceiver": {"depth": 10**9}}, {"cross_attn_every_n_layers": 0},
                                    {"decoder_layers": "__class__"}, {"xattn": {"heads": "8"}}], ids=str)  # fmt: skip
def test_a_flamingos_sizes_are_sizes(values: dict[str, Any]) -> None:
    from polite_flamingo.model.config import FlamingoConfig

    with pytest.raises(ModelError, match="cannot be used"):
        FlamingoConfig.from_dict(values)


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "..\\x", "C:\\x", "x\0"])
def test_a_name_stays_inside(name: str) -> None:
    assert not inside(name) and inside("a/b.json")


@pytest.fixture(scope="module")
def renderer() -> Iterator[TemplateProcess]:
    process = TemplateProcess(seconds=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "sk-very-secret")
        assert process.render("{{ x }}", [{"role": "user"}], continued=False, variables={"x": "é"}) == "é"
    yield process
    process.close()


def test_no_secret_of_the_environment_reaches_the_template_process(renderer: TemplateProcess) -> None:
    assert renderer._process is not None
    assert b"very-secret" not in Path(f"/proc/{renderer._process.pid}/environ").read_bytes()


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "did not end"),
        ("{{ 'a' * 5000000000 }}", "MemoryError"),
        ("{{ '%2000000000d' % 1 }}", "MemoryError"),
        ("{{ 'a' * 9000000 }}", "9,000,000 characters"),
        ("{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}", "RecursionError"),
        ("{{ messages.__class__.__mro__ }}", "SecurityError"),
        ("{{ ''.__class__.__base__.__subclasses__() }}", "SecurityError"),
        ("{% include '/etc/passwd' %}", "TypeError"),
        ("{{", "TemplateSyntaxError"),
    ],
    ids=str,
)
def test_a_hostile_template_is_refused_and_the_next_is_rendered(
    renderer: TemplateProcess, template: str, told: str
) -> None:
    chat = [{"role": "user", "content": "there"}]
    with pytest.raises(ModelError, match=told):
        renderer.render(template, chat, continued=False, variables={})
    assert renderer.render("{{ messages[0].content }}", chat, continued=False, variables={}) == "there"
