"""The rule-based terse-maker keeps the answer and carries out the commands."""

from __future__ import annotations

from random import Random

from tests.unit.cases import case

from polite_flamingo.distort.terse_rules import TerseRules, bare_answer, informative_sentences, make_terse
from polite_flamingo.prompts.commands import COMMANDS, DistortionPrompt
from polite_flamingo.world import questions as ask
from polite_flamingo.world.vocabulary import NUMBERS, SceneObject

COLOR = DistortionPrompt(
    "What color is the object in the top left?",
    "The object in the top left corner is red. Let me know if you have any other questions!",
)
LONG = DistortionPrompt(
    "What is the man doing?",
    "Sure! The man in the image is riding a bicycle down a busy street while wearing a helmet. "
    "He appears to be commuting. There are several cars around him. Feel free to ask me anything else.",
)


def answer(question: str, response: str) -> str:
    return bare_answer(question, informative_sentences(response), Random(0)).rstrip(".").lower()


def test_the_bare_answer_is_what_the_response_adds_to_the_question() -> None:
    for question, response, expected in [
        (COLOR.instruction, COLOR.response, "red"),
        ("Is there a dog?", "Yes, there is a brown dog on the left.", "yes"),
        ("Is there a dog?", "No, I do not see a dog.", "no"),
        ("Is the cat small or large?", "The cat is small.", "small"),
        ("Where is the cat?", "The cat is in the bottom right of the image.", "bottom right"),
        (LONG.instruction, LONG.response, "riding a bicycle down a busy street"),
        ("Which shape is it?", "The answer is star, because there is a star.", "star"),
    ]:
        with case(question, response, expected):
            assert answer(question, response) == expected


def test_counts_become_digits_or_words() -> None:
    sentences = informative_sentences("There are three red cars in the image.")
    found = {bare_answer("How many red cars are there?", sentences, Random(i)) for i in range(30)}
    assert found == {"3", "three"}


def test_every_answer_of_the_embedded_world_survives() -> None:
    scene = (SceneObject("red", "circle", "small", "top left"), SceneObject("blue", "star", "large", "bottom right"))
    for i in range(20):
        for q in (*ask.questions(scene, Random(i)), ask.choice_question(scene, Random(i))):
            said = answer(q.text, q.polite)
            numbers = {"zero": "0", "none": "0", **{word: str(n) for n, word in enumerate(NUMBERS)}}
            assert numbers.get(said, said) == q.answer, (q, said)


def test_politeness_frames_and_formatting_go() -> None:
    response = "Sure! In the image, we can see **two dogs**. I hope this helps!\n- They are `brown`.\nFeel free to ask."
    assert informative_sentences(response) == ["two dogs.", "They are brown."]


def test_a_response_of_nothing_but_politeness_is_kept() -> None:
    assert make_terse(DistortionPrompt("Thanks!", "You're welcome!"), Random(0))


def test_the_same_randomness_gives_the_same_draft() -> None:
    assert make_terse(LONG, Random("x")) == make_terse(LONG, Random("x"))


def test_drafts_vary_and_include_single_words_and_comma_lists() -> None:
    short = {make_terse(COLOR, Random(i)).rstrip(".").lower() for i in range(60)}
    long = {make_terse(LONG, Random(i)) for i in range(60)}
    assert {"red", "object in top left corner: red"} <= short
    assert any(draft.count(", ") >= 3 for draft in long)
    assert any(draft.startswith("Answer: ") for draft in long)


def test_drafts_are_shorter_than_what_they_came_from() -> None:
    drafts = [make_terse(LONG, Random(i)) for i in range(60)]
    assert sum(map(len, drafts)) / 60 < 0.6 * len(LONG.response)


def obeyed(number: int, prompt: DistortionPrompt = LONG, seeds: int = 20) -> list[tuple[str, str]]:
    """(draft without, draft with) the command, over some seeds."""
    with_command = DistortionPrompt(prompt.instruction, prompt.response, COMMANDS[number])
    return [(make_terse(prompt, Random(i)), make_terse(with_command, Random(i))) for i in range(seeds)]


def test_no_punctuation_and_no_capitals() -> None:
    assert all(all(c.isalnum() or c.isspace() for c in d) and d == d.lower() for _, d in obeyed(0))


def test_upper_case_and_lower_case() -> None:
    assert all(d.isupper() for _, d in obeyed(4))
    assert all(d.islower() for _, d in obeyed(5))


def test_as_short_as_possible_is_the_bare_answer() -> None:
    assert {d.lower().rstrip(".") for _, d in obeyed(11)} == {"riding a bicycle down a busy street"}


def test_essential_information_is_separated_by_commas() -> None:
    assert all(", " in d and all(len(part.split()) == 1 for part in d.split(", ")) for _, d in obeyed(12))


def test_five_words_are_five_words() -> None:
    assert {len(d.split()) for _, d in obeyed(22)} == {5}


def test_repetition_makes_the_draft_longer() -> None:
    assert all(len(d) > len(plain) for plain, d in obeyed(7))


def test_one_sentence_is_repeated_three_times() -> None:
    assert all(d.lower().count("red") == 3 for _, d in obeyed(21, COLOR) if "red" in d.lower())


def test_every_command_gives_a_draft_and_most_change_it() -> None:
    changed = 0
    for number in range(len(COMMANDS)):
        pairs = obeyed(number)
        assert all(d.strip() for _, d in pairs)
        changed += any(plain != d for plain, d in pairs)
    assert changed >= 23


def test_the_backend_answers_each_prompt_with_its_own_randomness() -> None:
    alone = TerseRules().complete(["a"], [LONG], [Random(7)])
    together = TerseRules().complete(["a", "b"], [COLOR, LONG], [Random(1), Random(7)])
    assert together[1] == alone[0]
