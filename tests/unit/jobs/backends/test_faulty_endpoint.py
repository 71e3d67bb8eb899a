"""500 records against an endpoint that fails in every way it can."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from tests.unit.jobs.backends.faulty_server import FAULTS, serving
from tests.unit.jobs.test_engine import job

from polite_flamingo.jobs.backends.endpoint import EndpointBackend
from polite_flamingo.jobs.engine import run
from polite_flamingo.jobs.executor import LocalExecutor
from polite_flamingo.jobs.settings import EndpointSettings
from polite_flamingo.model.settings import GenerationSettings
from polite_flamingo.records import Generated
from polite_flamingo.rewrite.question import RewriteQuestion

RECORDS = 500
BOUND = 16
SLOW = {"silence", "drip without end", "429 with a date"}


def plan(record: str, number: int) -> str | None:
    """The first records wait for one more than may come, so that the bound shows; of the rest 30 % meet 1 to 3 faults.

    Those that last a second or as long as the time-out are rarer.
    """
    if int(record.split()[1]) < BOUND:
        return f"together {BOUND + 1}"
    rng = Random(record)
    faults = []
    if rng.random() < 0.3:
        faults = rng.choices(FAULTS, [0.2 if fault in SLOW else 1 for fault in FAULTS], k=rng.randint(1, 3))
    return faults[number] if number < len(faults) else ("slow drip" if rng.random() < 0.05 else None)


@pytest.mark.slow
def test_500_records_are_all_answered_once_and_never_more_than_the_bound_at_a_time(tmp_path: Path) -> None:
    timeout = 4.0
    requests = [RewriteQuestion(f"r{i}", f"<record {i}> What is it?", "cube") for i in range(RECORDS)]
    expected = [Generated(f"answer to record {i}", "stop", 3) for i in range(RECORDS)]
    options = EndpointSettings(concurrency=BOUND, timeout=timeout, pause=0.01)

    def backend(url: str) -> EndpointBackend:
        return EndpointBackend(url, "m", GenerationSettings(), tmp_path, endpoint=options, cache=tmp_path)

    with serving(plan, timeout) as server:
        first = backend(server.url)
        answers = first.answer(requests)
        first.close()
        met = dict(server.met)
        asked = sum(server.tries.values())
        again = backend(server.url)
        restored = again.answer(requests)
        again.close()

    assert answers == expected
    assert sorted(server.answered.values()) == [1] * RECORDS  # nothing was bought twice
    assert server.most_in_flight == BOUND
    assert [fault for fault in FAULTS if not met.get(fault)] == []
    assert first.usage.requests == asked == RECORDS + sum(n for name, n in met.items() if name in FAULTS)
    assert first.usage.retries == asked - RECORDS
    assert (first.usage.answered, first.usage.completion_tokens, first.usage.failed) == (RECORDS, 3 * RECORDS, 0)
    assert restored == expected
    assert sum(server.tries.values()) == asked  # the second run asked for nothing


def test_the_engine_gets_every_record_once_through_a_faulty_endpoint(tmp_path: Path) -> None:
    faults = [fault for fault in FAULTS if fault not in SLOW]
    options = EndpointSettings(concurrency=8, timeout=20.0, pause=0.01)
    with serving(
        lambda record, number: faults[int(record.split()[1]) % len(faults)] if number == 0 else None
    ) as server:
        executor = LocalExecutor(EndpointBackend(server.url, "m", GenerationSettings(), tmp_path, endpoint=options))
        questions = [RewriteQuestion(f"r{i}", f"<record {i}> What is it?", "cube") for i in range(40)]
        run(job(tmp_path), questions, executor)
        executor.close()
    found = [(outcome.id, outcome.answer.text) for outcome in job(tmp_path).outcomes()]
    assert found == [(f"r{i}", f"answer to record {i}") for i in range(40)]
    assert set(server.answered.values()) == {1}
