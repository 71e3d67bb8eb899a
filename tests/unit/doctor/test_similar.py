import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PILImage
from tests.unit.cases import case

from polite_flamingo.doctor.similar import DISTANCE, near_pairs, perceptual_hash


def _bits(one, other):
    return (one ^ other).bit_count()


def test_the_same_picture_smaller_and_compressed_is_near(picture, encoded):
    import io

    image = picture(1, (400, 300))
    small = PILImage.open(io.BytesIO(encoded(image.resize((200, 150)), "JPEG", quality=60)))
    assert _bits(perceptual_hash(image), perceptual_hash(small)) <= DISTANCE


def test_different_pictures_are_far(picture):
    hashes = [perceptual_hash(picture(seed)) for seed in range(40)]
    assert min(_bits(a, b) for a, b in itertools.combinations(hashes, 2)) > DISTANCE


def test_an_even_picture_has_no_hash():
    assert perceptual_hash(PILImage.new("RGB", (50, 50), "gray")) is None


def test_sixteen_bits_hash_like_eight(picture):
    grey = picture(3).convert("L")
    deep = PILImage.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    assert _bits(perceptual_hash(grey), perceptual_hash(deep)) <= DISTANCE


@given(st.integers(0, 2**32), st.lists(st.tuples(st.integers(0, 30), st.sets(st.integers(0, 63), max_size=6))))
def test_the_bands_find_exactly_the_pairs_a_comparison_of_all_with_all_finds(seed, copies):
    rng = random.Random(seed)
    known = [rng.getrandbits(64) for _ in range(31)]
    known += [known[index] ^ sum(1 << bit for bit in flipped) for index, flipped in copies]
    hashes = sorted(set(known))
    expected = {
        (i, j, _bits(hashes[i], hashes[j]))
        for i, j in itertools.combinations(range(len(hashes)), 2)
        if _bits(hashes[i], hashes[j]) <= DISTANCE
    }
    assert set(map(tuple, near_pairs(np.array(hashes, np.uint64)).tolist())) == expected


def test_no_pairs_among_too_few() -> None:
    for count in [0, 1]:
        with case(count):
            assert near_pairs(np.arange(count, dtype=np.uint64)).shape == (0, 3)


def test_a_distance_the_bands_cannot_promise_is_refused():
    with pytest.raises(ValueError, match="at most 4 bits"):
        near_pairs(np.zeros(1, np.uint64), distance=5)


def test_a_hundred_thousand_hashes_do_not_take_ten_thousand_million_comparisons():
    rng = np.random.default_rng(0)
    hashes = np.unique(rng.integers(0, 2**64, 100_000, dtype=np.uint64))
    near = np.concatenate([hashes, hashes[:100] ^ np.uint64(0b1011)])
    assert len(near_pairs(near)) == 100
