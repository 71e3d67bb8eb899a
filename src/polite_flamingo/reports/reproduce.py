"""Does this machine repeat the committed run? Figures within tolerances, orderings the paper makes, equal bits.

The figures here are computed from the stages' reports, which git does not hold: a fresh clone has nothing to compare.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from polite_flamingo.errors import DataError
from polite_flamingo.params.schema import Params
from polite_flamingo.pipeline import STAGES
from polite_flamingo.reports.summary import FILE, read_reports, summarise

LOCK = "dvc.lock"
BOUNDS = ("_low", "_high")  # ends of intervals move with their figure and are not compared

# By how much a figure may differ on another machine. Roundings differ there, and a training amplifies them: like
# another seed at worst. So: two standard deviations of the difference of two seeds, which is 1.41 times those of one
# (docs/ablations.md; the U), where they are known, half of the figure's 95 % interval over samples else; of what no
# training of ours decides, the roundings alone.
TOLERANCES = {
    "rewriter.rouge_l_gain": 0.027,  # half of its interval (docs/second_generation.md)
    "rewriter.answers_preserved": 0.022,  # half of the interval of a share of 0.86 of 1,000
    "pf1m.kept": 23.0,  # of 1,000, likewise at 0.83
    "pf1m.kept_share": 0.023,
    "pf1m.answers_preserved": 0.013,
    "filter.recall_of_corrupted": 0.045,  # likewise, of 200
    "filter.clean_kept": 0.02,
    "reward.raw": 0.005,  # the judge alone; no training of ours
    "reward.rewritten": 0.05,
    "reward.pooled_sd": 0.05,
    "raw.qa_in_domain": 0.085,
    "raw.reward": 0.14,
    "raw.caption_rouge_l": 0.042,
    "stage1.qa_in_domain": 0.07,
    "stage1.reward": 0.113,
    "stage1.wins_over_raw": 0.085,
    "stage2.qa_in_domain": 0.07,
    "stage2.reward": 0.07,
    "stage2.wins_over_raw": 0.085,
    "stage3.qa_in_domain": 0.064,
    "stage3.reward": 0.07,
    "stage3.wins_over_raw": 0.085,
    "stage3.qa_in_domain_without_image": 0.085,
    **{f"{model}.qa_out_of_domain": 0.17 for model in ("raw", "stage1", "stage2", "stage3")},  # the last stage's
    **{f"stage{number}.caption_rouge_l": 0.057 for number in (1, 2, 3)},
}


@dataclass(frozen=True, slots=True)
class Claim:
    """An ordering of two figures.

    Args:
        text: What it says, with the paper's place.
        larger: Name of a figure.
        smaller: Name of another, or a number.
        apart: How far they lie apart at least.
        unit: Figure that `apart` counts; None: `apart` is in units of the figures.
    """

    text: str
    larger: str
    smaller: str | float
    apart: float = 0.0
    unit: str | None = None

    def holds(self, figures: Mapping[str, float]) -> bool | None:
        """Whether the figures are in this order; None where one of them was not measured."""
        names = [name for name in (self.larger, self.smaller, self.unit) if isinstance(name, str)]
        if any(name not in figures for name in names):
            return None
        smaller = figures[self.smaller] if isinstance(self.smaller, str) else self.smaller
        return figures[self.larger] - smaller > self.apart * (1.0 if self.unit is None else figures[self.unit])


# Of the U, what holds with every seed: that stage 2 costs politeness is not among it (docs/ablations.md).
CLAIMS = (
    Claim("a trained rewriter improves drafts it has not seen (3.3)", "rewriter.rouge_l_gain", 0.0),
    Claim(
        "rewriting makes annotations polite, by a pooled deviation and more (4.1)",
        "reward.rewritten", "reward.raw", 1.0, "reward.pooled_sd",
    ),
    Claim("filters leave fewer changed answers (4.2)", "pf1m.answers_preserved", "rewriter.answers_preserved"),
    Claim("stage 2 adds understanding (4.3, the U)", "stage2.qa_in_domain", "stage1.qa_in_domain"),
    Claim("stage 3 is politer than stage 2 (4.3, the U)", "stage3.reward", "stage2.reward"),
    Claim("stage 3 keeps more understanding than stage 1 had (4.3)", "stage3.qa_in_domain", "stage1.qa_in_domain"),
    Claim("tuned on rewrites is politer than on raw annotations (5)", "stage3.reward_low", "raw.reward_high"),
    Claim("it wins most comparisons with that model (5)", "stage3.wins_over_raw_low", 0.5),
    Claim("answers need the image (5)", "stage3.qa_in_domain_low", "stage3.qa_in_domain_without_image"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Comparison:
    """A run beside a committed one.

    Args:
        against: What it was compared with.
        figures: Name, committed value, value here, tolerance and whether it holds, of every figure both have.
        missing: Figures that only the committed run has.
        claims: Text, whether it holds in the committed figures and here; None where not measured.
        outputs: Number of DVC's outputs with equal and with other bits, and the first stage that differs; None where
            there is no lock to compare with.
    """

    against: str
    figures: list[dict[str, Any]]
    missing: list[str]
    claims: list[dict[str, Any]]
    outputs: dict[str, Any] | None

    @property
    def holds(self) -> bool:
        """Every figure within its tolerance, every claim of the committed figures true here as well."""
        return (
            not self.missing
            and all(figure["holds"] for figure in self.figures)
            and all(claim["here"] for claim in self.claims if claim["committed"])
        )

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {**asdict(self), "holds": self.holds}


def compare(params: Params, against: str = "HEAD", root: Path = Path()) -> Comparison:
    """Compare the run that lies here with a committed one.

    Args:
        params: Parameters of the profile.
        against: A revision of git, or a file with the figures (a ``summary.json``).
        root: The project.

    Raises:
        DataError: nothing has run here, or there is nothing to compare with.
    """
    here = _flat(summarise(read_reports(root / params.reports)))
    if not here:
        raise DataError("nothing has run here", where=params.reports, next_step="run `polite-flamingo run`")
    path = (params.reports / FILE).as_posix()
    from_file = (root / against).is_file()
    committed = _flat(_parsed((root / against).read_text() if from_file else _git_show(root, against, path), against))
    return Comparison(
        against=against,
        figures=[_figure(name, value, here[name]) for name, value in committed.items() if name in here and _own(name)],
        missing=[name for name in committed if name not in here],
        claims=[
            {"claim": claim.text, "committed": claim.holds(committed), "here": claim.holds(here)} for claim in CLAIMS
        ],
        outputs=None if from_file else _outputs(params.profile, root, against),
    )


def render(comparison: Comparison) -> str:
    """The comparison as text."""
    lines = [f"  {'figure':<36}{'committed':>10}{'here':>10}{'difference':>12}{'tolerance':>11}"]
    for figure in comparison.figures:
        numbers = f"{figure['committed']:>10.4g}{figure['here']:>10.4g}{figure['here'] - figure['committed']:>+12.3g}"
        told = "" if figure["holds"] else "  outside"
        lines.append(f"  {figure['figure']:<36}{numbers}{figure['tolerance']:>11.3g}{told}")
    lines += [f"  {name:<36}not measured here" for name in comparison.missing]
    lines.append("")
    lines += [f"  {_verdict(claim):<18}{claim['claim']}" for claim in comparison.claims]
    lines.append("")
    outputs = comparison.outputs
    if outputs is not None:
        first = f"; the first to differ is of {outputs['first']}" if outputs["first"] else ""
        total = outputs["equal"] + outputs["different"]
        lines.append(f"  {outputs['equal']} of {total} outputs have the bits of {comparison.against}{first}")
    within = sum(figure["holds"] for figure in comparison.figures)
    true = sum(bool(claim["here"]) for claim in comparison.claims)
    counted = (
        f"{within} of {len(comparison.figures)} figures within tolerance, {true} of {len(comparison.claims)} claims"
    )
    verdict = "reproduced" if comparison.holds else "not reproduced"
    return "\n".join([f"Compared with {comparison.against}", *lines, f"  {counted} hold: {verdict}"])


def _figure(name: str, committed: float, here: float) -> dict[str, Any]:
    tolerance = TOLERANCES.get(name, 0.0)
    within = abs(here - committed) <= tolerance
    return {"figure": name, "committed": committed, "here": here, "tolerance": tolerance, "holds": within}


def _verdict(claim: Mapping[str, Any]) -> str:
    if claim["here"] is None:
        return "not measured"
    if claim["committed"] is None or claim["here"] == claim["committed"]:
        return "holds" if claim["here"] else "holds in neither"
    return "holds here only" if claim["here"] else "does not hold"


def _own(name: str) -> bool:
    return not name.endswith(BOUNDS)


def _flat(groups: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {f"{group}.{name}": value for group, figures in groups.items() for name, value in figures.items()}


def _parsed(text: str | None, against: str) -> dict[str, dict[str, float]]:
    if text is None:
        raise DataError(
            "no figures are committed for this profile", value=against,
            next_step="name a revision or a file that has them: polite-flamingo reproduce --against REV|FILE",
        )  # fmt: skip
    try:
        groups = json.loads(text)
        return {str(group): {name: float(value) for name, value in groups[group].items()} for group in groups}
    except (ValueError, TypeError, AttributeError) as error:
        step = "give a summary.json: groups of figures"
        raise DataError("these are no figures", value=str(error), where=against, next_step=step) from None


def _outputs(profile: str, root: Path, revision: str) -> dict[str, Any] | None:
    text = _git_show(root, revision, LOCK)
    if text is None or not (root / LOCK).is_file():
        return None
    before, now = _hashes(text, profile), _hashes((root / LOCK).read_text(encoding="utf-8"), profile)
    if not before or not now:
        return None
    different = {stage for stage, path in before if now.get((stage, path)) != before[stage, path]}
    equal = sum(now.get(key) == md5 for key, md5 in before.items())
    first = next((stage.name for stage in STAGES if stage.name in different), None)
    return {"equal": equal, "different": len(before) - equal, "first": first}


def _hashes(lock: str, profile: str) -> dict[tuple[str, str], str]:
    """md5 of every output of a profile by stage and path."""
    stages = (yaml.safe_load(lock) or {}).get("stages", {})
    return {
        (name.partition("@")[0], out["path"]): out["md5"]
        for name, stage in stages.items()
        if name.partition("@")[2] == profile
        for out in stage.get("outs", [])
        if "md5" in out
    }


def _git_show(root: Path, revision: str, path: str) -> str | None:
    command = ["git", "show", "--end-of-options", f"{revision}:./{path}"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    except OSError:  # no git
        return None
    return done.stdout if done.returncode == 0 else None
