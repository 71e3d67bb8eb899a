"""LLM-instructed distortion: what is asked, and what is taken from the answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from polite_flamingo.distort.llm_rewrite import clean_completion
from polite_flamingo.distort.terse_rules import TerseRules
from polite_flamingo.errors import ConfigError, ModelError
from polite_flamingo.prompts.commands import COMMANDS, DistortionPrompt
from polite_flamingo.records import Generated
from polite_flamingo.rewrite.backends import Place, Request
from polite_flamingo.rewrite.backends.completion import BackendCompleter, load_completer

PROMPTS = [DistortionPrompt("What color?", "The car is red.", COMMANDS[5]), DistortionPrompt("How many?", "Two cars.")]
HERE = Place(Path())


@pytest.mark.parametrize(
    "spec", ["", "terse", "hf:", "openai:http://x", "openai:ftp://x#m", "openai:http://x#", "llama", "flamingo"]
)
def test_an_unknown_backend_is_refused_with_the_known_forms(spec: str) -> None:
    with pytest.raises(ConfigError, match="terse_rules, hf:") as caught:
        load_completer(spec, HERE)
    assert caught.value.where == "distortion_backend"


def test_the_terse_maker_is_named_as_such() -> None:
    assert isinstance(load_completer("terse_rules", HERE), TerseRules)


def test_a_hub_model_needs_a_revision() -> None:
    with pytest.raises(ConfigError, match="revision"):
        load_completer("hf:someone/some-model", HERE)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ('red"', "red"),
        ('red"\n\nIs there more?', "red"),
        ("red\n### Human: thanks", "red"),
        ('"red"', "red"),
        ('he said "stop" loudly', 'he said "stop" loudly'),
        ("  red \n", "red"),
    ],
)
def test_only_what_was_written_inside_the_quotation_mark_counts(raw: str, clean: str) -> None:
    assert clean_completion(raw) == clean


class Backend:
    """Answers with a prepared result per prompt and remembers what was asked."""

    identity = "stub"
    batch_size = 2

    def __init__(self, *answers: Generated) -> None:
        self.answers = list(answers)
        self.seen: list[Request] = []

    def generate(self, requests: Sequence[Request]) -> list[Generated]:
        self.seen += requests
        return self.answers[: len(requests)]

    def close(self) -> None:
        pass


FINE = Generated('red"\n\nMore?', "stop", 3)
BAD = Generated("", "error: HTTP 400: too long", 0)


def test_a_backend_gets_the_papers_messages_and_the_samples_own_randomness() -> None:
    backend = Backend(FINE, FINE)
    assert BackendCompleter(backend).complete(PROMPTS, [Random(0), Random(1)]) == ["red", "red"]
    assert [list(r.messages or ()) for r in backend.seen] == [p.messages for p in PROMPTS]
    first = backend.seen[0].key
    BackendCompleter(backend).complete(PROMPTS[1:], [Random(0)])
    assert [r.key == first for r in backend.seen] == [True, False, True]


def test_a_prompt_without_an_answer_leaves_an_empty_draft() -> None:
    assert BackendCompleter(Backend(FINE, BAD)).complete(PROMPTS, [Random(0), Random(1)]) == ["red", ""]


def test_a_backend_that_answers_nothing_is_an_error_with_its_reason() -> None:
    with pytest.raises(ModelError, match="too long"):
        BackendCompleter(Backend(BAD, BAD)).complete(PROMPTS, [Random(0), Random(1)])


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_messages_as_plain_text_are_the_papers_prompt(prompt: DistortionPrompt) -> None:
    from polite_flamingo.prompts.rewriting import plain_dialogue

    assert plain_dialogue(prompt.messages) == prompt.text
