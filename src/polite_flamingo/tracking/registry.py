"""MLflow's model registry: versions, their aliases, and the history of the champion.

Two aliases: ``challenger`` is the newest version of the champion's profile, ``champion`` the one that is used. Which
versions were champion is kept in a tag of the registered model, oldest first; the alias is the truth, so a process that
is killed between the two writes leaves nothing to mend.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.environment import TRACKING_VARIABLE
from polite_flamingo.errors import BusyError, ModelError, StorageError
from polite_flamingo.io.locks import locked
from polite_flamingo.tracking.store import EXPERIMENT, experiment_id, open_client, tracking_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.models import ModelSignature

CHALLENGER, CHAMPION = "challenger", "champion"
HISTORY = "champion.history"
ROLLED_BACK = ("rolled_back", "rolled_back.reason")
CONTENT = "content"  # tag: hash of what a version is
MOST_HISTORY = 500
ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # what MLflow says of a name that is not there
DESCRIPTION_CHARACTERS = 5000  # of MLflow's tables
LOCK = Path(".work/registry.lock")
WAIT_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """A version as the registry has it."""

    name: str
    number: int
    run: str | None
    tags: Mapping[str, str]
    created: float  # seconds since 1970


@dataclass(frozen=True, slots=True)
class SourceRun:
    """The run that trained a model: of the stage, of its pipeline, and the stage's tags."""

    stage: str
    pipeline: str | None
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """What becomes a version.

    Args:
        name: Of the registered model.
        purpose: Its description.
        code: Python file that MLflow runs to load it.
        files: Folders and files that are copied, by name.
        config: What the code gets beside them.
        inputs: Columns: name, whether it must be there, whether it holds a list.
        outputs: Names of the columns that come back.
        parameters: What a call may set, with the defaults.
        example: One row of the input.
        requirements: For pip.
        description: Of this version, Markdown.
        tags: Of this version, `CONTENT` among them.
        source: The run that trained it, if MLflow knows it.
    """

    name: str
    purpose: str
    code: Path
    files: Mapping[str, Path]
    config: Mapping[str, Any]
    inputs: Sequence[tuple[str, bool, bool]]
    outputs: Sequence[str]
    parameters: Mapping[str, bool | int | float]
    example: Mapping[str, Any]
    requirements: Sequence[str]
    description: str
    tags: Mapping[str, str] = field(default_factory=dict)
    source: SourceRun | None = None


class ModelRegistry:
    """The registry of the MLflow that the environment names, or of the project's own."""

    def __init__(self) -> None:
        os.environ.setdefault(TRACKING_VARIABLE, tracking_uri())  # MLflow's own parts look there
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        self._client: MlflowClient = open_client()

    def source_run(self, path: str, md5: str) -> SourceRun | None:
        """The newest run whose stage wrote `path` with this content."""
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            return None
        found = self._client.search_runs(
            [experiment.experiment_id], f"tags.`md5.{path}` = '{md5}' and tags.kind = 'stage'", max_results=1
        )
        if not found:
            return None
        tags = found[0].data.tags
        return SourceRun(found[0].info.run_id, tags.get("mlflow.parentRunId"), tags)

    def find(self, name: str, content: str) -> ModelVersion | None:
        """The first version that is `content`."""
        found = self._client.search_model_versions(f"name = '{name}' and tags.`{CONTENT}` = '{content}'")
        return min(map(_version, found), key=lambda version: version.number, default=None)

    def versions(self, name: str) -> list[ModelVersion]:
        """All versions, oldest first."""
        found = self._client.search_model_versions(f"name = '{name}'", max_results=1000)
        return sorted(map(_version, found), key=lambda version: version.number)

    def version(self, name: str, number: int) -> ModelVersion:
        """One version.

        Raises:
            ModelError: there is none of that number.
        """
        from mlflow.exceptions import MlflowException

        try:
            return _version(self._client.get_model_version(name, str(number)))
        except MlflowException as error:
            if error.error_code not in ABSENT:
                raise
            raise ModelError(
                "no such version", value=number, where=name, next_step="`polite-flamingo models list` shows all"
            ) from error

    def aliased(self, name: str, alias: str) -> ModelVersion | None:
        """The version that has an alias; None where nobody has it, never where the server does not answer."""
        from mlflow.exceptions import MlflowException

        try:
            return _version(self._client.get_model_version_by_alias(name, alias))
        except MlflowException as error:
            if error.error_code not in ABSENT:
                raise
            return None

    def register(self, package: ModelPackage) -> ModelVersion:
        """Make a version, unless its content has one: of two processes that make the same, one gets the other's."""
        from mlflow.entities import LoggedModelOutput
        from mlflow.exceptions import MlflowException

        client, content = self._client, package.tags[CONTENT]
        if (known := self.find(package.name, content)) is not None:
            return known
        run = (package.source.pipeline or package.source.stage) if package.source else None
        model = client.create_logged_model(
            experiment_id(client),
            name=package.name,
            source_run_id=run,
            tags={key: value for key, value in package.tags.items() if not key.startswith("md5.")},
            model_type=str(package.config["kind"]),
        )
        try:
            with tempfile.TemporaryDirectory(prefix="polite-flamingo-") as scratch:
                folder = Path(scratch) / "model"
                _save(package, folder, model.model_id, model.artifact_location, run)
                client.log_model_artifacts(model.model_id, str(folder))
            client.finalize_logged_model(model.model_id, "READY")
        except BaseException:
            client.finalize_logged_model(model.model_id, "FAILED")
            raise
        if run:
            client.log_outputs(run, [LoggedModelOutput(model.model_id, step=0)])
        with contextlib.suppress(MlflowException):  # it is there already
            client.create_registered_model(package.name, description=package.purpose)
        made = _version(
            client.create_model_version(
                package.name,
                source=f"models:/{model.model_id}",
                run_id=run,
                tags=dict(package.tags),
                description=package.description[:DESCRIPTION_CHARACTERS],
                model_id=model.model_id,
            )
        )
        first = self.find(package.name, content)
        if first is not None and first.number < made.number:  # another process was faster
            client.delete_model_version(package.name, str(made.number))
            client.delete_logged_model(model.model_id)
            return first
        return made

    def challenge(self, version: ModelVersion) -> None:
        """Make a version the challenger."""
        self._client.set_registered_model_alias(version.name, CHALLENGER, str(version.number))

    def file(self, version: ModelVersion, path: str, folder: Path) -> Path:
        """Download a file or folder of a version into `folder`.

        Raises:
            ModelError: it cannot be had.
        """
        import mlflow.artifacts
        from mlflow.exceptions import MlflowException

        uri = f"models:/{version.name}/{version.number}/{path}"
        try:
            return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder)))
        except (MlflowException, OSError) as error:
            raise ModelError(
                "a file of the version cannot be had", value=str(error), where=uri, next_step="is the server there?"
            ) from error

    def history(self, name: str) -> list[int]:
        """Versions that were champion and were not rolled back, oldest first; the last one is champion now."""
        champion = self.aliased(name, CHAMPION)
        if champion is None:
            return []
        kept = self._client.get_registered_model(name).tags.get(HISTORY, "")
        numbers = [int(number) for number in kept.split(",") if number]
        return numbers if numbers[-1:] == [champion.number] else [*numbers, champion.number]

    def promote(self, version: ModelVersion, instead_of: ModelVersion | None, tags: Mapping[str, str]) -> None:
        """Make a version the champion.

        Args:
            version: The new champion.
            instead_of: The champion it was compared with.
            tags: Why; of the version.

        Raises:
            BusyError: another version became champion meanwhile.
        """
        name = version.name
        with _turn():
            now = self.aliased(name, CHAMPION)
            if (now and now.number) != (instead_of and instead_of.number):
                raise BusyError(
                    "another version became champion meanwhile",
                    value=now and now.number,
                    where=name,
                    next_step="promote again",
                )
            numbers = [*self.history(name), version.number][-MOST_HISTORY:]
            self.note(version, {**tags, "champion.since": _now()})
            for key in set(ROLLED_BACK) & set(version.tags):
                self._client.delete_model_version_tag(name, str(version.number), key)
            self._client.set_registered_model_alias(name, CHAMPION, str(version.number))
            self._client.set_registered_model_tag(name, HISTORY, ",".join(map(str, numbers)))
            if (challenger := self.aliased(name, CHALLENGER)) and challenger.number == version.number:
                self._client.delete_registered_model_alias(name, CHALLENGER)

    def roll_back(self, name: str, reason: str) -> tuple[ModelVersion, ModelVersion]:
        """Make the champion before this one champion again; returns the one that goes and the one that comes.

        Raises:
            ModelError: there was none before, or it was deleted.
        """
        with _turn():
            numbers = self.history(name)
            if len(numbers) < 2:
                raise ModelError("no version was champion before this one", value=numbers, where=name)
            going, coming = self.version(name, numbers[-1]), self.version(name, numbers[-2])
            self._client.set_registered_model_tag(name, HISTORY, ",".join(map(str, numbers[:-1])))
            self._client.set_registered_model_alias(name, CHAMPION, str(coming.number))
            self.note(going, dict(zip(ROLLED_BACK, (_now(), reason), strict=True)))
            self.note(coming, {"champion.since": _now()})
        return going, coming

    def note(self, version: ModelVersion, tags: Mapping[str, str]) -> None:
        """Put tags on a version."""
        for key, value in tags.items():
            self._client.set_model_version_tag(version.name, str(version.number), key, value)


@contextlib.contextmanager
def answering_store() -> Iterator[None]:
    """Around calls of a person: what MLflow does not do is an error that can be mended.

    Raises:
        StorageError: MLflow refused, or did not answer.
    """
    try:
        yield
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("mlflow", "requests", "sqlalchemy"):
            raise
        raise StorageError(
            "MLflow refused, or did not answer",
            value=_without_password(str(error))[:500],
            where=_without_password(tracking_uri()),
            next_step=f"is the server there, and may you? {TRACKING_VARIABLE} names it",
        ) from None  # whose text may hold a password


def _save(package: ModelPackage, folder: Path, model_id: str, location: str, run: str | None) -> None:
    """Write MLflow's folder of a model; what pip needs is said, not inferred, and nothing is run."""
    import mlflow.pyfunc
    import pandas as pd
    from mlflow.models import Model

    logging.getLogger("mlflow").setLevel(logging.WARNING)  # its import has set it
    mlflow.pyfunc.save_model(
        path=str(folder),
        mlflow_model=Model(artifact_path=location, run_id=run, model_uuid=model_id, model_id=model_id),
        python_model=str(package.code),
        artifacts={name: path.resolve().as_uri() for name, path in package.files.items()},
        signature=_signature(package),
        input_example=pd.DataFrame([dict(package.example)]),
        pip_requirements=list(package.requirements),
        model_config=dict(package.config),
        streamable=False,
    )
    saved = Model.load(str(folder))  # without the folders of this machine
    flavor = saved.flavors[mlflow.pyfunc.FLAVOR_NAME]
    flavor["model_code_path"] = package.code.name
    for part in flavor["artifacts"].values():
        part["uri"] = part["path"]
    saved.save(str(folder / "MLmodel"))


def _signature(package: ModelPackage) -> ModelSignature:
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Array, ColSpec, DataType, ParamSchema, ParamSpec, Schema

    types = {bool: DataType.boolean, int: DataType.long, float: DataType.double}
    return ModelSignature(
        inputs=Schema(
            [
                ColSpec(Array(DataType.string) if several else DataType.string, name, required=required)
                for name, required, several in package.inputs
            ]
        ),
        outputs=Schema([ColSpec(DataType.string, name) for name in package.outputs]),
        params=ParamSchema(
            [ParamSpec(name, types[type(default)], default) for name, default in package.parameters.items()]
        ),
    )


def _version(entity: Any) -> ModelVersion:
    return ModelVersion(
        entity.name, int(entity.version), entity.run_id, dict(entity.tags), entity.creation_timestamp / 1000
    )


@contextlib.contextmanager
def _turn() -> Iterator[None]:
    """Wait until no other process of this project moves an alias."""
    while True:
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(locked(LOCK))
            except BusyError:
                time.sleep(WAIT_SECONDS)
                continue
            yield
            return


def _without_password(text: str) -> str:
    return re.sub(r"//[^/@\s]*@", "//", text)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
