"""Servers in processes of their own, and clients that ask them: what the bench of serving and its soak share."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from random import Random
from statistics import quantiles
from typing import Any

import aiohttp
import psutil

from bench.common import ROOT

TINY, SMOLLM2 = "tiny", "smollm2"
STARTS, WARM = 180, 1.0  # seconds
TOPICS = ("a river", "bread", "the moon", "old maps", "a bicycle", "rain", "glass", "a lighthouse", "trains", "bees")


@dataclass
class Clients:
    """What clients of one server measured.

    Args:
        url: Of the server.
        model: As the server calls it.
        tokens: Most tokens of an answer.
        least: Tokens before which an answer does not end, of our server.
    """

    url: str
    model: str
    tokens: int
    least: int = 0
    first: list[float] = field(default_factory=list)
    whole: list[float] = field(default_factory=list)
    errors: int = 0
    counting: bool = True

    async def ask(self, session: aiohttp.ClientSession, content: Any) -> None:
        """One streamed answer."""
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": self.tokens,
            "temperature": 0,
            "stream": True,
            **({"min_tokens": self.least} if self.least else {}),
        }
        began = time.perf_counter()
        first = None
        async with session.post(f"{self.url}/v1/chat/completions", json=body) as response:
            if response.status != 200:
                self.errors += 1
                await asyncio.sleep(0.1)
                return
            async for line in response.content:
                if first is None and _content(line):
                    first = time.perf_counter() - began
        if not self.counting:
            return
        if first is not None:
            self.first.append(first)
        self.whole.append(time.perf_counter() - began)

    def figures(self, seconds: float) -> dict[str, Any]:
        """Rates and times."""
        return {
            "requests": len(self.whole),
            "requests_per_second": round(len(self.whole) / seconds, 3),
            "first_token_ms": {"median": _quantile(self.first, 50), "p95": _quantile(self.first, 95)},
            "answer_ms": {"median": _quantile(self.whole, 50), "p95": _quantile(self.whole, 95)},
            "errors": self.errors,
        }


def _content(line: bytes) -> bool:
    if not line.startswith(b"data: {"):
        return False
    choices = json.loads(line[6:]).get("choices") or [{}]
    return bool(choices[0].get("delta", {}).get("content"))


def _quantile(values: Sequence[float], percent: int) -> float | None:
    """In milliseconds; of one value itself."""
    if not values:
        return None
    cuts = quantiles(values, n=100, method="inclusive") if len(values) > 1 else [values[0]] * 99
    return round(1000 * cuts[percent - 1], 1)


async def load(
    measured: Clients,
    clients: int,
    questions: Sequence[Any],
    *,
    seconds: float | None = None,
    rounds: int | None = None,
    begun: Callable[[], None] = lambda: None,
) -> float:
    """So many clients, each asking again once answered, for some rounds, or for some seconds.

    Seconds count from when all are at it (`WARM`): what is answered within them counts, whenever it was asked.

    Args:
        measured: Where the times go.
        clients: How many.
        questions: Contents of their messages, in turn.
        seconds: How long.
        rounds: So many requests of each instead.
        begun: Called when the seconds begin.

    Returns:
        Seconds it took.
    """
    numbers = count()

    async def client(session: aiohttp.ClientSession) -> None:
        for _ in count() if rounds is None else range(rounds):
            await measured.ask(session, questions[next(numbers) % len(questions)])

    timeout = aiohttp.ClientTimeout(total=1200)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        measured.counting = rounds is not None
        tasks = [asyncio.create_task(client(session)) for _ in range(clients)]
        if rounds is None:
            await asyncio.wait(tasks, timeout=WARM)
            measured.counting = True
        begun()
        began = time.perf_counter()
        await asyncio.wait(tasks, timeout=seconds)
        took = time.perf_counter() - began
        measured.counting = False
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
    return took


@contextmanager
def serving(command: Sequence[str], port: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server in a process of its own, ready; stopped with SIGTERM."""
    paths = os.pathsep.join([str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    quiet = {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    environment = {**os.environ, "PYTHONPATH": paths, **quiet}
    with open(log, "w") as out, subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out, env=environment) as process:
        try:
            until = time.monotonic() + STARTS
            while not _answers(port):
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"{' '.join(command)} does not start:\n{log.read_text()[-2000:]}")
                time.sleep(0.3)
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(60)
            process.kill()


def family(pid: int) -> list[psutil.Process]:
    """A server's process and those of its engines."""
    server = psutil.Process(pid)
    return [server, *server.children(recursive=True)]


def cpu_seconds(pid: int) -> float:
    """Seconds of processor time."""
    return float(sum(sum(process.cpu_times()[:2]) for process in family(pid)))


def memory_mib(pid: int) -> float:
    """MiB that are theirs alone: libraries, which other programs share, are not counted."""
    return float(sum(process.memory_full_info().uss for process in family(pid))) / 2**20


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ours(models: Sequence[str], port: int, slots: int) -> list[str]:
    """The command of our server."""
    served = ["--model", *models, "--port", str(port), "--slots", str(slots), "--seconds", "600"]
    return [sys.executable, "-m", "polite_flamingo", "serve", *served]


def transformers(model: str, port: int, *more: str) -> list[str]:
    """The command of ``transformers serve``."""
    where = ["--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    return [sys.executable, "-m", "transformers.cli.transformers", "serve", model, *where, *more]


def picture(rng: Random, size: int = 64) -> str:
    """A new picture of coloured rectangles, as a data URL."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (size, size), (rng.randrange(256), rng.randrange(256), rng.randrange(256)))
    draw = ImageDraw.Draw(image)
    for _ in range(4):
        x, y, side = rng.randrange(size - 16), rng.randrange(size - 16), rng.randrange(8, 16)
        draw.rectangle((x, y, x + side, y + side), fill=(rng.randrange(256), rng.randrange(256), rng.randrange(256)))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def questions(kind: str) -> list[Any]:
    """Contents of user's messages: pictures with a question, or text alone."""
    if kind == SMOLLM2:
        return [f"Tell me about {topic} in a few sentences." for topic in TOPICS]
    rng = Random(0)
    asked = (
        "Describe the image.",
        "What is in the top left?",
        "How many shapes are there?",
        "What color is the circle?",
    )
    return [
        [{"type": "image_url", "image_url": {"url": picture(rng)}}, {"type": "text", "text": asked[n % len(asked)]}]
        for n in range(40)
    ]
