"""The verbs of ``polite-flamingo`` and their options."""

from __future__ import annotations

import argparse
import math
import os
from collections.abc import Callable
from pathlib import Path

from polite_flamingo import __version__
from polite_flamingo.cli import verbs
from polite_flamingo.pipeline import BY_NAME, STAGES

TRAINED = ("rewriter", "stage1", "stage2", "stage3", "raw")  # what `export-model` takes


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
    added_verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)

    def verb(
        name: str, summary: str, handler: Callable[[argparse.Namespace], int | None], *examples: str
    ) -> argparse.ArgumentParser:
        added = added_verbs.add_parser(
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
        verb(stage.name, f"stage: {stage.summary}", verbs.stage_handler(stage))
    report = verb("report", "the headline figures on one screen", verbs.do_report)
    report.add_argument("--json", action="store_true", help="everything, as JSON")
    report.add_argument(
        "--records", type=_positive, metavar="N", help="instead: the first N rewrites by id, as Markdown"
    )
    explain = verb("explain", "one record's life, from annotation to verdict", verbs.do_explain, "coco/train/5")
    explain.add_argument("id", metavar="ID", help="record id, or an unambiguous part of it")
    page = verb("filtering-report", "what the filters took, as one HTML page with examples", verbs.do_filtering_report)
    page.add_argument("--out", type=Path, metavar="FILE", help="default: reports/PROFILE/filtering.html")
    page.add_argument("--examples", type=_count, default=300, metavar="N", help="records to show (default: 300)")
    whatif = verb(
        "whatif",
        "what other thresholds would keep, per source: seconds, no model; writes nothing",
        verbs.do_whatif,
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
        verbs.do_rescore,
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
        "run",
        "run the pipeline of a profile with DVC, then report",
        verbs.do_run,
        "--profile tiny",
        "--until check_pf1m",
    )
    run.add_argument("--until", choices=list(BY_NAME), help="last stage to run (default: all)", metavar="STAGE")
    read = verb(
        "read",
        "read one dataset's official files into samples, bad rows into quarantine",
        verbs.do_read,
        "vqav2 data/raw/vqav2 --out looked",
    )
    read.add_argument("source", metavar="SOURCE", help="name in `sources`, or package.module:Class of your own reader")
    read.add_argument("raw_dir", metavar="RAW_DIR", type=Path, help="the dataset's folder; its parent is the data root")
    read.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets samples/ and quarantine.jsonl")
    read.add_argument("--split", metavar="S", help="split as the dataset names it (default: the catalogue's first)")
    read.add_argument("--seed", type=int, default=42, metavar="N", help="seed of drawn wordings (default: 42)")
    fetch = verb(
        "fetch", "get datasets from their official locations: resumed, checked, unpacked", verbs.do_fetch, "vqav2 coco"
    )
    fetch.add_argument("names", nargs="+", metavar="NAME", help="datasets, as `sources` lists them")
    fetch.add_argument("--accept-licence", action="store_true", help="the licences shown are accepted")
    sources = verb(
        "sources", "every dataset with a reader: task, licence, rows, state on this machine", verbs.do_sources
    )
    sources.add_argument("--json", action="store_true", help="everything, as JSON")
    export = verb(
        "export",
        "the kept records in a format people train on, with a dataset card",
        verbs.do_export,
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
        verbs.do_export_model,
        "assistant",
        "polite --stage rewriter",
    )
    publish.add_argument("out", type=Path, metavar="OUT", help="new folder: safetensors, config, tokenizer, model card")
    publish.add_argument("--stage", choices=TRAINED, default="stage3", help="which model (default: %(default)s)")
    imported = verb(
        "import-model",
        "a checkpoint of the original code (.pt) as one of this profile's models",
        verbs.do_import_model,
        "--stage rewriter CHECKPOINT.pt",
    )
    imported.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="file of Polite or Clever Flamingo")
    imported.add_argument(
        "--stage", choices=TRAINED, required=True, help="which model it becomes: models/PROFILE/STAGE"
    )
    imported.add_argument("--lora-only", action="store_true", help="it holds LoRA but no cross-attention")
    params = verb(
        "params", "the resolved parameters, and which of the paper's values the profile replaces", verbs.do_params
    )
    params.add_argument("--check", action="store_true", help="check every profile instead")
    plan = verb(
        "plan",
        "what a profile needs: parameters, memory, steps, hours, downloads; loads and fetches nothing",
        verbs.do_plan,
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
    ui = verb("ui", "open the MLflow UI and a Prefect server on localhost", verbs.do_ui)
    ui.add_argument("--mlflow-port", type=_positive, default=5000, metavar="N", help="default: %(default)s")
    ui.add_argument("--prefect-port", type=_positive, default=4200, metavar="N", help="default: %(default)s")
    doctor = verb(
        "doctor", "what is wrong with the images of a data root: broken, odd, copied, contaminated", verbs.do_doctor
    )
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
        verbs.do_calibrate,
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
        verbs.do_ablations,
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
    verb(
        "track-outputs", "tag the MLflow runs of the last stages with the md5 of their outputs", verbs.do_track_outputs
    )
    return parser


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
