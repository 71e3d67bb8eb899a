"""Where runs and their files lie.

Without a server the runs are in ``mlflow.db`` of the project and the files in ``mlartifacts`` beside it. MLflow knows
the files by ``mlflow-artifacts:`` names, which hold no folder: its server, started in the project (``mlflow ui``,
``make ui``), serves them from there, stages write there, and a copied project has its own. With a server
(``MLFLOW_TRACKING_URI=http://…``) the same names go through its proxy.
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

from polite_flamingo.environment import TRACKING_VARIABLE
from polite_flamingo.errors import DataError
from polite_flamingo.tracking.view import KIND, TAG, view

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

LOG = logging.getLogger(__name__)

EXPERIMENT = "polite-flamingo"
DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"  # where MLflow's own server looks by default
SCHEME = "mlflow-artifacts"
SQLITE = "sqlite:///"
QUIET = {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
PATIENCE = {  # a call waits half a minute for a server that is restarted, not MLflow's own four
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
COPIES = ((".dvc", "tmp", "exps"), (".work", "projects"))  # where DVC and we run a project beside itself


def home() -> Path:
    """Top folder of the project; inside a copy that DVC makes for an experiment, or a side project, the original's."""
    here = Path.cwd()
    for copies in COPIES:
        for end in range(len(here.parts), len(copies), -1):
            if here.parts[end - len(copies) : end] == copies:
                return Path(*here.parts[: end - len(copies)])
    return here


def tracking_uri() -> str:
    """The environment's MLflow, or the project's own database."""
    return os.environ.get(TRACKING_VARIABLE) or f"{SQLITE}{home() / DATABASE}"


def open_client() -> MlflowClient:
    """MLflow's client, able to write the files of a store that has no server."""
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # What it tells with a trace it raises as well.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    for name, value in {**QUIET, **PATIENCE}.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient
    from mlflow.store.artifact.artifact_repository_registry import _artifact_repository_registry as repositories

    repositories.register(SCHEME, artifact_repository)
    return MlflowClient(tracking_uri())


def artifact_folder(uri: str) -> Path | None:
    """Folder of the files of a store without a server; None for a server, which keeps them itself."""
    if urlparse(uri).scheme in ("http", "https"):
        return None
    database = Path(uri.removeprefix(SQLITE).partition("?")[0]) if uri.startswith(SQLITE) else home() / DATABASE
    return database.resolve().parent / ARTIFACTS


def artifact_repository(
    artifact_uri: str, tracking_uri: str | None = None, registry_uri: str | None = None
) -> ArtifactRepository:
    """What MLflow calls for a ``mlflow-artifacts:`` name: the server's proxy, or the folder beside the database.

    Raises:
        DataError: the name leads out of the folder.
    """
    from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
    from mlflow.store.artifact.mlflow_artifacts_repo import MlflowArtifactsRepository
    from mlflow.tracking import get_tracking_uri

    uri = tracking_uri or get_tracking_uri()
    folder = artifact_folder(uri)
    if folder is None:
        return MlflowArtifactsRepository(artifact_uri, uri, registry_uri)
    path = (folder / urlparse(artifact_uri).path.lstrip("/")).resolve()
    if not path.is_relative_to(folder):
        raise DataError("an artifact's name leads out of its folder", value=artifact_uri, where=folder)
    return LocalArtifactRepository(path.as_uri(), uri, registry_uri)


def experiment_id(client: MlflowClient) -> str:
    """The experiment of our runs, made where it is missing.

    One whose files have a fixed folder, as earlier versions made it, keeps its runs under another name: a copied
    project would write into the folder of the original.
    """
    experiment = client.get_experiment_by_name(EXPERIMENT)
    local = artifact_folder(tracking_uri()) is not None
    if experiment is not None and local and not experiment.artifact_location.startswith(f"{SCHEME}:"):
        name = f"{EXPERIMENT} (experiment {experiment.experiment_id}, files in a fixed folder)"
        client.rename_experiment(experiment.experiment_id, name)
        LOG.info("earlier runs, whose files lie in %s, are now called %r", experiment.artifact_location, name)
        experiment = None
    if experiment is None:
        return _create(client, f"{SCHEME}:/{EXPERIMENT}" if local else None)
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    for key, value in _tags().items():
        if key not in experiment.tags:
            client.set_experiment_tag(experiment.experiment_id, key, value)
    found: str = experiment.experiment_id
    return found


def load_json(client: MlflowClient, run_id: str, name: str) -> Any:
    """A JSON artifact of a run; None where it has none."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        try:
            return json.loads(Path(client.download_artifacts(run_id, name, folder)).read_text(encoding="utf-8"))
        except Exception:  # whatever a store raises where there is no such file
            return None


def _create(client: MlflowClient, location: str | None) -> str:
    from mlflow.exceptions import MlflowException

    try:
        created: str = client.create_experiment(EXPERIMENT, artifact_location=location, tags=_tags())
        return created
    except MlflowException:  # another stage was first
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            raise
        found: str = experiment.experiment_id
        return found


def _tags() -> dict[str, str]:
    return {**KIND, TAG: view(())}
