"""Published scores beside ours: the records of a PF-1M file are scored again, to see whether the scorers are the same.

A published record holds the text after the paragraph filter, while its Rouge-L is of the text before it: the paragraphs
that were cut are put behind the others again, which is where the rewriter invents them. Where in the text they stood is
not published, so of such records Rouge-L may differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from polite_flamingo.errors import ConfigError, DataError, did_you_mean
from polite_flamingo.export.pf1m import from_record
from polite_flamingo.io.chunks import chunked
from polite_flamingo.records import Reject, Rewrite
from polite_flamingo.scorers.rouge import rouge_score
from polite_flamingo.scorers.text import BREAK
from polite_flamingo.sources.forms.files import first_byte, load_json, read_items, read_lines

COLUMNS = {"rouge": "rouge_l", "sts": "sts", "nli": "nli", "clip": "clip_logits", "reward": "reward"}
CHUNK = 512
SHOWN = 10  # records printed one by one
EQUAL = 0.00005  # published scores have four decimals


@dataclass(slots=True)
class Agreement:
    """Published and recomputed values of one column, over the records that have both."""

    records: int = 0
    published: list[float] = field(default_factory=list)
    recomputed: list[float] = field(default_factory=list)

    def add(self, published: Any, recomputed: Any) -> None:
        """Count one record; a list counts with each of its numbers."""
        theirs, ours = (value if isinstance(value, list) else [value] for value in (published, recomputed))
        if len(theirs) == len(ours):
            self.records += 1
            self.published += theirs
            self.recomputed += ours

    def report(self) -> dict[str, Any]:
        """Means, differences, share of equal values; None where there is nothing to compare."""
        gaps = [abs(a - b) for a, b in zip(self.published, self.recomputed, strict=True)]
        if not gaps:
            return {"records": 0}
        return {
            "records": self.records,
            "published_mean": round(fmean(self.published), 4),
            "recomputed_mean": round(fmean(self.recomputed), 4),
            "mean_difference": round(fmean(gaps), 4),
            "largest_difference": round(max(gaps), 4),
            "equal": round(sum(gap <= EQUAL for gap in gaps) / len(gaps), 4),
        }


def rescore(
    file: Path,
    selected: Sequence[str],
    *,
    folders: Mapping[str, Path],
    image_root: Path,
    clip_mode: str = "paper",
    device: str = "auto",
) -> dict[str, Any]:
    """Score the records of a file again.

    Args:
        file: PF-1M JSON (a list, or one record) or JSON Lines of the same records.
        selected: Keys of `COLUMNS`.
        folders: Model folder of each selected scorer but ``rouge``.
        image_root: Folder of the image paths; only ``clip`` opens them.
        clip_mode: ``paper`` or ``fixed``.
        device: ``auto``, ``cpu`` or ``cuda``.

    Returns:
        ``records`` read, per column the `Agreement`, and ``first``: both values of the first few records.

    Raises:
        DataError: the file cannot be read, or a record is none of PF-1M's.
    """
    scorers = _load(selected, folders, image_root, clip_mode, device)
    agreements = {COLUMNS[name]: Agreement() for name in selected}
    first: list[dict[str, Any]] = []
    count = 0
    for chunk in chunked(_rewrites(file), CHUNK):
        values = {COLUMNS[name]: score(chunk) for name, score in scorers.items()}
        for i, (rewrite, _) in enumerate(chunk):
            both = {
                column: {"published": rewrite.scores.get(column), "recomputed": rows[i]}
                for column, rows in values.items()
            }
            for column, pair in both.items():
                if pair["published"] is not None and pair["recomputed"] is not None:
                    agreements[column].add(pair["published"], pair["recomputed"])
            if len(first) < SHOWN:
                first.append({"record": count, "task": str(rewrite.task), "scores": both})
            count += 1
    if not count:
        raise DataError("file holds no records", where=file)
    return {
        "file": file.name,
        "records": count,
        "columns": {name: agreement.report() for name, agreement in agreements.items()},
        "first": first,
    }


def render(report: Mapping[str, Any]) -> str:
    """The report as two plain tables."""
    lines = [f"{report['file']}: {report['records']} records", "", f"{'record':<8}{'column':<14}published  recomputed"]
    for row in report["first"]:
        for column, pair in row["scores"].items():
            if pair["published"] is not None or pair["recomputed"] is not None:
                lines.append(
                    f"{row['record']:<8}{column:<14}{_format(pair['published'])}  {_format(pair['recomputed'])}"
                )  # fmt: skip
    lines += [
        "",
        f"{'column':<14}{'both':>8}{'published':>11}{'recomputed':>12}{'mean |diff|':>13}{'max':>9}{'equal':>8}",
    ]
    for column, one in report["columns"].items():
        if one["records"]:
            lines.append(
                f"{column:<14}{one['records']:>8}{one['published_mean']:>11.4f}{one['recomputed_mean']:>12.4f}"
                f"{one['mean_difference']:>13.4f}{one['largest_difference']:>9.4f}{one['equal']:>8.1%}"
            )
        else:
            lines.append(f"{column:<14}{0:>8}  no record has it published and recomputed")
    return "\n".join(lines)


def parse_scorers(text: str) -> list[str]:
    """The scorers named in ``rouge,sts``.

    Raises:
        ConfigError: one is unknown.
    """
    names = list(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in COLUMNS:
            raise ConfigError(
                "unknown scorer", value=name, where="--scorers", next_step=did_you_mean(name, COLUMNS)
            )  # fmt: skip
    if not names:
        raise ConfigError("no scorer", where="--scorers", next_step=f"some of {', '.join(COLUMNS)}")
    return names


Pair = tuple[Rewrite, Rewrite]  # the text as published; with the paragraphs that were cut


def _load(
    selected: Sequence[str], folders: Mapping[str, Path], image_root: Path, clip_mode: str, device: str
) -> dict[str, Any]:
    from polite_flamingo.scorers.clip import load_clip
    from polite_flamingo.scorers.nli import load_nli
    from polite_flamingo.scorers.reward import load_reward
    from polite_flamingo.scorers.sts import load_sts

    loaders: dict[str, Any] = {"sts": load_sts, "nli": load_nli, "reward": load_reward}
    scorers: dict[str, Any] = {}
    for name in selected:
        if name == "rouge":
            scorers[name] = lambda pairs: [rouge_score(whole) for _, whole in pairs]
            continue
        if name == "clip":
            scorer: Any = load_clip(folders[name], image_root=image_root, mode=clip_mode, device=device)
        else:
            scorer = loaders[name](folders[name], device=device)
        scorers[name] = lambda pairs, score=scorer.score: score([left for left, _ in pairs])
    return scorers


def _rewrites(file: Path) -> Iterator[Pair]:
    for number, record in enumerate(_records(file)):
        where = f"{file.name}, record {number}"
        if not isinstance(record, dict):
            raise DataError("a record is a JSON object", value=type(record).__name__, where=where)
        rewrite, cut = from_record(record, id=where)
        yield rewrite, replace(rewrite, rewritten=BREAK.join([rewrite.rewritten, *(text for _, text in cut)]))


def _records(file: Path) -> Iterable[Any]:
    if not file.is_file():
        raise DataError("file does not exist", where=file)
    return read_items(file) if first_byte(file) == b"[" else _lines(file)


def _lines(file: Path) -> Iterator[Any]:
    """The object that is the whole file, or one object per line."""
    for number, value in read_lines("", file.parent, file):
        if not isinstance(value, Reject):
            yield value
        elif number > 1:
            raise DataError(value.reason, where=f"{file}:{number}")
        else:
            yield load_json(file)
            return


def _format(value: Any) -> str:
    if value is None:
        return "-"
    return f"[{', '.join(f'{v:.4f}' for v in value)}]" if isinstance(value, list) else f"{value:.4f}"
