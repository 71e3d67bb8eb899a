"""What the clicks amount to: an annotator's judgement of a sample, what is left to do, and what people agreed on.

The first round counts as it was given alone. In the second, a sample on which its judges differ is shown to them
together, and one that a single person judged to the one who checks it; there a label replaces the first one. An answer
is settled when all of them say the same.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.study.drawing import JUDGE
from polite_flamingo.study.forms import StudyForm
from polite_flamingo.study.records import COMMENTED, LABELLED, RANKED, SEEN, UNDONE, Assignment, StudyEvent, StudyItem

MAX_COMMENT = 4_000  # characters
Key = tuple[int, str]  # answer and criterion
Places = list[list[int]]  # answers, the best first; those of one place are equally good


@dataclass
class Opinion:
    """One annotator's judgement of one sample, as of their last click.

    Attributes:
        labels: (answer, criterion) -> option.
        places: Answers that have a place so far, the best first.
        comment: What they wrote.
    """

    labels: dict[Key, str] = field(default_factory=dict)
    places: Places = field(default_factory=list)
    comment: str = ""

    def complete(self, item: StudyItem, form: StudyForm, ranking: bool) -> bool:
        """Whether everything was judged."""
        labelled = all((slot, one.name) in self.labels for slot in range(len(item.answers)) for one in form.criteria)
        return labelled and (not ranking or sum(map(len, self.places)) == len(item.answers))


def check(event: StudyEvent, item: StudyItem, form: StudyForm, ranking: bool) -> None:
    """Refuse a click whose value means nothing.

    Raises:
        DataError: naming the value.
    """
    if event.kind == LABELLED:
        if event.slot is None or event.value not in form.options(event.criterion):
            raise DataError("no such label", value=(event.criterion, event.value), where=item.id)
    elif event.kind == RANKED:
        slots = sorted(slot for place in parse_places(event.value) for slot in place)
        if not ranking or len(set(slots)) != len(slots) or not set(slots) <= set(range(len(item.answers))):
            raise DataError("places do not fit the answers", value=event.value, where=item.id)
    elif event.kind == COMMENTED:
        if len(event.value) > MAX_COMMENT:
            raise DataError(f"a comment has at most {MAX_COMMENT} characters", value=len(event.value), where=item.id)
    elif event.kind not in (SEEN, UNDONE):
        raise DataError("no such click", value=event.kind, where=item.id)
    if event.round not in (1, 2):
        raise DataError("no such round", value=event.round, where=item.id)


def parse_places(value: str) -> Places:
    """Places of a click.

    Raises:
        DataError: it is no list of lists of numbers.
    """
    try:
        places = json.loads(value)
    except ValueError:
        places = None
    fits = isinstance(places, list) and all(
        isinstance(place, list) and place and all(type(slot) is int for slot in place) for place in places
    )
    if not fits:
        raise DataError("places are no list of lists of numbers", value=value[:80])
    return places


def fold(events: Iterable[StudyEvent]) -> dict[tuple[str, str, int], Opinion]:
    """(annotator, sample, round) -> what all their clicks come to; an undone click counts as never made."""
    everything = list(events)
    undone = {event.value for event in everything if event.kind == UNDONE}
    judged: dict[tuple[str, str, int], Opinion] = defaultdict(Opinion)
    for event in everything:
        if str(event.number) in undone or event.kind in (UNDONE, SEEN):
            continue
        own = judged[event.annotator, event.item, event.round]
        if event.kind == LABELLED and event.slot is not None:
            own.labels[event.slot, event.criterion] = event.value
        elif event.kind == RANKED:
            own.places = parse_places(event.value)
        elif event.kind == COMMENTED:
            own.comment = event.value
    return dict(judged)


class Standing:
    """How far a study has come: whose judgements there are, what is open and what is agreed.

    Args:
        items: All samples.
        assignments: Who judges and checks them.
        events: Every click.
        form: What is asked.
        ranking: Whether answers are ranked.
    """

    def __init__(
        self,
        items: Sequence[StudyItem],
        assignments: Sequence[Assignment],
        events: Iterable[StudyEvent],
        form: StudyForm,
        ranking: bool,
    ) -> None:
        self.items = {item.id: item for item in items}
        self.form, self.ranking = form, ranking
        self._judged = fold(events)
        self.judges: dict[str, list[str]] = defaultdict(list)
        self.others: dict[str, list[str]] = defaultdict(list)
        self._lists: dict[str, list[Assignment]] = defaultdict(list)
        for one in assignments:
            (self.judges if one.role == JUDGE else self.others)[one.item].append(one.annotator)
            self._lists[one.annotator].append(one)

    def judgement(self, annotator: str, item: str, round_: int) -> Opinion:
        """What one has said so far; empty if nothing."""
        return self._judged.get((annotator, item, round_)) or Opinion()

    def done(self, annotator: str, item: str) -> bool:
        """Whether one's first judgement is complete."""
        return self.judgement(annotator, item, 1).complete(self.items[item], self.form, self.ranking)

    def people(self, item: str) -> list[str]:
        """Who has a say in a sample: its judges, and who checks them."""
        return [*self.judges[item], *self.others[item]]

    def said(self, item: str, key: Key) -> dict[str, str]:
        """Annotator -> option as of now: the second round's label, else the first's."""
        found = {}
        for name in self.people(item):
            second, first = (self.judgement(name, item, number).labels.get(key) for number in (2, 1))
            label = second if second is not None or name in self.others[item] else first
            if label is not None:
                found[name] = label
        return found

    def agreed(self, item: str, key: Key) -> str | None:
        """The option that everybody who has a say gives; None while there is none."""
        said = self.said(item, key)
        labels = set(said.values())
        return labels.pop() if len(labels) == 1 and len(said) == len(self.people(item)) else None

    def keys(self, item: str) -> list[Key]:
        """Every question about every answer of a sample."""
        return [(slot, one.name) for slot in range(len(self.items[item].answers)) for one in self.form.criteria]

    def open_keys(self, item: str) -> list[Key]:
        """Those on which people differ or have not spoken; none before all judges have judged alone."""
        if not all(self.done(name, item) for name in self.judges[item]):
            return []
        return [key for key in self.keys(item) if self.agreed(item, key) is None]

    def first_round(self, annotator: str) -> list[str]:
        """The samples one judges, in one's own order."""
        return [one.item for one in self._lists[annotator] if one.role == JUDGE]

    def second_round(self, annotator: str) -> list[str]:
        """The samples one looks at again: the open ones, and those one has spoken on in this round."""
        return [one.item for one in self._lists[annotator] if self.second_round_has(annotator, one.item)]

    def second_round_has(self, annotator: str, item: str) -> bool:
        """Whether a sample of theirs is open, or was spoken on in the second round by them."""
        return (annotator, item, 2) in self._judged or bool(self.open_keys(item))

    def progress(self) -> dict[str, Any]:
        """Counts by annotator, and of samples that are settled."""
        return {
            "annotators": {
                name: {
                    "samples": len(own := self.first_round(name)),
                    "done": sum(self.done(name, item) for item in own),
                    "open_in_second_round": sum(bool(self.open_keys(item)) for item in self.second_round(name)),
                }
                for name in self._lists
            },
            "samples": len(self.items),
            "judged": sum(all(self.done(name, item) for name in self.judges[item]) for item in self.items),
            "settled": sum(all(self.agreed(item, key) for key in self.keys(item)) for item in self.items),
        }


def labels_json(labels: Mapping[Key, str]) -> list[list[Any]]:
    """Labels as JSON has them: answer, criterion, option."""
    return [[slot, criterion, value] for (slot, criterion), value in sorted(labels.items())]
