"""A server asked at a bounded rate for long: does its memory stay flat (``bench_serve --soak``)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from random import Random
from typing import Any

import aiohttp

from bench.serve_clients import Clients, memory_mib, picture

SHARES = {"stream": 0.45, "whole": 0.25, "rewrite": 0.2, "leave": 0.05, "refused": 0.05}  # of the requests


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
                memory.append((now, memory_mib(pid)))
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
