"""The report of a study: JSON, Markdown and one plot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.errors import DataError
from polite_flamingo.evaluate.drawing import BLUE, GREEN, GREY, ORANGE, canvas, styled
from polite_flamingo.io.files import write_atomic
from polite_flamingo.io.text import write_csv, write_json
from polite_flamingo.markdown import escaped, table
from polite_flamingo.study.disagreements import write_disagreements
from polite_flamingo.study.forms import ANSWERS, LABEL, LABELS, REWRITES, form_of
from polite_flamingo.study.judgements import Standing
from polite_flamingo.study.results import JUDGES, StudyResults
from polite_flamingo.study.store import StudyFile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GATED = "right_and_grounded"  # what a release depends on
KEPT = "kept"
SHOWN_DISAGREEMENTS = 50
DEFINITIONS = {
    "labels": "share of a model's answers with that label; the agreed one, else those of each as shares",
    "entailed": "share of answers that entail the annotated one by the NLI judge (section 5)",
    "rouge_l": "mean Rouge-L (F, Porter stemmer) with the annotated answer",
    "alpha": "Krippendorff's alpha of the labels that people gave alone, nominal",
    "kappa": "Cohen's kappa of two annotators' labels, each given alone",
    "preference_tau": "mean Kendall tau-b of two annotators' places for the answers of a sample",
    "reward.accuracy": "share of pairs that people do not tie in which the preferred answer has the higher reward",
    "reward.tau": "mean Kendall tau-b by sample and annotator of places and rewards",
    "nli.precision": "share of entailed answers that people call so; recall: share of those that is entailed",
    "intervals": "95 %: percentile bootstrap over samples; of rewrites Wilson's",
}


def standing_of(study: StudyFile) -> Standing:
    """What everybody has said so far."""
    about = study.about()
    return Standing(study.items(), study.assignments(), study.events(), form_of(about["form"]), about["ranking"])


def measure(study: StudyFile, *, resamples: int, seed: int) -> tuple[dict[str, Any], StudyResults]:
    """Every figure of a study.

    Args:
        study: The file.
        resamples: Bootstrap resamples.
        seed: Seed.

    Raises:
        DataError: nobody has given a label yet.
    """
    about, standing = study.about(), standing_of(study)
    results = StudyResults(standing, resamples, seed)
    undecided = results.undecided()
    if undecided["unlabelled"] == sum(len(standing.keys(item)) for item in standing.items):
        raise DataError(
            "nobody has judged anything yet", where=study.path, next_step=f"polite-flamingo study serve {study.path}"
        )
    names = ("title", "form", "origin", "seed", "created", "groups")
    report: dict[str, Any] = {
        **{name: about[name] for name in names},
        "progress": standing.progress(),
        "undecided": undecided,
        "agreement": results.agreement(),
        "definitions": DEFINITIONS,
    }
    if about["form"] == ANSWERS.name:
        models = results.by_model()
        report |= {
            "models": models,
            "sets": results.by_set(),
            "order_tau": results.orders(models),
            "nli": results.nli(),
        }
        differ = results.disagreements()
        report |= {"disagreements": differ[:SHOWN_DISAGREEMENTS], "disagreements_in_all": len(differ)}
    else:
        report["rewrites"] = results.rewrites()
    if about["ranking"]:
        report["reward"] = results.reward()
    return report, results


def gate(report: dict[str, Any], least: float) -> bool:
    """Whether kept rewrites are right and grounded often enough: the lower end of the interval is `least` or more.

    Args:
        report: Of `measure`; gets the outcome as ``gate``.
        least: Share.

    Raises:
        DataError: no kept rewrite was judged.
    """
    figure = report.get("rewrites", {}).get(KEPT, {}).get(GATED)
    if figure is None or figure["low"] is None:
        raise DataError(
            "no kept rewrite was judged",
            value=report["form"],
            next_step="`study create --from kept` makes such a study",
        )
    report["gate"] = {"least": least, "low": figure["low"], "held": figure["low"] >= least}
    return bool(report["gate"]["held"])


def write(
    study: StudyFile, report: Mapping[str, Any], results: StudyResults, folder: Path, labels: Path | None
) -> list[Path]:
    """Write ``study.json``, ``study.md`` and ``study.png``, of answers ``disagreements.html``, of rewrites the labels.

    Args:
        study: The file, which holds the images.
        report: Of `measure`.
        results: Likewise.
        folder: Gets the files.
        labels: CSV of ``id`` and ``label``; None: no such file.

    Raises:
        DataError: labels are wanted of a study that is not of rewrites, or there is none.
    """
    if labels is not None:
        if report["form"] != REWRITES.name:
            raise DataError("only a study of rewrites has labels for `calibrate`", value=report["form"], where=labels)
        rows, left = results.calibration_labels()
        if not rows:
            raise DataError("no rewrite has an agreed label yet", value=left, where=labels)
        write_csv(labels, ("id", "label"), rows)
    write_json(folder / "study.json", report)
    write_atomic(folder / "study.md", render(report))
    draw(folder / "study.png", report)
    written = [folder / name for name in ("study.json", "study.md", "study.png")]
    if report.get("disagreements"):
        written.append(folder / "disagreements.html")
        write_disagreements(written[-1], report, study)
    return written


def render(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""
    parts = [f"# {escaped(report['title'])}", _progress(report), "## Agreement", _agreement(report["agreement"])]
    if "models" in report:
        parts += _models(report)
    if "reward" in report and report["reward"]["pairs"]:
        own = report["reward"]
        parts += [
            f"Reward model: right in {_figure(own['accuracy'])} of {own['pairs']} pairs ({own['ties_left_out']} ties "
            f"left out; the paper: 70.0 %); tau by sample {_figure(own['tau'])}."
        ]
    if "rewrites" in report:
        names = list(next(iter(report["rewrites"].values())))
        rows = [(key, own["right"]["n"], *map(_figure, own.values())) for key, own in report["rewrites"].items()]
        parts += ["## Rewrites", table(("", "judged", *names), rows)]
    if "gate" in report:
        own = report["gate"]
        outcome = "holds" if own["held"] else "does not hold"
        parts += [f"The gate {outcome}: right and grounded at least {own['low']:.3f}, asked for {own['least']:.3f}."]
    return "\n\n".join(parts) + "\n"


def _models(report: Mapping[str, Any]) -> list[str]:
    labels = [*LABELS, *JUDGES, "reward"]
    rows = [
        (name, own["matched"]["n"], *(_figure(own[label]) for label in labels))
        for name, own in report["models"].items()
    ]
    sets = [(name, *map(_figure, own.values())) for name, own in report["sets"].items()]
    orders = ", ".join(f"{JUDGES[judge]} {_number(tau)}" for judge, tau in report["order_tau"].items())
    nli = [(name, _figure(own["precision"]), _figure(own["recall"])) for name, own in report["nli"].items()]
    return [
        "## Models (Figure 11)",
        table(("model", "answers", *labels), rows),
        "Matched, by data set:",
        table(("set", *report["models"]), sets),
        "## Judges beside people",
        f"Order of the models by people (matched) and by a judge, Kendall's tau: {orders}.",
        table(("NLI finds", "precision", "recall"), nli),
    ]


@styled
def draw(report: Mapping[str, Any]) -> Figure:
    """One plot: labels, entailment and Rouge-L of each model (Figure 11), or the shares of rewrites."""
    if "models" in report:
        rows = report["models"]
        columns = {"matched": "matched", "correct": "correct", "entailed": "NLI entailment", "rouge_l": "Rouge-L"}
    else:
        rows = report["rewrites"]
        columns = {"right": "right", "polite": "polite", "grounded": "grounded", "all": "all three"}
    figure, axes = canvas(7.2, 1.4 + 0.75 * len(rows))
    height = 0.8 / len(columns)
    for (column, name), colour, index in zip(columns.items(), (BLUE, GREEN, ORANGE, GREY), range(4), strict=True):
        there = [(place, own[column]) for place, own in enumerate(rows.values()) if own[column]["value"] is not None]
        at = [-place + 0.4 - (index + 0.5) * height for place, _ in there]
        values = [own["value"] for _, own in there]
        low = [own["value"] - own["low"] for _, own in there]
        high = [own["high"] - own["value"] for _, own in there]
        error = {"lw": 1, "ecolor": "black"}
        axes.barh(at, values, height * 0.9, xerr=[low, high], color=colour, label=name, error_kw=error)
    axes.set_yticks([-place for place in range(len(rows))], list(rows))
    axes.set_xlim(0, 1)
    axes.set_xlabel("share, Rouge-L: mean; 95 % intervals")
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    return figure


def metrics(report: Mapping[str, Any]) -> dict[str, float]:
    """The figures for MLflow, by name."""
    found: dict[str, Any] = {}
    for name, own in report["agreement"].items():
        found |= {f"agreement.{name}": own["value"]} if "value" in own else {f"alpha.{name}": own["alpha"]["value"]}
    for model, own in report.get("models", {}).items():
        found |= {f"{model}.{name}": figure["value"] for name, figure in own.items()}
    for state, own in report.get("rewrites", {}).items():
        for name, figure in own.items():
            found |= {f"{state}.{name}": figure["value"], f"{state}.{name}.low": figure["low"]}
    if "reward" in report:
        found["reward.accuracy"] = report["reward"]["accuracy"]["value"]
    if "nli" in report:
        found |= {f"nli.{side}": report["nli"]["matched"][side]["value"] for side in ("precision", "recall")}
    if "gate" in report:
        found["gate.held"] = float(report["gate"]["held"])
    return {name: float(value) for name, value in found.items() if value is not None}


def for_the_card(report: Mapping[str, Any]) -> dict[str, Any]:
    """What a dataset card says of people's judgement of the kept rewrites."""
    agreement = report["agreement"]
    return {
        "kept": report["rewrites"][KEPT],
        "annotators": len(report["progress"]["annotators"]),
        "alpha": {name: own["alpha"]["value"] for name, own in agreement.items() if "alpha" in own},
        "gate": report.get("gate"),
        "of": sum(own["there"] for group, own in report["groups"].items() if group.startswith(KEPT)),
        "settled": report["progress"]["settled"],
        "samples": report["progress"]["samples"],
    }


def _progress(report: Mapping[str, Any]) -> str:
    own = report["progress"]
    lines = [
        f"{own['judged']} of {own['samples']} samples are judged by all who should, {own['settled']} are agreed on."
    ]
    lines += [
        f"- {escaped(name)}: {one['done']} of {one['samples']}; {one['open_in_second_round']} open in the second round"
        for name, one in own["annotators"].items()
    ]
    differ = report["undecided"]["differ"]
    lines += [f"\nPeople differ still on {differ} labels; there each one's counts as a share."] if differ else []
    return "\n".join(lines)


def _agreement(agreement: Mapping[str, Any]) -> str:
    rows = []
    for name, own in agreement.items():
        if name == "preference_tau":
            continue
        kappas = "; ".join(f"{pair} {_figure(kappa)}" for pair, kappa in own["kappa"].items()) or "-"
        equal = f"{own['equal']} of {own['answers_of_several']}"
        rows.append((name, equal, _figure(own["alpha"]), kappas))
    text = table(
        ("label" if LABEL in agreement else "question", "equal", "Krippendorff's alpha", "Cohen's kappa"), rows
    )
    if "preference_tau" in agreement:
        text += f"\n\nPreference, Kendall's tau-b by sample: {_figure(agreement['preference_tau'])}."
    return text


def _figure(figure: Mapping[str, Any]) -> str:
    if figure["value"] is None:
        return "-"
    if figure["low"] is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
