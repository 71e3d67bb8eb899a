"""LLM-instructed distortion through the rewriting engine: the stage, its journal, and drafts that are lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from tests.unit.jobs.stub import Stub

from polite_flamingo.distort.drafts import Drafts, NoDrafts, draft_requests
from polite_flamingo.distort.llm_rewrite import LlmRewrite
from polite_flamingo.distort.mix import make_pairs
from polite_flamingo.errors import ConfigError, DataError, QualityError
from polite_flamingo.io import read_jsonl, read_shards, write_shards
from polite_flamingo.jobs import engine, executors
from polite_flamingo.jobs.backends.base import Request
from polite_flamingo.params import Params, load_params
from polite_flamingo.records import Generated, Sample, Task, Turn
from polite_flamingo.stages import distort
from polite_flamingo.tracking.base import NullTracker

ROOT = Path(__file__).parents[3]
WEIGHTS = {"llm_rewrite": 1.0}


def dialogue(index: int) -> Sample:
    turns = [Turn("human", "What is it?"), Turn("assistant", f"It is a very fine red thing number {index}, I am sure.")]
    return Sample(
        id=f"t/train/{index}",
        source="t",
        split="train",
        licence="MIT",
        task=Task.TEXT,
        turns=(*turns, Turn("human", "Why?"), Turn("assistant", f"Because it was painted that way {index} times.")),
        images=(),
        extras={},
    )


class Terse(Stub):
    """A chat model that goes on after the opening quotation mark."""

    down: frozenset[str] = frozenset()

    def generate(self, requests):
        super().generate(requests)
        refused = Generated("", "error: refused", 0)
        return [refused if r.key in self.down else Generated(f'thing {r.key}"\n\nMore?', "stop", 3) for r in requests]


@pytest.fixture
def params(tmp_path, monkeypatch) -> Params:
    monkeypatch.chdir(tmp_path)
    tiny = load_params(ROOT / "params.yaml", "tiny")
    weights = tiny.distort.weights.model_copy(update={"text_noise": 0.0, "retrieve_boxes": 0.0})
    made = tiny.model_copy(
        update={
            "distort": tiny.distort.model_copy(update={"weights": weights}),
            "distortion_backend": "openai:http://localhost:1/v1#stub",
        }
    )
    write_shards(made.data / "samples" / "instruction", (dialogue(i).to_row() for i in range(20)))
    return made


def test_every_response_is_asked_once_with_the_papers_dialogue_and_its_draft_lands_in_its_pair(params, monkeypatch):
    stub = Terse()
    monkeypatch.setattr(executors, "make_backend", lambda *_: stub)
    report = distort.run(params, NullTracker())
    pairs = list(read_shards(params.data / "pairs"))
    assert sorted(key for key, _ in stub.asked) == sorted(pair["id"] for pair in pairs)
    assert [pair["drafted"] for pair in pairs] == [f"thing {pair['id']}" for pair in pairs]
    assert report["drafts"] == {"asked": 40, "lost": 0, "tokens": 120}
    assert not (params.data / "pairs" / "quarantine.jsonl").exists()
    assert not Path(".work/distort-tiny").exists()


def test_a_draft_does_not_depend_on_the_other_responses():
    made = []
    for samples in ([dialogue(3)], [dialogue(i) for i in range(5)]):
        strategies = [LlmRewrite(NoDrafts())]
        asked = draft_requests(samples, strategies, assignment="weighted", weights=WEIGHTS, seed=7)
        made.append({r.key: r.messages for r in asked})
    assert made[0].items() <= made[1].items()


def test_responses_without_a_draft_are_quarantined_and_asked_again_by_the_next_run(params, monkeypatch):
    stub = Terse()
    stub.down = frozenset({f"t/train/{i}#0/llm_rewrite" for i in (2, 5, 7)})
    monkeypatch.setattr(executors, "make_backend", lambda *_: stub)
    with pytest.raises(QualityError, match=r"3 of 40 responses got no draft") as caught:
        distort.run(params, NullTracker())
    assert "t/train/2#0/llm_rewrite: error: refused" in str(caught.value)
    stub.asked, stub.down = [], frozenset({"t/train/7#0/llm_rewrite"})
    report = distort.run(params, NullTracker())
    assert sorted(key for key, _ in stub.asked) == [f"t/train/{i}#0/llm_rewrite" for i in (2, 5, 7)]
    assert report["drafts"]["lost"] == 1
    assert report["pairs"] == 39
    (lost,) = read_jsonl(params.data / "pairs" / "quarantine.jsonl")
    assert (lost["row"], lost["reason"]) == ("t/train/7#0/llm_rewrite", "error: refused")


@pytest.mark.parametrize(
    "spec", ["", "terse", "hf:", "openai:http://x", "openai:http://x#", "llama", "flamingo", "hf:a/b"]
)
def test_an_unknown_backend_is_refused_with_the_known_forms(params, spec):
    with pytest.raises(ConfigError, match="terse_rules, hf:") as caught:
        distort.run(params.model_copy(update={"distortion_backend": spec}), NullTracker())
    assert caught.value.where == "distortion_backend"


def test_drafts_of_another_journal_are_refused(tmp_path):
    journal = tmp_path / "journal"
    executor = engine.LocalExecutor(Terse())
    engine.run([Request("t/train/0#0/llm_rewrite")], executor, journal=journal, image_root=tmp_path)
    with pytest.raises(DataError, match="no draft of this response"):
        make_pairs(
            [dialogue(1)],
            [LlmRewrite(Drafts(journal, "stub"))],
            assignment="weighted",
            weights=WEIGHTS,
            held_out_share=0.1,
            seed=7,
        )


JOB = """
    import sys
    from pathlib import Path
    from polite_flamingo.params import Params
    from polite_flamingo.stages import distort
    from polite_flamingo.jobs import executors
    from polite_flamingo.tracking.base import NullTracker
    from tests.unit.distort.test_drafts import Terse
    params = Params.model_validate_json(Path("params.json").read_text())
    executors.make_backend = lambda *_: Terse(Path("log"), delay=float(sys.argv[1]))
    distort.run(params, NullTracker())
"""


def test_a_killed_distortion_asks_again_at_most_for_the_call_in_flight(params, tmp_path):
    def start(delay: float) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(JOB), str(delay)],
            env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
            stderr=subprocess.DEVNULL,
        )

    runtime = params.runtime.model_copy(update={"generation_batch_size": 2})
    Path("params.json").write_text(params.model_copy(update={"runtime": runtime}).model_dump_json())
    log = Path("log")
    job = start(0.3)
    while job.poll() is None and not (log.exists() and log.read_bytes()):
        time.sleep(0.02)
    job.send_signal(signal.SIGKILL)
    job.wait()
    before = len(log.read_text().splitlines())
    assert 0 < before < 40
    assert start(0.0).wait() == 0
    asked = [line.split()[1] for line in log.read_text().splitlines()]
    assert len(set(asked)) == 40
    assert len(asked) - 40 <= 16  # one call of the stub
    killed = [path.read_bytes() for path in sorted((params.data / "pairs").glob("part-*"))]
    assert start(0.0).wait() == 0
    assert [path.read_bytes() for path in sorted((params.data / "pairs").glob("part-*"))] == killed
