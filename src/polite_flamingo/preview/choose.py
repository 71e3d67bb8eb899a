"""The records of a preview: seeded, spread over the sources, or those that are named."""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from polite_flamingo.draws import key
from polite_flamingo.errors import ConfigError, DataError, ImageError
from polite_flamingo.images import open_image
from polite_flamingo.params.schema import Params
from polite_flamingo.reasons import Reasons
from polite_flamingo.records import Reject, Sample
from polite_flamingo.sources.counts import expected_rows
from polite_flamingo.sources.drawing import name_of, spread
from polite_flamingo.sources.selection import Selection

READ = 20_000  # rows of a source that are looked at; a run reads all
SPARE = 5  # times as many records as are shown are drawn, for those whose image cannot be used


@dataclass(frozen=True, slots=True)
class Chosen:
    """Records to preview.

    Args:
        samples: In the order of the sources.
        total: Annotations that the whole run would rewrite; None: not known without reading everything.
        rejected: Rows that were looked at and cannot be used.
        reasons: Why.
        looked: Rows that were looked at.
        share: Of the rows that cannot be used, as far as these tell.
    """

    samples: list[Sample]
    total: int | None
    rejected: int
    reasons: list[str]
    looked: int
    share: float = 0.0


def choose(params: Params, count: int, ids: Sequence[str] = ()) -> Chosen:
    """Draw the records that a run would draw first, or find those that are named.

    The sources are read as stage `download` reads them, each as far as `READ` rows; nothing is written.

    Args:
        params: Resolved parameters.
        count: Records.
        ids: Those to show instead; parts of ids that no other record's id has may stand for them.

    Raises:
        ConfigError: no source has annotations.
        DataError: a source cannot be read, nothing of it can be used, or there is no such record.
    """
    selections = [Selection(spec, spec.reader()) for spec in params.sources if spec.role == "annotation"]
    if not selections:
        raise ConfigError("there is nothing to rewrite", where=params.profile, next_step="no source is an annotation")
    rows = [_Rows(params, selection) for selection in selections]
    if ids:
        samples = _named(rows, ids)
        return Chosen(samples, _total(params, rows), sum(r.rejected for r in rows), [], sum(r.looked for r in rows))
    drawn = [
        heapq.nsmallest(count * SPARE, each.read(READ), key=lambda s: key(name_of(s.id, params.seed))) for each in rows
    ]
    usable = [list(islice(_with_images(each, samples), count)) for each, samples in zip(rows, drawn, strict=True)]
    quotas = spread([len(samples) for samples in usable], count)
    chosen = [sample for samples, quota in zip(usable, quotas, strict=True) for sample in samples[:quota]]
    reasons = [line for each in rows for line in each.reasons.lines()]
    looked = sum(each.looked for each in rows)
    if not chosen:
        what = f"none of the {looked} rows can be used" if looked else "the sources have no rows"
        raise DataError(
            what + "".join(f"\n    {reason}" for reason in reasons),
            where=params.image_root,
            next_step="mend them, or what the profile says of the sources",
        )
    share = sum(each.share * each.looked for each in rows) / looked
    return Chosen(chosen, _total(params, rows), sum(each.rejected for each in rows), reasons, looked, share)


class _Rows:
    """The rows of a source, as they are read."""

    def __init__(self, params: Params, selection: Selection) -> None:
        self.params, self.selection = params, selection
        self.looked = self.rejected = self.more = 0
        self.opened = self.broken = 0
        self.ended = False
        self.reasons = Reasons()

    def read(self, most: int | None) -> Iterator[Sample]:
        spec, root = self.selection.spec, self.params.image_root
        rows = iter(self.selection.reader.read(root, spec.folder, spec.split, seed=self.params.seed))
        for item in islice(rows, most):
            self.looked += 1
            if isinstance(item, Reject):
                self.reject(item)
            else:
                parts = list(self.selection.taken(item))
                self.more += len(parts) - 1
                yield from parts
        self.ended = next(rows, None) is None

    def reject(self, reject: Reject) -> None:
        self.rejected += 1
        self.reasons.add(reject)

    @property
    def share(self) -> float:
        """Of the rows that a run cannot use, if images are as often broken as among those that were opened."""
        if not self.looked:
            return 0.0
        readable = self.looked - (self.rejected - self.broken)
        broken = readable * self.broken / self.opened if self.opened else 0.0
        return 1 - (readable - broken) / self.looked

    @property
    def total(self) -> int | None:
        """Records that a run takes of the source, its own limit applied; None: not known."""
        spec = self.selection.spec
        rows = self.looked - self.rejected + self.more if self.ended else expected_rows(spec.name, spec.split)
        return rows if spec.limit is None or rows is None else min(rows, spec.limit)


def _with_images(rows: _Rows, samples: Sequence[Sample]) -> Iterator[Sample]:
    for sample in samples:
        rows.opened += 1
        try:
            for image in sample.images:
                open_image(rows.params.image_root, image.path).close()
        except ImageError as error:
            rows.broken += 1
            rows.reject(Reject(sample.source, image.path, sample.id, error.what))
        else:
            yield sample


def _total(params: Params, rows: Sequence[_Rows]) -> int | None:
    totals = [each.total for each in rows]
    known = [total for total in totals if total is not None]
    limit = params.limits.annotation
    if len(known) < len(totals):
        return limit
    return sum(known) if limit is None else min(sum(known), limit)


def _named(rows: Sequence[_Rows], ids: Sequence[str]) -> list[Sample]:
    found: dict[str, list[Sample]] = {wanted: [] for wanted in ids}
    seen: list[str] = []
    for each in rows:
        for sample in each.read(None):
            if len(seen) < READ:
                seen.append(sample.id)
            for wanted, samples in found.items():
                if wanted == sample.id:
                    samples[:0] = [sample]
                elif wanted in sample.id and len(samples) < SPARE:
                    samples.append(sample)
    chosen = []
    for wanted, samples in found.items():
        if not samples:
            near = difflib.get_close_matches(wanted, seen, n=3, cutoff=0.4) or seen[:3]
            raise DataError("no such record", value=wanted, where="--id", next_step=f"near ones: {', '.join(near)}")
        if samples[0].id != wanted and len(samples) > 1:
            listed = ", ".join(sample.id for sample in samples)
            raise DataError("several records match", value=wanted, where="--id", next_step=f"give more of it: {listed}")
        chosen.append(samples[0])
    return list({sample.id: sample for sample in chosen}.values())
