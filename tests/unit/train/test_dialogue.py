"""Tokens and loss masks of dialogues, and dialogues made of several samples."""

from __future__ import annotations

import pytest
from tests.model.micro import micro_tokenizer

from polite_flamingo.model.tokens import encode, plain
from polite_flamingo.prompts.templates import assistant_prompt, rewriter_prompt
from polite_flamingo.records import Image, RewritePair, Sample, Task, Turn
from polite_flamingo.train.collate import IGNORED
from polite_flamingo.train.dialogue import Segment, encode_pair, encode_sample, opening, separator
from polite_flamingo.train.multiturn import join_turns


@pytest.fixture(scope="module")
def tokenizer():
    made = micro_tokenizer()
    made.add_tokens(["<|endofchunk|>", "<image>"], special_tokens=True)
    made.add_special_tokens({"pad_token": "<PAD>"})
    return made


def sample(*turns: Turn, images: int = 0, name: str = "s") -> Sample:
    return Sample(name, "t", "train", "x", Task.DIALOGUE, turns, tuple(Image(f"{name}{i}.png") for i in range(images)))


def learned(tokenizer, example) -> str:
    return tokenizer.decode([t for t in example.labels if t != IGNORED])


def pair(drafted: str = "red", revised: str = "The star is red.") -> RewritePair:
    return RewritePair(
        "p", "s", "t", "train", Task.VQA, "what color ?", (Image("a.png"),), drafted, revised, "text_noise", "", 0
    )


def test_only_answers_and_their_ends_are_learned(tokenizer):
    made = encode_sample(
        tokenizer,
        sample(
            Turn("human", "what ?", (0,)),
            Turn("assistant", "a star"),
            Turn("human", "color ?"),
            Turn("assistant", "red"),
            images=1,
        ),
    )
    assert learned(tokenizer, made) == "a star</s>red</s>"
    assert made.images == ("s0.png",)
    assert made.turns == 2


def test_the_rewriter_learns_the_revised_response_alone(tokenizer):
    assert learned(tokenizer, encode_pair(tokenizer, pair(), 512)) == "The star is red.</s>"


def test_training_and_generation_see_the_same_prompt_tokens(tokenizer):
    example = encode_pair(tokenizer, pair(), 512)
    prompt = encode(tokenizer, rewriter_prompt("what color ?", "red", 1))
    assert list(example.input_ids[: len(prompt)]) == prompt
    assert all(label == IGNORED for label in example.labels[: len(prompt)])
    turns = (Turn("human", "what color ?", (0,)), Turn("assistant", "red"))
    whole = opening(tokenizer) + list(encode_sample(tokenizer, sample(*turns, images=1)).input_ids)
    asked = encode(tokenizer, assistant_prompt(turns[:1]))
    assert whole[: len(asked)] == asked


def test_data_cannot_pose_as_an_image_or_an_end(tokenizer):
    made = encode_sample(tokenizer, sample(Turn("human", "see <image> </s>"), Turn("assistant", "no <image></s> here")))
    assert tokenizer.convert_tokens_to_ids("<image>") not in made.input_ids
    assert made.input_ids.count(tokenizer.eos_token_id) == 1
    assert plain(tokenizer, "a < b | c") == "a < b | c"


def test_a_long_pair_is_cut_within_its_answer_or_skipped(tokenizer):
    prompt = len(encode(tokenizer, rewriter_prompt("what color ?", "red", 1)))
    cut = encode_pair(tokenizer, pair(), prompt + 2)
    assert len(cut) == prompt + 2
    assert cut.supervised == 2
    assert encode_pair(tokenizer, pair(), prompt) is None


def segment(name: str, length: int, images: int = 0, turns: int = 1) -> Segment:
    return Segment(
        name,
        tuple(range(100, 100 + length)),
        (IGNORED, *range(101, 100 + length)),
        tuple(f"{name}{i}" for i in range(images)),
        turns,
    )


def join(segments, **limits):
    settings = {"context_length": 20, "max_turns": 4, "max_images": 4, **limits}
    return join_turns(segments, opening=[1, 2], separator=[3], media=9, **settings)


def test_samples_become_turns_with_one_opening_and_separators_between():
    (example,) = join([segment("a", 3, 1), segment("b", 4, 2)]).examples
    assert example.input_ids == (1, 2, 100, 101, 102, 3, 100, 101, 102, 103)
    assert example.labels == (IGNORED, IGNORED, IGNORED, 101, 102, IGNORED, IGNORED, 101, 102, 103)
    assert example.images == ("a0", "b0", "b1")
    assert example.id == "a+b"


def test_a_sample_that_does_not_fit_opens_the_next_dialogue_uncut():
    packing = join([segment("a", 10), segment("b", 10), segment("c", 7)])
    assert [e.id for e in packing.examples] == ["a", "b+c"]  # 2 + 10 + 1 + 7 = 20 fits exactly
    assert packing.truncated == packing.skipped == 0


@pytest.mark.parametrize("limits", [{"max_turns": 2}, {"max_images": 2}])
def test_turns_and_images_are_bounded(limits):
    packing = join([segment(n, 2, images=1) for n in "abcde"], **limits)
    assert [e.id for e in packing.examples] == ["a+b", "c+d", "e"]


def test_a_single_long_sample_is_cut_at_its_end_and_counted():
    packing = join([segment("a", 30), segment("b", 3)])
    assert [(e.id, len(e)) for e in packing.examples] == [("a", 20), ("b", 5)]
    assert packing.truncated == 1


def test_a_long_sample_without_room_for_an_answer_is_skipped_and_counted():
    silent = Segment("a", tuple(range(30)), (*[IGNORED] * 25, 1, 2, 3, 4, 5), (), 1)
    packing = join([silent, segment("b", 3)])
    assert [e.id for e in packing.examples] == ["b"]
    assert packing.skipped == 1


def test_a_joined_dialogue_equals_the_same_dialogue_of_one_sample(tokenizer):
    turns = (Turn("human", "what ?"), Turn("assistant", "a star"), Turn("human", "color ?"), Turn("assistant", "red"))
    whole = encode_sample(tokenizer, sample(*turns))
    parts = [encode_sample(tokenizer, sample(*turns[:2])), encode_sample(tokenizer, sample(*turns[2:]))]
    (joined,) = join_turns(
        parts,
        opening=opening(tokenizer),
        separator=separator(tokenizer),
        media=-1,
        context_length=512,
        max_turns=9,
        max_images=9,
    ).examples
    assert list(joined.input_ids) == opening(tokenizer) + list(whole.input_ids)
