"""How all figures are drawn: the style, the colours, and bytes that depend on the numbers alone.

No display, no global state, no time stamps, fonts that matplotlib ships. Colours are the Okabe-Ito palette and cividis,
which colour-blind readers can tell apart; no meaning rests on colour alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, GREY, RED = "#0072B2", "#E69F00", "#009E73", "#6B6B6B", "#D55E00"  # Okabe-Ito, and a grey
GRID = "#E3E3E3"
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.parse_math": False,  # a name with $ is a name
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.axisbelow": True,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}
P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[Concatenate[Path, P], Path]:
    """Turn a function that draws into one that writes the PNG at its first argument, in the project's style."""

    @functools.wraps(draw)
    def write(path: Path, *args: P.args, **kwargs: P.kwargs) -> Path:
        with _style():
            figure = draw(*args, **kwargs)
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, format="png", dpi=150, metadata={"Software": None})
        return path

    return write


def canvas(width: float, height: float) -> tuple[Figure, Axes]:
    """One pair of axes on a figure of this size in inches."""
    from matplotlib.figure import Figure as Canvas

    figure = Canvas(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def true_minus(value: float, form: str) -> str:
    """`value` in a format, with a real minus sign."""
    return format(value, form).replace("-", "\N{MINUS SIGN}")


def _style() -> AbstractContextManager[None]:
    import matplotlib
    from matplotlib import rc_context

    return rc_context({**matplotlib.rcParamsDefault, **_STYLE, "backend": "Agg"})
