"""Official datasets into the data root: a deployment for what is long and may be cut off."""

from __future__ import annotations

import os
import sys
from typing import Annotated

from polite_flamingo.environment import prepare_environment

prepare_environment()  # before Prefect reads it

from prefect import flow, task
from prefect.states import State
from pydantic import Field

from _dvc import ROOT
from _record import Progress
from _stage import PATIENT, Work, like, run_command
from polite_flamingo.sources import catalogue

Dataset = Annotated[str, Field(json_schema_extra={"enum": sorted(catalogue())})]


@flow(name="fetch", flow_run_name="fetch · {data_root}", persist_result=False)
def fetch(datasets: list[Dataset], accept_licence: bool = False, data_root: str = "data/raw") -> State:
    """Fetch official datasets; a transfer that is cut off is tried again later and goes on where it was.

    Args:
        datasets: Names of datasets, as `polite-flamingo sources` lists them.
        accept_licence: You have read the licences at the datasets' home pages and accept them.
        data_root: Folder they go to; the other deployments take it as their data_root.
    """
    work = Work(ROOT, dict(os.environ))
    return like(fetch_files(work, datasets, accept_licence, data_root, return_state=True), "fetch")


@task(name="fetch", task_run_name="fetch", **PATIENT)
def fetch_files(work: Work, datasets: list[str], accept_licence: bool, data_root: str) -> State:
    """Run the command line's verb of the same name."""
    accept = ["--accept-licence"] if accept_licence else []
    command = [sys.executable, "-m", "polite_flamingo", "fetch", *datasets, "--data-root", data_root, *accept]
    return run_command(work, command, {}, Progress("fetch", *datasets[:1]))[1]
