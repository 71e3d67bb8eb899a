"""LLM-instructed distortion: what is asked, and what is taken from the answer."""

from __future__ import annotations

from tests.unit.cases import case

from polite_flamingo.distort.llm_rewrite import clean_completion
from polite_flamingo.prompts.commands import COMMANDS, DistortionPrompt

PROMPTS = [DistortionPrompt("What color?", "The car is red.", COMMANDS[5]), DistortionPrompt("How many?", "Two cars.")]


def test_only_what_was_written_inside_the_quotation_mark_counts() -> None:
    for raw, clean in [
        ('red"', "red"),
        ('red"\n\nIs there more?', "red"),
        ("red\n### Human: thanks", "red"),
        ('"red"', "red"),
        ('he said "stop" loudly', 'he said "stop" loudly'),
        ("  red \n", "red"),
    ]:
        with case(raw, clean):
            assert clean_completion(raw) == clean


def test_the_messages_as_plain_text_are_the_papers_prompt() -> None:
    from polite_flamingo.prompts.rewriting import plain_dialogue

    for prompt in PROMPTS:
        with case(prompt):
            assert plain_dialogue(prompt.messages) == prompt.text
