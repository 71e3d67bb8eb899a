"""MinHash signatures of answers: `scorers.likeness` beside datasketch, on the same shingles of 100,000 answers.

Both compute 64 values of an answer's word trigrams; datasketch's are wider (32 bits). Prints a table and writes
``reports/bench/likeness.json``. Run it with ``python -m bench.bench_likeness``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from random import Random

from bench.common import publish
from polite_flamingo.scorers.likeness import VALUES, shingles, signatures

WORDS = [f"word{i}" for i in range(2000)]
CHUNK = 10_000  # answers at a time, as in the stage


def answers(count: int) -> list[str]:
    """Answers of 20 to 80 words."""
    random = Random(7)
    return [" ".join(random.choices(WORDS, k=random.randint(20, 80))) for _ in range(count)]


def ours(texts: list[str]) -> None:
    """Signatures as the stage makes them."""
    signatures(texts)


def datasketch_bulk(texts: list[str]) -> None:
    """Datasketch's own way for many sets, with the same 32-bit hashes of the shingles."""
    from datasketch import MinHash  # type: ignore[import-untyped]

    MinHash.bulk([shingles(text) for text in texts], num_perm=VALUES, seed=1, hashfunc=lambda value: value)


def seconds(work: Callable[[list[str]], None], texts: list[str], rounds: int) -> float:
    """Least processor time of a few rounds."""
    best = float("inf")
    for _ in range(rounds):
        started = time.process_time()
        for start in range(0, len(texts), CHUNK):
            work(texts[start : start + CHUNK])
        best = min(best, time.process_time() - started)
    return best


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--answers", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    texts = answers(options.answers)
    figures = {
        name: seconds(work, texts, options.rounds) for name, work in (("ours", ours), ("datasketch", datasketch_bulk))
    }
    for name, took in figures.items():
        print(f"{name:>12}: {took:7.2f} s of processor for {len(texts):,} answers")
    print(f"datasketch takes {figures['datasketch'] / figures['ours']:.1f} times as long")
    publish("likeness", {"answers": len(texts), "processor_seconds": {k: round(v, 2) for k, v in figures.items()}})


if __name__ == "__main__":
    main()
