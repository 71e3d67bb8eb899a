import re

from tests.unit.cases import case

from polite_flamingo.prompts import requests
from polite_flamingo.prompts.requests import CAPTION, ELABORATE, POINTED, REGION, STATEMENT, draw_request

POOLS = {name: pool for name, pool in vars(requests).items() if name.isupper() and isinstance(pool, tuple)}


def test_a_pool_holds_eight_different_wordings() -> None:
    for name, pool in POOLS.items():
        with case(name):
            assert len(set(pool)) == len(pool) == (1 if name == "CLASSIFY" else 8)


def test_no_wording_asks_for_positions_which_the_filters_would_remove() -> None:
    asking = [w for pool in POOLS.values() for w in pool if re.search(r"\bwhere\b|locat|position|coordinate", w)]
    assert asking == []


def test_the_wordings_known_from_the_authors_are_there() -> None:
    assert {"Describe the following image in detail", ELABORATE} < set(CAPTION)
    assert requests.CLASSIFY == ("What is this?",)


def test_the_wording_depends_on_seed_and_id_alone() -> None:
    drawn = [draw_request(CAPTION, seed=3, sample_id=f"coco/train/{i}") for i in range(200)]
    assert drawn == [draw_request(CAPTION, seed=3, sample_id=f"coco/train/{i}") for i in range(200)]
    assert set(drawn) == set(CAPTION)
    assert drawn != [draw_request(CAPTION, seed=4, sample_id=f"coco/train/{i}") for i in range(200)]


def test_placeholders_are_filled_even_with_braces_in_the_value() -> None:
    text = draw_request(STATEMENT, seed=1, sample_id="x", statement="{odd} text")
    assert "{odd} text" in text


def test_region_wordings_all_name_the_mark() -> None:
    for pool in [POINTED, REGION]:
        with case(pool):
            assert all("{mark}" in wording for wording in pool)
