"""The sources a run reads, each with its role and the counts of its rows, and what the report says of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from polite_flamingo.errors import ConfigError
from polite_flamingo.records import Sample
from polite_flamingo.settings import Settings
from polite_flamingo.sources.base import Source
from polite_flamingo.sources.exchanges import exchanges
from polite_flamingo.sources.forms.mapping import mapping_problems
from polite_flamingo.sources.photographs import Part, part_of
from polite_flamingo.sources.registry import load_source

PF1M = "pf1m"  # rewritten already: tuned on as they are
TABLE = "table"
ROLES = ("instruction", "annotation", "evaluation", PF1M)


class SourceSpec(Settings):
    """One reader to run."""

    name: str = Field(description="dataset of the catalogue, or package.module:Class of a reader of your own")
    folder: str = Field(description="the dataset's, below the data root")
    role: Literal["instruction", "annotation", "evaluation", "pf1m"] = Field(description="what its samples are for")
    split: str = Field(description="as the dataset names it")
    limit: int | None = Field(None, description="most samples taken of it; null: as many as the role's limit allows")
    mapping: dict[str, Any] | None = Field(
        None, description="of a `table`: its columns, in place of a mapping.yaml in its folder"
    )
    request: str | None = Field(None, description="asked in place of the request that its reader draws")
    part: Part | None = Field(
        None,
        description="of its photographs (`sources.photographs`): what the models for photographs were trained, chosen "
        "or measured on; null: all",
    )
    reward_only: bool = Field(
        False, description="role evaluation: no model is asked; its responses' reward stands beside PF-1M's (Figure 6)"
    )

    @field_validator("mapping")
    @classmethod
    def _check_mapping(cls, mapping: dict[str, Any] | None) -> dict[str, Any] | None:
        problems = [] if mapping is None else mapping_problems(mapping)
        if problems:
            raise ValueError("; ".join(problems))
        return mapping

    def reader(self) -> Source:
        """What reads it.

        Raises:
            ConfigError: there is no such reader, or a mapping is given to one that takes none.
        """
        if self.mapping is None:
            return load_source(self.name)
        if self.name != TABLE:
            hint = f"only `{TABLE}` takes a mapping"
            raise ConfigError("reader takes no mapping", value=self.name, where="sources", next_step=hint)
        from polite_flamingo.sources.readers.table import Table

        return Table(self.mapping)

    @model_validator(mode="after")
    def _only_of_evaluation(self) -> Self:
        if self.reward_only and self.role != "evaluation":
            raise ValueError(f"reward_only is for sources with role evaluation, not {self.role}")
        return self


class SourceLimits(Settings):
    """Records drawn per role, seeded; null: all."""

    annotation: int | None = None
    evaluation: int | None = None
    instruction: int | None = None
    pf1m: int | None = None
    probes: int = Field(0, description="corrupted copies that measure the filters, where the truth is known")


@dataclass(slots=True)
class SourceCounts:
    """Rows of one source.

    Attributes:
        read: Rows the reader yielded, rejects included.
        rejected: Rows that went to quarantine.
        kept: Samples drawn.
        without_image: Samples drawn whose picture is not at hand.
        tasks: Samples drawn, by task.
    """

    read: int = 0
    rejected: int = 0
    kept: int = 0
    without_image: int = 0
    tasks: Counter[str] = field(default_factory=Counter)

    def keep(self, sample: Sample) -> Sample:
        """Count a sample as drawn and pass it on."""
        self.kept += 1
        self.tasks[str(sample.task)] += 1
        self.without_image += bool(sample.extras.get("image_missing"))
        return sample


@dataclass(frozen=True, slots=True)
class Selection:
    """A source of a run: what is asked of it, its reader, and its counts as they grow."""

    spec: SourceSpec
    reader: Source
    counts: SourceCounts = field(default_factory=SourceCounts)

    def concerns(self, sample: Sample) -> bool:
        """Whether a sample's photograph, or its question where there is none, is of the part that is asked for."""
        shown = sample.images[0].path if sample.images else sample.instruction
        return self.spec.part is None or part_of(shown) == self.spec.part

    def taken(self, sample: Sample) -> Iterator[Sample]:
        """What a run takes of a sample: of an annotation every question, for each answer is rewritten.

        Nothing where its photograph is of another part. The request of this run stands in the first turn, if there is
        one.
        """
        if not self.concerns(sample):
            return
        for part in exchanges(sample) if self.spec.role == "annotation" else (sample,):
            if self.spec.request is None:
                yield part
            else:
                first, *rest = part.turns
                yield replace(part, turns=(replace(first, text=self.spec.request), *rest))

    def to_row(self) -> dict[str, Any]:
        """Its row in the report."""
        counts = self.counts
        return {
            "name": self.spec.name,
            "folder": self.spec.folder,
            "split": self.spec.split,
            "role": self.spec.role,
            "licence": self.reader.licence,
            "read": counts.read,
            "rejected": counts.rejected,
            "kept": counts.kept,
            "without_image": counts.without_image,
        }


def summarise(selections: Sequence[Selection]) -> dict[str, Any]:
    """The report of a run: totals, samples kept per role, licence and task, and a row per source."""
    licences: Counter[str] = Counter()
    tasks: Counter[str] = Counter()
    roles = {selection.spec.role for selection in selections}
    kept = {role: 0 for role in ROLES if role != PF1M or PF1M in roles}
    for selection in selections:
        counts = selection.counts
        kept[selection.spec.role] += counts.kept
        tasks.update(counts.tasks)
        if counts.kept:
            licences[selection.reader.licence] += counts.kept
    read = sum(s.counts.read for s in selections)
    rejected = sum(s.counts.rejected for s in selections)
    return {
        "read": read,
        "rejected": rejected,
        "rejected_share": round(rejected / read, 6) if read else 0.0,
        "kept": kept,
        "licences": dict(licences),
        "tasks": dict(tasks),
        "without_image": sum(s.counts.without_image for s in selections),
        "sources": [selection.to_row() for selection in selections],
    }


def without_rejects(share: float) -> str:
    """How to go on although this share of the rows cannot be used."""
    enough = math.ceil(share * 100) / 100
    return f"or go on without them: `quality: {{max_rejected_share: {enough:g}}}` under `overrides` in the profile"


def problem_of(selections: Sequence[Selection], max_rejected_share: float) -> tuple[str, str] | None:
    """Why the samples cannot be used (a source yields none, or too many rejects) and what to do; None: they can."""
    for selection in selections:
        spec, counts = selection.spec, selection.counts
        if counts.read == counts.rejected:
            what = f"source {spec.name!r} ({spec.folder}, split {spec.split}) yields no usable row of {counts.read}"
            return what, "mend the rows, or what the profile says of this source"
    report = summarise(selections)
    if report["rejected_share"] > max_rejected_share:
        share = report["rejected_share"]
        what = (
            f"{report['rejected']} of {report['read']} rows were rejected, a share of {share:.3f} "
            f"(quality.max_rejected_share is {max_rejected_share})"
        )
        return what, f"mend or drop these rows, {without_rejects(share)}"
    return None
