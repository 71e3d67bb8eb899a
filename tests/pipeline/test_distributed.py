"""Two processes on a CPU (gloo): DDP and DeepSpeed's ZeRO train, lose a process, go on, and equal one process."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import socket
from multiprocessing.connection import wait
from pathlib import Path

import pytest

WORKER = "tests.pipeline.distributed_worker"


def launch(root: Path, strategy: str, processes: int, die_at: int = -1) -> tuple[list[int | None], str]:
    """Exit status and words of every process; each finds the variables that torchrun sets."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([WORKER])  # torch and DeepSpeed are imported once, before the processes are forked
    group = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    running = []
    for rank in range(processes):
        environment = {**group, "RANK": str(rank), "LOCAL_RANK": str(rank)} if processes > 1 else {}
        running.append(context.Process(target=_work, args=(root, strategy, die_at, rank, environment)))
        running[-1].start()
    while waiting := [process.sentinel for process in running if process.exitcode is None]:
        ended = wait(waiting, timeout=300)
        if not ended or any(process.exitcode for process in running):  # torchrun, too, ends those that wait for it
            for process in running:
                process.kill()
    logs = "\n".join((root / f"{strategy}-{rank}.log").read_text()[-2000:] for rank in range(processes))
    return [process.exitcode for process in running], logs


def _work(*words: object) -> None:
    from tests.pipeline.distributed_worker import work

    work(*words)  # type: ignore[arg-type]


def facts(root: Path, strategy: str) -> dict:
    return json.loads((root / strategy / "facts.json").read_text())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A micro model, a few images and what one process learns."""
    from PIL import Image
    from tests.model.micro import build_micro

    from polite_flamingo.model.flamingo import save_flamingo

    folder = tmp_path_factory.mktemp("distributed")
    save_flamingo(build_micro(), folder / "base")
    (folder / "images").mkdir()
    for index in range(6):
        Image.new("RGB", (32, 32), (40 * index, 255 - 30 * index, 90)).save(folder / "images" / f"{index}.png")
    ended, log = launch(folder, "none", 1)
    assert ended == [0], log
    return folder


@pytest.mark.pipeline
@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "zero2", "zero3"])
def test_two_processes_that_lose_one_and_go_on_equal_a_single_process(root: Path, strategy: str) -> None:
    if strategy != "ddp" and shutil.which(os.environ.get("CXX", "g++")) is None:
        pytest.skip("DeepSpeed compiles its communication on a CPU and finds no C++ compiler")
    ended, _ = launch(root, strategy, 2, die_at=5)
    assert 0 not in ended
    assert not (root / strategy / "facts.json").exists()
    if strategy == "ddp":  # another number of processes would go on with other dropout: refused
        _, refusal = launch(root, strategy, 1)
        assert "'processes': '2 -> 1'" in refusal
    ended, log = launch(root, strategy, 2)
    assert ended == [0, 0], log
    one, two = facts(root, "none"), facts(root, strategy)
    assert two["resumed_from"] >= 4  # of step 5, unless process 0 was ended while it wrote
    assert len(two["losses"]) == len(one["losses"]) == 8
    assert two["losses"] == pytest.approx(one["losses"], abs=1e-4)
    assert [loss for _, loss in two["validation"]] == pytest.approx([loss for _, loss in one["validation"]], abs=1e-4)
    assert two["best_step"] == one["best_step"]
    assert two["after"] == pytest.approx(one["after"], abs=1e-4)
    assert two["in_memory"] == pytest.approx(two["after"], abs=1e-5)
