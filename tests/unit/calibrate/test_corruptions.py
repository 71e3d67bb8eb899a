"""Injected corruptions: each does what its name says, or None where it does not fit."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from polite_flamingo.calibrate.corruptions import (
    CORRUPTIONS,
    change_number,
    corrupt,
    invent_sentence,
    negate,
    swap_object,
    truncate,
)

TEXT = "A man in a red hat is walking two dogs past 3 parked cars."


def rng() -> Random:
    return Random(7)


def test_a_number_becomes_another_one_the_context_does_not_name() -> None:
    for seed in range(50):
        changed = change_number("There are 3 cats.", "2 4 5 6 7 8", Random(seed))
        assert changed in {"There are 0 cats.", "There are 1 cats."}


def test_a_number_word_stays_a_word_and_keeps_its_capital() -> None:
    changed = change_number("Two dogs run.", "", rng())
    assert changed is not None
    assert changed.endswith(" dogs run.")
    assert changed[0].isupper()
    assert changed != "Two dogs run."


def test_coordinates_times_and_shares_are_no_counts() -> None:
    for text in (
        "No number here.",
        "The box is [0.1, 0.25, 0.5, 0.75].",
        "At 10:30, 50% of it.",
    ):
        assert change_number(text, "", rng()) is None, text


def test_a_swapped_object_is_of_the_same_sort_and_named_nowhere() -> None:
    for seed in range(30):
        changed = swap_object("A cat on a mat.", "a dog, a horse, a cow, two bears", Random(seed))
        assert changed is not None
        assert not {"cat", "dog", "horse", "cow", "bear"} & set(changed.lower().rstrip(".").split())


def test_swapping_mends_the_article_and_keeps_the_plural() -> None:
    context = "cat dog horse sheep cow bear zebra giraffe bird"
    assert (
        swap_object("A cat and other cats.", context.replace("cat ", ""), rng()) == "An elephant and other elephants."
    )


def test_a_text_without_known_objects_has_none_to_swap() -> None:
    assert swap_object("It is sunny.", "", rng()) is None


def test_a_statement_is_turned_round() -> None:
    for text, turned in (
        ("Yes, there is a dog.", "No, there is a dog."),
        ("no", "Yes"),
        ("The cat is not on the bed.", "The cat is on the bed."),
        ("There are no cats.", "There are cats."),
        ("The cat is on the bed.", "The cat is not on the bed."),
        ("A man riding a wave.", "A man not riding a wave."),
        ("Increase the brightness.", "Do not increase the brightness."),
    ):
        assert negate(text, "", rng()) == turned


def test_an_invented_sentence_names_something_unheard_of_after_the_text_as_it_was() -> None:
    changed = invent_sentence(TEXT, TEXT, rng())
    assert changed is not None
    assert changed.startswith(TEXT)
    assert len(changed) > len(TEXT) + 10


def test_a_truncated_text_ends_in_mid_sentence() -> None:
    changed = truncate(TEXT, "", rng())
    assert changed is not None
    assert TEXT.startswith(changed)
    assert changed.split()[-1].lower() in {"a", "in", "is"}


def test_a_text_without_a_middle_is_not_truncated() -> None:
    assert truncate("Two dogs.", "", rng()) is None


def test_kinds_are_tried_in_the_order_given() -> None:
    assert corrupt("A cat is here.", "", rng(), ["number_changed", "negated", "truncated"]) == (
        "A cat is not here.",
        "negated",
    )


@given(st.text(max_size=300), st.text(max_size=100), st.integers(0, 2**32))
def test_any_text_is_changed_or_left_alone_and_the_same_seed_gives_the_same(text: str, context: str, seed: int) -> None:
    for name in CORRUPTIONS:
        made = corrupt(text, context, Random(seed), [name])
        assert made is None or made[0] != text
        assert made == corrupt(text, context, Random(seed), [name])
