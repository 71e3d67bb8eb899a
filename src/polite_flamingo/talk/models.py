"""What the name of a model stands for, and loading it.

``rewriter``, ``stage1`` … ``stage3`` and ``raw`` are those of a profile below ``models/`` of the present folder,
``laptop`` the rewriter that comes with the package, a folder a model that was trained or exported anywhere,
``hf:<folder or id@revision>`` any chat model, ``models:/<name>@<alias>`` a version of MLflow's registry.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from polite_flamingo.errors import ConfigError, ModelError, PoliteFlamingoError, did_you_mean
from polite_flamingo.io.hashes import fingerprint
from polite_flamingo.io.text import read_json
from polite_flamingo.model.origins import LAPTOP
from polite_flamingo.model.settings import GenerationSettings
from polite_flamingo.params.reading import load_params
from polite_flamingo.params.schema import Params
from polite_flamingo.registry.kinds import KINDS
from polite_flamingo.registry.parts import located
from polite_flamingo.talk.decoding import GREEDY, Decoding
from polite_flamingo.talk.versions import downloaded

if TYPE_CHECKING:
    from polite_flamingo.jobs.backends.chat_model import ChatModel
    from polite_flamingo.model.bundle import FlamingoBundle

LOG = logging.getLogger(__name__)

Kind = Literal["rewriter", "assistant"]
TRAINED: Mapping[str, Kind] = {name: kind for kind in ("rewriter", "assistant") for name in KINDS[kind].trained}
USES: Mapping[Kind, tuple[str, str]] = {  # how it is used, and what it is
    "rewriter": ("`polite-flamingo rewrite-one` (Rewriter in Python)", "a rewriter"),
    "assistant": ("`polite-flamingo ask` (Assistant in Python)", "an assistant"),
}
SHIPPED = "laptop"
REGISTRY, HUB = "models:/", "hf:"
FORMS = f"{', '.join(TRAINED)}, {SHIPPED}, a folder, hf:<folder or id@revision>, models:/<name>@<alias>"
DEFAULT_PROFILE = "tiny"
PARAMS = Path("params.yaml")
WEIGHTS, WHOLE, TRAINING = "trainables.safetensors", "connector.safetensors", "training.json"
BASES = (Path("..", "backbones", "flamingo"), Path("..", "flamingo"))  # beside what was trained from it
OF_LAPTOP = Decoding(max_tokens=96)  # as it was measured (docs/laptop.md)


@dataclass(frozen=True, slots=True)
class ModelPlace:
    """A model that was found, not loaded.

    Args:
        name: As it was asked for.
        kind: ``rewriter`` or ``assistant``; a chat model is what it is asked to be.
        form: ``flamingo``, ``laptop`` or ``chat``.
        base: Folder of the Flamingo under it, or the folder or ``id@revision`` of a chat model.
        trained: Folder of what was trained on the base, if there is one.
        decoding: How it answers unless a request says otherwise.
        profile: Parameters of the profile that it belongs to, where they lie here.
    """

    name: str
    kind: Kind
    form: Literal["flamingo", "laptop", "chat"]
    base: str
    trained: Path | None = None
    decoding: Decoding = GREEDY
    profile: Params | None = None

    @property
    def folders(self) -> tuple[Path, ...]:
        """Folders of its weights on this machine."""
        named = (Path(self.base), self.trained)
        return tuple(folder for folder in named if folder is not None and folder.is_dir())

    @property
    def identity(self) -> str:
        """Content hash of the weights; of a model of the hub its pinned name."""
        return fingerprint(self.form, *(self.folders or (self.base,)))


def find_model(
    name: str | Path,
    kind: Kind | None = None,
    *,
    base: str | Path | None = None,
    profile: str | None = None,
    params: Path = PARAMS,
) -> ModelPlace:
    """What a name stands for.

    Args:
        name: One of `FORMS`.
        kind: What it is to be used as; None: what it is, and a chat model is an assistant.
        base: Folder of the Flamingo that a folder's weights were trained from; None: found beside it.
        profile: Of the names of trained models; None: that of params.yaml, else tiny.
        params: The project's params file; it need not be there.

    Raises:
        ConfigError: there is no model of that name, or it is of the other kind.
        ModelError: a folder is no model, or lacks its base.
    """
    text = str(name)
    if text in TRAINED:
        place = _of_profile(text, profile, params)
    elif text == SHIPPED:
        place = ModelPlace(text, "rewriter", "laptop", str(LAPTOP), decoding=OF_LAPTOP)
    elif text.startswith(REGISTRY):
        place = _of_registry(text)
    elif text.startswith(HUB) and len(text) > len(HUB):
        place = ModelPlace(text, kind or "assistant", "chat", text.removeprefix(HUB))
    elif Path(name).is_dir():
        place = _of_folder(Path(name), kind, base, params)
    else:
        hint = did_you_mean(text, (*TRAINED, SHIPPED)).partition("known:")[0]
        raise ConfigError("no such model", value=text, next_step=f"{hint}give one of: {FORMS}")
    if kind is not None and place.kind != kind:
        use, names = USES[place.kind]
        raise ConfigError(
            f"this model is {names}, not {USES[kind][1]}",
            value=text,
            next_step=f"use it with {use}; or name {USES[kind][1]}",
        )
    return replace(place, name=text)


def load_model(place: ModelPlace, *, device: str = "auto", dtype: str | None = None) -> FlamingoBundle | ChatModel:
    """Read the weights.

    Args:
        place: What `find_model` found.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        dtype: ``float32``, ``bfloat16`` or ``float16``; None: the profile's, else float32.

    Raises:
        ModelError: a part is missing or does not fit.
        ConfigError: the device does not exist, or a model of the hub has no revision.
    """
    number = dtype or (place.profile.runtime.dtype if place.profile is not None else "float32")
    if place.form == "chat":
        from polite_flamingo.devices import pick_device
        from polite_flamingo.jobs.backends.chat_model import load_chat_model

        return load_chat_model(place.base, pick_device(device), number)
    if place.form == "laptop":
        from polite_flamingo.model.shipped import load_shipped_rewriter

        return load_shipped_rewriter(device=device, dtype=number)
    from polite_flamingo.model.flamingo import load_flamingo

    return load_flamingo(Path(place.base), device=device, dtype=number, trainables=place.trained)


def known_params(params: Path, profile: str | None) -> Params | None:
    """The parameters of a profile; None where this folder is no project or has no such profile."""
    if not params.is_file():
        return None
    try:
        return load_params(params, profile)
    except PoliteFlamingoError as error:
        LOG.warning("the profile's lengths and scorers are not used, but the defaults: %s", error)
        return None


def _of_profile(name: str, profile: str | None, params: Path) -> ModelPlace:
    known = load_params(params, profile) if params.is_file() else None
    top = known.models if known is not None else Path("models") / (profile or DEFAULT_PROFILE)
    folder, base = top / name, top / "backbones" / "flamingo"
    chosen = top.name
    until = "train_rewriter" if name == "rewriter" else f"tune_{name}"
    for part in (folder, base):
        if not part.is_dir():
            here = "" if params.is_file() else ", at the top of a project,"
            trains = known is None or until in known.stages
            step = (
                f"`polite-flamingo run --profile {chosen} --until {until}`{here} trains it; --profile names another one"
            )
            raise ModelError(
                f"the profile {chosen} {'has' if trains else 'trains'} no model {name}{' here' if trains else ''}",
                where=part,
                next_step=f"{step if trains else 'name another --profile'}; --model takes {FORMS}",
            )
    return ModelPlace(name, TRAINED[name], "flamingo", str(base), folder, _decoding(known, TRAINED[name]), known)


def _of_folder(folder: Path, kind: Kind | None, base: str | Path | None, params: Path) -> ModelPlace:
    if (folder / WEIGHTS).is_file():
        configuration = _training(folder)
        known = known_params(params, configuration.get("profile"))
        own: Kind = (
            "rewriter"
            if "rewriter" in configuration
            else "assistant"
            if "tune" in configuration
            else kind or "assistant"
        )
        return ModelPlace("", own, "flamingo", str(_base_of(folder, base)), folder, _decoding(known, own), known)
    if (folder / WHOLE).is_file():  # exported, or a base on its own
        return ModelPlace("", kind or "assistant", "flamingo", str(folder))
    if (folder / "MLmodel").is_file():
        return _of_version(folder)
    if (folder / "config.json").is_file():
        return ModelPlace("", kind or "assistant", "chat", str(folder))
    raise ModelError(
        "the folder holds no model",
        where=folder,
        next_step=f"it needs {WEIGHTS} (trained here), {WHOLE} (exported), or config.json of a Hugging Face model",
    )


def _training(folder: Path) -> dict[str, Any]:
    if not (folder / TRAINING).is_file():
        return {}
    found = read_json(folder / TRAINING)
    return found if isinstance(found, dict) else {}


def _base_of(folder: Path, told: str | Path | None) -> Path:
    candidates = [Path(told)] if told is not None else [folder / base for base in BASES]
    found = next((path for path in candidates if (path / WHOLE).is_file()), None)
    if found is None:
        raise ModelError(
            "the base that these weights were trained from is not there",
            value=[str(path) for path in candidates],
            where=folder,
            next_step="name its folder: --base FOLDER (base= in Python)",
        )
    return found.resolve()


def _decoding(params: Params | None, kind: Kind) -> Decoding:
    """The profile's lengths and n-grams, as `launch.registration` gives them to a version."""
    if params is None:
        return GREEDY
    own = (params.evaluate,) if kind == "assistant" else ()
    return Decoding.like(GenerationSettings.of(params.generation, *own))


def _of_registry(name: str) -> ModelPlace:
    """A version of MLflow's registry, downloaded once."""
    from polite_flamingo.tracking.registry import ModelRegistry, answering_store

    registered, alias, number = _version_named(name)
    with answering_store():
        registry = ModelRegistry()
        version = registry.aliased(registered, alias) if alias else registry.version(registered, int(number))
        if version is None:
            raise ModelError(
                "no version of the registry has this name",
                value=name,
                next_step="`polite-flamingo models list` shows them, `polite-flamingo models register` makes one; "
                "MLFLOW_TRACKING_URI names another server",
            )
        return _of_version(downloaded(registry, version))


def _version_named(name: str) -> tuple[str, str, str]:
    """Registered model, alias and number of ``models:/name@alias`` or ``models:/name/3``."""
    rest = name.removeprefix(REGISTRY)
    registered, at, alias = rest.partition("@")
    if at and registered and alias:
        return registered, alias, ""
    registered, _, number = rest.partition("/")
    if registered and number.isdecimal():
        return registered, "", number
    raise ConfigError(
        "a version of the registry is named by alias or number",
        value=name,
        next_step="write models:/polite-flamingo-assistant@champion, or models:/polite-flamingo-assistant/3",
    )


def _of_version(folder: Path) -> ModelPlace:
    """A version in MLflow's form, whose parts lie in it or are referred to by their content."""
    import yaml

    try:
        flavor = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))["flavors"]["python_function"]
        config = flavor["config"]
        kind: Kind = config["kind"]
        copied = {name: str(_inside(folder, part["path"])) for name, part in flavor["artifacts"].items()}
        parts = {name: located(name, copied, config["parts"]) for name in ("base", "adapter")}
        decoding = Decoding.like(GenerationSettings(**config["decoding"]))
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise ModelError(
            "this is no version of a rewriter or an assistant",
            value=f"{type(error).__name__}: {error}",
            where=folder,
            next_step="`polite-flamingo models register` makes one",
        ) from error
    return ModelPlace("", kind, "flamingo", str(parts["base"]), parts["adapter"], decoding)


def _inside(folder: Path, path: str) -> Path:
    found = (folder / path).resolve()
    if not found.is_relative_to(folder.resolve()):
        raise ModelError("a part of the version lies outside of it", value=path, where=folder)
    return found
