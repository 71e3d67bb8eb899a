"""Pairs per turn, splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import pytest
from tests.unit.cases import case

from polite_flamingo.distort.assign import every
from polite_flamingo.distort.base import Draft, Response
from polite_flamingo.distort.llm_rewrite import LlmRewrite
from polite_flamingo.distort.mix import make_pairs, split_of
from polite_flamingo.distort.retrieve_boxes import RetrieveBoxes
from polite_flamingo.distort.terse_rules import TerseRules
from polite_flamingo.distort.text_noise import TextNoise
from polite_flamingo.prompts.templates import BOX_SENTENCE
from polite_flamingo.records import Image, RewritePair, Sample, Task, Turn

STRATEGIES = (LlmRewrite(TerseRules()), TextNoise(), RetrieveBoxes())


def detail(number: int, **extras: object) -> Sample:
    given = {"captions": ["a cat", "cat on a mat"], "boxes": [["cat", 0.1, 0.2, 0.3, 0.4]], **extras}
    text = "The image shows a brown cat sitting on a mat. It looks content and relaxed in the sun."
    turns = (Turn("human", "Describe the image.", (0,)), Turn("assistant", text))
    return Sample(f"llava/train/{number}", "llava", "train", "-", Task.DETAIL, turns, (Image("a.png"),), given)


def dialogue() -> Sample:
    turns = (
        Turn("human", "What animal is it?", (0,)),
        Turn("assistant", "The animal in the picture is a cat. Let me know if you need more."),
        Turn("human", "And here?", (1,)),
        Turn("assistant", "Here you can see a large dog, it is running."),
    )
    return Sample("s/train/1", "s", "train", "-", Task.DIALOGUE, turns, (Image("a.png"), Image("b.png")))


def pairs(samples: Sequence[Sample], strategies: Sequence[object] = STRATEGIES, seed: int = 1) -> list[RewritePair]:
    return make_pairs(samples, strategies, every, held_out_share=0.1, seed=seed)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Fixed:
    text: str
    name: str = "text_noise"

    def applies(self, response: Response) -> bool:
        return True

    def distort(self, responses: Sequence[Response], rngs: Sequence[Random]) -> list[Draft]:
        return [Draft(self.text) for _ in responses]


def test_all_gives_every_applicable_strategy_in_order() -> None:
    found = [p.strategy for p in pairs([detail(3)])]
    assert [s for s in ("llm_rewrite", "text_noise", "retrieve_boxes") if s in found] == found
    assert "retrieve_boxes" in found


def test_every_assistant_turn_gives_its_own_pair() -> None:
    found = [p for p in pairs([dialogue()]) if p.strategy == "llm_rewrite"]
    assert [p.id for p in found] == ["s/train/1#0/llm_rewrite", "s/train/1#1/llm_rewrite"]
    assert [p.instruction for p in found] == ["What animal is it?", "And here?"]
    assert [[i.path for i in p.images] for p in found] == [["a.png"], ["a.png", "b.png"]]
    assert found[1].revised == "Here you can see a large dog, it is running."


def test_a_pair_records_strategy_command_and_seed() -> None:
    found = [p for i in range(200) for p in pairs([detail(i)], seed=5) if p.strategy == "llm_rewrite"]
    assert {p.seed for p in found} == {5}
    commanded = sum(bool(p.command) for p in found)
    assert 0.35 * len(found) < commanded < 0.65 * len(found)


def test_boxes_are_retrieved_for_detailed_descriptions_only_and_with_both_captions_and_boxes() -> None:
    only = (RetrieveBoxes(),)
    (pair,) = pairs([detail(1)], only)
    assert pair.drafted == f"a cat\ncat on a mat\n\n{BOX_SENTENCE}\ncat: [0.1, 0.2, 0.3, 0.4]"
    assert pairs([detail(1, boxes=[])], only) == []
    assert pairs([detail(1, captions=[])], only) == []
    assert pairs([dialogue()], only) == []


def test_an_empty_or_unchanged_draft_gives_no_pair() -> None:
    for draft in ["", "  \n", detail(0).response, f" {detail(0).response} "]:
        with case(draft):
            assert pairs([detail(0)], (Fixed(draft),)) == []


def test_order_and_company_change_no_pair() -> None:
    samples = [detail(i) for i in range(12)]
    together = {p.id: p for p in pairs(samples)}
    backwards = {p.id: p for p in pairs(samples[::-1])}
    alone = {p.id: p for sample in samples for p in pairs([sample])}
    assert together == backwards == alone


def test_another_seed_gives_other_drafts() -> None:
    samples = [detail(i) for i in range(12)]
    assert [p.drafted for p in pairs(samples, seed=1)] != [p.drafted for p in pairs(samples, seed=2)]


def test_the_held_out_split_has_its_share_and_holds_whole_samples() -> None:
    splits = [split_of(f"s/train/{i}", 0.1, 42) for i in range(4000)]
    assert splits.count("held_out") / 4000 == pytest.approx(0.1, abs=0.02)
    found = pairs([detail(i) for i in range(100)])
    assert all(len({p.split for p in found if p.sample_id == f"llava/train/{i}"}) == 1 for i in range(100))
