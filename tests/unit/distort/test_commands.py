"""The paper's commands and prompt."""

from __future__ import annotations

import hashlib

from polite_flamingo.prompts.commands import COMMANDS, REQUEST, DistortionPrompt
from polite_flamingo.prompts.templates import BOX_SENTENCE, captions_and_boxes, format_boxes


def test_there_are_24_different_commands() -> None:
    assert len(set(COMMANDS)) == len(COMMANDS) == 24


def test_the_wording_of_the_paper_has_not_been_touched() -> None:
    digest = hashlib.sha256("\n".join((*COMMANDS, REQUEST, DistortionPrompt("", "").promise, BOX_SENTENCE)).encode())
    assert digest.hexdigest()[:16] == "8558feb899d72eb8"


def test_the_prompt_shows_the_good_response_and_opens_a_quotation_mark() -> None:
    text = DistortionPrompt("What color?", "It is red.", COMMANDS[4]).text
    assert "### Human: What color?\n### Assistant: It is red.\n### Human: Your reply's style" in text
    assert f"respond to your request. {COMMANDS[4]} The following is" in text
    assert text.endswith('finishing this response:\n\n"')


def test_without_a_command_the_promise_holds_nothing_in_its_place() -> None:
    assert "request.  The following" in DistortionPrompt("q", "a").text


def test_chat_messages_end_with_the_assistants_open_promise() -> None:
    messages = DistortionPrompt("q", "a").messages
    assert [m["role"] for m in messages] == ["system", "user", "assistant", "user", "assistant"]
    assert messages[-1]["content"].endswith('"')


def test_boxes_are_written_as_in_pf1m() -> None:
    boxes = [["person", 0.44, 0.1761, 0.5909, 0.316], ["two skis", 0, 0.12051, 0.5, 1]]
    assert format_boxes(boxes, 3) == "person: [0.44, 0.176, 0.591, 0.316]\ntwo skis: [0.0, 0.121, 0.5, 1.0]"


def test_captions_come_first_and_stand_alone_without_boxes() -> None:
    assert captions_and_boxes(["a", "b"], [], 3) == "a\nb"
    text = captions_and_boxes(["a", "b"], [["x", 0, 0, 1, 1]], 3)
    assert text == f"a\nb\n\n{BOX_SENTENCE}\nx: [0.0, 0.0, 1.0, 1.0]"
