"""Stage ``score`` under SIGKILL at random moments, and on a cluster: the same bytes as a straight run, nothing lost.

Real (tiny, random) models answer, so that this also shows that a score does not depend on which others shared its
batch. ``POLITE_FLAMINGO_KILLS`` sets how often the process is killed (3).
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from PIL import Image as PILImage
from tests.pipeline.forks import Fork, Forks
from tests.unit.scorers.models import WORDS, clip_model, cross_encoder, sentence_encoder

from polite_flamingo.io.shards import read_shards, write_shards
from polite_flamingo.io.text import read_jsonl
from polite_flamingo.records import Image, Rewrite, Task
from polite_flamingo.scorers.nli import LABELS

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("POLITE_FLAMINGO_KILLS", "3"))
RECORDS = 1200
SECONDS_PER_CALL = 0.1

IMPORTS = """
import pyarrow.parquet, sentence_transformers, torch, transformers
from transformers import BertForSequenceClassification, BertModel, CLIPModel, PreTrainedTokenizerFast
from polite_flamingo.scorers import backend, load
from polite_flamingo.stages import score
"""
SCRIPT = f"""
import sys, time
from pathlib import Path
from polite_flamingo.params.reading import load_params
from polite_flamingo.scorers.backend import ScorerBackend
from polite_flamingo.stages import score
from polite_flamingo.tracking.base import NullTracker

class Slow(ScorerBackend):
    batch_size = 16
    def answer(self, questions):
        time.sleep({SECONDS_PER_CALL})
        return super().answer(questions)

import polite_flamingo.scorers.load as scorers
scorers.ScorerBackend = Slow
params = load_params(Path({str(ROOT / "params.yaml")!r}), "tiny")
engine, *absent = sys.argv[1:]
backbones = params.backbones.model_copy(update=dict.fromkeys(absent, "none"))
runtime = params.runtime.model_copy(update={{"engine": engine, "threads": 1, "device": "cpu"}})
params = params.model_copy(update={{"backbones": backbones, "runtime": runtime}})
Path("started").touch()
score.run(params, NullTracker())
"""


def records() -> list[Rewrite]:
    rng = Random(7)
    made = []
    for number in range(RECORDS):
        words = [rng.choice(WORDS) for _ in range(rng.randint(1, 24))]
        text = "\n\n".join(" ".join(words[i::3]) for i in range(min(3, len(words))))
        task = rng.choice([Task.CAPTION, Task.VQA])
        image = Image(rng.choice(["red.png", "blue.png", "green.png"]))
        made.append(
            Rewrite(f"s/{number}", "s", "train", "-", task, "What is it?", (image,), rng.choice(WORDS), text, "stop")
        )
    return made


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks(IMPORTS) as made:
        yield made


def start(forks: Forks, folder: Path, *words: str) -> Fork:
    (folder / "started").unlink(missing_ok=True)
    return forks.start(*(words or ("local",)), cwd=folder, log=folder / "log", script=SCRIPT)


def finish(forks: Forks, folder: Path, *words: str) -> None:
    process = start(forks, folder, *words)
    assert process.wait(timeout=280) == 0, process.said()


def written(folder: Path) -> dict[str, bytes]:
    out = folder / "data" / "tiny" / "scored"
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


@pytest.fixture
def job(tmp_path: Path) -> Path:
    folder = tmp_path / "straight"
    backbones = folder / "models" / "tiny" / "backbones"
    cross_encoder(backbones / "nli", id2label=dict(enumerate(LABELS)), num_labels=3)
    cross_encoder(backbones / "reward", num_labels=1)
    clip_model(backbones / "clip")
    shutil.copytree(sentence_encoder(tmp_path / "sts"), backbones / "sts")
    raw = folder / "data" / "tiny" / "raw"
    raw.mkdir(parents=True)
    for name in ("red", "blue", "green"):
        PILImage.new("RGB", (20, 24), name).save(raw / f"{name}.png")
    write_shards(folder / "data" / "tiny" / "rewrites", (r.to_row() for r in records()))
    return folder


@pytest.mark.pipeline
@pytest.mark.slow
def test_killed_at_random_moments_scoring_ends_with_the_same_bytes(forks: Forks, job: Path) -> None:
    killed = job.with_name("killed")
    shutil.copytree(job, killed)
    begun = time.monotonic()
    finish(forks, job)
    took = time.monotonic() - begun
    kills = 0
    for kill in range(KILLS):
        process = start(forks, killed)
        while kill % 4 and not (killed / "started").exists():
            assert process.poll() is None, process.said()
            time.sleep(0.002)
        time.sleep(Random().uniform(0, 0.9 * took / KILLS))
        if process.poll() is not None:  # the machine was busier while the time was taken
            assert process.poll() == 0, process.said()
            break
        process.kill()
        kills += 1
    assert kills > 0
    finish(forks, killed)
    assert written(killed) == written(job)
    out = killed / "data" / "tiny" / "scored"
    assert [row["id"] for row in read_shards(out)] == [f"s/{i}" for i in range(RECORDS)]
    assert list(read_jsonl(out / "quarantine.jsonl")) == []


@pytest.mark.pipeline
@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install -e '.[ray]'")
def test_a_cluster_writes_the_same_bytes(forks: Forks, job: Path) -> None:
    cluster = job.with_name("cluster")
    shutil.copytree(job, cluster)
    absent = ("nli", "sts", "reward")  # a pool is started for each scorer
    finish(forks, job, "local", *absent)
    environment = {name: value for name, value in forks.environment.items() if name != "RAY_ADDRESS"}
    command = [sys.executable, "-c", SCRIPT, "ray", *absent]
    done = subprocess.run(
        command, cwd=cluster, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert written(cluster) == written(job)
