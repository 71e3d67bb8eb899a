"""What of a chat completion is the answer."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.jobs.backends.endpoints import raw
from tests.unit.jobs.backends.faulty_server import completion

from polite_flamingo.jobs.backends.chat_completion import PassingError, RecordError, parse


def test_an_answer_that_was_cut_off_says_so() -> None:
    assert parse(raw(completion("red", "length"))).finish_reason == "length"


def test_content_in_parts_and_lone_surrogates_become_plain_text() -> None:
    parts = [{"type": "text", "text": "red "}, {"type": "text", "text": "\ud800car"}]
    value = completion("")
    value["choices"][0]["message"]["content"] = parts
    assert parse(raw(value)).text == "red ?car"


def test_what_is_no_completion_is_worth_another_try() -> None:
    empty = (raw({"choices": [None]}), raw(completion("  ")), raw(completion(None)))
    for data in (b"", b"null", b"[]", b"[" * 100_000, *empty):
        with pytest.raises(PassingError):
            parse(data)
    page = b"<html>\n  <body>" + b"x" * 100
    with pytest.raises(PassingError, match=r"^no chat completion but '<html> <body>x{67}'$"):
        parse(page)


@pytest.mark.parametrize(
    "text",
    [
        "<think>\nPolite.\n</think>\n\nIt is a cat.",
        "Polite.</think>It is a cat.",
        "It is a cat.<|im_end|>",
        "It is a cat.</s> <|end|>",
        "It is a cat.<think>Was that",
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>It is a cat.<|return|>",
        [{"type": "reasoning", "text": "Polite."}, {"type": "text", "text": "It is a cat."}],
        [{"type": "thinking", "thinking": "Polite."}, {"type": "output_text", "text": "It is a cat."}],
    ],
)
def test_reasoning_and_template_are_no_part_of_the_answer(text: Any) -> None:
    assert parse(raw(completion(text))).text == "It is a cat."


@pytest.mark.parametrize("tokens", [2**63, -1, True, 1.5, "3", None, [1]])
def test_a_count_nobody_could_mean_is_none(tokens: Any) -> None:
    value = completion("red")
    value["usage"]["completion_tokens"] = tokens
    assert parse(raw(value)).completion_tokens is None


def test_a_refusal_is_final() -> None:
    value = completion(None)
    value["choices"][0]["message"]["refusal"] = "I will not."
    for answer in (value, completion("half", "content_filter")):
        with pytest.raises(RecordError, match="refused"):
            parse(raw(answer))
