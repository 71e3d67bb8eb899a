"""Typed view of params.yaml joined with one profile; every problem is reported at once.

The paper's values live in params.yaml, the machine's and the data's in ``configs/profiles/<name>.yaml``. The profile's
``overrides`` tree may replace values of params.yaml; nothing else overlaps.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from polite_flamingo.errors import ConfigError, did_you_mean
from polite_flamingo.sources.selection import SourceSpec

DATA_ROOT_VARIABLE = "POLITE_FLAMINGO_DATA_ROOT"
DEEPSPEED = Path("configs/deepspeed")


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Share = Field(ge=0.0, le=1.0)
Trainable = Literal["lora", "perceiver", "xattn", "vision"]


class Lora(_Section):
    r: int = Field(gt=0)
    alpha: int = Field(gt=0)
    dropout: float = Share
    quantize: Literal["none", "nf4"]
    start_from: str | None


class LlmRewrite(_Section):
    command_probability: float = Share


class TextNoise(_Section):
    level_probability: float = Share


class Boxes(_Section):
    decimals: int = Field(ge=0, le=6)


class Weights(_Section):
    llm_rewrite: float = Field(ge=0)
    text_noise: float = Field(ge=0)
    retrieve_boxes: float = Field(ge=0)


class Distort(_Section):
    assignment: Literal["weighted", "all"]
    weights: Weights
    llm_rewrite: LlmRewrite
    text_noise: TextNoise
    boxes: Boxes
    held_out_share: float = Share


class Validation(_Section):
    share: float = Field(ge=0, lt=1)
    every: int = Field(ge=0)
    patience: int = Field(ge=0)


class Training(_Section):
    learning_rate: float = Field(gt=0)
    context_length: int = Field(gt=0)
    epochs: float = Field(gt=0)


class Repair(_Section):
    attempts: int = Field(ge=0)
    max_repeated_share: float = Share
    max_boxes: int = Field(ge=0)


class Rewriter(Training):
    lora: Lora
    scheduler: Literal["constant", "cosine"]
    warmup_steps: int = Field(ge=0)
    global_batch_size: int = Field(gt=0)
    max_grad_norm: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    validation: Validation
    repair: Repair


class Generation(_Section):
    """Decoding settings, as in the authors' inferencer."""

    max_new_tokens: int = Field(gt=0)
    num_beams: int = Field(gt=0)
    do_sample: bool
    temperature: float = Field(gt=0)
    top_k: int = Field(ge=0)
    top_p: float = Field(gt=0, le=1)
    length_penalty: float
    no_repeat_ngram_size: int = Field(ge=0)


class Score(_Section):
    clip_mode: Literal["paper", "fixed"]


class LengthFilter(_Section):
    min_words: int = Field(ge=0)
    max_words: int = Field(gt=0)


class ChangeFilter(_Section):
    max_rouge_l: float = Share


class StsFilter(_Section):
    min_cosine: float = Field(ge=-1, le=1)
    per_task: dict[Literal["caption", "change", "detail"], float]


class ParagraphFilter(_Section):
    min_clip_logit: float


class NliFilter(_Section):
    reject: list[Literal["contradiction", "entailment", "neutral"]]


class RepetitionFilter(_Section):
    max_share: float = Share


class LeakedBoxesFilter(_Section):
    max_boxes: int = Field(ge=0)


class UnsupportedObjectsFilter(_Section):
    max_objects: int | None = Field(default=None, ge=0)


class NumbersFilter(_Section):
    max_changed: int | None = Field(default=None, ge=0)


class YesNoFilter(_Section):
    reject_flipped: bool = False


class NearDuplicatesFilter(_Section):
    max_similarity: float | None = Field(default=None, ge=0, le=1)


class TemplateFilter(_Section):
    max_share: float | None = Field(default=None, gt=0, le=1)


class Filter(_Section):
    length: LengthFilter
    change: ChangeFilter
    sts: StsFilter
    paragraphs: ParagraphFilter
    nli: NliFilter
    repetition: RepetitionFilter
    leaked_boxes: LeakedBoxesFilter
    unsupported_objects: UnsupportedObjectsFilter
    numbers: NumbersFilter
    yes_no: YesNoFilter
    near_duplicates: NearDuplicatesFilter
    template: TemplateFilter


class Multiturn(_Section):
    mode: Literal["paper", "fit"]
    max_turns: int = Field(gt=0)
    max_images: int = Field(gt=0)


class Stage(Training):
    trainable: list[Trainable]
    global_batch_size: int = Field(gt=0)
    mixture: dict[Literal["instruction", "pf1m", "raw"], float]


class Tune(_Section):
    seed: int | None
    data: Literal["pf1m", "raw"]
    skip_stage1: bool
    resolution: int | None = Field(gt=0)
    lora: Lora
    scheduler: Literal["constant", "cosine"]
    warmup_steps: int = Field(ge=0)
    max_grad_norm: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    validation: Validation
    multiturn: Multiturn
    mixing: Literal["ratio", "sqrt"]
    stage1: Stage
    stage2: Stage
    stage3: Stage


class Evaluate(_Section):
    models: list[Literal["annotation", "raw", "stage1", "stage2", "stage3", "stage3_without_image"]] = Field(
        min_length=1
    )
    bootstrap_samples: int = Field(gt=0)
    max_new_tokens: int = Field(gt=0)
    do_sample: bool
    temperature: float = Field(gt=0)


class KeepRange(_Section):
    default: tuple[float, float]
    per_source: dict[str, tuple[float, float]]
    min_records: int = Field(ge=1)

    @field_validator("default", "per_source")
    @classmethod
    def _ordered(cls, value: Any) -> Any:
        for low, high in value.values() if isinstance(value, dict) else [value]:
            if not 0 <= low <= high <= 1:
                raise ValueError("a range is [lowest, highest] share kept, between 0 and 1")
        return value


class Quality(_Section):
    max_rejected_share: float = Share
    min_kept_share: float = Share
    keep_range: KeepRange


class Scenes(_Section):
    train: int = Field(gt=0)
    val: int = Field(gt=0)
    test: int = Field(gt=0)
    out_of_domain: int = Field(gt=0)


class World(_Section):
    image_size: int = Field(ge=16, le=512)
    scenes: Scenes


class Limits(_Section):
    annotation: int | None = None
    evaluation: int | None = None
    instruction: int | None = None
    probes: int = 0


class Backbones(_Section):
    flamingo: str
    clip: str
    nli: str
    reward: str
    sts: str


class Endpoint(_Section):
    """Treatment of an ``openai:`` backend (jobs/backends/endpoint.py)."""

    concurrency: int = Field(default=8, gt=0)
    timeout: float = Field(default=120, gt=0)
    attempts: int = Field(default=6, gt=0)
    longest_wait: float = Field(default=900, ge=0)
    price_in: float = Field(default=0, ge=0)
    price_out: float = Field(default=0, ge=0)


class Runtime(_Section):
    device: str
    dtype: Literal["float32", "bfloat16"]
    threads: int = Field(gt=0)
    micro_batch_size: int = Field(gt=0)
    distributed: Literal["none", "ddp", "zero1", "zero2", "zero3"] = "none"
    processes: int = Field(default=1, gt=0)
    gradient_checkpointing: bool = False
    attention: Literal["sdpa", "eager", "flash_attention_2"] = "sdpa"
    generation_batch_size: int = Field(gt=0)
    token_budget: int | None = Field(default=None, gt=0)
    compile: bool = False
    engine: Literal["local", "ray"] = "local"
    workers: int = Field(default=1, gt=0)
    gpus_per_worker: float = Field(default=0, ge=0)
    shared: str | None = None
    endpoint: Endpoint = Field(default_factory=Endpoint)
    tokens_per_second: float | None = Field(default=None, gt=0)
    device_gb: float | None = Field(default=None, gt=0)
    tracking: Literal["mlflow", "none"]

    @property
    def deepspeed(self) -> Path | None:
        """DeepSpeed's configuration file, for the ZeRO stages."""
        return DEEPSPEED / f"{self.distributed}.json" if self.distributed.startswith("zero") else None


class Params(_Section):
    """Everything a stage may ask for, resolved."""

    profile: str
    seed: int
    distort: Distort
    rewriter: Rewriter
    generation: Generation
    score: Score
    filter: Filter
    tune: Tune
    evaluate: Evaluate
    second_generation: list[str]
    quality: Quality
    data_root: str | None
    world: World | None = None
    sources: list[SourceSpec]
    limits: Limits
    backbones: Backbones
    distortion_backend: str
    rewriter_backend: str
    runtime: Runtime
    overridden: dict[str, tuple[Any, Any]] = Field(default_factory=dict)  # dotted key -> (paper's value, profile's)

    def provenance(self, section: str) -> dict[str, Any]:
        """What lies beside trained weights: profile, seed, base model and the resolved values of a section."""
        return {
            "profile": self.profile,
            "seed": self.seed,
            "backbone": self.backbones.flamingo,
            section: getattr(self, section).model_dump(mode="json"),
        }

    @property
    def data(self) -> Path:
        """Folder of this profile's data outputs."""
        return Path("data") / self.profile

    @property
    def models(self) -> Path:
        """Folder of this profile's model outputs."""
        return Path("models") / self.profile

    @property
    def reports(self) -> Path:
        """Folder of this profile's reports."""
        return Path("reports") / self.profile

    @property
    def tune_seed(self) -> int:
        """Seed of the U: `tune.seed` where it is set, else the run's."""
        return self.seed if self.tune.seed is None else self.tune.seed

    @property
    def image_root(self) -> Path:
        """Folder that image paths are relative to: the environment's, the profile's, or the rendered world."""
        chosen = os.environ.get(DATA_ROOT_VARIABLE) or self.data_root
        if self.world is not None or chosen is None:
            return self.data / "raw"
        return Path(chosen)


def load_params(path: Path = Path("params.yaml"), profile: str | None = None) -> Params:
    """Read params.yaml and its profile.

    Args:
        path: The params file; profiles lie beside it in ``configs/profiles``.
        profile: Use this profile instead of the one named in the file.

    Raises:
        ConfigError: names every unknown key and bad value at once.
    """
    base = _read_yaml(path)
    name = profile or base.get("profile", "tiny")
    folder = path.parent / "configs" / "profiles"
    known = sorted(p.stem for p in folder.glob("*.yaml"))
    if name not in known:
        raise ConfigError("unknown profile", value=name, where=folder, next_step=did_you_mean(str(name), known))
    machine = _read_yaml(folder / f"{name}.yaml")
    overrides = machine.pop("overrides", None) or {}
    shared = sorted(set(base) & set(machine))
    if shared:
        raise ConfigError(
            "a profile repeats a key of params.yaml",
            value=shared,
            where=folder / f"{name}.yaml",
            next_step="put it under `overrides`",
        )
    problems: list[str] = []
    overridden: dict[str, tuple[Any, Any]] = {}
    merged = _merge(base, overrides, "", overridden, problems)
    try:
        params = Params(**{**merged, **machine, "profile": name, "overridden": overridden})
    except ValidationError as error:
        problems += [explain_problem(e) for e in error.errors()]
        params = None
    if problems or params is None:
        raise ConfigError(
            f"{len(problems)} problem(s) in the parameters:\n    " + "\n    ".join(problems),
            where=f"{path} + {folder / (name + '.yaml')}",
            next_step="fix all of them; `polite-flamingo params` shows the resolved values",
        )
    return params


def changed(params: Params, assignments: Sequence[str], section: str) -> Params:
    """The parameters with some values of one section replaced.

    Args:
        params: Resolved parameters; they stay as they are.
        assignments: ``section.key.key=value``, the value as YAML.
        section: Name of the section, e.g. ``filter``.

    Raises:
        ConfigError: names every unknown key and bad value at once.
    """
    problems: list[str] = []
    values = params.model_dump()
    for assignment in assignments:
        dotted, equals, text = assignment.partition("=")
        keys = dotted.strip().split(".")
        if not equals or keys[0] != section or len(keys) < 2:
            problems.append(f"{assignment}: write {section}.key=value")
            continue
        try:
            tree: Any = yaml.safe_load(text)
        except yaml.YAMLError:
            problems.append(f"{assignment}: the value is not valid YAML")
            continue
        for key in reversed(keys):
            tree = {key: tree}
        values = _merge(values, tree, "", {}, problems)
    try:
        made = type(params)(**values)
    except ValidationError as error:
        problems += [explain_problem(e) for e in error.errors()]
        made = params
    if problems:
        raise ConfigError(
            f"{len(problems)} problem(s) in the changes:\n    " + "\n    ".join(problems).replace("overrides.", ""),
            next_step=f"`polite-flamingo params` shows every {section} value",
        )
    return made


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError("file does not exist", where=path, next_step="run from the top of the project") from None
    except yaml.YAMLError as error:
        raise ConfigError("file is not valid YAML", value=str(error), where=path) from None
    if not isinstance(value, dict):
        raise ConfigError("file holds no mapping", value=type(value).__name__, where=path)
    return value


_WHOLE = ("mixture", "per_task", "per_source")  # mappings whose keys are free: an override replaces them as a whole


def _merge(
    base: Mapping[str, Any],
    overrides: Mapping[str, Any],
    prefix: str,
    overridden: dict[str, tuple[Any, Any]],
    problems: list[str],
) -> dict[str, Any]:
    merged = dict(base)
    for key, value in overrides.items():
        dotted = f"{prefix}{key}"
        if key not in base:
            problems.append(f"overrides.{dotted}: no such parameter ({did_you_mean(key, base)})")
        elif isinstance(base[key], Mapping) and isinstance(value, Mapping) and key not in _WHOLE:
            merged[key] = _merge(base[key], value, f"{dotted}.", overridden, problems)
        else:
            merged[key] = value
            overridden[dotted] = (base[key], value)
    return merged


def explain_problem(error: Any) -> str:
    """One problem that pydantic found with the parameters, on one line."""
    location = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        model: Any = Params
        for part in error["loc"][:-1]:
            annotation = model.model_fields[part].annotation if isinstance(part, str) else None
            if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
                return f"{location}: unknown parameter"
            model = annotation
        return f"{location}: unknown parameter ({did_you_mean(str(error['loc'][-1]), model.model_fields)})"
    if error["type"] == "missing":
        return f"{location}: is missing"
    if error["type"] == "model_type":
        return f"{location}: has keys of its own; write {location}.<key> (got {error.get('input')!r})"
    return f"{location}: {error['msg']} (got {error.get('input')!r})"
