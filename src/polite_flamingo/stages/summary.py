"""Stage `summary` (ours): the headline figures of the other stages in one small file, which git keeps.

It is DVC's only metric, for `dvc metrics diff` and `dvc exp show`. By hand, as ``polite-flamingo summary``, it takes
what there is: a profile that stops at `check_pf1m` has the figures of its curation.

Reads  : reports/P/{train_rewriter,filter,evaluate}.json.
Writes : reports/P/summary.json.
"""

from __future__ import annotations

from typing import Any

from polite_flamingo.io.text import write_json
from polite_flamingo.params.schema import Params
from polite_flamingo.reports.summary import FILE, read_reports, summarise
from polite_flamingo.tracking.base import Tracker


def run(params: Params, tracker: Tracker) -> dict[str, Any]:
    """Gather and write."""
    del tracker  # whoever runs the stage records what it returns
    summary = summarise(read_reports(params.reports))
    write_json(params.reports / FILE, summary)
    return summary
