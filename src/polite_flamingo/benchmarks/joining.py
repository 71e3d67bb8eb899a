"""Sets that belong together, joined: questions and their truth, captions and objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from polite_flamingo.benchmarks.forms import YES_NO
from polite_flamingo.benchmarks.items import BenchmarkItem, Metric, QuestionSet, bare, canonical
from polite_flamingo.evaluate.sets import Kind


def joined(sets: list[QuestionSet]) -> list[QuestionSet]:
    """Join sets of questions without truth to the set that has it."""
    bare_sets = [one for one in sets if not any(item.answers for item in one.items)]
    full = [one for one in sets if any(item.answers for item in one.items)]
    for asked in bare_sets:
        partner = next((one for one in full if _join(asked, one)), None)
        if partner is None:
            asked.metric = Metric.NONE
            full.append(asked)
    for one in full:
        items = one.items
        if one.metric is Metric.EXACT and items and all(len(item.answers) == 10 for item in items):
            one.metric = Metric.VQA
        if one.metric is Metric.EXACT and all(
            len(item.answers) == 1 and item.answers[0].lower() in YES_NO for item in items
        ):
            one.items = items = [
                replace(item, choices=YES_NO, label=YES_NO.index(item.answers[0].lower())) for item in items
            ]
        if one.metric in (Metric.EXACT, Metric.CONTAINED) and all(item.label >= 0 and item.choices for item in items):
            one.metric = Metric.YES_NO if all(item.choices == YES_NO for item in items) else Metric.CHOICE
    return full


def _join(asked: QuestionSet, full: QuestionSet) -> bool:
    """Hand words, ids and categories of questions to the items that have their truth; whether any was found."""
    by_pair: dict[tuple[str, str], list[int]] = {}
    by_id: dict[str, list[int]] = {}
    for place, item in enumerate(full.items):
        by_id.setdefault(canonical(item.id), []).append(place)
        if item.question:
            by_pair.setdefault((canonical(item.image), bare(item.question)), []).append(place)
    found = 0
    for question in asked.items:
        short = question.question.split("\n")[0]
        places = (
            by_pair.get((canonical(question.image), bare(short)), [])
            if by_pair
            else by_id.get(canonical(question.id), [])
        )
        if question.groups and len(places) > 1:
            places = [place for place in places if full.items[place].groups == question.groups] or places
        if not places:
            continue
        place = places[0]
        item = full.items[place]
        full.items[place] = replace(
            item,
            question=item.question or question.question,
            image=item.image or question.image,
            aliases=(*item.aliases, question.id),
        )
        found += 1
    if found:
        full.notes.append(f"{found} of {len(asked.items)} questions of {asked.name!r} joined")
    return found > 0


def add_objects(sets: list[QuestionSet], objects: Mapping[str, tuple[str, ...]]) -> None:
    """Hand objects to the captions of their images; images without captions are described as well."""
    if not objects:
        return
    captioned = [own for own in sets if own.kind is Kind.CAPTION]
    if not captioned:
        captioned = [QuestionSet("objects", Metric.NONE, Kind.CAPTION, [])]
        sets += captioned
    for own in captioned:
        own.items = [replace(item, objects=objects.get(canonical(item.image), item.objects)) for item in own.items]
        if lacking := sum(item.objects is None for item in own.items):
            own.notes.append(f"{lacking} of {len(own.items)} images have no objects: no CHAIR for them")
    known = {canonical(item.image) for own in captioned for item in own.items}
    more = [BenchmarkItem(key, image=key, objects=names) for key, names in objects.items() if key not in known]
    if more and captioned[0].items:
        captioned[0].notes.append(f"{len(more)} images have objects and no captions: CHAIR alone for them")
    captioned[0].items += more
