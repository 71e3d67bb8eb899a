"""``export-model`` and ``import-model``: trained models out, the original code's checkpoints in."""

from __future__ import annotations

import json
from pathlib import Path

import click

from polite_flamingo.cli.command import CommonOptions, verb
from polite_flamingo.cli.options import FILE, existing_file

TRAINED = click.Choice(("rewriter", "stage1", "stage2", "stage3", "raw"))


@verb("export-model", "assistant", "polite --stage rewriter")
@click.argument("out", type=FILE, metavar="OUT", help="new folder: safetensors, config, tokenizer, model card")
@click.option("--stage", type=TRAINED, default="stage3", help="which model (default: stage3)")
@click.pass_obj
def export_model(options: CommonOptions, out: Path, stage: str) -> None:
    """A trained model as one folder for the Hugging Face hub."""
    from polite_flamingo.model.hub import export_model

    params = options.load()
    base = params.models / "backbones" / "flamingo"
    print(json.dumps(export_model(base, params.models / stage, out), ensure_ascii=False))


@verb(
    "import-model",
    "--stage rewriter --lora-only --alpha 16 POLITE.pt",
    "--stage stage3 --alpha 64 OPENFLAMINGO.pt CLEVER.pt",
)
@click.argument(
    "checkpoints",
    type=FILE,
    metavar="CHECKPOINT...",
    nargs=-1,
    required=True,
    help="files of OpenFlamingo, Polite and Clever Flamingo in order; a later one replaces what an earlier one gave",
)
@click.option("--stage", type=TRAINED, required=True, help="which model it becomes: models/PROFILE/STAGE")
@click.option("--lora-only", is_flag=True, help="they hold LoRA but no cross-attention: the base's is kept")
@click.option("--alpha", type=click.IntRange(min=1), help="of their LoRA, which a file does not tell")
@click.option("--skip-unknown", is_flag=True, help="leave out keys without a place in the model")
@click.option(
    "--adapter-config",
    type=FILE,
    metavar="FILE",
    help="adapter_config.json with alpha (default: beside the last)",
)
@click.pass_obj
def import_model(
    options: CommonOptions,
    checkpoints: tuple[Path, ...],
    stage: str,
    lora_only: bool,
    alpha: int | None,
    skip_unknown: bool,
    adapter_config: Path | None,
) -> None:
    """Checkpoints of the original code (.pt) as one of this profile's models."""
    from polite_flamingo.model.adapter import alpha_of
    from polite_flamingo.model.hub import import_model

    if alpha is not None and adapter_config is not None:
        raise click.UsageError("--alpha and --adapter-config both tell alpha: give one of them")
    params = options.load()
    for checkpoint in checkpoints:
        existing_file(checkpoint, "CHECKPOINT")
    if adapter_config is not None:
        alpha = alpha_of(existing_file(adapter_config, "--adapter-config"))
    report = import_model(
        params.models / "backbones" / "flamingo",
        checkpoints,
        params.models / stage,
        alpha=alpha,
        needs=("lora",) if lora_only else None,
        skip_unknown=skip_unknown,
    )
    print(report)
