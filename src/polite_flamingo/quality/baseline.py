"""The accepted run of a profile, in git: what the gates compare later runs with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.io.files import write_atomic
from polite_flamingo.io.text import read_json
from polite_flamingo.quality.drift import Spreads
from polite_flamingo.quality.findings import read_findings

FOLDER = Path("configs") / "baselines"
GATES = ("raw", "distorted", "rewritten", "pf1m")


def read_baseline(profile: str, gate: str) -> Spreads | None:
    """How the records of a gate were spread in the accepted run; None where no run was accepted.

    Raises:
        DataError: the file is none of ours.
    """
    path = FOLDER / f"{profile}.json"
    if not path.is_file():
        return None
    return _read(path).get(gate)


def accept(profile: str, reports: Path) -> tuple[Path, dict[str, int]]:
    """Make what the gates saw last the baseline of a profile.

    Args:
        profile: Name of the profile.
        reports: Folder of its reports.

    Returns:
        The file, and the number of records by gate.

    Raises:
        DataError: no gate has run, or one fails for another reason than drift.
    """
    path = FOLDER / f"{profile}.json"
    accepted = _read(path) if path.is_file() else {}
    records: dict[str, int] = {}
    for gate in GATES:
        report = _last_report(profile, gate, reports)
        if report is not None:
            accepted[gate], records[gate] = report["spreads"], report["records"]
    if not records:
        raise DataError(
            "no gate has run", where=reports / "checks", next_step="run `polite-flamingo run --until check_pf1m`"
        )
    write_atomic(path, _dumped(accepted))
    return path, records


def _read(path: Path) -> dict[str, Spreads]:
    try:
        gates: dict[str, Spreads] = read_json(path)
        for figure in (f for sources in gates.values() for figures in sources.values() for f in figures.values()):
            counted = all(count >= 0 for count in figure["counts"].values()) if "counts" in figure else None
            if counted is False or (counted is None and len(figure["share"]) != len(figure["at"]) + 1):
                raise ValueError(f"a figure is torn: {figure}")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        step = "`git checkout` it, or remove it and run `polite-flamingo accept-baseline`"
        raise DataError("baseline cannot be read", value=str(error)[:200], where=path, next_step=step) from None
    return gates


def _last_report(profile: str, gate: str, reports: Path) -> dict[str, Any] | None:
    """What a gate saw last: of one that failed only because the data have drifted, what it found."""
    found = read_findings(Path(), profile, f"check_{gate}")
    if found is not None and not found["passed"]:
        other = [check["column"] for check in found["failed"] if not check["drift"]]
        if other:
            raise DataError("gate fails, and not for drift alone", value=other, where=f"check_{gate}")
        return found
    path = reports / "checks" / f"check_{gate}.json"
    return read_json(path) if path.is_file() else None


def _dumped(accepted: dict[str, Spreads]) -> str:
    """JSON with one line per figure, so that a difference in git shows which one changed."""
    gates = []
    for gate in GATES:
        if gate not in accepted:
            continue
        sources = []
        for source, figures in accepted[gate].items():
            lines = [f"      {json.dumps(name)}: {json.dumps(figure)}" for name, figure in figures.items()]
            sources.append(f"    {json.dumps(source)}: {{\n" + ",\n".join(lines) + "\n    }")
        gates.append(f"  {json.dumps(gate)}: {{\n" + ",\n".join(sources) + "\n  }")
    return "{\n" + ",\n".join(gates) + "\n}\n"
