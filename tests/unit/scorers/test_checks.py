"""Checks beyond the paper: what supports an object, which numbers changed, whether yes became no."""

from __future__ import annotations

from typing import Any

from tests.unit.cases import case

from polite_flamingo.records import Image, Rewrite, Task
from polite_flamingo.scorers.checks import Checker, checker_of, numbers_changed, yes_no_flipped
from polite_flamingo.scorers.objects import Vocabulary


def record(text: str, raw: str, task: Task = Task.CAPTION, instruction: str = "Describe.", **extras: Any) -> Rewrite:
    return Rewrite("s/1", "s", "train", "-", task, instruction, (Image("a.jpg"),), raw, text, "stop", extras)


def unsupported(made: Rewrite, *others: Rewrite) -> set[str]:
    return set(checker_of(lambda: [made, *others]).unsupported(made, made.rewritten))


def test_objects_are_found_by_synonym_plural_and_longest_phrase_and_not_where_negated() -> None:
    for text, named in [
        ("Two puppies and a hot dog on the table.", {"dog", "hot dog", "dining table"}),
        ("A bus, three buses; a man riding horses.", {"bus", "person", "horse"}),
        ("There is no dog, and not a single cat, but a bird.", {"bird"}),
        ("No. A dog runs.", {"dog"}),
        ("Traffic lights above cars.", {"traffic light", "car"}),
        ("Nothing known here.", set()),
        ("", set()),
    ]:
        with case(text, named):
            checker = checker_of(list)
            assert checker.vocabulary.categories_in(text, negated=False) == named


def test_an_object_is_supported_by_answer_instruction_captions_and_boxes() -> None:
    assert unsupported(record("A dog beside a cat.", "a puppy")) == {"cat"}
    assert unsupported(record("A dog beside a cat.", "a puppy", instruction="Is there a cat?")) == set()
    assert unsupported(record("A dog beside a cat.", "x", captions=["dogs"], boxes=[["cat", 0, 0, 1, 1]])) == set()


def test_an_object_that_another_record_of_the_same_image_names_is_supported() -> None:
    made = record("A dog beside a cat.", "a dog")
    assert unsupported(made, record("-", "The cat sleeps.")) == set()
    assert unsupported(made, record("-", "There is no cat.")) == {"cat"}


def test_the_names_of_the_data_sets_own_boxes_are_objects() -> None:
    made = record("A red star and a blue circle.", "a red star")
    assert unsupported(made, record("-", "-", boxes=[["blue circle", 0, 0, 1, 1]])) == set()  # the same image has one
    assert unsupported(made) == set()  # not a name anyone knows
    vocabulary = Vocabulary({"blue circle": []})
    assert Checker(vocabulary, {}).unsupported(made, made.rewritten) == {"blue circle"}


def test_a_number_lost_or_invented_is_counted_and_a_replaced_one_once() -> None:
    for text, raw, changed in [
        ("There are three dogs.", "3", 0),
        ("There are four dogs.", "3", 1),
        ("There are dogs.", "3", 1),
        ("There are 3 dogs and 2 cats.", "3", 1),
        ("There are no dogs.", "0", 0),
        ("A pair of dogs.", "two dogs", 0),
        ("One of the dogs runs.", "dogs", 0),
        ("It was built in 1,024 days.", "1024", 0),
        ("Twenty-one people.", "21", 0),
        ("A dog at [0.1, 0.2, 0.3, 0.4].", "a dog", 0),
        ("It is 2.5 metres.", "2.5", 0),
    ]:
        with case(text, raw, changed):
            assert numbers_changed(record(text, raw, Task.VQA, "How many?"), text) == changed


def test_captions_are_alternatives_and_boxes_are_counted() -> None:
    assert numbers_changed(record("Dogs run.", "-", captions=["3 dogs", "dogs"]), "Dogs run.") == 0
    assert numbers_changed(record("-", "-", captions=["3 dogs", "three dogs"]), "Dogs run.") == 1
    boxes = [["dog", 0, 0, 1, 1], ["dog", 0, 0, 1, 1], ["cat", 0, 0, 1, 1]]
    assert numbers_changed(record("-", "dogs", boxes=boxes), "Two dogs, three animals.") == 0


def test_yes_that_became_no_is_flipped() -> None:
    for raw, text, flipped in [
        ("yes", "Yes, there is a dog.", 0),
        ("yes", "No, there is no dog.", 1),
        ("no", "There isn't a dog.", 0),
        ("No.", "There is a dog.", 1),
        ("yes", "There is a dog. It is not brown.", 0),
        ("Answer: no. It rains.", "Yes, it is dry.", 1),
        ("red", "No, it is blue.", None),
        ("", "Yes.", None),
    ]:
        with case(raw, text, flipped):
            assert yes_no_flipped(record(text, raw, Task.VQA, "Is there a dog?")) == flipped


def test_a_dialogue_of_few_words_is_checked_like_a_question() -> None:
    """LLaVA's files do not tell the two apart."""
    for raw, text, numbers, flipped in [
        ("yes", "No, there is none.", 0, 1),
        ("Two.", "I can see three.", 1, None),
        ("two dogs run about", "Three dogs run about.", None, None),
    ]:
        with case(raw, text):
            made = record(text, raw, Task.DIALOGUE, "Is there a dog?")
            found = checker_of(lambda made=made: [made]).score(made, None)
            assert (found["numbers_changed"], found["yes_no_flipped"]) == (numbers, flipped)


def test_every_cut_of_paragraphs_has_its_own_values() -> None:
    made = record("A dog.\n\nIn addition, two cats.", "a dog")
    found = checker_of(lambda: [made]).score(made, [made.rewritten, "A dog."])
    assert (found["unsupported_objects"], found["unsupported_objects_by_cut"]) == (1, [1, 0])
    assert (found["numbers_changed"], found["numbers_changed_by_cut"]) == (1, [1, 0])
    assert found["yes_no_flipped"] is None


def test_answers_that_say_more_on_purpose_are_not_checked() -> None:
    made = record("A cat could be hiding.", "-", Task.REASONING)
    found = checker_of(lambda: [made]).score(made, None)
    assert found == {**dict.fromkeys(found), "cut_off": 0}


def test_a_denial_that_comes_or_goes_and_an_end_without_a_mark_are_seen() -> None:
    for raw, text, changed, cut in [
        ("yes", "No, there is no dog.", 1, 0),
        ("no", "There isn't a dog here, and the", 0, 1),
        ("a man walks his dog", 'A man says "walk!"', 0, 0),
        ("Answer: no. nobody is there", "A dog is there!", 1, 0),
    ]:
        with case(raw, text):
            made = record(text, raw, Task.VQA, "Is there a dog?")
            found = checker_of(lambda made=made: [made]).score(made, None)
            assert (found["negation_changed"], found["cut_off"]) == (changed, cut)
