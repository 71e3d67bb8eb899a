"""Prefect of a team: server, work pool, deployments and worker, around a copy of the pipeline that only pretends."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.pipeline.pretence import PROJECT, Copy

from polite_flamingo.launch.processes import start, stop

PREFECT = (sys.executable, "-m", "prefect")
PATIENCE = 400  # looks, a third of a second apart, on a machine that does other things as well
BUSY = 20  # tries of a request, a second apart
BLOCK = """\
from prefect.blocks.notifications import CustomWebhookNotificationBlock as Webhook
print(Webhook(name="team", url="{url}", json_data={{"text": "{{{{subject}}}}\\n{{{{body}}}}"}}).save("team"))
"""


class Inbox(ThreadingHTTPServer):
    """What notifications arrive at."""

    def __init__(self) -> None:
        messages: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                messages.append(json.loads(self.rfile.read(int(self.headers["content-length"])))["text"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.messages = messages
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Team:
    """A server with everything on it.

    Args:
        folder: For its files; the project lies below.
    """

    def __init__(self, folder: Path) -> None:
        (folder / "project").mkdir()
        self.copy = Copy(folder / "project", git=True)
        self.copy.bring_flows()
        self.copy.edit("configs/profiles/tiny.yaml", "tracking: mlflow", "tracking: none")
        self.copy.git("-c", "user.name=a", "-c", "user.email=a@b", "commit", "--quiet", "-a", "-m", "no MLflow")
        self.inbox = Inbox()
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/api"
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "POLITE_FLAMINGO_PIPELINE"},
            "PYTHONPATH": str(PROJECT / "src"),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_DATABASE_TIMEOUT": "60",  # SQLite's lock, on a machine that does other things as well
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "2",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "DO_NOT_TRACK": "true",
        }

    def __enter__(self) -> Team:
        self._processes = []
        self._start("server", "server", "start", "--host", "127.0.0.1", "--port", str(self.port))
        self.until(lambda: self.ask("GET", "/health"))
        self.prefect("work-pool", "create", "local", "--type", "process")
        self.prefect("--no-prompt", "deploy", "--all")
        self._start("worker", "worker", "start", "--pool", "local")
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            stop(process)
        self.inbox.shutdown()
        self.inbox.server_close()

    def prefect(self, *words: str) -> str:
        """Prefect's command line."""
        return self.python("-m", "prefect", *words)

    def python(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words],
            cwd=self.copy.root, env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ask(self, method: str, path: str, query: Any = None) -> Any:
        """What Prefect's API says; a refusal as ``{"refused": status, "detail": …}``, None where nobody answers."""
        data = None if query is None else json.dumps(query).encode()
        headers = {"content-type": "application/json"}
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        for _ in range(BUSY):
            try:
                with urllib.request.urlopen(request, timeout=20) as answer:
                    return json.loads(answer.read() or b"null")
            except urllib.error.HTTPError as error:
                refusal = {"refused": error.code, "detail": error.read().decode()}
                if error.code < 500:
                    break
                time.sleep(1)  # SQLite is locked
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                return None
        return refusal

    def deployment(self, name: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.ask("GET", f"/deployments/name/{name}")
        return answer

    def run(self, name: str, **parameters: Any) -> Any:
        """Have a deployment run."""
        path = f"/deployments/{self.deployment(name)['id']}/create_flow_run"
        return self.ask("POST", path, {"parameters": parameters, "state": {"type": "SCHEDULED"}})

    def set_state(self, run: str, kind: str) -> None:
        self.ask("POST", f"/flow_runs/{run}/set_state", {"state": {"type": kind}})

    def answer(self, run: str, **values: Any) -> Any:
        """Give a paused run what it waits for."""
        return self.ask("POST", f"/flow_runs/{run}/resume", {"run_input": values})

    def wait(self, run: str, *states: str) -> dict[str, Any]:
        """The run, once it is in one of these states; one that has ended in another is told with the logs."""
        found: dict[str, Any] = {}

        def reached() -> bool:
            found.update(self.ask("GET", f"/flow_runs/{run}") or {})
            name = found.get("state", {}).get("name")
            ended = found.get("state", {}).get("type") in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
            assert name in states or not ended, f"{name}: {found['state']['message']}\n{self.logs()}"
            return name in states

        self.until(reached)
        return found

    def lines(self, run: str) -> str:
        """What a run has logged."""
        where = {"logs": {"flow_run_id": {"any_": [run]}}}
        return "\n".join(line["message"] for line in self.ask("POST", "/logs/filter", where) or [])

    def artifact(self, key: str) -> Any:
        return self.ask("GET", f"/artifacts/{key}/latest")

    def until(self, reached: Any) -> None:
        for _ in range(PATIENCE):
            if reached():
                return
            time.sleep(0.3)
        raise AssertionError(f"nothing came\n{self.logs()}")

    def logs(self) -> str:
        return "\n".join(path.read_text(errors="replace")[-4000:] for path in sorted(self.folder.glob("*.log")))

    def _start(self, name: str, *words: str) -> None:
        with open(self.folder / f"{name}.log", "wb") as log:
            self._processes.append(start([*PREFECT, *words], cwd=self.copy.root, env=self.environment, log=log))
