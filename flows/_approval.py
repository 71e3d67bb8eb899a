"""A person's word before the costly part of a run: it pauses, shows what it will cost, goes on or is cancelled."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from prefect import get_run_logger, pause_flow_run
from prefect.client.orchestration import get_client
from prefect.exceptions import FlowPauseTimeout
from prefect.input import RunInput
from prefect.runtime import flow_run
from prefect.states import Cancelled, State
from pydantic import Field

from polite_flamingo.markdown import code, escaped
from polite_flamingo.reports.summary import read_reports, summarise

if TYPE_CHECKING:
    from _stage import Job

POLL_SECONDS = 5
GB = 1e9


class Approval(RunInput):
    """What somebody decides."""

    approve: bool = Field(description="true: tune; false: cancel this run")
    who: str = Field(min_length=1, description="who decides")
    comment: str = Field("", description="why; it stays in the run's log, and in its state if it is cancelled")


def ask(job: Job, seconds: float) -> State | None:
    """Pause until somebody decides about the tuning.

    Args:
        job: The run's stages.
        seconds: How long to wait.

    Returns:
        None: it is approved. Otherwise how the run ends.
    """
    page = cost_page(job)
    logger = get_run_logger()
    logger.info("the tuning has to be approved within %g h:\n%s", seconds / 3600, page)
    try:
        answer = pause_flow_run(
            wait_for_input=Approval.with_initial_data(description=page),
            timeout=max(1, round(seconds)),
            poll_interval=POLL_SECONDS,
            key=f"approval-{flow_run.run_count}",  # a run that is retried asks again
        )
    except FlowPauseTimeout:
        return _cancelled(f"nobody approved the tuning within {seconds / 3600:g} h")
    comment = f": {answer.comment}" if answer.comment else ""
    if not answer.approve:
        return Cancelled(message=f"{answer.who} did not approve the tuning{comment}")
    logger.info("%s approved the tuning%s", answer.who, comment)
    return None


def cost_page(job: Job) -> str:
    """What there is to tune on, and what it will take, as Markdown."""
    figures = summarise(read_reports(job.reports))
    known = [
        f"- {escaped(f'{group}.{name} {value}')}" for group, values in figures.items() for name, value in values.items()
    ]
    head, tail = f"# Tune profile {escaped(job.profile)}?", "`tune_raw` repeats stages 1 and 2 on raw annotations."
    return "\n".join([head, "", *known, "", *_costs(job), "", f"{tail} Nothing is lost if this run is cancelled."])


def _costs(job: Job) -> list[str]:
    """A row per training of the tuning, from `polite-flamingo plan`."""
    command = [sys.executable, "-m", "polite_flamingo", "plan", "--profile", job.profile, "--json"]
    done = subprocess.run(command, cwd=job.folder, env=job.environment, capture_output=True, text=True, check=False)
    try:
        plan = json.loads(done.stdout)
    except ValueError:
        return ["`polite-flamingo plan` could not say what it costs:", "", code(done.stderr)]
    lines = ["| training | steps | tokens | hours | GB per device |", "| --- | --- | --- | --- | --- |"]
    for name, needs in plan["trainings"].items():
        if name != "rewriter":
            hours = "not known" if needs["hours"] is None else f"{needs['hours']:.1f}"
            memory = needs["memory"]["total"] / GB
            lines.append(f"| {name} | {needs['steps']:,} | {needs['tokens']:,} | {hours} | {memory:.1f} |")
    return [
        *lines,
        "",
        f"{plan['processes']} process(es) at a time.",
        *(f"- {escaped(line)}" for line in plan["warnings"]),
    ]


def _cancelled(message: str) -> State:
    """End the run although the server has given it up: it takes only force from there."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(flow_run.id, Cancelled(message=message), force=True)
    return Cancelled(message=message)
