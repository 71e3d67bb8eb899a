"""The preview as a whole: choose, work in a folder that goes away, show."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polite_flamingo.jobs.backends.reachable import require_endpoint
from polite_flamingo.launch.pipeline_run import require_runnable
from polite_flamingo.params.schema import Params
from polite_flamingo.preview.choose import choose
from polite_flamingo.preview.forecast import Forecast, forecast
from polite_flamingo.preview.show import concerns_of, render, write_page
from polite_flamingo.preview.work import Previewed, run_preview

WORK = Path(".work")


@dataclass(frozen=True, slots=True)
class Shown:
    """What a preview tells.

    Args:
        text: For the terminal.
        previewed: The records.
        whole: The costs of the whole run; None: nobody knows how many records there are.
        concerns: What a person should look at.
    """

    text: str
    previewed: Previewed
    whole: Forecast | None
    concerns: Sequence[tuple[str, str]]

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it."""
        records = [
            {
                "id": rewrite.id,
                "instruction": rewrite.instruction,
                "images": [image.path for image in rewrite.images],
                "raw": rewrite.raw_answer,
                "rewritten": rewrite.rewritten,
                "prompt": rewrite.extras["prompt"],
                "kept": row["kept"],
                "reason": row["reason"],
                "scores": {name: value for name, value in rewrite.scores.items() if value is not None},
            }
            for rewrite, row in self.previewed.rows
        ]
        lost = {reject.row: reject.reason for reject in self.previewed.lost}
        whole = None if self.whole is None else self.whole.to_json()
        return {"records": records, "lost": lost, "concerns": [list(c) for c in self.concerns], "whole": whole}


def look(
    params: Params,
    count: int,
    ids: Sequence[str] = (),
    *,
    page: Path,
    records: int | None = None,
    prices: Mapping[str, float] | None = None,
) -> Shown:
    """Preview a profile.

    Args:
        params: Resolved parameters.
        count: Records, spread over the sources.
        ids: Those to show instead.
        page: HTML file to write.
        records: Annotations of the whole run; None: as many as the sources have, where that is known.
        prices: Of a million tokens (`forecast.forecast`).

    Raises:
        ConfigError: the profile contradicts itself, or its rewriter has not been trained.
        DataError: there are no such records.
        ModelError: a model cannot be used, or the endpoint does not answer.
        QualityError: no record got an answer.
    """
    require_runnable(params)
    for backend in (params.rewriter_backend, params.score.judge.backend or ""):
        require_endpoint(backend)
    chosen = choose(params, count, ids)
    WORK.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="preview-", dir=WORK) as name:
        folder = Path(name)
        previewed = run_preview(params, chosen.samples, folder)
        total = records or chosen.total
        whole = None if total is None else forecast(params, previewed, total, prices or {})
        concerns = concerns_of(params, previewed)
        write_page(params, previewed, whole, concerns, folder / "pf1m", page)
    text = render(chosen, previewed, whole, concerns, params.quality.max_rejected_share)
    return Shown(text, previewed, whole, concerns)
