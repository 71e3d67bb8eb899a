"""The pool's decisions when workers die, with a stand-in for Ray that answers in this process.

The real thing, two nodes with a killed worker and a stopped node, is in tests/pipeline/test_cluster.py.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.unit.jobs.stub import Question, Stub, questions
from tests.unit.jobs.test_engine import job, outcomes, shards

from polite_flamingo.errors import ConfigError, ModelError
from polite_flamingo.jobs.engine import run
from polite_flamingo.jobs.executor import LocalExecutor
from polite_flamingo.jobs.ray_pool import RayExecutor


class RayError(Exception):
    pass


class RayTaskError(RayError):
    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Killed(BaseException):
    """What a worker's process dies of."""


class FakeRay:
    """Runs a call when it is waited for; a `Killed` ends the actor and all of its calls."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)
    util = SimpleNamespace(get_node_ip_address=lambda: "127.0.0.1")

    def __init__(self) -> None:
        self.hired = 0
        self.dismissed: list[object] = []

    def is_initialized(self) -> bool:
        return True

    def remote(self, **claim):
        return lambda kind: SimpleNamespace(remote=partial(self._hire, kind))

    def _hire(self, kind, *arguments):
        self.hired += 1
        worker = kind(*arguments)
        actor = SimpleNamespace(dead=False)
        for name in ("ready", "answer", "close"):
            setattr(actor, name, SimpleNamespace(remote=partial(Call, actor, getattr(worker, name))))
        return actor

    def wait(self, references, num_returns, timeout):
        return references[:num_returns], references[num_returns:]

    def get(self, call):
        if call.actor.dead:
            raise RayError("the actor died")
        try:
            return call.function(*call.arguments)
        except Killed:
            call.actor.dead = True
            raise RayError("the actor died") from None
        except Exception as error:
            raise RayTaskError(error) from None

    def kill(self, actor, no_restart):
        self.dismissed.append(actor)

    def available_resources(self):
        return {}


class Call:
    def __init__(self, actor, function, *arguments) -> None:
        self.actor, self.function, self.arguments = actor, function, arguments


class Deadly(Stub):
    """Dies of one draft."""

    def answer(self, asked):
        if any(question.draft == "poison" for question in asked):
            raise Killed
        return super().answer(asked)


@pytest.fixture
def ray(monkeypatch) -> FakeRay:
    fake = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)
    return fake


def go(executor: RayExecutor, asked: list[Question], folder: Path):
    try:
        return run(job(folder, 32), asked, executor)
    finally:
        executor.close()


def test_the_pool_makes_the_shards_that_one_process_makes(ray, tmp_path):
    go(RayExecutor(Stub, workers=3, call_size=5), questions(100), tmp_path / "pool")
    run(job(tmp_path / "one", 32), questions(100), LocalExecutor(Stub(), 8))
    assert shards(tmp_path / "pool") == shards(tmp_path / "one")
    assert ray.hired == len(ray.dismissed) == 3


def test_a_record_that_kills_its_workers_is_found_and_given_up_alone(ray, tmp_path):
    asked = questions(40)
    asked[11] = Question("t/11", "?", "poison")
    executor = RayExecutor(Deadly, workers=2, call_size=8)
    go(executor, asked, tmp_path)
    found = outcomes(tmp_path)
    assert [o.index for o in found] == list(range(40))
    assert [(o.index, o.status) for o in found if o.status != "done"] == [(11, "failed")]
    assert "worker was lost" in found[11].reason
    assert ray.hired == 2 + executor.workers_lost


def test_workers_that_always_die_end_the_run(ray, tmp_path):
    asked = [Question(f"x/{i}", "?", "poison") for i in range(400)]
    with pytest.raises(ModelError, match="12 workers were lost"):
        go(RayExecutor(Deadly, workers=2, call_size=100), asked, tmp_path)


def test_a_node_with_other_weights_is_refused(ray, tmp_path):
    identities = iter(["right", "wrong"])
    executor = RayExecutor(lambda: Stub(identity=next(identities)), workers=1, call_size=8)
    with pytest.raises(ModelError, match="another model") as caught:
        go(executor, questions(40), tmp_path)
    assert "wrong" in str(caught.value)


def test_an_unusable_model_on_a_node_says_why(ray, tmp_path):
    made = []

    def factory():
        made.append(1)
        if len(made) > 1:
            raise ModelError("weights are gone", where="/models")
        return Stub()

    with pytest.raises(ModelError, match="weights are gone"):
        go(RayExecutor(factory, workers=1, call_size=8), questions(8), tmp_path)


def test_a_finished_job_hires_nobody_for_long(ray, tmp_path):
    go(RayExecutor(Stub, workers=2, call_size=8), questions(40), tmp_path)
    progress = go(RayExecutor(Stub, workers=2, call_size=8), questions(40), tmp_path)
    assert (progress.computed, progress.restored) == (0, 40)


def test_without_ray_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"polite-flamingo\[ray\]"):
        RayExecutor(Stub, workers=1)
