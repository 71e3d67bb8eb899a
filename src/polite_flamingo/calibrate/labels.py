"""Records known to be right or wrong: from a world's ground truth, from people, from injected errors."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from polite_flamingo.calibrate.corruptions import CORRUPTIONS, corrupt
from polite_flamingo.errors import DataError
from polite_flamingo.io.text import from_cell
from polite_flamingo.records import Rewrite
from polite_flamingo.scorers.text import cut_texts
from polite_flamingo.sources.forms.rows import separator_of
from polite_flamingo.world.truth import GroundTruth

INJECTED = "!injected"  # ends the id of a corrupted copy
CLEAN, NATURAL, HUMAN = "clean", "natural", "human"
_WORDS = {
    "clean": False, "good": False, "right": False, "ok": False, "0": False,
    "corrupted": True, "bad": True, "wrong": True, "1": True,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class LabelledRecord:
    """A scored rewrite and the truth about it.

    Args:
        rewrite: With its score columns.
        corrupted: Whether the text is wrong when its 0, 1, 2 … lowest paragraphs are cut; one value where none can be.
        kind: "clean", or what is wrong with it: "natural", "human" or the name of an injected corruption.
        group: Records of one origin (a text and its corrupted copy) share it; the bootstrap draws them together.
    """

    rewrite: Rewrite
    corrupted: tuple[bool, ...]
    kind: str
    group: str


def from_world(world: GroundTruth, scored: Iterable[Rewrite]) -> Iterator[LabelledRecord]:
    """Label by ground truth; records it cannot judge are left out."""
    for rewrite in scored:
        texts = cut_texts(rewrite, rewrite.scores.get("clip_logits")) or [rewrite.rewritten]
        judged = [judgement for text in texts if (judgement := world.judge_rewrite(rewrite, text)) is not None]
        if len(judged) < len(texts):
            continue
        corrupted = tuple(judgement.corrupted for judgement in judged)
        kind = str(rewrite.extras.get("probe") or NATURAL) if corrupted[0] else CLEAN
        yield LabelledRecord(rewrite, corrupted, kind, rewrite.id.partition("!")[0])


def from_people(file: Path, scored: Iterable[Rewrite]) -> Iterator[LabelledRecord]:
    """Label by a CSV file with the columns ``id`` and ``label`` ("clean" or "corrupted", also 0 and 1).

    Raises:
        DataError: a row is unusable or doubled, or names a record that is not there.
    """
    labels = read_labels(file)
    missing = dict.fromkeys(labels)
    for rewrite in scored:
        if rewrite.id in labels:
            missing.pop(rewrite.id, None)
            wrong = labels[rewrite.id]
            yield LabelledRecord(rewrite, (wrong,), HUMAN if wrong else CLEAN, rewrite.id)
    if missing:
        raise DataError(
            f"{len(missing)} labelled record(s) are not among the scored ones",
            value=list(missing)[:3],
            where=file,
            next_step="use the ids of `data/PROFILE/scored`",
        )


def read_labels(file: Path) -> Mapping[str, bool]:
    """Record id -> whether a person called it corrupted."""
    labels: dict[str, bool] = {}
    try:
        with open(file, encoding="utf-8-sig", newline="") as lines:
            for number, row in enumerate(csv.DictReader(lines, delimiter=separator_of(file) or ","), 2):
                label = _WORDS.get(str(row.get("label") or "").strip().lower())
                name = from_cell(str(row.get("id") or "").strip())
                if label is None or not name or name in labels:
                    problem = "row names a record twice" if name in labels else "row needs an id and a label"
                    raise DataError(
                        problem, value=row, where=f"{file}:{number}", next_step=f"labels are {', '.join(_WORDS)}"
                    )
                labels[name] = label
    except FileNotFoundError:
        raise DataError("file does not exist", where=file, next_step="give a CSV file with columns id,label") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError("file is not CSV in UTF-8", value=str(error), where=file) from None
    if not labels:
        raise DataError("file holds no label", where=file, next_step="give a CSV file with columns id,label")
    return labels


def inject(clean: Sequence[Rewrite], seed: int) -> list[Rewrite]:
    """A corrupted copy of every right rewrite that one fits, the rarest kind first, so that all kinds are frequent.

    The copy's id ends with ``!injected``, its ``extras["probe"]`` names the kind.
    """
    used = Counter(dict.fromkeys(CORRUPTIONS, 0))
    copies: list[Rewrite] = []
    for rewrite in clean:
        rng = Random(f"{seed}:{rewrite.id}:inject")
        kinds = rng.sample(list(CORRUPTIONS), len(CORRUPTIONS))
        kinds.sort(key=used.__getitem__)
        corruption = corrupt(rewrite.rewritten, f"{rewrite.raw_answer}\n{rewrite.instruction}", rng, kinds)
        if corruption is not None:
            text, kind = corruption
            used[kind] += 1
            extras = {**rewrite.extras, "probe": kind}
            copies.append(replace(rewrite, id=rewrite.id + INJECTED, rewritten=text, extras=extras))
    return copies


def from_injected(clean: Mapping[str, Rewrite], scored: Iterable[Rewrite]) -> Iterator[LabelledRecord]:
    """Label scored right rewrites and their `inject`-ed copies.

    A copy is right again once the paragraphs that are not in the right text are cut.

    Args:
        clean: Right rewrites by id.
        scored: Both, with their scores.
    """
    for rewrite in scored:
        group = rewrite.id.removesuffix(INJECTED)
        right = set(clean[group].paragraphs)
        texts = cut_texts(rewrite, rewrite.scores.get("clip_logits")) or [rewrite.rewritten]
        wrong = tuple(not right.issuperset(replace(rewrite, rewritten=text).paragraphs) for text in texts)
        yield LabelledRecord(rewrite, wrong, str(rewrite.extras["probe"]) if wrong[0] else CLEAN, group)
