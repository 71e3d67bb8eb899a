"""Training of the learned filter (`filter/learned.py`) on labelled records; measured on kinds of errors never seen."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.calibrate.labels import CLEAN
from polite_flamingo.calibrate.suggest import halves
from polite_flamingo.calibrate.verdicts import LabelledTable
from polite_flamingo.errors import DataError
from polite_flamingo.filter.learned import FEATURES, MOST, LearnedModel
from polite_flamingo.io import write_json

if TYPE_CHECKING:
    import numpy as np

    from polite_flamingo.filter.columns import Floats

REGULARISATION = 0.3  # scikit-learn's C: smaller is stronger
LEAST = 1e-6  # standard deviation of a feature that tells anything
FEWEST = 10  # records of a kind, for a figure


def learn(table: LabelledTable, prevalence: float, min_clean: float) -> dict[str, Any]:
    """Train on all records; measure on one half what a training on the other half catches, each kind left out in turn.

    Args:
        table: Labelled records.
        prevalence: Share of errors before filtering, for which the probabilities hold.
        min_clean: Share of the clean records that the suggested threshold keeps.

    Returns:
        ``model`` (see `LearnedModel`), ``max_risk`` suggested, and ``measured``: for each kind of error, when it was
        trained on and when it was not, the share caught, with the share of the clean records kept and both counts.

    Raises:
        DataError: there are no clean or no corrupted records.
    """
    chosen_on, measured_on = halves(table)
    kinds = sorted({kind for kind in table.kinds if kind != CLEAN})
    measured: dict[str, Any] = {}
    for kind in kinds:
        seen, unseen = _fit(chosen_on, (), prevalence), _fit(chosen_on, (kind,), prevalence)
        measured[kind] = {
            "seen": _caught(seen, chosen_on, measured_on, kind, min_clean),
            "unseen": _caught(unseen, chosen_on, measured_on, kind, min_clean),
        }
    model = _fit(table, (), prevalence)
    return {
        "model": model.model_dump(),
        "max_risk": round(_threshold(model, table, min_clean), 4),
        "prevalence": prevalence,
        "measured": {kind: rates for kind, rates in measured.items() if rates["seen"]["corrupted"] >= FEWEST},
    }


def write_learned(file: Path, learned: dict[str, Any]) -> None:
    """Write what `learn` returned."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, learned)


def _fit(table: LabelledTable, left_out: Collection[str], prevalence: float) -> LearnedModel:
    """A logistic model of standardised features, its intercept moved to the prevalence."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    rows = np.array([kind not in left_out for kind in table.kinds])
    truth = table.corrupted[rows]
    if not truth.any() or truth.all():
        raise DataError("a learned filter needs clean and corrupted records", value=int(truth.sum()))
    columns, scales = {}, {}
    for name, feature in FEATURES.items():
        values = feature(table.batch)[rows]
        centre, scale = _moments(values)
        if scale > LEAST:
            scales[name] = (centre, scale)
            columns[name] = np.nan_to_num(np.clip((values - centre) / scale, -MOST, MOST))
    fitted = LogisticRegression(C=REGULARISATION, class_weight="balanced", max_iter=1000)
    fitted.fit(np.stack(list(columns.values()), axis=1), truth)
    weights = dict(zip(columns, fitted.coef_[0].tolist(), strict=True))
    return LearnedModel(
        intercept=round(float(fitted.intercept_[0]) + math.log(prevalence / (1 - prevalence)), 6),
        features={
            name: (round(centre, 8), round(scale, 8), round(weights[name], 6))
            for name, (centre, scale) in scales.items()
        },
    )


def _moments(values: Floats) -> tuple[float, float]:
    """Mean and standard deviation of what is there; (0, 0) where nothing varies."""
    import numpy as np

    there: np.ndarray[Any, Any] = values[~np.isnan(values)]
    return (float(there.mean()), float(there.std())) if len(there) else (0.0, 0.0)


def _threshold(model: LearnedModel, table: LabelledTable, min_clean: float) -> float:
    import numpy as np

    return float(np.quantile(model.risk(table.batch)[~table.corrupted], min_clean, method="higher"))


def _caught(
    model: LearnedModel, chosen_on: LabelledTable, measured_on: LabelledTable, kind: str, min_clean: float
) -> dict[str, float]:
    import numpy as np

    risk, limit = model.risk(measured_on.batch), _threshold(model, chosen_on, min_clean)
    wrong = np.array([found == kind for found in measured_on.kinds])
    clean = ~measured_on.corrupted
    return {
        "caught": round(float((risk[wrong] > limit).mean()), 4) if wrong.any() else 0.0,
        "clean_kept": round(float((risk[clean] <= limit).mean()), 4) if clean.any() else 1.0,
        "corrupted": int(wrong.sum()),
        "clean": int(clean.sum()),
    }
