"""What params.yaml and a profile hold, and what follows from them: paths, stages, contradictions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from polite_flamingo.distort.settings import DistortSettings
from polite_flamingo.environment import Instructions
from polite_flamingo.errors import ConfigError
from polite_flamingo.evaluate.settings import EvaluateSettings
from polite_flamingo.filter.chain import FilterSettings
from polite_flamingo.jobs.settings import TextMachineSettings
from polite_flamingo.model.settings import NONE, BackboneSettings, DecodingSettings
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


def defaults() -> dict[str, Any]:
    """The paper's values, as params.yaml holds them."""
    return Paper().model_dump(mode="json")


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
