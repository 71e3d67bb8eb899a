"""The machine's settings say where a job's answers are computed."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from tests.unit.jobs.machine import machine
from tests.unit.jobs.stub import Question, Stub, questions
from tests.unit.jobs.test_engine import job, shards
from tests.unit.jobs.test_ray_pool import FakeRay

from polite_flamingo.jobs.engine import run
from polite_flamingo.jobs.executor import LocalExecutor
from polite_flamingo.jobs.executors import open_executor
from polite_flamingo.jobs.shared import Shared


def nothing_to_publish(shared: Shared):
    raise AssertionError("no storage is named")


def test_a_local_engine_is_the_backend_in_this_process(tmp_path: Path) -> None:
    executor = open_executor(machine(), Stub, tmp_path, nothing_to_publish)
    assert isinstance(executor, LocalExecutor)
    assert executor.call_size == 4 * Stub().batch_size


def test_a_cluster_without_common_paths_gets_models_and_images_from_its_storage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture
) -> None:
    fake = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)
    picture(tmp_path / "red.png", (255, 0, 0))
    asked = [*questions(9), Question("image", "What is it?", "red", ("red.png",))]
    roots: list[Path] = []

    class Looking(Stub):
        def answer(self, questions):
            for question in questions:
                assert all((roots[-1] / path).is_file() for path in question.images)
            return super().answer(questions)

    def remote(shared: Shared, image_root: Path) -> Stub:
        roots.append(image_root)
        return Looking()

    def publish(shared: Shared):
        assert shared.url == f"file://{tmp_path}/storage"
        return remote

    cluster = machine().model_copy(update={"engine": "ray", "workers": 1, "shared": f"file://{tmp_path}/storage"})
    executor = open_executor(cluster, Stub, tmp_path, publish)
    try:
        run(job(tmp_path), asked, executor)
    finally:
        executor.close()
    assert len(roots) == fake.hired == 1
    assert (roots[0] / "red.png").read_bytes() == (tmp_path / "red.png").read_bytes()
    shutil.rmtree(roots[0])  # the stand-in for Ray dismisses workers without closing them
    local = job(tmp_path / "local")
    (tmp_path / "local").mkdir()
    picture(tmp_path / "local" / "red.png", (255, 0, 0))
    run(local, asked, LocalExecutor(Stub()))
    assert shards(tmp_path) == shards(tmp_path / "local")
