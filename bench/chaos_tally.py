"""What became of each fault of a chaos run: held, recomputed, refused, lost or silent."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, field

HELD, RECOMPUTED, REFUSED, LOST, SILENT = ENDINGS = ("held", "recomputed", "refused", "lost", "silent")
WRONG = (LOST, SILENT)


@dataclass
class Tally:
    """Counts by kind of fault, and a line about each that went wrong.

    Args:
        seed: Of all draws.
        until: Moment (`time.monotonic`) after which no further fault is tried.
    """

    seed: int
    until: float
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def add(self, kind: str, ending: str, about: str = "") -> None:
        """Count a fault."""
        self.counts.setdefault(kind, Counter())[ending] += 1
        if ending in WRONG:
            self.wrong.append(f"{kind}: {ending}: {about}")
            print(f"  {self.wrong[-1]}", flush=True)

    def rng(self, *names: object) -> random.Random:
        """Random numbers of a name's own."""
        return random.Random(":".join(map(str, (self.seed, *names))))

    def has_time(self, what: str, seconds: float = 0.0) -> bool:
        """Whether something that takes so long may still begin; what may not is listed."""
        if time.monotonic() + seconds < self.until:
            return True
        self.skipped.append(what)
        return False

    @property
    def failed(self) -> bool:
        """Whether anything was lost or went unseen."""
        return bool(self.wrong)

    def table(self) -> str:
        """A table in Markdown."""
        lines = [f"| fault | {' | '.join(ENDINGS)} |", "|---" * (1 + len(ENDINGS)) + "|"]
        for kind, counts in self.counts.items():
            lines.append(f"| {kind} | {' | '.join(str(counts[ending]) for ending in ENDINGS)} |")
        total = sum(self.counts.values(), Counter[str]())
        lines.append(f"| all | {' | '.join(str(total[ending]) for ending in ENDINGS)} |")
        return "\n".join(lines)
