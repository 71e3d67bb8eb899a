"""Which samples people judge, in which order, and who judges what: all from a seed.

The paper draws 600 questions of eleven sets (appendix F), 300 for each of two annotators, whose labels were then
cross-checked. How many are judged by everybody is an argument here: only those tell how well people agree.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from random import Random
from typing import TypeVar

from polite_flamingo.draws import key
from polite_flamingo.errors import ConfigError

T = TypeVar("T")
SAMPLES = 600  # appendix F
PAPER_QUOTAS = {  # appendix F
    "okvqa": 200, "vsr": 100, "grid3d": 100,
    **dict.fromkeys(("aokvqa", "gqa", "clevr", "chartqa", "ocrvqa", "textvqa", "vqa_e", "vqav2"), 25),
}  # fmt: skip
EVEN = "even"
PAPER = "paper"
JUDGE, CHECK = "judge", "check"  # role: judges alone first, or only checks another's judgement in the second round


def parse_quotas(text: str) -> Mapping[str, float] | None:
    """Quotas from a command line: ``paper``, ``even`` (None) or ``okvqa=200,vsr=100``.

    Raises:
        ConfigError: it is none of these.
    """
    if text == EVEN:
        return None
    if text == PAPER:
        return dict(PAPER_QUOTAS)
    pairs = [part.strip().partition("=") for part in text.split(",")]
    if not all(name and count.isdecimal() and int(count) > 0 for name, _, count in pairs):
        raise ConfigError(
            "quotas are not understood", value=text, where="--quotas", next_step="paper, even, or SET=N,SET=N"
        )
    return {name: int(count) for name, _, count in pairs}


def allocate(total: int, weights: Mapping[str, float], available: Mapping[str, int]) -> dict[str, int]:
    """Split `total` by `weights`, no group above what is there; what one lacks goes to the others.

    >>> allocate(10, {"a": 3, "b": 1, "c": 1}, {"a": 2, "b": 9, "c": 9})
    {'a': 2, 'b': 4, 'c': 4}
    """
    given = dict.fromkeys(weights, 0)
    while (left := total - sum(given.values())) > 0:
        room = {name: weight for name, weight in weights.items() if weight > 0 and given[name] < available.get(name, 0)}
        if not room:
            break
        shares = {name: left * weight / sum(room.values()) for name, weight in room.items()}
        whole = {name: int(share) for name, share in shares.items()}
        rest = left - sum(whole.values())
        for name in sorted(room, key=lambda name: (whole[name] - shares[name], name))[:rest]:
            whole[name] += 1
        for name, count in whole.items():
            given[name] = min(given[name] + count, available[name])
    return given


def draw(
    ids: Mapping[str, Sequence[str]], total: int, weights: Mapping[str, float] | None, seed: int
) -> dict[str, list[str]]:
    """Draw `total` ids out of groups, the same for the same seed whatever their order.

    Args:
        ids: Group -> ids.
        total: How many.
        weights: Share of each group; None: even.
        seed: Seed.

    Raises:
        ConfigError: no group with a quota has a sample.
    """
    chosen = dict.fromkeys(ids, 1.0) if weights is None else dict(weights)
    available = {group: len(own) for group, own in ids.items()}
    counts = allocate(total, chosen, available)
    if not sum(counts.values()):
        raise ConfigError(
            "no sample of the sets that the quotas name",
            value=sorted(chosen)[:12],
            where="--quotas",
            next_step=f"even, or some of {', '.join(sorted(ids)) or 'no set at all'}",
        )
    return {
        group: sorted(ids[group], key=lambda name: key(f"{seed}:{name}:study"))[:count]
        for group, count in counts.items()
        if count
    }


def in_order(ids: Iterable[str], seed: int, purpose: str) -> list[str]:
    """`ids` in the order of a seed and a purpose (an annotator's name), whatever order they come in."""
    return sorted(ids, key=lambda name: key(f"{seed}:{purpose}:{name}:order"))


def shuffled(values: Sequence[T], seed: int, name: str) -> list[T]:
    """The answers of a sample in an order that tells nothing about who gave them."""
    return Random(f"{seed}:{name}:slots").sample(list(values), len(values))


def assign(
    groups: Mapping[str, Sequence[str]], annotators: Sequence[str], shared: int | None, seed: int
) -> list[tuple[str, str, str]]:
    """Who judges what: rows of annotator, id and role.

    Args:
        groups: Group -> ids drawn; each annotator gets about as many of every group.
        annotators: Their names.
        shared: How many are judged by everybody; None: all. The others have one judge, and one who checks the
            judgement in the second round, as in the paper.
        seed: Seed.
    """
    rows: list[tuple[str, str, str]] = []
    available = {group: len(ids) for group, ids in groups.items()}
    total = sum(available.values())
    common = allocate(total if shared is None else min(shared, total), available, available)
    load: Counter[str] = Counter(dict.fromkeys(annotators, 0))
    for group, ids in groups.items():
        for place, name in enumerate(in_order(ids, seed, "assignment")):
            if place < common[group] or len(annotators) == 1:
                rows += [(annotator, name, JUDGE) for annotator in annotators]
                continue
            judge = min(annotators, key=lambda one: (load[one], annotators.index(one)))
            load[judge] += 1
            checker = annotators[(annotators.index(judge) + 1) % len(annotators)]
            rows += [(judge, name, JUDGE), (checker, name, CHECK)]
    return rows
