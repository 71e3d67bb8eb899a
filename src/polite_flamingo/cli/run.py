"""``run``, ``track-outputs`` and ``ui``: the pipeline with DVC, its runs in MLflow, the web interfaces."""

from __future__ import annotations

import json

import click

from polite_flamingo.cli.command import CommonOptions, positive, verb
from polite_flamingo.pipeline import BY_NAME


@verb("run", "--profile tiny", "--until check_pf1m")
@click.option("--until", type=click.Choice(list(BY_NAME)), metavar="STAGE", help="last stage to run (default: all)")
@click.option("--end-other", is_flag=True, help="end another run of this profile first, instead of refusing")
@click.pass_obj
def run(options: CommonOptions, until: str | None, end_other: bool) -> int:
    """Run the pipeline of a profile with DVC, then report."""
    from polite_flamingo.launch.pipeline_run import run_pipeline
    from polite_flamingo.reports.headline import build_report, render_report

    params = options.load()
    code = run_pipeline(params, until=until, data_root=options.data_root, device=options.device, end_other=end_other)
    if code == 0:
        print(render_report(build_report(params)))
    return code


@verb("track-outputs")
@click.option("--failed", is_flag=True, help="the pipeline ended with an error: its run says so")
@click.option("--pages", is_flag=True, help="print where MLflow shows the pipeline's runs, as JSON")
@click.pass_obj
def track_outputs(options: CommonOptions, failed: bool, pages: bool) -> None:
    """End a pipeline in MLflow: the last stages' runs get the md5 of their outputs, new models become versions."""
    params = options.load()
    if params.runtime.tracking == "mlflow":
        from polite_flamingo.launch.registration import register_finished
        from polite_flamingo.tracking.mlflow import run_pages, track_outputs

        track_outputs(failed=failed)
        if not failed:
            register_finished(params)
        if pages:
            print(json.dumps(run_pages()))


@verb("ui")
@click.option("--mlflow-port", type=positive, default=5000, metavar="N", help="default: 5000")
@click.option("--prefect-port", type=positive, default=4200, metavar="N", help="default: 4200")
@click.pass_obj
def ui(options: CommonOptions, mlflow_port: int, prefect_port: int) -> int:
    """Open the MLflow UI and a Prefect server on localhost."""
    from polite_flamingo.launch.interfaces import serve_interfaces

    docs = options.load().reports / "data_docs" / "index.html"
    return serve_interfaces(docs, mlflow_port=mlflow_port, prefect_port=prefect_port)
