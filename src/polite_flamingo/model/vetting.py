"""What a stranger's model folder may not do: run code, reach outside itself, ask for endless memory, hold no numbers.

`vet` looks at the files before any library reads them, `read_safetensors` and `check_finite` at the numbers, and
`loading` tells whatever a library raises as one error. Nothing is ever unpickled, and no code of a repository runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from polite_flamingo.errors import DataError, ModelError
from polite_flamingo.io.text import read_json
from polite_flamingo.model.patterns import is_endless, patterns_of

if TYPE_CHECKING:
    import torch

MAX_HEADER = 16_000_000  # bytes of a safetensors header; that of a model of 70 billion parameters has a tenth
MAX_JSON = 16_000_000  # bytes of a configuration
MAX_TEXTS = 200_000_000  # bytes of tokenizer.json and vocabularies
TEXTS = ("tokenizer.json", "vocab.json")
ADAPTER = "adapter_config.json"
CODE = ("auto_map", "custom_pipelines")
ATTENTION = ("attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation")
IMPORTING = "megatron_config"  # of an adapter: with it PEFT imports a module of any name
MODULES = "sentence_transformers."
TRUSTED = "get it from somebody you trust, or name another model"
_LAYERS = re.compile(r"(num_.*layers|n_layers?|depth|.*_layers|num_experts|n_routed_experts|num_local_experts)$")
_WIDTHS = ("hidden_size", "intermediate_size", "vocab_size", "n_embd", "d_model", "ffn_dim", "projection_dim")
_DEPTHS = 4096  # layers of a model whose weights do not tell


@dataclass(frozen=True, slots=True)
class Weights:
    """What the headers of a folder's weights say: number of tensors, and of values in the largest."""

    tensors: int = 0
    largest: int = 0


def vet(folder: Path, *, adapter: bool = False, files: Path | None = None) -> None:
    """Look through a folder of a model, or of an adapter, before it is loaded.

    Args:
        folder: As `save_pretrained` writes it.
        adapter: It may hold an ``adapter_config.json``. transformers follows that of any other folder to its base.
        files: Folder that links may lead to, beside `folder`: where a hub's cache keeps the files.

    Raises:
        ModelError: a link or a name leads out of the folder, a file asks for code or is no JSON, a header of weights
            is absurd, or the sizes in the configuration are not those of the weights.
    """
    weights = []
    for path in sorted(p for p in folder.rglob("*") if p.is_symlink() or p.is_file()):
        _check_place(path, [folder, *([files] if files is not None else [])])
        if path.suffix == ".safetensors":
            weights.append(read_header(path))
    told = Weights(sum(len(w) for w in weights), max((v for w in weights for v in _sizes(w)), default=0))
    for path in sorted(folder.rglob("*.json")):
        _check_json(path, folder, told, adapter=adapter)


def _check_place(path: Path, roots: list[Path]) -> None:
    if path.is_symlink():
        target = path.resolve()
        if not target.is_file() or not any(target.is_relative_to(root.resolve()) for root in roots):
            raise ModelError("a link in a model's folder leads out of it", value=str(target), where=path)


def _check_json(path: Path, folder: Path, weights: Weights, *, adapter: bool) -> None:
    size = path.stat().st_size
    if size > (MAX_TEXTS if path.name in TEXTS else MAX_JSON):
        raise ModelError("a model's file is too large for what it is", value=f"{size:,} bytes", where=path)
    if path.name == ADAPTER and not adapter:
        raise ModelError(
            "the folder holds an adapter, which names a base of its own",
            where=path,
            next_step="name it as backbones.<scorer> or lora.start_from, or merge it into its base first",
        )
    if path.name == "vocab.json":
        return
    try:
        content = read_json(path)
    except DataError as error:
        raise ModelError("a model's file is not valid JSON", value=str(error.value), where=path) from None
    if path.name == "tokenizer.json":
        for pattern in patterns_of(content):
            if is_endless(pattern):
                raise ModelError(
                    "a pattern of the tokenizer may take longer than anybody waits", value=pattern, where=path,
                    next_step=TRUSTED,
                )  # fmt: skip
        return
    if path.name == "modules.json":
        _check_modules(content, path)
    if path.name == "config.json":
        _check_class(content, path)
    for key, value in _items(content):
        _check_value(key, value, path, folder)
        if path.name == "config.json":
            _check_size(key, value, path, weights)


def _items(content: Any) -> Iterator[tuple[str, Any]]:
    """Every key of a JSON value, at any depth, with what it holds."""
    waiting = [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            yield from value.items()
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _check_modules(modules: Any, path: Path) -> None:
    """``modules.json`` of a sentence transformer names classes, which are imported, and folders."""
    for module in modules if isinstance(modules, list) else []:
        kind, place = (str(module.get(key, "")) for key in ("type", "path")) if isinstance(module, dict) else ("", "")
        if not kind.startswith(MODULES):
            raise _code(kind, path)
        if not inside(place):
            raise ModelError("a part of a model lies outside its folder", value=place, where=path)


def _check_class(config: Any, path: Path) -> None:
    """``auto_map`` is left alone where transformers has the model itself."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    kind = config.get("model_type") if isinstance(config, dict) else None
    if isinstance(config, dict) and any(key in config for key in CODE) and kind not in CONFIG_MAPPING_NAMES:
        raise _code(kind, path)


def _code(value: object, path: Path) -> ModelError:
    return ModelError(
        "this model needs code from its own repository, which is never run",
        value=value,
        where=path,
        next_step="choose one that transformers has itself (docs/checkpoints.md)",
    )


def _check_value(key: str, value: Any, path: Path, folder: Path) -> None:
    if key in ATTENTION and isinstance(value, str) and "/" in value:
        raise _code(value, path)  # a kernel of the hub
    if key.endswith("_file") and isinstance(value, str) and not inside(value) and (folder / value).exists():
        raise ModelError("a model's file names one outside its folder", value=value, where=path)
    if key == "weight_map" and isinstance(value, Mapping):
        for name in value.values():
            if not isinstance(name, str) or not inside(name):
                raise ModelError("weights lie outside the model's folder", value=name, where=path)


def _check_size(key: str, value: Any, path: Path, weights: Weights) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        return
    most = None
    if _LAYERS.match(key):
        most = weights.tensors or _DEPTHS
    elif key in _WIDTHS:
        most = weights.largest or None
    if most is not None and value > most:
        raise ModelError(
            "a model's configuration is larger than its weights", value=f"{key}: {value:,}", where=path,
            next_step=f"the weights hold {weights.tensors:,} tensors of at most {weights.largest:,} values",
        )  # fmt: skip


def read_adapter(path: Path) -> dict[str, Any]:
    """An ``adapter_config.json`` of LoRA.

    Raises:
        ModelError: it is of another method, or has a module imported.
    """
    config = read_json(path)
    if not isinstance(config, dict) or config.get("peft_type", "LORA") != "LORA":
        raise ModelError("the adapter is no LoRA", value=config, where=path)
    if config.get(IMPORTING):
        raise _code(config.get("megatron_core"), path)
    return config


def inside(name: str) -> bool:
    """Whether a relative name stays below the folder it is told from, on any system."""
    path = PurePosixPath(name.replace("\\", "/"))
    return not path.is_absolute() and ".." not in path.parts and ":" not in name and "\0" not in name


def read_header(path: Path) -> dict[str, Any]:
    """Header of a safetensors file by tensor, bounded before it is read.

    Raises:
        ModelError: it is longer than any model's, or than the file, or no JSON object.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(MAX_HEADER, size - 8):
            raise _header("is longer than the file or than any model's", f"{length:,} of {size:,} bytes", path)
        text = file.read(length)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _header("is no JSON", str(error), path) from None
    if not isinstance(header, dict):
        raise _header("is no object", type(header).__name__, path)
    return {name: entry for name, entry in header.items() if name != "__metadata__"}


def _header(what: str, value: str, path: Path) -> ModelError:
    return ModelError(f"weights cannot be read: their header {what}", value=value, where=path, next_step=TRUSTED)


def _sizes(header: Mapping[str, Any]) -> Iterator[int]:
    for entry in header.values():
        shape = entry.get("shape") if isinstance(entry, dict) else None
        if isinstance(shape, list) and all(type(side) is int for side in shape):
            yield prod(shape)


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """Tensors of a file by name, on the CPU, all of them numbers.

    Raises:
        ModelError: it cannot be read, or holds what is no number.
    """
    from safetensors.torch import load_file

    read_header(path)
    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
    except Exception as error:  # SafetensorError, OSError, and what torch has against a type
        raise ModelError("weights cannot be read", value=str(error), where=path) from None
    check_finite(tensors.items(), path)
    return tensors


def check_finite(tensors: Iterable[tuple[str, torch.Tensor]], where: Path) -> None:
    """Refuse weights with NaN or infinity: a model with them answers without an error, and nothing but noise.

    Raises:
        ModelError: a tensor holds one.
    """
    import torch

    for name, tensor in tensors:
        if tensor.is_floating_point() and tensor.numel() and not tensor.is_meta:
            values = tensor.detach()
            ends = torch.stack(torch.aminmax(values if values.element_size() > 1 else values.float()))
            if not torch.isfinite(ends).all():
                raise ModelError("a weight is no number", value=name, where=where, next_step=TRUSTED)


def check_loaded(model: Any, found: Mapping[str, Any], where: Path) -> Any:
    """A model of transformers whose every weight was in its files, and is a number.

    Args:
        model: What ``from_pretrained`` gave.
        found: What it says of it with ``output_loading_info``.
        where: Its folder.

    Raises:
        ModelError: a weight was missing, which transformers makes up at random, or is no number.
    """
    missing = sorted(found["missing_keys"])
    if missing:
        raise ModelError(
            f"{len(missing)} weights of the model are missing", value=missing[:5], where=where,
            next_step="its config.json and its weights must belong together",
        )  # fmt: skip
    check_finite(model.named_parameters(), where)
    return model


@contextmanager
def loading(what: str, where: object) -> Iterator[None]:
    """Tell whatever a library raises while it loads a model as a `ModelError`."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # a file of a stranger makes readers fail in every way there is
        if "trust_remote_code" in str(error):
            raise _code(None, Path(str(where))) from None
        cause = str(error)[:500] or type(error).__name__
        raise ModelError(f"{what} cannot be loaded", value=cause, where=where) from error
