"""The loss curve."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


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
    window = max(1, len(losses) // 20)
    runs = [losses[max(0, i - window + 1) : i + 1] for i in range(len(losses))]
    smooth = [sum(run) / len(run) for run in runs]
    axes.plot(range(1, len(losses) + 1), losses, color="#9ecae1", linewidth=0.8, label="per step")
    axes.plot(range(1, len(losses) + 1), smooth, color="#08519c", label=f"mean of {window}")
    if validation:
        steps, values = zip(*validation, strict=True)
        axes.plot(steps, values, color="#d94801", marker="o", markersize=3, linewidth=1, label="validation")
    axes.set(xlabel="optimizer step", ylabel="loss per token (nats)", title=title)
    axes.legend(frameon=False)
    figure.savefig(path)
