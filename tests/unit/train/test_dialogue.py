"""Tokens and loss masks of dialogues."""

from __future__ import annotations

import pytest
from tests.model.micro import micro_tokenizer

from polite_flamingo.errors import DataError
from polite_flamingo.model.tokens import encode, plain
from polite_flamingo.prompts.templates import assistant_prompt, rewriter_prompt
from polite_flamingo.records import Image, RewritePair, Sample, Task, Turn
from polite_flamingo.train.data import IGNORED
from polite_flamingo.train.dialogue import encode_samples, opening, separator
from polite_flamingo.train.multiturn import join
from polite_flamingo.train.pairs import encode_pair, pair_example


@pytest.fixture(scope="module")
def tokenizer():
    made = micro_tokenizer()
    made.add_tokens(["<|endofchunk|>", "<image>"], special_tokens=True)
    made.add_special_tokens({"pad_token": "<PAD>"})
    return made


def sample(*turns: Turn, images: int = 0, name: str = "s") -> Sample:
    return Sample(name, "t", "train", "x", Task.DIALOGUE, turns, tuple(Image(f"{name}{i}.png") for i in range(images)))


def encoded(tokenizer, one: Sample):
    return encode_samples(tokenizer, [one])[0]


def learned(tokenizer, example) -> str:
    return tokenizer.decode([t for t in example.labels if t != IGNORED])


def pair(drafted: str = "red", revised: str = "The star is red.") -> RewritePair:
    return RewritePair(
        "p", "s", "t", "train", Task.VQA, "what color ?", (Image("a.png"),), drafted, revised, "text_noise", "", 0
    )


def test_only_answers_and_their_ends_are_learned(tokenizer):
    made = encoded(
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
    assert learned(tokenizer, encode_pair(tokenizer, pair())) == "The star is red.</s>"


def test_training_and_generation_see_the_same_prompt_tokens(tokenizer):
    example = encode_pair(tokenizer, pair())
    prompt = encode(tokenizer, rewriter_prompt("what color ?", "red", 1))
    assert list(example.input_ids[: len(prompt)]) == prompt
    assert all(label == IGNORED for label in example.labels[: len(prompt)])
    turns = (Turn("human", "what color ?", (0,)), Turn("assistant", "red"))
    whole = opening(tokenizer) + list(encoded(tokenizer, sample(*turns, images=1)).input_ids)
    asked = encode(tokenizer, assistant_prompt(turns[:1]))
    assert whole[: len(asked)] == asked


def test_the_history_of_a_dialogue_has_the_tokens_of_training(tokenizer):
    turns = (
        Turn("human", "what color ?", (0,)),
        Turn("assistant", " red. "),
        Turn("human", "how large ?", (1,)),
        Turn("assistant", "small"),
        Turn("human", "and the top ?"),
        Turn("assistant", "a star"),
    )
    whole = opening(tokenizer) + list(encoded(tokenizer, sample(*turns, images=2)).input_ids)
    for known in (1, 3, 5):
        asked = encode(tokenizer, assistant_prompt(turns[:known], end=tokenizer.eos_token))
        assert whole[: len(asked)] == asked
    assert encode(tokenizer, assistant_prompt(turns[:1])) == encode(tokenizer, assistant_prompt(turns[:1], end="</s>"))


def test_a_history_without_its_ends_is_refused():
    with pytest.raises(DataError, match="eos_token"):
        assistant_prompt((Turn("human", "a"), Turn("assistant", "b"), Turn("human", "c")))


def test_samples_encoded_together_equal_samples_encoded_alone(tokenizer):
    made = [sample(Turn("human", q, (0,)), Turn("assistant", a), images=1, name=q) for q, a in ("ab", "cd", "ef", "ab")]
    assert encode_samples(tokenizer, made) == [encoded(tokenizer, s) for s in made]


def test_data_cannot_pose_as_an_image_or_an_end(tokenizer):
    made = encoded(tokenizer, sample(Turn("human", "see <image> </s>"), Turn("assistant", "no <image></s> here")))
    assert tokenizer.convert_tokens_to_ids("<image>") not in made.input_ids
    assert made.input_ids.count(tokenizer.eos_token_id) == 1
    assert plain(tokenizer, "a < b | c") == "a < b | c"


def test_a_long_pair_is_cut_within_its_answer_or_skipped(tokenizer):
    prompt = len(encode(tokenizer, rewriter_prompt("what color ?", "red", 1)))
    cut = pair_example(tokenizer, pair(), prompt + 2)
    assert len(cut) == prompt + 2
    assert cut.supervised == 2
    assert pair_example(tokenizer, pair(), prompt) is None


def test_a_joined_dialogue_equals_the_same_dialogue_of_one_sample(tokenizer):
    turns = (Turn("human", "what ?"), Turn("assistant", "a star"), Turn("human", "color ?"), Turn("assistant", "red"))
    whole = encoded(tokenizer, sample(*turns))
    parts = [encoded(tokenizer, sample(*turns[:2])), encoded(tokenizer, sample(*turns[2:]))]
    joined = join(parts, opening(tokenizer), separator(tokenizer))
    assert list(joined.input_ids) == opening(tokenizer) + list(whole.input_ids)
    assert list(joined.labels)[len(opening(tokenizer)) :] == list(whole.labels)
