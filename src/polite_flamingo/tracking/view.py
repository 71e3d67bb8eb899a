"""How MLflow's pages show our experiment: as training of models, with a saved view of the pipelines' runs.

A saved view is a tag of the experiment, as the page's own menu "Views" writes it: everybody on the team has it, and may
save others beside it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlencode

if TYPE_CHECKING:
    from mlflow import MlflowClient

KIND = {"mlflow.experimentKind": "custom_model_development"}  # else it opens on a page about language models
KEY = "pipelines"
TAG = f"mlflow.sharedViewState.{KEY}"
HEADLINE = (  # columns, from the left
    "pf1m.kept", "pf1m.answers_preserved", "filter.recall_of_corrupted", "rewriter.rouge_l_gain",
    "stage3.reward", "stage3.reward_low", "stage3.reward_high",
    "stage3.qa_in_domain", "stage3.qa_in_domain_low", "stage3.qa_in_domain_high", "stage3.wins_over_raw",
)  # fmt: skip
MOST_PARAMETERS = 12
WIDTHS = {"metrics": 165, "params": 170}  # pixels; the names are long


def show_columns(client: MlflowClient, experiment: str, parameters: Iterable[str] = ()) -> None:
    """Save the view, with columns for parameters that differ in some run, those of `parameters` first.

    Args:
        client: MLflow's client.
        experiment: Id of the experiment.
        parameters: Names that the view is to have.
    """
    saved: str | None = client.get_experiment(experiment).tags.get(TAG)
    shown = tuple(dict.fromkeys((*parameters, *_parameters(saved))))[:MOST_PARAMETERS]
    if set(shown) != set(_parameters(saved)):
        client.set_experiment_tag(experiment, TAG, view(shown))


def view(parameters: Iterable[str]) -> str:
    """The tag's value: a list of pipelines, newest first, with parameters and headline figures."""
    columns = [f"params.`{name}`" for name in parameters] + [f"metrics.`{name}`" for name in HEADLINE]
    state = {
        "searchFilter": "tags.kind = 'pipeline'",
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": columns,
        "columnOrder": columns,
        "columnWidths": {column: WIDTHS[column.partition(".")[0]] for column in columns},
        "groupBy": None,
    }
    return json.dumps({"name": "Pipelines", "createdAt": 0, "updatedAt": 0, "state": json.dumps(state)})


def page(experiment: str) -> str:
    """Path of the saved view."""
    return (
        f"/#/experiments/{experiment}/runs?{urlencode({'workflowType': 'machine_learning', 'viewStateShareKey': KEY})}"
    )


def _parameters(saved: str | None) -> list[str]:
    """Those that a saved view has columns for; none where it is not ours."""
    try:
        state: Mapping[str, list[str]] = json.loads(json.loads(saved or "{}")["state"])
        return [name[8:-1] for name in state["selectedColumns"] if name.startswith("params.`")]
    except (ValueError, KeyError, TypeError):
        return []
