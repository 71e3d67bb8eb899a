"""What Prometheus reads at ``/metrics``: requests, times, and what the engines are doing. No content, no client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from polite_flamingo.batching.engine import EngineState
from polite_flamingo.serving.engine_process import ServedEngine

PREFIX = "polite_flamingo"
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
GAUGES = {"running": "requests in flight", "waiting": "requests in the queue", "slots": "most requests in flight"}
COUNTERS = {
    "steps": "steps of decoding",
    "prompt_tokens": "tokens read",
    "tokens": "tokens generated",
    "out_of_memory": "times that memory ran out",
}


class ServingMetrics:
    """The metrics of one server.

    Args:
        engines: By model.
    """

    def __init__(self, engines: Mapping[str, ServedEngine]) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            f"{PREFIX}_requests", "requests answered", ("path", "model", "status"), registry=self._registry
        )
        self.active = Gauge(f"{PREFIX}_requests_active", "requests being answered", registry=self._registry)
        self.seconds = self._histogram("request_seconds", "from a request's body to the end of its answer")
        self.first = self._histogram("first_token_seconds", "from a request's body to the first token")
        self._registry.register(_Engines(engines))
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        """The metrics in Prometheus' form."""
        return generate_latest(self._registry)

    def _histogram(self, name: str, what: str) -> Histogram:
        return Histogram(f"{PREFIX}_{name}", what, ("path", "model"), buckets=SECONDS, registry=self._registry)


class _Engines(Collector):
    """The engines' states, read when they are asked for."""

    def __init__(self, engines: Mapping[str, ServedEngine]) -> None:
        self._engines = engines

    def collect(self) -> Iterator[Any]:
        states: dict[str, EngineState] = {name: engine.state for name, engine in self._engines.items()}
        for field, what in GAUGES.items():
            gauge = GaugeMetricFamily(f"{PREFIX}_engine_{field}", what, labels=("model",))
            for name, state in states.items():
                gauge.add_metric((name,), getattr(state, field))
            yield gauge
        for field, what in COUNTERS.items():
            counter = CounterMetricFamily(f"{PREFIX}_engine_{field}", what, labels=("model",))
            for name, state in states.items():
                counter.add_metric((name,), getattr(state, field))
            yield counter
