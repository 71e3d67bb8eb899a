"""Pairs by counts: exact, seeded, in any order, and what is lacking is scaled and said (appendix B)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.unit.cases import case

from polite_flamingo.distort.assign import BOXES, LLM, NOISE, Candidate, Draw, Drawn, candidate_of, draw
from polite_flamingo.distort.base import Response
from polite_flamingo.distort.settings import DistortSettings, PairCounts
from polite_flamingo.distort.strategies import strategies
from polite_flamingo.distort.terse_rules import TerseRules
from polite_flamingo.errors import ConfigError
from polite_flamingo.params.reading import load_params
from polite_flamingo.records import Image, Sample, Task, Turn

ROOT = Path(__file__).parents[3]


def llava(dialogues: int, details: int) -> list[Candidate]:
    turns = [Candidate(f"llava/train/{i}#{turn}", "llava") for i in range(dialogues) for turn in range(2)]
    shown = (f"llava/train/detail-{i}#0" for i in range(details))
    return turns + [Candidate(name, "llava", name) for name in shown]


def text(number: int, source: str = "chat") -> list[Candidate]:
    return [Candidate(f"{source}/train/{i}#0", source) for i in range(number)]


def taken(made: Draw, candidates: Sequence[Candidate], strategy: str) -> set[str]:
    return {c.id for c in candidates if made.takes(strategy, c)}


WANTED = PairCounts(
    llm_rewrite={"llava": 130, "chat + talk": 70}, text_noise={"llava": 70}, retrieve_boxes={"llava": 30}
)
THERE = [*llava(100, 50), *text(90), *text(60, "talk"), *text(20, "other")]


def test_as_many_are_drawn_as_are_wanted_of_the_sources_named_alone() -> None:
    made = draw(lambda: THERE, WANTED, seed=1)
    assert [len(taken(made, THERE, name)) for name in (LLM, NOISE, BOXES)] == [200, 70, 30]
    assert {id_.split("/")[0] for id_ in taken(made, THERE, NOISE)} == {"llava"}
    assert {id_.split("/")[0] for id_ in taken(made, THERE, LLM)} == {"llava", "chat", "talk"}
    assert made.lines[0] == Drawn(LLM, "llava", wanted=130, available=220, drawn=130)


def test_noise_may_share_a_response_with_the_language_model_but_captions_and_boxes_never() -> None:
    made = draw(lambda: THERE, WANTED, seed=1)
    assert taken(made, THERE, LLM) & taken(made, THERE, NOISE)
    assert not taken(made, THERE, LLM) & taken(made, THERE, BOXES)


def test_order_changes_nothing_and_the_seed_everything() -> None:
    made, backwards, other = (draw(lambda c=c: c, WANTED, s) for c, s in ((THERE, 1), (THERE[::-1], 1), (THERE, 2)))
    for name in (LLM, NOISE, BOXES):
        with case(name):
            assert taken(made, THERE, name) == taken(backwards, THERE, name) != taken(other, THERE, name)


def test_too_few_responses_shrink_all_numbers_of_their_source_alike_and_the_rest_takes_what_there_is() -> None:
    few = [*llava(30, 5), *text(90)]
    made = draw(lambda: few, WANTED, seed=1)
    said = {(line.strategy, line.sources): (line.available, line.drawn) for line in made.lines}
    share = 65 / 160  # responses over those wanted for the language model and for captions and boxes
    assert said == {
        (LLM, "llava"): (60, round(130 * share)),
        (LLM, "chat + talk"): (90, 70),
        (NOISE, "llava"): (65, round(70 * share)),
        (BOXES, "llava"): (5, 5),
    }
    for line in made.lines:
        with case(line):
            of = [c for c in few if c.source in line.sources]
            assert len(taken(made, of, line.strategy)) == line.drawn


def test_sources_that_no_count_names_are_an_error_that_says_what_to_write() -> None:
    with pytest.raises(ConfigError, match=r"(?s)no pair can be drawn.*other.*assignment: all"):
        draw(lambda: text(5, "other"), WANTED, seed=1)


def test_a_source_cannot_be_named_twice() -> None:
    with pytest.raises(ValueError, match="named twice"):
        PairCounts(llm_rewrite={"a + b": 1, "b": 2})


def test_a_sample_is_distorted_as_its_responses_were_drawn() -> None:
    turns = (Turn("human", "Describe it.", (0,)), Turn("assistant", "A brown cat sits on a mat in the sun."))
    given = {"captions": ["a cat"], "boxes": [["cat", 0.1, 0.2, 0.3, 0.4]]}
    samples = [Sample(f"l/t/{i}", "l", "t", "-", Task.DETAIL, turns, (Image("a.png"),), given) for i in range(40)]
    responses = [Response(sample, 0) for sample in samples]
    counts = PairCounts(llm_rewrite={"l": 20}, text_noise={"l": 10}, retrieve_boxes={"l": 15})
    made = draw(lambda: map(candidate_of, responses), counts, seed=3)
    in_use = strategies(DistortSettings(), TerseRules())
    assert Counter(s.name for r in responses for s in made(r, in_use)) == {LLM: 20, NOISE: 10, BOXES: 15}


LLAVA = {"conversation": 76_643, "detail": 23_240, "complex_reasoning": 76_643}  # LLaVA-177k, of two conversations one
TEXT = {"ultrachat": 260_000, "sharegpt": 94_145}  # of UltraChat as many as the profile leaves room for


def test_sets_of_official_size_give_the_papers_pairs() -> None:
    params = load_params(ROOT / "params.yaml", "paper_8xa100")

    def candidates() -> list[Candidate]:
        return there

    names = [f"llava_instruct/train/{kind}-{i}#0" for kind, count in LLAVA.items() for i in range(count)]
    there = [Candidate(name, "llava_instruct", name if "/detail-" in name else "") for name in names]
    there += [Candidate(f"{name}/train/{i}#0", name) for name, count in TEXT.items() for i in range(count)]
    made = draw(candidates, params.distort.counts, params.seed)
    drawn = {(line.strategy, line.sources): line.drawn for line in made.lines}
    assert drawn == {
        (LLM, "llava_instruct"): 133_000,
        (LLM, "ultrachat + sharegpt"): 76_000,
        (NOISE, "llava_instruct"): 77_000,
        (BOXES, "llava_instruct"): 14_000,
    }
    details = [c for c in there if c.boxes]
    held, asked = ({c.id for c in details if made.takes(name, c)} for name in (BOXES, LLM))
    assert len(held) == 14_000
    assert not held & asked
