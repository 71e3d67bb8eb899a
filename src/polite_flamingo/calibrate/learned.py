"""Training of the learned filter (`filter/learned.py`) on labelled records; measured on kinds of errors never seen."""

from __future__ import annotations

import math
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.calibrate.labels import CLEAN
from polite_flamingo.calibrate.verdicts import LabelledTable
from polite_flamingo.errors import DataError
from polite_flamingo.filter.learned import FEATURES, MOST, LearnedModel
from polite_flamingo.io.text import write_json

if TYPE_CHECKING:
    import numpy as np

    from polite_flamingo.calibrate.verdicts import Ints, Mask
    from polite_flamingo.filter.columns import Floats

ALL = "all"  # kinds of errors together
FOLDS = 5  # of the originals
REGULARISATION = 0.3  # scikit-learn's C: smaller is stronger
LEAST = 1e-6  # standard deviation of a feature that tells anything
FEWEST = 10  # records of a kind, for a figure


def learn(table: LabelledTable, prevalence: float, min_clean: float) -> dict[str, Any]:
    """Train on all records; measure on each fifth of the originals what a training on the others catches.

    A second training leaves each kind of error out in turn. The threshold of a fifth is chosen on the other fifths, by
    risks that a training without them gave.

    Args:
        table: Labelled records.
        prevalence: Share of errors before filtering, for which the probabilities hold.
        min_clean: Share of the clean records that the suggested threshold keeps.

    Returns:
        ``model`` (see `LearnedModel`), ``max_risk`` suggested, and ``measured``: for `ALL` kinds of errors together
        and for each, when it was trained on (``seen``) and when it was not, the share caught, with the share of the
        clean records kept and both counts.

    Raises:
        DataError: there are no clean or no corrupted records.
    """
    import numpy as np

    folds = np.array([zlib.crc32(group.encode()) % FOLDS for group in table.groups])
    kinds = sorted({kind for kind in table.kinds if kind != CLEAN})
    risks = _risks(table, folds, (), prevalence)
    seen = _flagged(table, folds, risks, min_clean)
    measured: dict[str, Any] = {ALL: {"seen": _caught(table, seen, kinds)}}
    for kind in kinds:
        unseen = _flagged(table, folds, _risks(table, folds, (kind,), prevalence), min_clean)
        measured[kind] = {"seen": _caught(table, seen, (kind,)), "unseen": _caught(table, unseen, (kind,))}
    return {
        "model": _fit(table, (), prevalence).model_dump(),
        "max_risk": round(_threshold(risks[~table.corrupted], min_clean), 4),
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


def _risks(table: LabelledTable, folds: Ints, left_out: Collection[str], prevalence: float) -> Floats:
    """The risk of every record by a model that was trained without its fold; shape (rows,)."""
    import numpy as np

    risks = np.zeros(len(folds))
    for fold in range(FOLDS):
        own = np.flatnonzero(folds == fold)
        model = _fit(table.take(np.flatnonzero(folds != fold)), left_out, prevalence)
        if len(own):
            risks[own] = model.risk(table.take(own).batch)
    return risks


def _flagged(table: LabelledTable, folds: Ints, risks: Floats, min_clean: float) -> Mask:
    """Who is above the threshold of the other folds."""
    import numpy as np

    limits = np.array([_threshold(risks[~table.corrupted & (folds != fold)], min_clean) for fold in range(FOLDS)])
    flagged: Mask = risks > limits[folds]
    return flagged


def _threshold(clean: Floats, min_clean: float) -> float:
    """The risk below which `min_clean` of the clean records are, and one standard error more, as in `suggest`."""
    import numpy as np

    share = min(min_clean + math.sqrt(min_clean * (1 - min_clean) / len(clean)), 1.0)
    return float(np.quantile(clean, share, method="higher"))


def _caught(table: LabelledTable, flagged: Mask, kinds: Collection[str]) -> dict[str, float]:
    import numpy as np

    wrong = np.array([found in kinds for found in table.kinds])
    clean = ~table.corrupted
    return {
        "caught": round(float(flagged[wrong].mean()), 4) if wrong.any() else 0.0,
        "clean_kept": round(float((~flagged[clean]).mean()), 4),
        "corrupted": int(wrong.sum()),
        "clean": int(clean.sum()),
    }
