"""What a record costs in curation, and where each figure is from: measured here, stated by the user, or assumed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from polite_flamingo.errors import ConfigError, did_you_mean
from polite_flamingo.io.shards import count_shards
from polite_flamingo.io.text import read_json
from polite_flamingo.params.problems import explain_problem
from polite_flamingo.params.schema import Params
from polite_flamingo.plan.paper import KEPT_SHARE
from polite_flamingo.settings import Settings, Share

BENCH = "measured with stubs (docs/scale.md)"
ASSUMED = "assumed"
STATED = "stated"
FEW = 1000  # records, below which a profile's own measures are no base


class CurationCosts(Settings):
    """Costs per record. Rates are those of one GPU; the paper's models are assumed where nothing is stated."""

    rewrite: float = Field(8, gt=0, description="records/s: 9B parameters, 60 new tokens, batches of 16 on an A100")
    clip: float = Field(150, gt=0, description="captions/s: ViT-L/14 at 336 pixels, images decoded on 8 cores")
    nli: float = Field(700, gt=0, description="questions/s: DeBERTa base, two texts of 60 tokens")
    reward: float = Field(120, gt=0, description="records/s, both answers: DeBERTa large")
    sts: float = Field(1200, gt=0, description="records/s, both answers: MPNet base")
    captions: Share = Field(0.45, description="share of captions, which CLIP scores")
    questions: Share = Field(0.45, description="share of visual questions, which NLI scores")
    kept: Share = Field(KEPT_SHARE, description="share that the filters keep: Table 6 over Figure 10")
    tries: float = Field(1.05, ge=1, description="generations per record, repair included")
    tokens_in: float = Field(150, ge=0, description="prompt tokens per generation, the image aside")
    tokens_image: float = Field(600, ge=0, description="tokens an endpoint counts for the image")
    tokens_out: float = Field(60, ge=0, description="new tokens per generation")
    price_in: float = Field(0, ge=0, description="endpoint: price of a million prompt tokens")
    price_out: float = Field(0, ge=0, description="endpoint: price of a million new tokens")
    gpu_hour: float = Field(0, ge=0, description="price of a GPU for an hour")
    images: float = Field(0.5, ge=0, description="distinct images per record")
    image_bytes: float = Field(120_000, ge=0, description="bytes of an image")
    samples_bytes: float = Field(100, ge=0, description="bytes of an annotation as the readers write it")
    rewrites_bytes: float = Field(250, ge=0, description="bytes of a rewritten record")
    scored_bytes: float = Field(600, ge=0, description="bytes of a scored record with its row of the table")
    pf1m_bytes: float = Field(1100, ge=0, description="bytes behind the filters: records, decisions, pf1m.json")
    journal_bytes: float = Field(400, ge=0, description="bytes of unfinished work: journals of rewriting and scores")
    rewrite_ms: float = Field(0.25, ge=0, description="processor time of the driver, rewriting and publishing")
    score_ms: float = Field(1.1, ge=0, description="the same, scoring: five columns, text columns, table")
    filter_ms: float = Field(0.45, ge=0, description="the same, filtering, pf1m.json and the page")
    gates_ms: float = Field(0.2, ge=0, description="the same, the gates behind rewriting and filtering")
    memory_gb: float = Field(64, gt=1, description="memory that a stage may take, GB; input beyond it goes in slices")
    disk_mb: float = Field(500, gt=0, description="MB/s of the disk on which near duplicates are regrouped")


_MEASURED = frozenset(name for name in CurationCosts.model_fields if name.endswith("_ms"))


@dataclass(frozen=True, slots=True)
class Costs:
    """Costs, and the origin of each.

    Args:
        values: The figures.
        origins: Name -> where it is from.
        records: Records of the profile that its own figures are from; 0: none.
    """

    values: CurationCosts
    origins: Mapping[str, str]
    records: int = 0


def costs_of(params: Params, stated: Mapping[str, Any]) -> Costs:
    """What is stated, else what the profile's own outputs measure, else what is assumed.

    Args:
        params: The resolved parameters; outputs of the profile are read where they lie.
        stated: Name -> value.

    Raises:
        ConfigError: names every unknown figure and bad value.
    """
    fields = CurationCosts.model_fields
    unknown = [f"{name}: no such figure ({did_you_mean(name, fields)})" for name in stated if name not in fields]
    measured, records = _measured(params)
    endpoint = params.runtime.endpoint
    prices = {"price_in": endpoint.price_in, "price_out": endpoint.price_out}
    profile = {name: price for name, price in prices.items() if price} | dict(params.runtime.records_per_second)
    origins = {name: BENCH if name in _MEASURED else ASSUMED for name in fields}
    origins |= dict.fromkeys(measured, f"measured: {records:,} records of profile {params.profile}")
    origins |= dict.fromkeys(profile, f"{STATED}: runtime of profile {params.profile}")
    origins |= dict.fromkeys(stated, STATED)
    try:
        values = CurationCosts(**{**measured, **profile, **{k: v for k, v in stated.items() if k in fields}})
    except ValidationError as error:
        unknown += [explain_problem(problem) for problem in error.errors()]
    if unknown:
        raise ConfigError(
            f"{len(unknown)} problem(s) in what is stated:\n    " + "\n    ".join(unknown), where="--assume"
        )
    return Costs(values, origins, records)


def _measured(params: Params) -> tuple[dict[str, float], int]:
    """What the profile's outputs say of a record, and of how many they speak."""
    folders = {name: params.data / path for name, path in _OUTPUTS.items() if (params.data / path).is_dir()}
    rows = {name: count_shards(folder) for name, folder in folders.items()}
    if "pf1m_bytes" in folders:
        rows["pf1m_bytes"] = count_shards(folders["pf1m_bytes"] / "decisions")
    records = rows.get("samples_bytes", 0)
    if records < FEW:
        return {}, 0
    figures = {name: round(_size(folder) / rows[name], 1) for name, folder in folders.items() if rows[name]}
    rewriting, filtering = (params.reports / f"{stage}.json" for stage in ("rewrite", "filter"))
    if rewriting.is_file():
        report = read_json(rewriting)
        figures["tokens_out"] = round(report["generated_tokens"] / max(report["rewritten"], 1), 1)
    if filtering.is_file():
        report = read_json(filtering)
        tasks: Counter[str] = Counter({name: counts["records"] for name, counts in report["tasks"].items()})
        figures["kept"] = report["kept"] / report["records"]
        figures["captions"] = round(sum(tasks[name] for name in ("caption", "change", "detail")) / tasks.total(), 4)
        figures["questions"] = round(tasks["vqa"] / tasks.total(), 4)
    return figures, records


_OUTPUTS = {
    "samples_bytes": Path("samples") / "annotation",
    "rewrites_bytes": Path("rewrites"),
    "scored_bytes": Path("scored"),
    "pf1m_bytes": Path("pf1m"),
}


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
