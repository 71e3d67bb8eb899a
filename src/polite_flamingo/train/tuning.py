"""Tuning the assistant (section 4.3, Table 4): the stages of the U, and the comparison on raw annotations."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polite_flamingo.io.files import set_aside
from polite_flamingo.io.hashes import fingerprint, flaw, seal
from polite_flamingo.io.text import read_json, write_json
from polite_flamingo.model.bundle import FlamingoBundle
from polite_flamingo.model.checkpoint import load_trainables, save_trainables
from polite_flamingo.model.lora import inject_lora
from polite_flamingo.train.group import rank
from polite_flamingo.train.loop import fine_tune
from polite_flamingo.train.mixture import StageData, raw_mixture
from polite_flamingo.train.settings import StageSettings, TrainingRun, TrainMachineSettings, TrainSettings, TuneSettings


@dataclass(frozen=True)
class Tuning:
    """Tunes a model in place.

    Args:
        bundle: The model.
        settings: Of the U.
        seed: Decides adapters, draw, order and dropout.
        machine: What is taken from the machine.
        instruction: Shards of the instruction samples.
        kept: Shards of the rewrites that the filters kept.
        run: From the name of a training to where it runs.
    """

    bundle: FlamingoBundle
    settings: TuneSettings
    seed: int
    machine: TrainMachineSettings
    instruction: Path
    kept: Path
    run: Callable[[str], TrainingRun]

    def stage(self, stage: str, name: str, *, raw: bool) -> dict[str, Any]:
        """Train one stage; returns its report.

        Args:
            stage: stage1, stage2 or stage3.
            name: Of its figures and unfinished work.
            raw: Raw answers take the place of the rewritten ones.
        """
        own: StageSettings = getattr(self.settings, stage)
        common, run = self.settings.common, self.run(name)
        if stage == "stage1" and self.settings.skip_stage1:
            if self.bundle.lora is None:
                inject_lora(self.bundle, common.lora, seed=self.seed, start_from=common.lora.start_from)
            run.out.mkdir(parents=True, exist_ok=True)
            return {"skipped": True, "steps": 0}
        mixture: dict[str, float] = dict(own.mixture.items())
        if raw:
            mixture = raw_mixture(mixture)
        data = StageData.from_shards(
            self.bundle.tokenizer,
            self.instruction,
            self.kept,
            mixture,
            common=common,
            context_length=own.context_length,
            max_images=own.max_images,
            seed=self.seed,
        )
        report = fine_tune(
            self.bundle,
            data,
            TrainSettings.of(common, own, self.machine, seed=self.seed, bf16=self.machine.bf16),
            run,
            groups=own.trainable,
            lora=common.lora,
        )
        run.tracker.metrics({f"{name}/final_loss": report["final_loss"]})
        first = data.epoch(0)
        return {
            "examples": len(first),
            "truncated": first.truncated,
            "skipped": first.skipped,
            "samples": data.sizes,
            "mixture": mixture,
            **report,
        }

    def comparison(self, work: Path, reads: set[str]) -> dict[str, Any]:
        """Stages 1 and 2 on raw answers; the first one's result is kept until the second is done.

        Args:
            work: Folder for it.
            reads: Names of the settings that decide the result.
        """
        settings = self.settings.model_dump(include=reads)
        key = fingerprint(self.bundle.base_hash, settings, self.seed, self.instruction, self.kept)
        halfway = work / key
        wrong = flaw(halfway)
        if wrong is None:
            load_trainables(self.bundle, halfway)
            first = read_json(halfway / "report.json")
        else:
            first = self.stage("stage1", "tune_raw_stage1", raw=True)
            if rank() == 0:
                if halfway.is_dir():
                    set_aside(halfway, wrong)
                save_trainables(self.bundle, halfway)
                write_json(halfway / "report.json", first)
                seal(halfway)
        second = self.stage("stage2", "tune_raw_stage2", raw=True)
        if rank() == 0:
            shutil.rmtree(work, ignore_errors=True)
        return {"stage1": first, "stage2": second, "final_loss": second["final_loss"]}
