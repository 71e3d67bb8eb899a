"""Counts of a run, its progress bar, and the figures that go to whoever tracks it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from polite_flamingo.jobs.manifest import SealedEntry
from polite_flamingo.jobs.outcomes import BROKEN, FAILED, AnswerFormat, Outcome

REPORT_SECONDS = 10.0  # pace of the reported figures

Report = Callable[[Mapping[str, float], int], None]  # figures, and the records done so far


@dataclass(slots=True)
class Progress:
    """Counts of a run so far.

    Args:
        total: Records of the whole job, where known.
        restored: Records an earlier run finished.
        computed: Records of this run.
        failed: Records without an answer.
        broken: Records with an unusable image.
        counts: Sums of the answers' own figures, of all runs.
        rates: The same of this run alone, for the figures that are reported per second.
        seconds: Time of this run.
    """

    total: int | None = None
    restored: int = 0
    computed: int = 0
    failed: int = 0
    broken: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    rates: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    _started: float = field(default_factory=time.monotonic)

    def add(self, outcome: Outcome[Any], answers: AnswerFormat[Any], *, restored: bool) -> None:
        """Count one outcome."""
        if restored:
            self.restored += 1
        else:
            self.computed += 1
        self.failed += outcome.status == FAILED
        self.broken += outcome.status == BROKEN
        counts = {} if outcome.answer is None else answers.counts(outcome.answer)
        for name, count in counts.items():
            if name not in answers.rates:
                self.counts[name] += count
            elif not restored:
                self.rates[name] += count
        self.seconds = time.monotonic() - self._started

    def add_sealed(self, entry: SealedEntry, answers: AnswerFormat[Any]) -> None:
        """Count a shard an earlier run sealed."""
        self.restored += entry.rows
        self.failed += entry.failed
        self.broken += entry.broken
        self.counts.update({name: count for name, count in entry.counts.items() if name not in answers.rates})
        self.seconds = time.monotonic() - self._started

    @property
    def done(self) -> int:
        """Records finished by this and earlier runs."""
        return self.restored + self.computed

    def figures(self) -> dict[str, float]:
        """What is reported."""
        rate = self.computed / self.seconds if self.seconds else 0.0
        figures = {
            "records_done": float(self.done),
            "records_per_second": rate,
            **{f"{name}_per_second": count / self.seconds for name, count in self.rates.items() if self.seconds},
            **{name: float(count) for name, count in self.counts.items()},
            "failed": float(self.failed),
            "broken_images": float(self.broken),
        }
        if self.total is not None and rate:
            figures["seconds_remaining"] = max(0, self.total - self.done) / rate
        return figures


@contextmanager
def progress_bar(progress: Progress, label: str | None, report: Report | None) -> Iterator[Callable[[], None]]:
    """A progress bar (rate and remaining time are of this run alone) and the steady pace of reports.

    Args:
        progress: What is shown.
        label: Name of the bar; None: no bar.
        report: Gets `Progress.figures` every ten seconds and at the end.

    Yields:
        What shows the progress made meanwhile.
    """
    from tqdm import tqdm

    reported = time.monotonic()
    with tqdm(total=progress.total, desc=label, unit="rec", mininterval=1.0, disable=label is None) as bar:

        def refresh() -> None:
            nonlocal reported
            if not bar.disable:
                bar.initial = progress.restored
                counts = {**progress.counts, "failed": progress.failed + progress.broken}
                bar.set_postfix(counts, refresh=False)
                bar.update(progress.done - bar.n)
            if report is not None and time.monotonic() - reported >= REPORT_SECONDS:
                reported = time.monotonic()
                report(progress.figures(), progress.done)

        yield refresh
        refresh()
        if report is not None:
            report(progress.figures(), progress.done)
