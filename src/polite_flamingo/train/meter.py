"""What is seen of a training: figures for a tracker every few steps, and the loss curve.

The first process reports; a null tracker costs nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from polite_flamingo.io.text import write_csv
from polite_flamingo.tracking.base import NullTracker

if TYPE_CHECKING:
    from polite_flamingo.tracking.base import Tracker
    from polite_flamingo.train.feed import Batch

EVERY = 10  # steps per row


class Meter:
    """Adds up steps and sends their means.

    Args:
        tracker: Receives ``label/loss``, ``label/learning_rate``, ``label/gradient_norm``, ``label/tokens_per_second``
            (real tokens, all processes), ``label/useful_token_share`` (real tokens among those computed),
            ``label/waiting_share`` (time without data), ``label/memory_gb`` (peak, this process).
        label: Name of the training.
        quiet: True in every process but the first.
    """

    def __init__(self, tracker: Tracker, label: str, *, quiet: bool) -> None:
        self._tracker, self._label = tracker, label
        self._silent = quiet or type(tracker) is NullTracker
        self.real = self.computed = 0  # tokens of this process
        self.pause = 0.0  # seconds of validation and checkpoints
        self._begin(0.0)

    def _begin(self, waited: float) -> None:
        self._rows: list[tuple[float, float]] = []
        self._tokens = self._real = self._computed = 0
        self._since, self._waited, self._paused = time.monotonic(), waited, self.pause

    def add(self, loss: float, norm: float, tokens: int, parts: tuple[Batch, ...]) -> None:
        """Count a step; `tokens` over all processes, `parts` of this one."""
        real, computed = sum(part.tokens for part in parts), sum(part.input_ids.numel() for part in parts)
        self.real += real
        self.computed += computed
        self._rows.append((loss, norm))
        self._tokens += tokens
        self._real += real
        self._computed += computed

    def report(self, step: int, rate: float, waited: float, *, last: bool) -> None:
        """Send the means when enough steps came together; `waited` is the feed's total (seconds)."""
        if len(self._rows) < EVERY and not last:
            return
        if not self._silent and self._rows:
            seconds = max(1e-9, time.monotonic() - self._since - (self.pause - self._paused))
            values = {
                "loss": sum(loss for loss, _ in self._rows) / len(self._rows),
                "learning_rate": rate,
                "gradient_norm": sum(norm for _, norm in self._rows) / len(self._rows),
                "tokens_per_second": self._tokens / seconds,
                "useful_token_share": self._real / self._computed,
                "waiting_share": (waited - self._waited) / seconds,
                "memory_gb": peak_memory(),
            }
            self._tracker.metrics({f"{self._label}/{name}": value for name, value in values.items()}, step=step)
        self._begin(waited)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The time in the block counts as a pause, not as training."""
        began = time.monotonic()
        yield
        self.pause += time.monotonic() - began

    def validated(self, step: int, loss: float) -> None:
        """Send a validation loss."""
        if not self._silent:
            self._tracker.metrics({f"{self._label}/validation_loss": loss}, step=step)


def peak_memory() -> float:
    """Most memory (GB) this process has held: the GPU's where there is one, else the resident set."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    import resource
    import sys

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


def write_losses(losses: Sequence[float], path: Path) -> None:
    """Write the loss of every step, and its running mean as `plot_losses` draws it, to a CSV."""
    rows = zip(losses, _smooth(losses), strict=True)
    write_csv(path, ("step", "loss", "mean"), ((n, round(x, 5), round(y, 5)) for n, (x, y) in enumerate(rows, 1)))


def plot_losses(losses: Sequence[float], path: Path, title: str, validation: Sequence[tuple[int, float]] = ()) -> None:
    """Draw loss over steps with its running mean, and the validation losses; equal figures give equal bytes.

    Args:
        losses: Mean loss per token (nats) of every step.
        path: PNG file to write.
        title: Name of the training.
        validation: Step and loss of every validation.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    path.parent.mkdir(parents=True, exist_ok=True)
    figure = Figure(figsize=(6, 3.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.plot(range(1, len(losses) + 1), losses, color="#9ecae1", linewidth=0.8, label="per step")
    axes.plot(range(1, len(losses) + 1), _smooth(losses), color="#08519c", label=f"mean of {_window(losses)}")
    if validation:
        steps, values = zip(*validation, strict=True)
        axes.plot(steps, values, color="#d94801", marker="o", markersize=3, linewidth=1, label="validation")
    axes.set(xlabel="optimizer step", ylabel="loss per token (nats)", title=title)
    axes.legend(frameon=False)
    figure.savefig(path)


def _window(losses: Sequence[float]) -> int:
    return max(1, len(losses) // 20)


def _smooth(losses: Sequence[float]) -> list[float]:
    window = _window(losses)
    runs = [losses[max(0, i - window + 1) : i + 1] for i in range(len(losses))]
    return [sum(run) / len(run) for run in runs]
