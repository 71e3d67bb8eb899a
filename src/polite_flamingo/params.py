"""Typed view of params.yaml joined with one profile; every problem is reported at once.

The paper's values are the defaults of the components' settings, which this module composes; params.yaml is written from
them (``python -m polite_flamingo.params``) and is what users edit and DVC watches. The machine's and the data's values
live in ``configs/profiles/<name>.yaml``, whose ``overrides`` tree may replace values of params.yaml; nothing else
overlaps. A value set in params.yaml that a profile replaces would have no effect, and is refused. Which stages there
are follows from the profile: `Params.stages`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, Field, ValidationError

from polite_flamingo.distort.settings import DistortSettings
from polite_flamingo.environment import Instructions
from polite_flamingo.errors import SHOWN_IN_ALL, YAML_HINT, ConfigError, did_you_mean, quoted
from polite_flamingo.evaluate.settings import EvaluateSettings
from polite_flamingo.filter.chain import FilterSettings
from polite_flamingo.io.files import write_atomic
from polite_flamingo.jobs.settings import TextMachineSettings
from polite_flamingo.model.settings import NONE, BackboneSettings, DecodingSettings
from polite_flamingo.params_file import render, section_of
from polite_flamingo.pipeline import stages_of
from polite_flamingo.prompts.rewriting import DEFAULT, load_prompts
from polite_flamingo.quality.settings import QualitySettings
from polite_flamingo.registry.gate import RegistrySettings
from polite_flamingo.rewrite.repair import RepairPolicy
from polite_flamingo.rewrite.settings import RewritingSettings
from polite_flamingo.scorers.load import SCORERS
from polite_flamingo.scorers.settings import ScoreSettings
from polite_flamingo.settings import Settings
from polite_flamingo.sources import catalogue
from polite_flamingo.sources.selection import SourceLimits, SourceSpec
from polite_flamingo.train.settings import RewriterTraining, TrainMachineSettings, TuneSettings
from polite_flamingo.world.settings import WorldSettings

DATA_ROOT_VARIABLE = "POLITE_FLAMINGO_DATA_ROOT"
HEAD = """\
What the paper decides (Chen et al., arXiv 2307.01003). Each value cites its section, table, figure or the authors'
released code ("readme"); "ours" marks a choice where the paper is silent (reasons in docs/paper_index.md).
What a machine or a small data set decides lives in configs/profiles/${profile}.yaml, whose `overrides` tree may
replace values of this file; `polite-flamingo params` prints the result and what was replaced.
Written from the schema: `python -m polite_flamingo.params` brings comments and new keys up to date, not the values.
"""
NOT_REPLACED = {  # dvc.yaml watches no such key of profiles: a profile's value would re-run nothing
    "profile", "seed", "second_generation", "tune.skip_stage1",
}  # fmt: skip


TRAINED = "flamingo"  # the rewriter that the pipeline trains; other backends come ready
SHIPPED = "laptop"  # a Flamingo too, trained on photographs
SCORED_BY = {"sts": "sts", "paragraphs": "clip", "nli": "nli"}  # filter -> the scorer it goes by
JUDGES = ("nli", "reward", "sts")  # of the evaluation


class Paper(Settings):
    """The content of params.yaml."""

    profile: str = Field(
        "tiny",
        description="tiny | packaged | laptop | single_gpu | paper_8xa100, or one of your own in configs/profiles/",
    )
    seed: int = Field(42, description="authors' training scripts")
    distort: DistortSettings = Field(DistortSettings(), description="section 3.1")
    rewriter: RewriterTraining = Field(RewriterTraining(), description="section 3.3, appendix A")
    generation: DecodingSettings = Field(DecodingSettings(), description="readme: inferencer(...) defaults")
    rewriting: RewritingSettings = Field(
        RewritingSettings(),
        description="ours: how a rewriter that comes ready is asked (`rewriter_backend` of a profile)",
    )
    repair: RepairPolicy = Field(
        RepairPolicy(),
        description="ours: a rewrite that is unchanged, repetitive, unfinished or leaks boxes is tried again",
    )
    score: ScoreSettings = Field(
        ScoreSettings(), description='section 4.2, appendix D, readme "Filtering Rewritten Responses"'
    )
    filter: FilterSettings = Field(FilterSettings(), description="section 4.2, appendix D, Figure 10, in this order")
    tune: TuneSettings = Field(
        TuneSettings(),
        description="section 4.3 (the U), Table 4; Figure 9's ablations change these values "
        "(docs/ablations.md); names of the authors' runs: docs/paper_index.md",
    )
    evaluate: EvaluateSettings = Field(EvaluateSettings(), description="section 5")
    second_generation: list[str] = Field(
        [],
        description="section 5.4: profiles that train the next rewriter from the assistant, e.g. [tiny]; [] is off",
    )
    quality: QualitySettings = Field(QualitySettings(), description="ours: gates between the stages")
    registry: RegistrySettings = Field(
        RegistrySettings(),
        description="ours: registered versions and their gate (docs/operations.md)",
    )


class RuntimeSettings(TextMachineSettings, TrainMachineSettings):
    """The machine of a profile; none of it is a parameter of a stage, so changing it re-runs nothing."""

    instructions: Instructions = Field("native", description="of numeric libraries; pinned, for equal bits elsewhere")
    tflops: float | None = Field(
        None, gt=0, description="training, per GPU, padding and recomputation counted: what `plan` reckons with"
    )
    records_per_second: dict[Literal["rewrite", "clip", "nli", "reward", "sts"], float] = Field(
        {}, description="curation, per GPU, as measured on yours: what `plan --records` reckons with"
    )
    device_gb: float | None = Field(None, gt=0, description="memory of a GPU, GB: what `plan` warns about")
    parallel: int = Field(
        1, ge=1, description="flows: independent stages side by side, each on `processes` GPUs of its own"
    )
    tracking: Literal["mlflow", "none"] = "mlflow"


class Profile(Settings):
    """The content of a profile, its `overrides` aside; what it leaves out has its default."""

    data_root: str | None = Field(None, description="folder of the datasets; null: `world` is rendered")
    world: WorldSettings | None = None
    sources: list[SourceSpec]
    limits: SourceLimits = SourceLimits()
    backbones: BackboneSettings = BackboneSettings()
    distortion_backend: str = Field("terse_rules", description="docs/backends.md")
    rewriter_backend: str = Field(TRAINED, description="docs/backends.md")
    tuning: bool | None = Field(
        None, description="whether an assistant is tuned on PF-1M; null: where there are evaluation data and a base"
    )
    runtime: RuntimeSettings = RuntimeSettings()


class Params(Paper, Profile):
    """Everything a stage may ask for, resolved."""

    overridden: dict[str, tuple[Any, Any]] = Field(default_factory=dict)  # dotted key -> (paper's value, profile's)

    def provenance(self, section: str, keys: set[str] | None = None) -> dict[str, Any]:
        """What lies beside trained weights: profile, seed, base model and the resolved values of a section.

        Args:
            section: Name of the section.
            keys: Those of its keys that the training reads; None: all.
        """
        return {
            "profile": self.profile,
            "seed": self.seed,
            "backbone": self.backbones.flamingo,
            section: getattr(self, section).model_dump(mode="json", include=keys),
        }

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that this profile has, in the order they run."""
        return stages_of(
            backbones=bool(self.used_backbones),
            trains_rewriter=self.trains_rewriter,
            rewrites=self.rewrites,
            tunes=self.tunes,
            evaluates=self.tunes and "evaluation" in self.roles,
            second_generation=self.tunes and self.profile in self.second_generation,
        )

    @property
    def roles(self) -> set[str]:
        """What the sources are for."""
        return {source.role for source in self.sources}

    @property
    def trains_rewriter(self) -> bool:
        """Whether the rewriter is trained on distorted responses, and not a model that comes ready."""
        return self.rewrites and self.rewriter_backend == TRAINED

    @property
    def asks_flamingo(self) -> bool:
        """Whether a Flamingo rewrites, trained here or shipped: it knows the prompt of Figure 3 and no other."""
        return self.rewriter_backend in (TRAINED, SHIPPED)

    @property
    def rewrites(self) -> bool:
        """Whether PF-1M is made from annotations; where sources have the role `pf1m`, it is there already."""
        return "pf1m" not in self.roles

    @property
    def tunes(self) -> bool:
        """Whether an assistant is tuned: as the profile says, or where there is what to tune and to measure it by."""
        if self.tuning is None:
            return "evaluation" in self.roles and self.backbones.flamingo != NONE
        return self.tuning

    @property
    def used_backbones(self) -> dict[str, str]:
        """Name -> origin of the models that some stage loads: scorers, and a base that something is trained from."""
        trains = self.trains_rewriter or self.tunes
        named = self.backbones.model_dump().items()
        return {name: origin for name, origin in named if origin != NONE and (trains or name != "flamingo")}

    @property
    def filters_off(self) -> list[str]:
        """Filters without the scorer that they go by."""
        return [name for name, scorer in SCORED_BY.items() if getattr(self.backbones, scorer) == NONE]

    @property
    def misplaced_judges(self) -> list[str]:
        """Scorers that were trained on the embedded world's drawn scenes, where the data are other."""
        if self.world is not None:
            return []
        return [name for name in SCORERS if getattr(self.backbones, name).partition(":")[0] == "packaged"]

    def contradictions(self) -> list[str]:
        """What the profile wants and cannot have, each on a line: it would fail hours later."""
        needs_base = {"rewriter_backend: flamingo": self.trains_rewriter, "tuning": self.tunes}
        problems = [
            f"{what} trains a model, and backbones.flamingo names none (or name a rewriter that comes ready: laptop, "
            "hf:… or openai:…, docs/backends.md)"
            for what, wanted in needs_base.items()
            if wanted and self.backbones.flamingo == NONE
        ]
        problems += [
            f"{what} needs responses to learn from, and no source has the role instruction"
            for what, wanted in needs_base.items()
            if wanted and "instruction" not in self.roles
        ]
        problems += self._style_problems()
        if self.score.judge.backend in (TRAINED, SHIPPED):
            problems.append("score.judge.backend: the Flamingo rewriter does not judge; name hf:… or openai:…")
        if self.rewrites and "annotation" not in self.roles:
            problems.append("there is nothing to rewrite: no source has the role annotation")
        if not self.rewrites and "annotation" in self.roles:
            problems.append("PF-1M is made of the role annotation or taken from the role pf1m: no profile does both")
        if "evaluate" in self.stages:
            missing = [name for name in JUDGES if getattr(self.backbones, name) == NONE]
            problems += [f"the evaluation needs backbones.{name} (or set tuning: false)" for name in missing]
            files = [model.file for model in self.evaluate.others if model.file is not None]
            problems += [f"evaluate.models: no such file of answers: {file}" for file in files if not file.exists()]
        if self.profile in self.second_generation and not (self.trains_rewriter and self.tunes):
            problems.append("second_generation needs a trained rewriter and a tuned assistant")
        return problems

    def _style_problems(self) -> list[str]:
        """A style that cannot be used, or would have no effect."""
        style = self.rewriting.style
        if self.rewrites and self.asks_flamingo and style != DEFAULT:
            return [f"rewriting.style: {style!r} has no effect: the Flamingo is asked with the prompt of Figure 3"]
        try:
            load_prompts(style)
        except ConfigError as error:
            return [f"{error.where}: {error.what}: {error.value} ({error.next_step})"]
        return []

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
        """Seed of the U: `tune.common.seed` where it is set, else the run's."""
        return self.seed if self.tune.common.seed is None else self.tune.common.seed

    @property
    def trained_on(self) -> set[str]:
        """Data sets whose annotations are trained on: evaluation sets of these are in domain, others out of it.

        With role ``annotation``; where published PF-1M files take their place, all that PF-1M is made of (Table 6).
        """
        own = [source for source in self.sources if source.role == "annotation"]
        named = {source.reader().name if ":" in source.name else source.name for source in own}
        if any(source.role == "pf1m" for source in self.sources):
            entries = catalogue().values()
            named |= {entry.name for entry in entries if entry.pf1m is not None or entry.group == "classification"}
        return named

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
        path: The params file; profiles lie beside it in ``configs/profiles``. What it leaves out has its default.
        profile: Use this profile instead of the one named in the file.

    Raises:
        ConfigError: names every unknown key and bad value, and every value without effect, at once.
    """
    written = read_yaml(path)
    default = defaults()
    name = profile or written.get("profile", default["profile"])
    folder = path.parent / "configs" / "profiles"
    known = sorted(p.stem for p in folder.glob("*.yaml"))
    if name not in known:
        raise ConfigError("unknown profile", value=name, where=folder, next_step=did_you_mean(str(name), known))
    machine = read_yaml(folder / f"{name}.yaml")
    overrides = machine.pop("overrides", None) or {}
    if not isinstance(overrides, Mapping):
        raise ConfigError("`overrides` is no mapping", value=overrides, where=folder / f"{name}.yaml")
    shared = sorted(set(Paper.model_fields) & set(machine))
    if shared:
        raise ConfigError(
            "a profile repeats a key of params.yaml",
            value=shared,
            where=folder / f"{name}.yaml",
            next_step="put it under `overrides`",
        )
    problems = [
        f"{key}: is a key of profiles and has no effect in params.yaml; set it in {folder / (name + '.yaml')}"
        for key in written
        if key in Params.model_fields and key not in Paper.model_fields
    ]
    base = _filled(Paper, default, written)
    merged, overridden = _replaced(Paper, base, overrides, problems)
    problems += _without_effect(default, overridden)
    try:
        params = Params.model_validate({**merged, **machine, "profile": name, "overridden": overridden})
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


def changed(params: Params, changes: Mapping[str, Any]) -> Params:
    """The parameters with some values replaced; `params` stays as it is.

    Args:
        params: Resolved parameters.
        changes: Dotted name -> value.

    Raises:
        ConfigError: names every unknown key and bad value at once.
    """
    problems: list[str] = []
    values = params.model_dump()
    for dotted, value in changes.items():
        *parents, last = dotted.split(".")
        tree: dict[str, Any] = {last: value}
        for parent in reversed(parents):
            tree = {parent: tree}
        values, _ = _replaced(Params, values, tree, problems, "")
    result = params
    try:
        result = Params(**values)
    except ValidationError as error:
        problems += [explain_problem(e) for e in error.errors()]
    if problems:
        raise ConfigError(
            f"{len(problems)} problem(s) in the changes:\n    " + "\n    ".join(problems),
            next_step="`polite-flamingo params` shows every value",
        )
    return result


def parse_changes(assignments: Sequence[str], section: str | None = None) -> dict[str, Any]:
    """What `changed` takes, from ``key.key=value`` with the value as YAML.

    Args:
        assignments: As written on the command line.
        section: Where all keys must lie, e.g. ``filter``; None: anywhere.

    Raises:
        ConfigError: names every assignment that is none.
    """
    problems: list[str] = []
    changes: dict[str, Any] = {}
    form = "KEY=VALUE" if section is None else f"{section}.key=value"
    for assignment in assignments:
        dotted, equals, text = assignment.partition("=")
        keys = dotted.strip().split(".")
        if not equals or (section is not None and (keys[0] != section or len(keys) < 2)):
            problems.append(f"{assignment}: write {form}")
            continue
        try:
            changes[dotted.strip()] = yaml.safe_load(text)
        except yaml.YAMLError:
            problems.append(f"{assignment}: the value is not valid YAML")
    if problems:
        raise ConfigError(
            f"{len(problems)} problem(s) in the changes:\n    " + "\n    ".join(problems),
            where="--set",
            next_step="`polite-flamingo params` shows every value",
        )
    return changes


def defaults() -> dict[str, Any]:
    """The paper's values, as params.yaml holds them."""
    return Paper().model_dump(mode="json")


def rendered(path: Path = Path("params.yaml")) -> str:
    """The text params.yaml should have: its own values, the defaults of what it leaves out, the schema's comments."""
    return render(Paper, _filled(Paper, defaults(), read_yaml(path)), HEAD)


def read_yaml(path: Path) -> dict[str, Any]:
    """A mapping from a YAML file, read by the parser that DVC reads it by: YAML 1.2, and no key twice.

    Raises:
        ConfigError: there is no such file, it is no YAML, or no mapping.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        value = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        hint = "run from the top of a project, or make one here: `polite-flamingo init DATA`"
        raise ConfigError("file does not exist", where=path, next_step=hint) from None
    except (YAMLError, ValueError, RecursionError) as error:
        mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
        line = "" if mark is None else f", line {mark.line + 1}"
        problem = (error.problem if isinstance(error, MarkedYAMLError) else None) or str(error)
        raise ConfigError("file is not valid YAML", value=problem, where=f"{path}{line}", next_step=YAML_HINT) from None
    if not isinstance(value, dict):
        hint = "write `key: value` lines; `polite-flamingo params` shows them"
        raise ConfigError("file holds no mapping", value=type(value).__name__, where=path, next_step=hint)
    return value


def _filled(schema: type[Settings], default: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a file, with defaults where it says nothing; unknown keys stay, to be named as problems."""
    filled = {**default, **written}
    for name, value in written.items():
        section = section_of(schema, name)
        if section is not None and isinstance(value, Mapping):
            filled[name] = _filled(section, default[name], value)
    return filled


def _replaced(
    schema: type[Settings],
    base: Mapping[str, Any],
    overrides: Mapping[str, Any],
    problems: list[str],
    prefix: str = "overrides.",
) -> tuple[dict[str, Any], dict[str, tuple[Any, Any]]]:
    """`base` with the values of `overrides`, and what they replace: dotted key -> (value in `base`, new value)."""
    merged = dict(base)
    replaced: dict[str, tuple[Any, Any]] = {}
    for key, value in overrides.items():
        section = section_of(schema, key)
        if key not in schema.model_fields:
            problems.append(f"{prefix}{key}: no such parameter ({did_you_mean(str(key), schema.model_fields)})")
        elif section is not None and isinstance(value, Mapping) and isinstance(base[key], Mapping):
            merged[key], inner = _replaced(section, base[key], value, problems, f"{prefix}{key}.")
            replaced |= {f"{key}.{name}": pair for name, pair in inner.items()}
        elif f"{prefix}{key}".removeprefix("overrides.") in NOT_REPLACED and prefix.startswith("overrides."):
            problems.append(f"{prefix}{key}: is set in params.yaml alone")
        else:
            merged[key] = value
            replaced[key] = (base[key], value)
    return merged, replaced


def _without_effect(default: Mapping[str, Any], overridden: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """Values set in params.yaml that the profile replaces by others."""
    problems = []
    for dotted, (written, own) in overridden.items():
        usual: Any = default
        for key in dotted.split("."):
            usual = usual[key]
        if written not in (usual, own):
            problems.append(
                f"{dotted}: {quoted(written)} in params.yaml has no effect: the profile sets overrides.{dotted} "
                f"to {quoted(own)}; change it there, or take it out there"
            )
    return problems


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
        return f"{location}: has keys of its own; write {location}.<key> (got {quoted(error.get('input'))})"
    return f"{location}: {error['msg'][:SHOWN_IN_ALL]} (got {quoted(error.get('input'))})"


if __name__ == "__main__":
    write_atomic(Path("params.yaml"), rendered())
