"""Which strategy distorts which response (section 3.1, appendix B).

``counts`` draws the stated number of pairs per strategy and source, by the hash of the response's id: exactly, whatever
the order of the samples. A response may be drawn by the language model and by the noise; captions and boxes are never
drawn for a sample that the language model distorts. ``all`` makes every pair that can be made (for corpora far smaller
than the paper's).
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from itertools import chain
from typing import NamedTuple

from polite_flamingo.distort.base import Distortion, Response, responses_of
from polite_flamingo.distort.retrieve_boxes import has_captions_and_boxes
from polite_flamingo.distort.settings import DistortSettings, PairCounts, names_of
from polite_flamingo.draws import Smallest, key, keys
from polite_flamingo.errors import ConfigError
from polite_flamingo.io.chunks import chunked
from polite_flamingo.records import Sample

LOG = logging.getLogger(__name__)

Assign = Callable[[Response, Sequence[Distortion]], list[Distortion]]
LLM, NOISE, BOXES = "llm_rewrite", "text_noise", "retrieve_boxes"
CHUNK = 8192  # responses looked at together


class Candidate(NamedTuple):
    """What a draw asks of a response.

    Args:
        id: Its id.
        source: Its sample's source.
        boxes: Id of the response of its sample that captions and boxes can stand for; empty: there is none.
    """

    id: str
    source: str
    boxes: str = ""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A line of the report: pairs of a strategy from some sources that were wanted, possible and drawn."""

    strategy: str
    sources: str
    wanted: int
    available: int
    drawn: int


@dataclass(frozen=True, slots=True)
class Draw:
    """The responses drawn for each strategy: those whose key is not above a bound.

    Args:
        seed: Of the draw.
        bounds: (strategy, source) -> largest key drawn, -1 where none is.
        lines: What was wanted, possible and drawn.
    """

    seed: int
    bounds: Mapping[tuple[str, str], int]
    lines: tuple[Drawn, ...] = ()

    def __call__(self, response: Response, strategies: Sequence[Distortion]) -> list[Distortion]:
        """Those of `strategies` that distort `response`."""
        candidate = candidate_of(response)
        return [s for s in strategies if s.applies(response) and self.takes(s.name, candidate)]

    def takes(self, strategy: str, candidate: Candidate) -> bool:
        """Whether a response is drawn for a strategy."""
        if (strategy == BOXES and candidate.boxes != candidate.id) or (strategy == LLM and self.boxed(candidate)):
            return False
        return self._drawn(strategy, candidate.source, candidate.id)

    def boxed(self, candidate: Candidate) -> bool:
        """Whether captions and boxes are drawn for the sample of a response."""
        return bool(candidate.boxes) and self._drawn(BOXES, candidate.source, candidate.boxes)

    def _drawn(self, strategy: str, source: str, response_id: str) -> bool:
        bound = self.bounds.get((strategy, source), -1)
        return bound >= 0 and key(_name(response_id, strategy, self.seed)) <= bound


def assignment(samples: Callable[[], Iterable[Sample]], settings: DistortSettings, seed: int) -> Assign:
    """Which response is distorted by what, as the settings say; what was wanted and drawn goes to the log.

    Args:
        samples: Streams the instruction samples.
        settings: Of the stage `distort`.
        seed: Run's seed.

    Raises:
        ConfigError: no pair can be drawn.
    """
    if settings.assignment == "all":
        return every
    drawn = draw(lambda: map(candidate_of, chain.from_iterable(map(responses_of, samples()))), settings.counts, seed)
    for line in drawn.lines:
        LOG.info("%s of %s: %d wanted, %d possible, %d drawn", *astuple(line))
    return drawn


def every(response: Response, strategies: Sequence[Distortion]) -> list[Distortion]:
    """All of `strategies` that can distort `response`."""
    return [strategy for strategy in strategies if strategy.applies(response)]


def candidate_of(response: Response) -> Candidate:
    """What a draw asks of `response`."""
    first = Response(response.sample, 0)
    return Candidate(response.id, response.sample.source, first.id if has_captions_and_boxes(first) else "")


def draw(candidates: Callable[[], Iterable[Candidate]], counts: PairCounts, seed: int) -> Draw:
    """Draw the pairs of every strategy.

    Where some sources have fewer responses than are wanted of them, all that is wanted of them shrinks by the same
    factor; a strategy that finds even less takes all there is.

    Args:
        candidates: Streams the responses; called twice.
        counts: Pairs wanted per strategy and sources.
        seed: Run's seed.

    Raises:
        ConfigError: no pair can be drawn.
    """
    responses: Counter[str] = Counter()
    boxes = [_Part(BOXES, *part, seed) for part in counts.retrieve_boxes.items()]
    for chunk in chunked(candidates(), CHUNK):
        responses.update([c.source for c in chunk])
        for part in boxes:
            part.look([c for c in chunk if c.boxes == c.id])
    held = Draw(seed, _bounds(boxes, counts, responses))
    parts = [_Part(LLM, *part, seed) for part in counts.llm_rewrite.items()]
    parts += [_Part(NOISE, *part, seed) for part in counts.text_noise.items()]
    for chunk in chunked(candidates(), CHUNK):
        free = [c for c in chunk if not (c.boxes and held.boxed(c))]
        for part in parts:
            part.look(free if part.strategy == LLM else chunk)
    bounds = {**held.bounds, **_bounds(parts, counts, responses)}
    lines = tuple(part.line(_share(part, counts, responses)) for part in (*parts, *boxes))
    if not any(line.drawn for line in lines):
        raise ConfigError(
            "no pair can be drawn",
            value={line.strategy: line.sources for line in lines},
            where="distort.counts",
            next_step=f"name your instruction sources ({', '.join(sorted(responses))}), or distort.assignment: all",
        )
    return Draw(seed, bounds, lines)


class _Part:
    """Pairs of one strategy that are wanted of some sources together."""

    def __init__(self, strategy: str, sources: str, wanted: int, seed: int) -> None:
        self.strategy, self.sources, self.wanted = strategy, sources, wanted
        self.names = frozenset(names_of(sources))
        self._seed = seed
        self._available = 0
        self._smallest = Smallest(wanted)

    def look(self, candidates: Sequence[Candidate]) -> None:
        """Look at more responses that the strategy can distort."""
        names = [_name(c.id, self.strategy, self._seed) for c in candidates if c.source in self.names]
        self._available += len(names)
        self._smallest.add(keys(names))

    def bound(self, share: float) -> int:
        """Largest key of the responses drawn, when this share of the wanted is."""
        return self._smallest.bound(round(self.wanted * share))

    def line(self, share: float) -> Drawn:
        """Its line of the report."""
        drawn = min(round(self.wanted * share), self._available)
        return Drawn(self.strategy, self.sources, self.wanted, self._available, drawn)


def _bounds(parts: Iterable[_Part], counts: PairCounts, responses: Mapping[str, int]) -> dict[tuple[str, str], int]:
    return {(p.strategy, name): p.bound(_share(p, counts, responses)) for p in parts for name in p.names}


def _share(part: _Part, counts: PairCounts, responses: Mapping[str, int]) -> float:
    """Share of what is wanted of a part's sources that they have responses for."""
    llm, noise, boxes = (
        wanted.get(part.sources, 0) for wanted in (counts.llm_rewrite, counts.text_noise, counts.retrieve_boxes)
    )
    return min(1.0, sum(responses.get(name, 0) for name in part.names) / max(llm + boxes, noise, 1))


def _name(response_id: str, strategy: str, seed: int) -> str:
    return f"{seed}:{response_id}/{strategy}:pair"
