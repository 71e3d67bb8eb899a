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
from tests.unit.jobs.test_engine import job

from polite_flamingo.distort.assign import every
from polite_flamingo.distort.drafts import Drafts, NoDrafts, draft_questions
from polite_flamingo.distort.llm_rewrite import LlmRewrite
from polite_flamingo.distort.mix import make_pairs
from polite_flamingo.distort.settings import PairCounts
from polite_flamingo.errors import ConfigError, DataError, QualityError
from polite_flamingo.io.shards import read_shards, write_shards
from polite_flamingo.io.text import read_jsonl
from polite_flamingo.jobs.backends import load
from polite_flamingo.jobs.backends.text import ChatQuestion
from polite_flamingo.jobs.engine import run
from polite_flamingo.jobs.executor import LocalExecutor
from polite_flamingo.jobs.questions import Failure
from polite_flamingo.params.reading import load_params
from polite_flamingo.params.schema import Params
from polite_flamingo.records import Generated, Sample, Task, Turn
from polite_flamingo.stages import distort
from polite_flamingo.tracking.base import NullTracker

ROOT = Path(__file__).parents[3]


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

    def answer(self, questions):
        super().answer(questions)
        refused = Failure("error: refused")
        return [refused if q.key in self.down else Generated(f'thing {q.key}"\n\nMore?', "stop", 3) for q in questions]


@pytest.fixture
def params(tmp_path, monkeypatch) -> Params:
    monkeypatch.chdir(tmp_path)
    tiny = load_params(ROOT / "params.yaml", "tiny")
    counts = PairCounts(llm_rewrite={"t": 40}, text_noise={}, retrieve_boxes={})
    made = tiny.model_copy(
        update={
            "distort": tiny.distort.model_copy(update={"counts": counts}),
            "distortion_backend": "openai:http://localhost:1/v1#stub",
        }
    )
    write_shards(made.data / "samples" / "instruction", (dialogue(i).to_row() for i in range(20)))
    return made


def test_every_response_is_asked_once_with_the_papers_dialogue_and_its_draft_lands_in_its_pair(params, monkeypatch):
    stub = Terse()
    monkeypatch.setattr(load, "make_backend", lambda spec, settings, options, use: use(stub))
    report = distort.run(params, NullTracker())
    pairs = list(read_shards(params.data / "pairs"))
    assert sorted(key for key, _ in stub.tries) == sorted(pair["id"] for pair in pairs)
    assert [pair["drafted"] for pair in pairs] == [f"thing {pair['id']}" for pair in pairs]
    assert report["drafts"] == {"asked": 40, "lost": 0, "tokens": 120}
    assert not (params.data / "pairs" / "quarantine.jsonl").exists()
    assert not Path(".work/distort-tiny").exists()


def test_a_draft_does_not_depend_on_the_other_responses():
    made = []
    for samples in ([dialogue(3)], [dialogue(i) for i in range(5)]):
        strategies = [LlmRewrite(NoDrafts())]
        asked = draft_questions(samples, strategies, every, seed=7)
        made.append({q.key: q.chat for q in asked})
    assert made[0].items() <= made[1].items()


def test_responses_without_a_draft_are_quarantined_and_asked_again_by_the_next_run(params, monkeypatch):
    stub = Terse()
    stub.down = frozenset({f"t/train/{i}#0/llm_rewrite" for i in (2, 5, 7)})
    monkeypatch.setattr(load, "make_backend", lambda spec, settings, options, use: use(stub))
    with pytest.raises(QualityError, match=r"3 of 40 responses got no draft") as caught:
        distort.run(params, NullTracker())
    assert "3 x refused (samples/instruction, row t/train/2#0/llm_rewrite)" in str(caught.value)
    stub.tries, stub.down = [], frozenset({"t/train/7#0/llm_rewrite"})
    report = distort.run(params, NullTracker())
    assert sorted(key for key, _ in stub.tries) == [f"t/train/{i}#0/llm_rewrite" for i in (2, 5, 7)]
    assert report["drafts"]["lost"] == 1
    assert report["pairs"] == 39
    (lost,) = read_jsonl(params.data / "pairs" / "quarantine.jsonl")
    assert (lost["row"], lost["reason"]) == ("t/train/7#0/llm_rewrite", "error: refused")


def test_an_unknown_backend_is_refused_with_the_known_forms(params):
    for spec in ("", "terse", "hf:", "openai:http://x", "openai:http://x#", "llama", "flamingo", "hf:a/b"):
        with pytest.raises(ConfigError, match="terse_rules, hf:") as caught:
            distort.run(params.model_copy(update={"distortion_backend": spec}), NullTracker())
        assert caught.value.where == "distortion_backend", spec


def test_drafts_of_another_journal_are_refused(tmp_path):
    run(job(tmp_path), [ChatQuestion("t/train/0#0/llm_rewrite", ())], LocalExecutor(Terse()))
    with pytest.raises(DataError, match="no draft of this response"):
        make_pairs(
            [dialogue(1)],
            [LlmRewrite(Drafts(job(tmp_path), "stub"))],
            every,
            held_out_share=0.1,
            seed=7,
        )


JOB = """
    import sys
    from pathlib import Path
    from polite_flamingo.params.schema import Params
    from polite_flamingo.stages import distort
    from polite_flamingo.jobs.backends import load
    from polite_flamingo.tracking.base import NullTracker
    from tests.unit.distort.test_drafts import Terse
    params = Params.model_validate_json(Path("params.json").read_text())
    load.make_backend = lambda *_: Terse(Path("log"), delay=float(sys.argv[1]))
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
    process = start(0.3)
    while process.poll() is None and not (log.exists() and log.read_bytes()):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = len(log.read_text().splitlines())
    assert 0 < before < 40
    assert start(0.0).wait() == 0
    asked = [line.split()[1] for line in log.read_text().splitlines()]
    assert len(set(asked)) == 40
    assert len(asked) - 40 <= 16  # one call of the stub
    killed = [path.read_bytes() for path in sorted((params.data / "pairs").glob("part-*"))]
    assert start(0.0).wait() == 0
    assert [path.read_bytes() for path in sorted((params.data / "pairs").glob("part-*"))] == killed
