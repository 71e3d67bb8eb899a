"""One stage of a curation with stubs, in a process of its own and in its working folder: ``STAGE RECORDS NODES``.

The stages are the pipeline's own; only the models are stubs. Prints a JSON line: seconds, processor seconds, peak
memory, and when the first call was on the disk that no earlier run had.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bench.job import peak_megabytes
from bench.scale_stubs import StubRewriter, StubScorer, pictures, samples
from polite_flamingo.io.shards import write_shards
from polite_flamingo.jobs.executor import Executor, LocalExecutor
from polite_flamingo.jobs.journal import Journal
from polite_flamingo.params.reading import load_params
from polite_flamingo.params.schema import Params
from polite_flamingo.scorers.backend import ScorerBackend
from polite_flamingo.scorers.load import SCORERS
from polite_flamingo.tracking.base import NullTracker

ROOT = Path(__file__).resolve().parents[1]
CALL = 512


def params() -> Params:
    """The paper's thresholds, without a world, on images of the working folder."""
    loaded = load_params(ROOT / "params.yaml", "tiny")
    backbones = loaded.backbones.model_copy(update=dict.fromkeys(SCORERS, "stub"))
    return loaded.model_copy(update={"world": None, "data_root": "images", "profile": "scale", "backbones": backbones})


@contextmanager
def nodes(count: int) -> Iterator[None]:
    """A Ray cluster of so many nodes of one core on loopback; 0: none."""
    if not count:
        yield
        return
    token = Path("token")
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    os.environ |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token.resolve()),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # loopback alone
    }
    import ray
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 120 * 1024 * 1024}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    for _ in range(count - 1):
        cluster.add_node(**node)
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()
        cluster.shutdown()


def executor(factory: Callable[[], Any], workers: int) -> Executor[Any, Any]:
    """Stubs in this process, or one on each node."""
    if not workers:
        return LocalExecutor(factory(), CALL)
    from polite_flamingo.jobs.ray_pool import RayExecutor

    return RayExecutor(factory, workers=workers, call_size=CALL)


def scorer(name: str) -> ScorerBackend:
    """A stub as a backend."""
    return ScorerBackend(partial(StubScorer, name), f"stub {name}")


def generate(records: int, workers: int) -> None:
    """Samples and images, as stage `download` leaves them."""
    pictures(Path("images"))
    write_shards(params().data / "samples" / "annotation", (sample.to_row() for sample in samples(records)))


def rewrite(records: int, workers: int) -> None:
    """Stage `rewrite`."""
    from polite_flamingo.rewrite import job
    from polite_flamingo.stages import rewrite as stage

    def stubs(spec: str, settings: object, options: object, use: Callable[[Any], Any]) -> Executor[Any, Any]:
        return executor(partial(_used, use), workers)

    job.open_text_executor = stubs
    stage.run(params(), NullTracker())


def _used(use: Callable[[Any], Any]) -> Any:
    return use(StubRewriter())


def score(records: int, workers: int) -> None:
    """Stage `score`."""
    from polite_flamingo.stages import score as stage

    stage.open_scorer_executor = lambda recipe: executor(partial(scorer, recipe.name), workers)
    stage.run(params(), NullTracker())


def filter(records: int, workers: int) -> None:
    """Stage `filter`."""
    from polite_flamingo.stages.filter import run

    run(params(), NullTracker())


def sets(records: int, workers: int) -> None:
    """What of the filters looks at all records: near duplicates and templates, of the score table alone."""
    from polite_flamingo.filter.sets import judge_sets

    settings = params().filter.changed({"near_duplicates.max_similarity": 0.8, "template.max_share": 0.3})
    judge_sets(params().data / "scored" / "table", settings)


def check_rewritten(records: int, workers: int) -> None:
    """The gate behind `rewrite`."""
    from polite_flamingo.stages.check import run

    run(params(), NullTracker(), "rewritten")


def check_pf1m(records: int, workers: int) -> None:
    """The gate behind `filter`."""
    from polite_flamingo.stages.check import run

    run(params(), NullTracker(), "pf1m")


STAGES = {one.__name__: one for one in (generate, rewrite, check_rewritten, score, filter, check_pf1m, sets)}


def main(name: str, records: int, workers: int) -> None:
    """Run one stage and print what it cost."""
    logging.disable(logging.WARNING)
    first: list[float] = []
    append = Journal.append

    def timed(self: Journal[Any], *arguments: Any) -> None:
        append(self, *arguments)
        if not first:
            first.append(time.time())

    with patch.object(Journal, "append", timed), nodes(workers):
        started, processor = time.perf_counter(), time.process_time()
        STAGES[name](records, workers)
        figures = {
            "stage": name,
            "records": records,
            "nodes": workers,
            "seconds": round(time.perf_counter() - started, 2),
            "cpu_seconds": round(time.process_time() - processor, 2),
            "first_record_at": first[0] if first else None,
            "peak_mb": round(peak_megabytes(), 1),
        }
    print(json.dumps(figures))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
