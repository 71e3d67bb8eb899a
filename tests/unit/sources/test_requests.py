from tests.unit.cases import case

from polite_flamingo.prompts.requests import CAPTION, CHANGE, POINTED, REGION, STATEMENT, draw_request


def test_a_pool_holds_eight_different_wordings() -> None:
    for pool in [CAPTION, CHANGE, POINTED, REGION, STATEMENT]:
        with case(pool):
            assert len(set(pool)) == len(pool) == 8


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
