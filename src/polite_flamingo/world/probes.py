"""Probes: corrupted copies of clean rewrites, because a good rewriter makes too few errors to measure the filters with.

They are scored and judged like all other records, reported, and never part of what is trained on.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from random import Random

from polite_flamingo.records import Rewrite
from polite_flamingo.world.truth import GroundTruth, corrupt

PROBE = "!probe"  # ends the id of an injected corruption


def make_probes(truth: GroundTruth, rewrites: Iterable[Rewrite], count: int, seed: int) -> list[Rewrite]:
    """At most `count` corrupted copies of rewrites that the ground truth finds clean, in order of id.

    ``extras["probe"]`` names the kind of corruption.
    """
    clean = []
    for rewrite in sorted(rewrites, key=lambda r: r.id):
        judgement = truth.judge_rewrite(rewrite)
        if judgement is not None and not judgement.corrupted:
            clean.append(rewrite)
    Random(f"{seed}:probes").shuffle(clean)
    probes: list[Rewrite] = []
    for rewrite in clean:
        if len(probes) >= count:
            break
        corrupted = corrupt(truth, rewrite, Random(f"{seed}:{rewrite.id}:probe"))
        if corrupted is not None:
            text, kind = corrupted
            extras = {**rewrite.extras, "probe": kind}
            probes.append(replace(rewrite, id=rewrite.id + PROBE, rewritten=text, extras=extras))
    return sorted(probes, key=lambda r: r.id)
