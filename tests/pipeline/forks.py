"""Processes forked from one that has imported what takes seconds: each is one of its own, and can be killed.

``python -m tests.pipeline.forks IMPORTS`` executes the imports and forks on demand; `Forks` is its other side.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import runpy
import signal
import subprocess
import sys
import time
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

ROOT = Path(__file__).resolve().parents[2]


class Fork:
    """A process; what it prints is in `log`, and beside it what it prints to stderr."""

    def __init__(self, forks: Forks, pid: int, log: Path) -> None:
        self._forks = forks
        self.pid = pid
        self.log = log
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its status, once it has ended."""
        if self.returncode is None:
            self.returncode = self._forks.ask({"look": self.pid})
        return self.returncode

    def wait(self, timeout: float) -> int:
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                self.kill()
                raise TimeoutError(self.said())
            time.sleep(0.01)
        assert self.returncode is not None
        return self.returncode

    def said(self) -> str:
        """The end of what it has printed."""
        return "\n".join(path.read_text(errors="replace")[-3000:] for path in (self.log, _errors(self.log)))

    def kill(self) -> None:
        """Kill it with SIGKILL, and wait for its end."""
        os.kill(self.pid, signal.SIGKILL)
        while self.poll() is None:
            time.sleep(0.001)


class Forks:
    """The process that has imported it.

    Args:
        imports: Executed once, before any process is forked; nothing that starts a thread.
        environment: Beside this process's own.
    """

    def __init__(self, imports: str, environment: Mapping[str, str] = types.MappingProxyType({})) -> None:
        paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
        self.environment = {**os.environ, "PYTHONPATH": paths, **environment}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.pipeline.forks", imports],
            cwd=ROOT, env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __enter__(self) -> Forks:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def start(
        self,
        *words: str,
        cwd: Path,
        log: Path,
        script: str = "",
        module: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> Fork:
        """Run a script, or a module as ``python -m`` does, with `words` as its arguments."""
        what = {"cwd": str(cwd), "log": str(log), "words": words, "script": script, "module": module}
        pid = self.ask({**what, "environment": dict(self.environment if environment is None else environment)})
        assert pid is not None
        return Fork(self, pid, log)

    def ask(self, request: dict[str, Any]) -> int | None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: int | None = json.loads(self._process.stdout.readline())
        return answer


def _errors(log: Path) -> Path:
    return log.with_name(f"{log.name}.err")


def _serve(answers: TextIO) -> None:
    running: set[int] = set()
    for line in sys.stdin:
        request = json.loads(line)
        answer: int | None
        if "look" in request:
            pid, status = os.waitpid(request["look"], os.WNOHANG)
            running.discard(pid)
            answer = os.waitstatus_to_exitcode(status) if pid else None
        else:
            answer = os.fork()
            if not answer:
                _become(request)
            running.add(answer)
        print(json.dumps(answer), file=answers, flush=True)
    for pid in running:  # of a test that failed
        os.kill(pid, signal.SIGKILL)


def _become(request: dict[str, Any]) -> None:
    """Run what is asked for, as the main module; ends this process."""
    log, written = Path(request["log"]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    for number, (path, flags) in enumerate([(Path(os.devnull), os.O_RDONLY), (log, written), (_errors(log), written)]):
        os.dup2(os.open(path, flags, 0o644), number)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    sys.argv = [request["module"] or "-c", *request["words"]]
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    status = 1
    try:
        if request["module"]:
            runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
        else:
            exec(compile(request["script"], "<script>", "exec"), main.__dict__)
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(ValueError, OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what an import prints is no answer
    exec(sys.argv[1], {})
    gc.freeze()  # what is imported is no garbage of any fork
    gc.set_threshold(50_000, 20, 100)
    _serve(answers)
