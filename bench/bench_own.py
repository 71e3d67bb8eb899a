"""One's own table and an endpoint, as docs/quickstart.md has it, at 10,000 and 100,000 records, killed twice.

`polite-flamingo init` makes a project of a CSV and some hundred pictures; the stages run one after the other, each in
a process of its own, and rewriting is stopped with SIGKILL at one third and at two thirds and started again. The
endpoint is a stub in another process (`bench.own_stub`) that counts what it is asked: its rate is the one reported,
and no record may be asked more than once but for requests under way at a kill. The smallest size runs without kills:
there it has to be none.

Prints a table and writes ``reports/bench/own.json``.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from bench.common import ROOT, WORK, machine, publish, verdict
from bench.own_stub import MODEL, number_of
from polite_flamingo.io.shards import read_shards

NAME = "own"
PICTURES = 300
QUESTIONS_PER_PICTURE = 5
KILLS = (1 / 3, 2 / 3)
WANTED = 1000.0  # requests per second
FLAT = 1.05  # peak memory of the largest run over that of the smallest
BEFORE, BEHIND = ("download",), ("score", "filter")


def environment() -> dict[str, str]:
    """For processes in the project's folder."""
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    quiet = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "DVC_NO_ANALYTICS": "1"}
    return {**os.environ, "PYTHONPATH": paths, **quiet}


def write_data(folder: Path, records: int) -> None:
    """Pictures, and a table of questions with terse answers that share them."""
    from PIL import Image

    folder.mkdir(parents=True)
    for number in range(PICTURES):
        colour = (number % 256, 40 * (number // 256), 90)
        Image.linear_gradient("L").convert("RGB").resize((224, 224)).save(folder / f"{number}.jpg")
        picture = Image.blend(Image.open(folder / f"{number}.jpg"), Image.new("RGB", (224, 224), colour), 0.5)
        picture.save(folder / f"{number}.jpg", quality=85)
    with open(folder / "questions.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("number", "question", "answer", "file"))
        for record in range(records):
            picture_number = record // QUESTIONS_PER_PICTURE % PICTURES
            question = f"How many boxes stand beside door {record}?"
            table.writerow((record, question, number_of(record), f"{picture_number}.jpg"))


@contextmanager
def endpoint(latency: float) -> Iterator[str]:
    """The stub's address."""
    command = [sys.executable, "-m", "bench.own_stub", str(latency)]
    with subprocess.Popen(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.kill()


def ask(address: str, what: str) -> dict[str, Any]:
    """What the stub says of itself."""
    with urllib.request.urlopen(f"{address}/{what}", timeout=60) as reply:
        value: dict[str, Any] = json.load(reply)
    return value


def call(folder: Path, *arguments: str, kill_at: int = 0, address: str = "") -> dict[str, Any]:
    """Run the command in a process group of its own, until it ends or the stub was asked `kill_at` times."""
    started = time.perf_counter()
    with open(folder / "log", "a", encoding="utf-8") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "polite_flamingo", *arguments],
            cwd=folder,
            env=environment(),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        while kill_at and process.poll() is None:
            if ask(address, "count")["requests"] >= kill_at:
                os.killpg(process.pid, signal.SIGKILL)
                break
            time.sleep(0.05)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wanted = -signal.SIGKILL if kill_at else 0
    if process.returncode != wanted:
        raise SystemExit(f"{' '.join(arguments)}: {process.returncode}\n{(folder / 'log').read_text()[-3000:]}")
    return {
        "stage": arguments[0],
        "killed": bool(kill_at),
        "seconds": round(time.perf_counter() - started, 2),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
        "peak_mib": round(used.ru_maxrss / 1024, 1),
    }


def rates(moments: Sequence[float]) -> dict[str, float]:
    """Requests per second while requests came: in the median second, and all through."""
    seconds: dict[int, int] = {}
    for moment in moments:
        seconds[int(moment)] = seconds.get(int(moment), 0) + 1
    inner = list(seconds.values())[1:-1] or list(seconds.values())
    return {
        "requests_per_second": round(median(inner), 1),
        "busiest_second": max(inner),
        "requests_per_second_overall": round(len(moments) / (max(moments) - min(moments)), 1),
    }


def measure(records: int, kills: Sequence[float], concurrency: int, latency: float, folder: Path) -> dict[str, Any]:
    """A project of so many records from `init` to `filter`."""
    write_data(folder / NAME, records)
    with endpoint(latency) as address:
        call(folder, "init", NAME, "--rewriter", f"openai:{address}/v1#{MODEL}", "--yes")
        with open(folder / "configs" / "profiles" / f"{NAME}.yaml", "a", encoding="utf-8") as profile:
            profile.write(f"runtime: {{tracking: none, endpoint: {{concurrency: {concurrency}}}}}\n")
        stages = [call(folder, stage) for stage in BEFORE]
        stages += [call(folder, "rewrite", kill_at=int(share * records), address=address) for share in kills]
        stages.append(call(folder, "rewrite"))
        asked = ask(address, "figures")
        stages += [call(folder, stage) for stage in BEHIND]
    data = folder / "data" / NAME
    ids = [row["id"] for row in read_shards(data / "rewrites", ["id"])]
    rewriting = [stage for stage in stages if stage["stage"] == "rewrite"]
    again: dict[str, int] = asked.pop("asked_again")
    return {
        "records": records,
        "kills": len(kills),
        "concurrency": concurrency,
        "latency": latency,
        **rates(asked.pop("moments")),
        "rewrite_cpu_ms_per_record": round(1000 * sum(stage["cpu_seconds"] for stage in rewriting) / records, 3),
        "rewrite_peak_mib": max(stage["peak_mib"] for stage in rewriting),
        "rewritten": len(ids),
        "lost": records - len(set(ids)),
        "bought_twice": len(again),
        "most_often_asked": max(again.values(), default=1),
        "endpoint": asked,
        "stages": stages,
    }


def bounds(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What has to hold, and whether it does."""
    lines = []
    for row in rows:
        under_way = row["kills"] * row["concurrency"]
        whole = row["lost"] == 0 and row["rewritten"] == row["records"]
        lines += [
            f"{row['records']:,} records: {row['lost']} lost, {row['rewritten']:,} rewritten ({verdict(whole)})",
            f"{row['records']:,} records, {row['kills']} kills: {row['bought_twice']} asked more than once, at most "
            f"{under_way} under way at the kills ({verdict(row['bought_twice'] <= under_way)})",
            f"{row['records']:,} records: {row['requests_per_second']:,} requests/s in the median second, "
            f"{WANTED:,.0f} wanted ({verdict(row['requests_per_second'] >= WANTED)})",
        ]
    growth = rows[-1]["rewrite_peak_mib"] / rows[0]["rewrite_peak_mib"]
    sizes = f"{rows[0]['records']:,} -> {rows[-1]['records']:,} records"
    return [*lines, f"peak memory of rewriting, {sizes}: x {growth:.3f} ({verdict(growth <= FLAT)})"]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--concurrency", type=int, default=8, help="requests at the same time")
    parser.add_argument("--latency", type=float, default=0.002, help="of the stub, seconds")
    options = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = {"machine": machine(), "rows": []}
    smallest = min(options.records)
    for records in sorted(options.records):
        kills = () if records == smallest and len(options.records) > 1 else KILLS
        with tempfile.TemporaryDirectory(prefix="own-", dir=WORK) as folder:
            row = measure(records, kills, options.concurrency, options.latency, Path(folder))
        report["rows"].append(row)
        for stage in row["stages"]:
            print(json.dumps({"records": records, **stage}), flush=True)
        print(json.dumps({key: value for key, value in row.items() if key != "stages"}), flush=True)
    report["bounds"] = bounds(report["rows"])
    print("\n".join(report["bounds"]))
    print(publish("own", report))


if __name__ == "__main__":
    main()
