"""Random text augmentation behaves as nlpaug's operations do."""

from __future__ import annotations

from collections import Counter
from random import Random

from tests.unit.cases import case

from polite_flamingo.distort.text_noise import (
    ALPHABET,
    add_noise,
    char_noise,
    detokenize,
    drop_sentences,
    shuffle_sentences,
    tokenize,
    word_noise,
)

TEXT = "The large circle stands beside another square. Nothing else appears here."
WORDS = [t for t in tokenize(TEXT) if t.isalpha()]


def changed_words(noisy: str) -> list[tuple[str, str]]:
    return [(a, b) for a, b in zip(TEXT.replace(".", " .").split(), noisy.replace(".", " .").split()) if a != b]  # noqa: B905


def test_the_same_randomness_gives_the_same_noise() -> None:
    assert add_noise(TEXT, Random("a"), 0.5) == add_noise(TEXT, Random("a"), 0.5)


def test_different_randomness_gives_many_different_texts() -> None:
    assert len({add_noise(TEXT, Random(i), 0.5) for i in range(100)}) > 60


def test_probability_zero_changes_nothing_and_one_always_something() -> None:
    assert add_noise(TEXT, Random(1), 0.0) == TEXT
    assert all(add_noise(TEXT, Random(i), 1.0) != TEXT for i in range(20))


def test_at_the_papers_probability_one_in_sixteen_texts_stays_as_it_was() -> None:
    same = sum(add_noise(TEXT, Random(i), 0.5) == TEXT for i in range(3000))
    # All four coins say no in 1/16; keeping every sentence, or shuffling them into place, adds a little.
    assert 3000 / 16 * 0.8 < same < 3000 / 16 * 2.2


def test_dropping_keeps_leading_sentences_without_their_full_stops() -> None:
    kept = {drop_sentences("One. Two. Three", Random(i)) for i in range(50)}
    assert kept == {"One", "One Two", "One Two Three"}


def test_shuffling_keeps_every_sentence() -> None:
    for i in range(20):
        shuffled = shuffle_sentences("One. Two. Three", Random(i))
        assert Counter(shuffled.split()) == Counter(("One", "Two", "Three")) or sorted(
            shuffled.replace(" ", "")
        ) == sorted("OneTwoThree")


def test_substitution_keeps_lengths_and_draws_from_the_alphabet() -> None:
    noisy = char_noise(TEXT, "substitute", 0.5, 0.5, Random(3))
    for old, new in changed_words(noisy):
        assert len(old) == len(new)
        assert set(new) <= set(ALPHABET) | set(old)


def test_insertion_keeps_the_letters_in_order() -> None:
    for old, new in zip(tokenize("elephant"), [char_noise("elephant", "insert", 0.4, 1.0, Random(5))], strict=True):
        rest = iter(new)
        assert len(new) == len(old) + 4
        assert all(letter in rest for letter in old)


def test_deletion_takes_the_stated_share_of_letters() -> None:
    assert len(char_noise("abcdefghij", "delete", 0.3, 1.0, Random(2))) == 7


def test_swapping_letters_keeps_the_letters_and_the_pattern_of_capitals() -> None:
    for i in range(20):
        swapped = char_noise("Elephant", "swap", 0.4, 1.0, Random(i))
        assert sorted(swapped.lower()) == sorted("elephant")
        assert swapped[0].isupper() and swapped[1:].islower()


def test_words_below_four_letters_are_left_alone() -> None:
    for action in ["insert", "substitute", "swap", "delete"]:
        with case(action):
            assert char_noise("a red cat", action, 1.0, 1.0, Random(0)) == "a red cat"


def test_at_most_ten_words_and_ten_letters_change() -> None:
    text = " ".join(["abcdefghijklmnop"] * 30)
    words = char_noise(text, "delete", 1.0, 1.0, Random(0)).split()
    assert sum(w != "abcdefghijklmnop" for w in words) == 10
    assert {len(w) for w in words} == {16, 6}


def test_at_least_one_word_changes_however_small_the_share() -> None:
    assert len(word_noise(TEXT, "delete", 1e-9, Random(0)).split()) == len(TEXT.split()) - 1


def test_deleting_words_never_takes_a_punctuation_mark() -> None:
    noisy = word_noise("Ann, Bob, Eve. Tom!", "delete", 1.0, Random(0))
    assert not any(c.isalpha() for c in noisy)
    assert sorted(noisy.replace(" ", "")) == sorted(",,.!")


def test_when_the_first_word_goes_the_next_is_capitalised() -> None:
    starts = {word_noise("The cat sat down", "delete", 0.01, Random(i)).split()[0] for i in range(40)}
    assert starts == {"The", "Cat"}


def test_swapping_words_keeps_the_words() -> None:
    for i in range(20):
        swapped = word_noise(TEXT, "swap", 0.3, Random(i))
        assert Counter(w.lower() for w in tokenize(swapped)) == Counter(w.lower() for w in tokenize(TEXT))


def test_cropping_removes_one_contiguous_run() -> None:
    text = "a b c d e f g h"
    for i in range(30):
        rest = word_noise(text, "crop", 0.375, Random(i)).lower().split()
        assert len(rest) == 5
        joined = " ".join(rest)
        assert any(joined == " ".join([*text.split()[:s], *text.split()[s + 3 :]]) for s in range(6))


def test_a_single_word_survives_word_noise() -> None:
    for action in ["delete", "swap", "crop"]:
        with case(action):
            assert word_noise("red", action, 1.0, Random(0)) == "red"


def test_odd_texts_do_not_fail() -> None:
    for text in ["", "   ", ".", "\n\n", "é ü 你好", "a" * 5000]:
        with case(text):
            for i in range(30):
                assert isinstance(add_noise(text, Random(i), 1.0), str)


def test_joining_puts_stops_and_brackets_back() -> None:
    assert detokenize(tokenize("Hello, (my) friend. It is 5%!")) == "Hello, (my) friend. It is 5%!"
