"""Processor seconds of every stage: its last finished run in MLflow, imports and start included.

``make bench-demo`` after ``make demo`` prints those of this project, ``python -m bench.bench_demo --beside FOLDER``
also those of a copy: at another commit, or from another machine.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from polite_flamingo.pipeline import STAGES
from polite_flamingo.tracking.store import DATABASE, EXPERIMENT, SQLITE

FIGURE = "cpu_seconds"


def seconds(folder: Path, profile: str) -> dict[str, float]:
    """Processor seconds by stage, from the database of a project."""
    from mlflow import MlflowClient

    client = MlflowClient(f"{SQLITE}{(folder / DATABASE).resolve()}")
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        raise SystemExit(f"no runs in {folder.resolve() / DATABASE}: `make demo` first")
    runs = client.search_runs(
        [experiment.experiment_id],
        f"tags.kind = 'stage' and tags.profile = '{profile}' and attributes.status = 'FINISHED'",
        order_by=["attributes.start_time ASC"],
        max_results=10_000,
    )
    return {run.data.tags["stage"]: run.data.metrics[FIGURE] for run in runs if FIGURE in run.data.metrics}


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="tiny")
    parser.add_argument("--beside", type=Path, nargs="*", default=[], help="other projects with an mlflow.db")
    options = parser.parse_args()
    columns = {str(folder): seconds(folder, options.profile) for folder in (*options.beside, Path())}
    print(f"| stage | {' | '.join('here' if name == '.' else name for name in columns)} |")
    print("|---" * (1 + len(columns)) + "|")
    for stage in STAGES:
        found = [column.get(stage.name) for column in columns.values()]
        if any(found):
            print(f"| {stage.name} | {' | '.join('-' if s is None else f'{s:.0f}' for s in found)} |")
    print(f"| minutes in all | {' | '.join(f'{sum(column.values()) / 60:.1f}' for column in columns.values())} |")


if __name__ == "__main__":
    main()
