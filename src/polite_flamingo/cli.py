"""``polite-flamingo <verb>``: one verb per stage of the pipeline, and a few to look at what it did.

Imports stay light here: a stage's libraries are loaded only when it runs.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from polite_flamingo import __version__
from polite_flamingo.environment import DEVICE_VARIABLE, prepare_environment, stay_offline
from polite_flamingo.errors import ConfigError, PoliteFlamingoError
from polite_flamingo.params import DATA_ROOT_VARIABLE, Params, load_params
from polite_flamingo.pipeline import BY_NAME, STAGES, Stage

USER_ERROR = 2
TRAINING = ("train_rewriter", "tune")  # modules of stages that several processes may share
TRAINED = ("rewriter", "stage1", "stage2", "stage3", "raw")  # what `export-model` takes
DATA_ROOT = "data/raw"  # of `fetch` and `sources`, unless one is named

# what DVC's templating needs in every profile, though it may be empty
PROFILE_KEYS = (
    "data_root", "world", "sources", "limits", "backbones", "distortion_backend", "rewriter_backend", "overrides",
)  # fmt: skip
OVERRIDE_KEYS = ("distort", "rewriter", "generation", "score", "filter", "tune", "evaluate", "quality")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; a user's error ends with status 2 and a message, without a traceback."""
    prepare_environment()
    parser = build_parser()
    arguments = parser.parse_args(_spelled(sys.argv[1:] if argv is None else argv))
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s", stream=sys.stderr)
    first = os.environ.get("RANK", "0") == "0"  # of the processes that share a training
    logging.getLogger("polite_flamingo").setLevel(logging.INFO if first else logging.ERROR)
    try:
        return int(arguments.handler(arguments) or 0)
    except PoliteFlamingoError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `polite-flamingo report | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename is None:
            raise
        print(f"error: {_about_file(error)}", file=sys.stderr)
        return USER_ERROR


def build_parser() -> argparse.ArgumentParser:
    """All verbs with their options."""
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    shared = common.add_argument_group("options of every verb")
    shared.add_argument(
        "--profile", metavar="NAME", help="profile in configs/profiles/ (default: the one params.yaml names)"
    )
    shared.add_argument("--params", type=Path, metavar="FILE", help="params file (default: params.yaml)")
    shared.add_argument(
        "--data-root", metavar="DIR", help="folder of the real datasets (default: the profile's data_root)"
    )
    shared.add_argument(
        "--device", metavar="NAME", help="auto, cpu, cuda or cuda:N (default: the profile's runtime.device)"
    )
    parser = argparse.ArgumentParser(
        prog="polite-flamingo",
        description="Turn terse vision-language annotations into polite, grounded instruction data, and tune on it.",
        epilog="`polite-flamingo VERB --help` tells a verb's options. Stages are usually run by `polite-flamingo run` "
        "or `dvc repro`, which know what is out of date. Exit status: 0 done; 2 an error you can mend, and the "
        "message says how; 130 stopped by Ctrl-C. `run`, and a training of several processes, pass on the status of "
        "what they started.",
        parents=[common],
    )
    parser.add_argument("--version", action="version", version=f"polite-flamingo {__version__}")
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    def verb(
        name: str, summary: str, handler: Callable[[argparse.Namespace], int | None], *examples: str
    ) -> argparse.ArgumentParser:
        added = verbs.add_parser(
            name,
            help=summary,
            description=summary,
            epilog="\n".join(["examples:", *(f"  polite-flamingo {name} {example}" for example in examples)])
            if examples
            else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            parents=[common],
        )
        added.set_defaults(handler=handler)
        return added

    for stage in STAGES:
        verb(stage.name, f"stage: {stage.summary}", _stage_handler(stage))
    report = verb("report", "the headline figures on one screen", _report)
    report.add_argument("--json", action="store_true", help="everything, as JSON")
    report.add_argument(
        "--records", type=_positive, metavar="N", help="instead: the first N rewrites by id, as Markdown"
    )
    explain = verb("explain", "one record's life, from annotation to verdict", _explain, "coco/train/5")
    explain.add_argument("id", metavar="ID", help="record id, or an unambiguous part of it")
    page = verb("filtering-report", "what the filters took, as one HTML page with examples", _filtering_report)
    page.add_argument("--out", type=Path, metavar="FILE", help="default: reports/PROFILE/filtering.html")
    page.add_argument("--examples", type=_count, default=300, metavar="N", help="records to show (default: 300)")
    whatif = verb(
        "whatif",
        "what other thresholds would keep, per source: seconds, no model; writes nothing",
        _whatif,
        "--set filter.sts.min_cosine=0.5",
        "--set filter.sts.min_cosine=0.5 --set filter.numbers.max_changed=0 --examples 3",
    )
    whatif.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="another filter value; may be given repeatedly"
    )
    whatif.add_argument(
        "--examples",
        type=_count,
        default=0,
        metavar="N",
        help="gained and lost records to show, N of each (default: 0)",
    )
    whatif.add_argument("--json", action="store_true", help="everything, as JSON")
    rescore = verb(
        "rescore",
        "score the records of a PF-1M file again, beside the published scores",
        _rescore,
        "pf1m.json",
        "pf1m.json --scorers sts,nli --nli hub:cross-encoder/nli-deberta-v3-base@COMMIT",
    )
    rescore.add_argument("file", type=Path, metavar="FILE", help="PF-1M JSON, or JSON Lines of such records")
    rescore.add_argument(
        "--scorers",
        default="rouge,sts",
        metavar="LIST",
        help="some of rouge, sts, nli, clip, reward, with commas (default: %(default)s)",
    )
    for name, what in (("sts", "sentence encoder"), ("nli", "NLI model"), ("clip", "CLIP"), ("reward", "reward model")):
        rescore.add_argument(
            f"--{name}", metavar="MODEL", help=f"{what}: folder, or origin as in a profile (default: the profile's)"
        )
    rescore.add_argument("--json", action="store_true", help="everything, as JSON")
    run = verb(
        "run", "run the pipeline of a profile with DVC, then report", _run, "--profile tiny", "--until check_pf1m"
    )
    run.add_argument("--until", choices=list(BY_NAME), help="last stage to run (default: all)", metavar="STAGE")
    read = verb(
        "read",
        "read one dataset's official files into samples, bad rows into quarantine",
        _read,
        "vqav2 data/raw/vqav2 --out looked",
    )
    read.add_argument("source", metavar="SOURCE", help="name in `sources`, or package.module:Class of your own reader")
    read.add_argument("raw_dir", metavar="RAW_DIR", type=Path, help="the dataset's folder; its parent is the data root")
    read.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets samples/ and quarantine.jsonl")
    read.add_argument("--split", metavar="S", help="split as the dataset names it (default: the catalogue's first)")
    read.add_argument("--seed", type=int, default=42, metavar="N", help="seed of drawn wordings (default: 42)")
    fetch = verb(
        "fetch", "get datasets from their official locations: resumed, checked, unpacked", _fetch, "vqav2 coco"
    )
    fetch.add_argument("names", nargs="+", metavar="NAME", help="datasets, as `sources` lists them")
    fetch.add_argument("--accept-licence", action="store_true", help="the licences shown are accepted")
    sources = verb("sources", "every dataset with a reader: task, licence, rows, state on this machine", _sources)
    sources.add_argument("--json", action="store_true", help="everything, as JSON")
    export = verb(
        "export",
        "the kept records in a format people train on, with a dataset card",
        _export,
        "messages",
        "llava --out llava",
    )
    export.add_argument("format", metavar="FORMAT", help="pf1m, llava, sharegpt, messages, webdataset or datajuicer")
    export.add_argument("--out", type=Path, metavar="DIR", help="default: data/PROFILE/exports/FORMAT")
    export.add_argument(
        "--permissive-only", action="store_true", help="only annotations whose licence allows commercial use"
    )
    publish = verb(
        "export-model",
        "a trained model as one folder for the Hugging Face hub",
        _export_model,
        "assistant",
        "polite --stage rewriter",
    )
    publish.add_argument("out", type=Path, metavar="OUT", help="new folder: safetensors, config, tokenizer, model card")
    publish.add_argument("--stage", choices=TRAINED, default="stage3", help="which model (default: %(default)s)")
    imported = verb(
        "import-model",
        "a checkpoint of the original code (.pt) as one of this profile's models",
        _import_model,
        "--stage rewriter CHECKPOINT.pt",
    )
    imported.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="file of Polite or Clever Flamingo")
    imported.add_argument(
        "--stage", choices=TRAINED, required=True, help="which model it becomes: models/PROFILE/STAGE"
    )
    imported.add_argument("--lora-only", action="store_true", help="it holds LoRA but no cross-attention")
    params = verb("params", "the resolved parameters, and which of the paper's values the profile replaces", _params)
    params.add_argument("--check", action="store_true", help="check every profile instead")
    plan = verb(
        "plan",
        "what a profile needs: parameters, memory, steps, hours, downloads; loads and fetches nothing",
        _plan,
        "--profile single_gpu",
        "--profile paper_8xa100 --tokens-per-second 2500",
    )
    plan.add_argument(
        "--tokens-per-second",
        type=_rate,
        metavar="N",
        help="training throughput of one process, for the hours (default: the profile's runtime.tokens_per_second)",
    )
    plan.add_argument("--json", action="store_true", help="everything, as JSON")
    ui = verb("ui", "open the MLflow UI and a Prefect server on localhost", _ui)
    ui.add_argument("--mlflow-port", type=_positive, default=5000, metavar="N", help="default: %(default)s")
    ui.add_argument("--prefect-port", type=_positive, default=4200, metavar="N", help="default: %(default)s")
    doctor = verb("doctor", "what is wrong with the images of a data root: broken, odd, copied, contaminated", _doctor)
    doctor.add_argument("root", type=Path, metavar="DATA_ROOT", help="folder that holds the datasets")
    doctor.add_argument(
        "--evaluation", nargs="+", default=[], metavar="FOLDER", help="evaluation images, below DATA_ROOT or elsewhere"
    )
    doctor.add_argument("--samples", type=Path, metavar="DIR", help="sample shards: images they name may be missing")
    doctor.add_argument("--out", type=Path, default=Path("reports/doctor"), metavar="DIR", help="default: %(default)s")
    doctor.add_argument(
        "--workers", type=_positive, default=os.cpu_count() or 1, metavar="N", help="default: one per core"
    )
    doctor.add_argument("--min-side", type=_count, default=16, metavar="PIXELS", help="below it: tiny (default 16)")
    doctor.add_argument("--json", action="store_true", help="the whole report, as JSON")
    calibrate = verb(
        "calibrate",
        "measure the filters on labelled records, suggest thresholds",
        _calibrate,
        "world",
        "--labels labels.csv --max-corrupted 0.02",
        "real --data-root DIR",
    )
    calibrate.add_argument(
        "parts",
        nargs="*",
        metavar="PART",
        help="world: a rendered world's ground truth; labels: those of --labels; real: errors injected into the "
        "datasets of --data-root (default: labels if --labels is given, else world)",
    )
    calibrate.add_argument("--labels", type=Path, metavar="CSV", help="columns id and label (clean or corrupted)")
    calibrate.add_argument(
        "--max-corrupted",
        type=_share,
        default=0.01,
        metavar="X",
        help="target: share of corrupted records among the kept ones (default: %(default)s)",
    )
    calibrate.add_argument(
        "--min-clean",
        type=_share,
        default=0.9,
        metavar="Y",
        help="target: share of clean ones kept (default: %(default)s)",
    )
    calibrate.add_argument(
        "--prevalence",
        type=_share,
        metavar="P",
        help="share of corrupted records before filtering (default: as labelled; 0.1 for real)",
    )
    calibrate.add_argument("--sts", metavar="MODEL", help="real: sentence encoder (default: MiniLM from PyPI)")
    calibrate.add_argument("--nli", metavar="MODEL", help="real: NLI model (default: trained on DATA_ROOT/nli)")
    calibrate.add_argument("--clip", metavar="MODEL", help="real: CLIP model (default: none)")
    calibrate.add_argument(
        "--page", type=Path, metavar="FILE", help="Markdown page whose tables and plots are written anew"
    )
    calibrate.add_argument("--json", action="store_true", help="everything, as JSON")
    ablations = verb(
        "ablations",
        "train and measure the variants of Figure 9 as DVC experiments",
        _ablations,
        "--dry-run",
        "--variants vit epochs --seeds 1 2",
    )
    ablations.add_argument("--variants", nargs="+", metavar="NAME", help="default: all; the recipe always runs")
    ablations.add_argument("--seeds", nargs="+", type=_count, default=[1, 2, 3], metavar="N", help="default: 1 2 3")
    ablations.add_argument(
        "--recipe-seeds", nargs="+", type=_count, default=[], metavar="N", help="more of the recipe's"
    )
    ablations.add_argument(
        "--jobs", type=_positive, default=2, metavar="N", help="experiments side by side (default: 2)"
    )
    ablations.add_argument("--page", type=Path, metavar="FILE", help="Markdown page that gets the tables and figures")
    ablations.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="set in every experiment, e.g. tune.stage1.epochs=0.5"
    )
    ablations.add_argument("--dry-run", action="store_true", help="show the DVC commands instead of running them")
    verb("track-outputs", "tag the MLflow runs of the last stages with the md5 of their outputs", _track_outputs)
    return parser


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


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no count: 0 or more")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)


def _rate(text: str) -> float:
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return value


def _share(text: str) -> float:
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share: 0 to 1")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _spelled(argv: Sequence[str]) -> list[str]:
    """Write a stage with underscores, as DVC does, and any other verb with dashes, however they were typed."""
    words = list(argv)
    takes_value = {"--profile", "--params", "--data-root", "--device"}
    for index, word in enumerate(words):
        if not word.startswith("-") and (index == 0 or words[index - 1] not in takes_value):
            stage = word.replace("-", "_")
            words[index] = stage if stage in BY_NAME else word.replace("_", "-")
            break
    return words


def _about_file(error: OSError) -> PoliteFlamingoError:
    """What the operating system says about a path, as an error of ours."""
    what = "file does not exist" if isinstance(error, FileNotFoundError) else "file cannot be used"
    step = "check the path, and that you may read or write there"
    return PoliteFlamingoError(what, value=error.strerror, where=error.filename2 or error.filename, next_step=step)


def _existing(file: Path, option: str) -> Path:
    if file.is_dir() or not file.exists():
        what = "a folder, not a file" if file.is_dir() else "file does not exist"
        raise ConfigError(what, value=str(file), where=option, next_step="give the path of a file")
    return file


def _origin(name: str, text: str) -> str:
    """A model named on the command line: a folder, or an origin as profiles have them."""
    if Path(text).is_dir() or text in ("packaged", "none") or ":" in text:
        return text
    raise ConfigError(
        "model folder does not exist",
        value=text,
        where=f"--{name}",
        next_step="give a folder, or packaged, pypi:<package>, hub:<id>@<commit>",
    )


def _load(arguments: argparse.Namespace) -> Params:
    device = getattr(arguments, "device", None) or os.environ.get(DEVICE_VARIABLE)
    if hasattr(arguments, "data_root"):
        from polite_flamingo.launch import existing_folder

        os.environ[DATA_ROOT_VARIABLE] = existing_folder(arguments.data_root)
    params = load_params(getattr(arguments, "params", Path("params.yaml")), getattr(arguments, "profile", None))
    if device is None:
        return params
    if device not in ("auto", "cpu", "cuda") and not re.fullmatch(r"cuda:\d+", device):
        raise ConfigError("unknown device", value=device, next_step="one of auto, cpu, cuda, cuda:<number>")
    return params.model_copy(update={"runtime": params.runtime.model_copy(update={"device": device})})


def _stage_handler(stage: Stage) -> Callable[[argparse.Namespace], int]:
    def handle(arguments: argparse.Namespace) -> int:
        params = _load(arguments)
        if stage.module in TRAINING and params.runtime.distributed != "none" and "WORLD_SIZE" not in os.environ:
            from polite_flamingo.launch import run_distributed

            return run_distributed(stage.name, params, params_file=getattr(arguments, "params", Path("params.yaml")))
        run_stage(stage, params)
        return 0

    return handle


def _report(arguments: argparse.Namespace) -> None:
    from polite_flamingo.report import build_report, first_records, render_report

    params = _load(arguments)
    if getattr(arguments, "records", None):
        print(first_records(params, arguments.records))
        return
    report = build_report(params)
    print(json.dumps(report, indent=2, ensure_ascii=False) if arguments.json else render_report(report))


def _explain(arguments: argparse.Namespace) -> None:
    from polite_flamingo.explain import explain

    print(explain(_load(arguments), arguments.id))


def _rescore(arguments: argparse.Namespace) -> None:
    from polite_flamingo.evaluate.rescore import chosen, render, rescore
    from polite_flamingo.stages.scorers import SCORERS, scorer_folders

    params = _load(arguments)
    names = chosen(arguments.scorers)
    origins = {name: _origin(name, given) if (given := getattr(arguments, name)) else None for name in SCORERS}
    _existing(arguments.file, "FILE")
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


def _filtering_report(arguments: argparse.Namespace) -> None:
    from polite_flamingo.filtering_report.page import write_report
    from polite_flamingo.io import read_json

    params = _load(arguments)
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


def _whatif(arguments: argparse.Namespace) -> None:
    from polite_flamingo.filter.whatif import render, whatif
    from polite_flamingo.params import changed
    from polite_flamingo.stages.filter import thresholds_of

    params = _load(arguments)
    other = changed(params, arguments.set, "filter")
    report = whatif(
        params.data / "scored",
        thresholds_of(params.filter),
        thresholds_of(other.filter),
        examples=arguments.examples,
    )
    print(json.dumps(report, indent=2, ensure_ascii=False) if arguments.json else render(report, params.profile))


def _read(arguments: argparse.Namespace) -> None:
    from polite_flamingo.reading import read_source

    done = read_source(arguments.source, arguments.raw_dir, arguments.out, split=arguments.split, seed=arguments.seed)
    print(json.dumps(done))


def _fetch(arguments: argparse.Namespace) -> None:
    from polite_flamingo.fetch import fetch_datasets

    names, accepted = arguments.names, arguments.accept_licence
    fetch_datasets(names, _data_root(arguments), accept_licence=accepted, say=lambda line: print(line, flush=True))


def _sources(arguments: argparse.Namespace) -> None:
    from polite_flamingo.fetch import find_state
    from polite_flamingo.sources import catalogue
    from polite_flamingo.sources.table_of_sources import facts, render

    rows = []
    for name, entry in catalogue().items():
        found = find_state(entry, _data_root(arguments))
        rows.append({**facts(name), "state": found.state, "splits_found": list(found.splits)})
    print(json.dumps(rows, indent=2, ensure_ascii=False) if arguments.json else render(rows))


def _data_root(arguments: argparse.Namespace) -> Path:
    chosen = getattr(arguments, "data_root", None) or os.environ.get(DATA_ROOT_VARIABLE) or DATA_ROOT
    return Path(chosen).expanduser()


def _run(arguments: argparse.Namespace) -> int:
    from polite_flamingo.launch import run_pipeline

    params = _load(arguments)
    code = run_pipeline(
        params,
        until=arguments.until,
        data_root=getattr(arguments, "data_root", None),
        device=getattr(arguments, "device", None),
    )
    _track_outputs(arguments)
    if code == 0:
        arguments.json = False
        _report(arguments)
    return code


def _export(arguments: argparse.Namespace) -> None:
    from polite_flamingo.export.run import export

    params = _load(arguments)
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


def _export_model(arguments: argparse.Namespace) -> None:
    from polite_flamingo.model.hub import export_model

    params = _load(arguments)
    base = params.models / "backbones" / "flamingo"
    print(json.dumps(export_model(base, params.models / arguments.stage, arguments.out), ensure_ascii=False))


def _import_model(arguments: argparse.Namespace) -> None:
    from polite_flamingo.model.hub import import_model
    from polite_flamingo.model.lora import LoraSettings

    params = _load(arguments)
    _existing(arguments.checkpoint, "CHECKPOINT")
    lora = (params.rewriter if arguments.stage == "rewriter" else params.tune).lora
    report = import_model(
        params.models / "backbones" / "flamingo",
        arguments.checkpoint,
        params.models / arguments.stage,
        lora=LoraSettings(r=lora.r, alpha=lora.alpha, dropout=lora.dropout),
        needs=("lora",) if arguments.lora_only else None,
    )
    print(report)


def _params(arguments: argparse.Namespace) -> None:
    import yaml

    if arguments.check:
        _check_profiles(getattr(arguments, "params", Path("params.yaml")))
        return
    params = _load(arguments)
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


def _plan(arguments: argparse.Namespace) -> None:
    from polite_flamingo.plan import plan, render

    found = plan(_load(arguments), tokens_per_second=arguments.tokens_per_second)
    print(json.dumps(found, indent=2, ensure_ascii=False) if arguments.json else render(found))


def _doctor(arguments: argparse.Namespace) -> None:
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


def _calibrate(arguments: argparse.Namespace) -> None:
    from polite_flamingo.calibrate.study import Settings
    from polite_flamingo.stages.calibrate import Wanted, run, text_of
    from polite_flamingo.tracking import start_tracker

    params = _load(arguments)
    for option in ("labels", "page"):
        if getattr(arguments, option) is not None:
            _existing(getattr(arguments, option), f"--{option}")
    given = {name: _origin(name, model) for name in ("sts", "nli", "clip") if (model := getattr(arguments, name))}
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


def _ablations(arguments: argparse.Namespace) -> None:
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
        _existing(arguments.page, "--page")
    params = _load(arguments)
    seeds, more = (list(dict.fromkeys(numbers)) for numbers in (arguments.seeds, arguments.recipe_seeds))
    wanted: dict[str, Any] = {"names": arguments.variants, "seeds": seeds, "recipe_seeds": more}
    if arguments.dry_run:
        print(planned(params, **wanted, extra=extra))
    else:
        print(run_ablations(params, **wanted, jobs=arguments.jobs, extra=extra, page=arguments.page))


def _ui(arguments: argparse.Namespace) -> int:
    from polite_flamingo.launch import serve_interfaces

    docs = _load(arguments).reports / "data_docs" / "index.html"
    return serve_interfaces(docs, mlflow_port=arguments.mlflow_port, prefect_port=arguments.prefect_port)


def _track_outputs(arguments: argparse.Namespace) -> None:
    if _load(arguments).runtime.tracking == "mlflow":
        from polite_flamingo.tracking.mlflow import track_outputs

        track_outputs()
