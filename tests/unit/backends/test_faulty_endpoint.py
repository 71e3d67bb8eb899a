"""500 records against an endpoint that fails in every way it can."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from tests.unit.backends.faulty_server import FAULTS, serving

from polite_flamingo.model.generate import Generated, GenerationSettings
from polite_flamingo.rewrite.backends import Request
from polite_flamingo.rewrite.backends.endpoint import EndpointBackend, EndpointOptions

RECORDS = 500
BOUND = 16
SLOW = {"silence", "drip without end"}


def plan(record: str, number: int) -> str | None:
    """The first records wait for each other, so that the bound is reached; of the others 30 % meet one to three faults.

    The two that last as long as the time-out are rarer.
    """
    if int(record.split()[1]) < BOUND:
        return f"together {BOUND}"
    rng = Random(record)
    faults = []
    if rng.random() < 0.3:
        faults = rng.choices(FAULTS, [0.2 if fault in SLOW else 1 for fault in FAULTS], k=rng.randint(1, 3))
    return faults[number] if number < len(faults) else ("slow drip" if rng.random() < 0.05 else None)


@pytest.mark.slow
def test_500_records_are_all_answered_once_and_never_more_than_the_bound_at_a_time(tmp_path: Path) -> None:
    timeout = 6.0
    requests = [Request(f"r{i}", f"<record {i}> What is it?", "cube") for i in range(RECORDS)]
    expected = [Generated(f"answer to record {i}", "stop", 3) for i in range(RECORDS)]
    options = EndpointOptions(concurrency=BOUND, timeout=timeout, pause=0.01)

    def backend(url: str) -> EndpointBackend:
        return EndpointBackend(url, "m", GenerationSettings(), image_root=tmp_path, options=options, cache=tmp_path)

    with serving(plan, timeout) as server:
        first = backend(server.url)
        answers = first.generate(requests)
        first.close()
        met = dict(server.met)
        asked = sum(server.tries.values())
        again = backend(server.url)
        restored = again.generate(requests)
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
