"""What other thresholds would keep: the whole data set decided twice from its score table, without a model."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.filter.chain import KEPT, FilterSettings, decide
from polite_flamingo.filter.columns import ScoreBatch, Verdicts
from polite_flamingo.filter.sets import ALL, SETS, SetVerdicts, judge_sets, switched_on
from polite_flamingo.filter.table import FOLDER, filter_columns, read_batches
from polite_flamingo.io.shards import readable, shard_files

if TYPE_CHECKING:
    from polite_flamingo.filter.columns import Ints

FATES = ("kept", *ALL)
MAX_TEXT = 240  # characters of a text in an example


@dataclass
class _Rules:
    """Thresholds, and the verdicts on whole sources where they are asked for."""

    settings: FilterSettings
    sets: SetVerdicts | None

    @classmethod
    def of(cls, table: Path, settings: FilterSettings) -> _Rules:
        on = not {*SETS}.isdisjoint(switched_on(settings))
        return cls(settings, judge_sets(table, settings) if on else None)

    def decide(self, batch: ScoreBatch, start: int) -> tuple[Ints, dict[str, Verdicts]]:
        """Index in `FATES` of what becomes of each row, and all verdicts; `start`: number of the batch's first row."""
        decisions = decide(batch, self.settings)
        fate, verdicts = decisions.failed + 1, dict(decisions.verdicts)
        for name, whole in reversed([*self.sets.verdicts.items()] if self.sets else []):
            part = slice(start, start + len(batch))
            verdicts[name] = Verdicts(whole.score[part], whole.rejected[part])
            fate[verdicts[name].rejected & (decisions.failed == KEPT)] = FATES.index(name)
        return fate, verdicts


@dataclass
class _Sides:
    """Records that one side keeps and the other does not."""

    most: int
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))

    def selection(self) -> list[dict[str, Any]]:
        """At most `most` examples, the sources in turn."""
        turns = zip_longest(*(self.examples[source] for source in sorted(self.examples)))
        return list(islice((one for one in chain.from_iterable(turns) if one is not None), self.most))


def whatif(scored: Path, before: FilterSettings, after: FilterSettings, *, examples: int = 0) -> dict[str, Any]:
    """Kept and rejected per source under two sets of thresholds.

    Args:
        scored: Folder of the scored records, with their table.
        before: The settings in force.
        after: Those to try.
        examples: Records gained and lost to show, each at most this many.

    Returns:
        JSON values: ``thresholds`` that differ, and for every source and in all ``records``, ``before`` and ``after``
        (number of records by what became of them), ``gained`` and ``lost``; ``examples`` of both.

    Raises:
        DataError: the records have no score table.
    """
    import numpy as np

    table = scored / FOLDER
    rules = _Rules.of(table, before), _Rules.of(table, after)
    counts: dict[str, tuple[Counter[str], Counter[str]]] = {}
    gained, lost = _Sides(examples), _Sides(examples)
    start = 0
    columns = ("source", "probe", *filter_columns(), *(("id",) if examples else ()))
    for batch in read_batches(table, [*dict.fromkeys(columns)]):
        (old, old_verdicts), (new, new_verdicts) = (rule.decide(batch, start) for rule in rules)
        natural = batch.among("probe", ("",))
        codes, sources = batch.texts("source")
        for code, source in enumerate(sources):
            rows = natural & (codes == code)
            if not rows.any():
                continue
            for counter, fate in zip(counts.setdefault(source, (Counter(), Counter())), (old, new), strict=True):
                counter.update({FATES[i]: int(n) for i, n in enumerate(np.bincount(fate[rows])) if n})
            for side, here, there, verdicts in (
                (gained, new, old, old_verdicts),
                (lost, old, new, new_verdicts),
            ):
                differ = np.flatnonzero(rows & (here == 0) & (there != 0))
                side.counts[source] += len(differ)
                known = side.examples[source]
                known += list(_examples(batch, differ[: examples - len(known)], there, verdicts))
        start += len(batch)
    return {
        "thresholds": _differences(before, after),
        "sources": {name: _row(*counts[name], gained.counts[name], lost.counts[name]) for name in sorted(counts)},
        "all": _row(
            sum((old for old, _ in counts.values()), Counter()),
            sum((new for _, new in counts.values()), Counter()),
            gained.counts.total(),
            lost.counts.total(),
        ),
        "examples": {
            name: _with_text(scored, side.selection()) for name, side in (("gained", gained), ("lost", lost))
        },
    }  # fmt: skip


def render(report: Mapping[str, Any], profile: str) -> str:
    """The report as text."""
    lines = [f"  {name}: {old} -> {new}" for name, (old, new) in report["thresholds"].items()]
    lines = [f"profile {profile}", *(lines or ["  (nothing is changed)"]), ""]
    rows = [("source", "records", "kept before", "kept after", "gained", "lost")]
    for name, row in (*report["sources"].items(), ("all", report["all"])):
        kept = [_kept(row[side], row["records"]) for side in ("before", "after")]
        rows.append((name, str(row["records"]), *kept, f"+{row['gained']}", f"-{row['lost']}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *cells in rows:
        right = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *right]))
    before, after = report["all"]["before"], report["all"]["after"]
    by = [fate for fate in FATES[1:] if before.get(fate) or after.get(fate)]
    lines += ["", "rejected by" if by else "nothing is rejected, before or after"]
    lines += [f"  {fate:<20} {before.get(fate, 0):>9} -> {after.get(fate, 0)}" for fate in by]
    for name, examples in report["examples"].items():
        for one in examples:
            lines += ["", f"{name.upper()}  {one['id']}  ({one['by']}: {one['score']})"]
            lines += [f"  {label:<10} {_short(one[label])}" for label in ("asked", "raw", "rewritten")]
    return "\n".join(lines)


def _examples(batch: ScoreBatch, rows: Ints, fate: Ints, verdicts: Mapping[str, Verdicts]) -> Iterator[dict[str, Any]]:
    """Rows that `fate` rejects, with the filter and its score."""
    import math

    for row in rows.tolist():
        name = FATES[int(fate[row])]
        score = float(verdicts[name].score[row])
        yield {"id": batch.text("id", row), "by": name, "score": None if math.isnan(score) else round(score, 4)}


def _with_text(scored: Path, examples: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Examples with request and answers, from the records."""
    if not examples:
        return []
    import pyarrow.dataset as ds

    columns = ("id", "instruction", "raw_answer", "rewritten")
    chosen = ds.field("id").isin([one["id"] for one in examples])
    with readable(scored):
        table = ds.dataset(shard_files(scored)).to_table(list(columns), filter=chosen)
    rows = table.to_pylist()
    texts = {row["id"]: row for row in rows}
    names = {"asked": "instruction", "raw": "raw_answer", "rewritten": "rewritten"}
    return [{**one, **{name: texts[one["id"]][column] for name, column in names.items()}} for one in examples]


def _differences(before: FilterSettings, after: FilterSettings) -> dict[str, list[Any]]:
    old, new = before.flat(), after.flat()
    return {name: [old[name], new[name]] for name in old if old[name] != new[name]}


def _row(before: Counter[str], after: Counter[str], gained: int, lost: int) -> dict[str, Any]:
    order = [fate for fate in FATES if before[fate] or after[fate]]
    return {
        "records": before.total(),
        "before": {fate: before[fate] for fate in order},
        "after": {fate: after[fate] for fate in order},
        "gained": gained,
        "lost": lost,
    }


def _kept(fates: Mapping[str, int], records: int) -> str:
    kept = fates.get("kept", 0)
    return f"{kept} ({kept / records:.1%})" if records else "-"


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= MAX_TEXT else flat[:MAX_TEXT] + "…"
