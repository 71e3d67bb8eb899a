"""What each verb does. A verb's own libraries are imported when it runs, so that `--help` answers at once."""

from __future__ import annotations

import argparse
import importlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from polite_flamingo import __version__
from polite_flamingo.cli.options import data_root, existing_file, load, model_origin
from polite_flamingo.environment import stay_offline
from polite_flamingo.errors import ConfigError, PoliteFlamingoError
from polite_flamingo.params import Params, load_params
from polite_flamingo.pipeline import Stage

TRAINING = ("train_rewriter", "tune")  # modules of stages that several processes may share

# what DVC's templating needs in every profile, though it may be empty
PROFILE_KEYS = (
    "data_root", "world", "sources", "limits", "backbones", "distortion_backend", "rewriter_backend", "overrides",
)  # fmt: skip
OVERRIDE_KEYS = ("distort", "rewriter", "generation", "score", "filter", "tune", "evaluate", "quality")


def run_stage(stage: Stage, params: Params) -> dict[str, Any]:
    """Run one stage in this process, recorded by the profile's tracker; returns its report."""
    from polite_flamingo.tracking import start_tracker

    models = [*params.backbones.model_dump().values(), params.distortion_backend, params.rewriter_backend]
    stay_offline(params.runtime.threads, models)
    function = importlib.import_module(f"polite_flamingo.stages.{stage.module}").run
    settings = params.model_dump(mode="json", exclude={"overridden", "sources"})
    tracking = params.runtime.tracking if os.environ.get("RANK", "0") == "0" else "none"
    with start_tracker(tracking, stage=stage.name, profile=params.profile, settings=settings) as tracker:
        report: dict[str, Any] = function(params, tracker, *stage.arguments)
        tracker.metrics(report)
        for path in _attachments(stage, params.reports):
            tracker.artifact(path)
    return report


def _attachments(stage: Stage, reports: Path) -> list[Path]:
    figures = "figures" if stage.name == "evaluate" else f"{stage.name}*"  # tune_raw has two loss curves
    report = reports / "checks" / f"{stage.name}.json" if stage.module == "check" else reports / f"{stage.name}.json"
    pages = [reports / "filtering.html"] if stage.name == "filter" else []
    return [path for path in [report, *pages, *sorted(reports.glob(f"{figures}/*.png"))] if path.is_file()]


def stage_handler(stage: Stage) -> Callable[[argparse.Namespace], int]:
    """What runs a stage: in this process, or a training in as many as the profile's ``runtime`` says."""

    def handle(arguments: argparse.Namespace) -> int:
        params = load(arguments)
        if stage.module in TRAINING and params.runtime.distributed != "none" and "WORLD_SIZE" not in os.environ:
            from polite_flamingo.launch import run_distributed

            return run_distributed(stage.name, params, params_file=getattr(arguments, "params", Path("params.yaml")))
        run_stage(stage, params)
        return 0

    return handle


def do_report(arguments: argparse.Namespace) -> None:
    """Print the headline figures, or the first rewrites."""
    from polite_flamingo.reports.headline import build_report, first_records, render_report

    params = load(arguments)
    if getattr(arguments, "records", None):
        print(first_records(params, arguments.records))
        return
    report = build_report(params)
    print(json.dumps(report, indent=2, ensure_ascii=False) if arguments.json else render_report(report))


def do_explain(arguments: argparse.Namespace) -> None:
    """Print one record's life."""
    from polite_flamingo.reports.explain import explain

    print(explain(load(arguments), arguments.id))


def do_rescore(arguments: argparse.Namespace) -> None:
    """Print fresh scores of a PF-1M file beside the published ones."""
    from polite_flamingo.evaluate.rescore import chosen, render, rescore
    from polite_flamingo.scorers.load import SCORERS, scorer_folders

    params = load(arguments)
    names = chosen(arguments.scorers)
    origins = {name: model_origin(name, given) if (given := getattr(arguments, name)) else None for name in SCORERS}
    existing_file(arguments.file, "FILE")
    stay_offline(params.runtime.threads, [origin or "" for origin in origins.values()])
    report = rescore(
        arguments.file,
        names,
        folders=scorer_folders((name for name in names if name in SCORERS), origins, params),
        image_root=params.image_root,
        clip_mode=params.score.clip_mode,
        device=params.runtime.device,
    )
    print(json.dumps(report, indent=2, ensure_ascii=False) if arguments.json else render(report))


def do_filtering_report(arguments: argparse.Namespace) -> None:
    """Write the page of what the filters took."""
    from polite_flamingo.io import read_json
    from polite_flamingo.reports.filtering.page import write_report

    params = load(arguments)
    out = arguments.out or params.reports / "filtering.html"
    if out.is_dir():
        raise ConfigError("a folder, not a file", value=str(out), where="--out", next_step="name an HTML file")
    figures = params.reports / "filter.json"
    done = write_report(
        params.data / "pf1m",
        out,
        image_root=params.image_root,
        profile=params.profile,
        sets=read_json(figures).get("sets") if figures.is_file() else None,
        examples=arguments.examples,
    )
    print(json.dumps({"page": str(out), **done}))


def do_whatif(arguments: argparse.Namespace) -> None:
    """Print what other thresholds would keep."""
    from polite_flamingo.filter.whatif import render, whatif
    from polite_flamingo.params import changed
    from polite_flamingo.stages.filter import thresholds_of

    params = load(arguments)
    other = changed(params, arguments.set, "filter")
    report = whatif(
        params.data / "scored",
        thresholds_of(params.filter),
        thresholds_of(other.filter),
        examples=arguments.examples,
    )
    print(json.dumps(report, indent=2, ensure_ascii=False) if arguments.json else render(report, params.profile))


def do_read(arguments: argparse.Namespace) -> None:
    """Read one dataset into sample shards."""
    from polite_flamingo.sources.reading import read_source

    done = read_source(arguments.source, arguments.raw_dir, arguments.out, split=arguments.split, seed=arguments.seed)
    print(json.dumps(done))


def do_fetch(arguments: argparse.Namespace) -> None:
    """Get datasets from their official locations."""
    from polite_flamingo.fetch import fetch_datasets

    names, accepted = arguments.names, arguments.accept_licence
    fetch_datasets(names, data_root(arguments), accept_licence=accepted, say=lambda line: print(line, flush=True))


def do_sources(arguments: argparse.Namespace) -> None:
    """Print every dataset with a reader."""
    from polite_flamingo.fetch import find_state
    from polite_flamingo.sources import catalogue
    from polite_flamingo.sources.table_of_sources import facts, render

    rows = []
    for name, entry in catalogue().items():
        found = find_state(entry, data_root(arguments))
        rows.append({**facts(name), "state": found.state, "splits_found": list(found.splits)})
    print(json.dumps(rows, indent=2, ensure_ascii=False) if arguments.json else render(rows))


def do_run(arguments: argparse.Namespace) -> int:
    """Run the pipeline with DVC, then report."""
    from polite_flamingo.launch import run_pipeline

    params = load(arguments)
    code = run_pipeline(
        params,
        until=arguments.until,
        data_root=getattr(arguments, "data_root", None),
        device=getattr(arguments, "device", None),
    )
    do_track_outputs(arguments)
    if code == 0:
        arguments.json = False
        do_report(arguments)
    return code


def do_export(arguments: argparse.Namespace) -> None:
    """Write the kept records in a format people train on."""
    from polite_flamingo.export.run import export

    params = load(arguments)
    summary = export(
        arguments.format,
        params.data / "pf1m" / "kept",
        arguments.out or params.data / "exports" / arguments.format,
        image_root=params.image_root,
        filters=params.reports / "filter.json",
        made={
            "software": f"polite-flamingo {__version__}",
            "annotations": "official files" if params.world is None else "a rendered world in the official formats",
            "profile": params.profile,
            "seed": params.seed,
            **{f"{name} model": value for name, value in params.backbones.model_dump().items()},
            "distortion": params.distortion_backend,
            "generation": params.generation.model_dump(mode="json"),
        },
        permissive_only=arguments.permissive_only,
    )
    print(json.dumps(summary, ensure_ascii=False))


def do_export_model(arguments: argparse.Namespace) -> None:
    """Write a trained model as a folder for the hub."""
    from polite_flamingo.model.hub import export_model

    params = load(arguments)
    base = params.models / "backbones" / "flamingo"
    print(json.dumps(export_model(base, params.models / arguments.stage, arguments.out), ensure_ascii=False))


def do_import_model(arguments: argparse.Namespace) -> None:
    """Make a checkpoint of the original code one of the profile's models."""
    from polite_flamingo.model.hub import import_model
    from polite_flamingo.model.settings import LoraSettings

    params = load(arguments)
    existing_file(arguments.checkpoint, "CHECKPOINT")
    lora = (params.rewriter if arguments.stage == "rewriter" else params.tune).lora
    report = import_model(
        params.models / "backbones" / "flamingo",
        arguments.checkpoint,
        params.models / arguments.stage,
        lora=LoraSettings(r=lora.r, alpha=lora.alpha, dropout=lora.dropout),
        needs=("lora",) if arguments.lora_only else None,
    )
    print(report)


def do_params(arguments: argparse.Namespace) -> None:
    """Print the resolved parameters, or check every profile."""
    import yaml

    if arguments.check:
        _check_profiles(getattr(arguments, "params", Path("params.yaml")))
        return
    params = load(arguments)
    values = params.model_dump(mode="json", exclude={"overridden"})
    print(yaml.safe_dump(values, sort_keys=False, allow_unicode=True).rstrip())
    print(f"\n# replaced by the profile {params.profile} (the paper's value -> the profile's):")
    for key, (paper, own) in sorted(params.overridden.items()):
        print(f"#   {key}: {paper} -> {own}")


def _check_profiles(path: Path) -> None:
    import yaml

    problems = []
    files = sorted((path.parent / "configs" / "profiles").glob("*.yaml"))
    for file in files:
        try:
            load_params(path, file.stem)
            values = yaml.safe_load(file.read_text(encoding="utf-8"))
        except PoliteFlamingoError as error:
            problems.append(str(error))
            continue
        missing = [key for key in PROFILE_KEYS if key not in values]
        missing += [f"overrides.{key}" for key in OVERRIDE_KEYS if key not in (values.get("overrides") or {})]
        if missing:
            problems.append(f"{file}: lacks {', '.join(missing)}, which dvc.yaml reads (null or {{}} will do)")
    if problems:
        raise ConfigError("profiles with problems:\n" + "\n".join(problems))
    print(f"{path} and {len(files)} profiles: {', '.join(file.stem for file in files)}: fine")


def do_plan(arguments: argparse.Namespace) -> None:
    """Print what a profile needs."""
    from polite_flamingo.plan import plan, render

    found = plan(load(arguments), tokens_per_second=arguments.tokens_per_second)
    print(json.dumps(found, indent=2, ensure_ascii=False) if arguments.json else render(found))


def do_doctor(arguments: argparse.Namespace) -> None:
    """Print what is wrong with the images of a data root."""
    from polite_flamingo.doctor.checkup import check_up, render

    report = check_up(
        arguments.root,
        out=arguments.out,
        evaluation=arguments.evaluation,
        samples=arguments.samples,
        workers=arguments.workers,
        min_side=arguments.min_side,
    )
    print(json.dumps(report, indent=2, ensure_ascii=False) if arguments.json else render(report))


def do_calibrate(arguments: argparse.Namespace) -> None:
    """Measure the filters on labelled records."""
    from polite_flamingo.calibrate.run import Wanted, run, text_of
    from polite_flamingo.calibrate.study import Settings
    from polite_flamingo.tracking import start_tracker

    params = load(arguments)
    for option in ("labels", "page"):
        if getattr(arguments, option) is not None:
            existing_file(getattr(arguments, option), f"--{option}")
    given = {name: model_origin(name, model) for name in ("sts", "nli", "clip") if (model := getattr(arguments, name))}
    models: dict[str, Any] = {
        name: f"local:{model}" if Path(model).is_dir() else model for name, model in given.items()
    }
    wanted = Wanted(
        parts=tuple(dict.fromkeys(arguments.parts or (["labels"] if arguments.labels else ["world"]))),
        labels=arguments.labels,
        settings=Settings(
            arguments.max_corrupted,
            arguments.min_clean,
            arguments.prevalence,
            params.evaluate.bootstrap_samples,
            params.seed,
        ),
        page=arguments.page,
        **models,
    )
    stay_offline(params.runtime.threads, list(models.values()))
    settings = {"filter": params.filter.model_dump(mode="json"), "calibrate": models}
    with start_tracker(
        params.runtime.tracking, stage="calibrate", profile=params.profile, settings=settings
    ) as tracker:
        print(text_of(run(params, tracker, wanted), arguments.json))


def do_ablations(arguments: argparse.Namespace) -> None:
    """Train and measure the variants of Figure 9."""
    import yaml

    from polite_flamingo.ablations.run import planned, run_ablations

    extra = {}
    for setting in arguments.set:
        key, separator, value = setting.partition("=")
        if not separator:
            raise ConfigError("a setting has no value", value=setting, next_step="write KEY=VALUE")
        try:
            extra[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError("the value is not valid YAML", value=setting, where="--set") from None
    if arguments.page is not None:
        existing_file(arguments.page, "--page")
    params = load(arguments)
    seeds, more = (list(dict.fromkeys(numbers)) for numbers in (arguments.seeds, arguments.recipe_seeds))
    wanted: dict[str, Any] = {"names": arguments.variants, "seeds": seeds, "recipe_seeds": more}
    if arguments.dry_run:
        print(planned(params, **wanted, extra=extra))
    else:
        print(run_ablations(params, **wanted, jobs=arguments.jobs, extra=extra, page=arguments.page))


def do_ui(arguments: argparse.Namespace) -> int:
    """Serve MLflow and Prefect on localhost."""
    from polite_flamingo.launch import serve_interfaces

    docs = load(arguments).reports / "data_docs" / "index.html"
    return serve_interfaces(docs, mlflow_port=arguments.mlflow_port, prefect_port=arguments.prefect_port)


def do_track_outputs(arguments: argparse.Namespace) -> None:
    """Tag the MLflow runs of the last stages with their outputs."""
    if load(arguments).runtime.tracking == "mlflow":
        from polite_flamingo.tracking.mlflow import track_outputs

        track_outputs()
