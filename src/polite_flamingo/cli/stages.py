"""One verb for each stage of the pipeline."""

from __future__ import annotations

import os

import click

from polite_flamingo.cli.command import CommonOptions, Verb
from polite_flamingo.pipeline import STAGES, Stage

TRAINING = ("train_rewriter", "tune")  # modules of stages that several processes may share


def run(options: CommonOptions, stage: Stage) -> int:
    """Run a stage in this process, or a training in as many as the profile's ``runtime`` says."""
    params = options.load()
    if stage.module in TRAINING and params.runtime.distributed != "none" and "WORLD_SIZE" not in os.environ:
        from polite_flamingo.launch.distributed import run_distributed

        return run_distributed(stage.name, params, params_file=options.params_file)
    from polite_flamingo.stages import run_stage

    run_stage(stage, params)
    return 0


def _verb(stage: Stage) -> Verb:
    @click.pass_obj
    def handle(options: CommonOptions) -> int:
        return run(options, stage)

    return Verb(stage.name, callback=handle, help=f"stage: {stage.summary}")


VERBS = tuple(_verb(stage) for stage in STAGES)
