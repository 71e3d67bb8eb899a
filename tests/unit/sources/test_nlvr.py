from tests.unit.cases import case

from polite_flamingo.prompts.requests import STATEMENT, STATEMENT_PAIR

ROW = {"sentence": "There is a box.", "label": "false", "identifier": "23-3", "directory": "5", "evals": {"r1": "true"}}
PAIR = {"sentence": "Both show a dog.", "label": "True", "identifier": "train-10-0-1", "directory": 63}


def test_nlvr_is_json_lines_and_shows_the_first_of_six_pictures(root) -> None:
    root.lines("nlvr/dev/dev.json", ROW, {**ROW, "identifier": "23-2", "label": "true"})
    (false, true), rejects = root.read("nlvr", "nlvr", "dev")
    assert (false.id, false.response, true.response, rejects) == ("nlvr/dev/23-3", "False", "True", [])
    assert [i.path for i in false.images] == ["nlvr/dev/images/5/dev-23-3-0.png"]
    assert any(false.instruction == wording.replace("{statement}", ROW["sentence"]) for wording in STATEMENT)


def test_nlvr_pictures_may_lie_in_one_folder(root) -> None:
    root.lines("nlvr/dev.subset.json", ROW)
    root.image("nlvr/images/dev-23-3-0.png")
    (sample,), _ = root.read("nlvr", "nlvr", "dev")
    assert sample.images[0].path == "nlvr/images/dev-23-3-0.png"


def test_nlvr2_shows_both_photographs_in_order(root) -> None:
    root.lines("nlvr2/data/train.json", PAIR)
    (sample,), rejects = root.read("nlvr2", "nlvr2", "train")
    assert (sample.id, sample.response, sample.turns[0].images) == ("nlvr2/train/train-10-0-1", "True", (0, 1))
    assert [i.path for i in sample.images] == [f"nlvr2/images/train/63/train-10-0-img{n}.png" for n in (0, 1)]
    assert any(sample.instruction == wording.replace("{statement}", PAIR["sentence"]) for wording in STATEMENT_PAIR)
    assert rejects == []


def test_nlvr2_has_directories_in_the_training_split_alone(root) -> None:
    row = {key: value for key, value in PAIR.items() if key != "directory"}
    root.lines("nlvr2/data/test1.json", {**row, "identifier": "test1-0-1-0"})
    root.image("nlvr2/test1/test1-0-1-img0.png")
    (sample,), _ = root.read("nlvr2", "nlvr2", "test1")
    assert [i.path for i in sample.images] == [
        "nlvr2/test1/test1-0-1-img0.png",
        "nlvr2/images/test1/test1-0-1-img1.png",
    ]


def test_a_broken_row_loses_only_itself(root) -> None:
    for values, reason in [
        ({"identifier": "train-10"}, "'identifier' is not <split>-<set>-<pair>-<sentence>"),
        ({"identifier": "../../x-1-2-3"}, "image path leaves the data root"),
        ({"directory": "../.."}, "image path leaves the data root"),
        ({"directory": [5]}, "'directory' is neither text nor number"),
        ({"label": "maybe"}, "'label' is neither true nor false"),
        ({"sentence": None}, "row lacks 'sentence'"),
    ]:
        with root.case(values, reason):
            root.lines("nlvr2/train.json", {**PAIR, **values}, PAIR)
            samples, (reject,) = root.read("nlvr2", "nlvr2", "train")
            assert (len(samples), reject.row, reject.reason) == (1, "1", reason)


def test_a_broken_nlvr_line_loses_only_itself(root) -> None:
    root.text("nlvr/dev.json", '{"sentence": \n')
    samples, (reject,) = root.read("nlvr", "nlvr", "dev")
    assert (samples, reject.row) == ([], "1")


def test_the_pool_holds_eight_different_wordings() -> None:
    for pool in [STATEMENT_PAIR]:
        with case(pool):
            assert len(set(pool)) == len(pool) == 8
            assert all("{statement}" in wording for wording in pool)
