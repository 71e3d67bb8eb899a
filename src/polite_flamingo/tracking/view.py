"""How MLflow's pages show our experiment: as training of models, with a saved list of runs."""

from __future__ import annotations

EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}  # else it opens on a page about language models


def page(experiment: str) -> str:
    """Path of the list of runs."""
    return f"/#/experiments/{experiment}/runs"
