import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from polite_flamingo.errors import DataError


def message(name: str, role: str, parent: str | None = None, **values: Any) -> dict[str, Any]:
    row = {"message_id": name, "parent_id": parent, "role": role, "text": f"{name}.", "lang": "en", "deleted": False}
    return {**row, "review_result": True, "synthetic": False, "message_tree_id": "p", "rank": None, **values}


FLAT = [
    message("p", "prompter", tree_state="ready_for_export"),
    message("unranked", "assistant", "p"),
    message("deleted", "assistant", "p", rank=0, deleted=True),
    message("failed", "assistant", "p", rank=0, review_result=False),
    message("worse", "assistant", "p", rank=1),
    message("best", "assistant", "p", rank=0, synthetic=True),
    message("more", "prompter", "best"),
    message("last", "assistant", "more"),
    message("open", "prompter", "last"),
]
BEST = ["p.", "best.", "more.", "last."]


def tree(rows: list[dict[str, Any]]) -> dict[str, Any]:
    def grow(row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "replies": [grow(other) for other in rows if other["parent_id"] == row["message_id"]]}

    return {"message_tree_id": "p", "tree_state": rows[0].get("tree_state"), "prompt": grow(rows[0])}


def parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([{"emojis": None, **row} for row in rows]), path)


def write(root: Any, form: str, rows: list[dict[str, Any]]) -> str:
    if form == "trees":
        name = "oasst/2023-04-12_oasst_ready.trees.jsonl"
        root.lines(name, tree(rows))
    elif form == "messages":
        name = "oasst/2023-04-12_oasst_ready.messages.jsonl.gz"
        data = gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode())
        (root.path / "oasst").mkdir(exist_ok=True)
        (root.path / name).write_bytes(data)
    else:
        name = "oasst/data/train-00000-of-00001-abc.parquet"
        parquet(root.path / name, rows)
    return name


def test_every_form_gives_the_best_ranked_path(root) -> None:
    for form in ["trees", "messages", "parquet"]:
        with root.case(form):
            write(root, form, FLAT)
            (sample,), rejects = root.read("oasst", "oasst", "train")
            assert [t.text for t in sample.turns] == BEST
            assert (sample.id, sample.extras, rejects) == ("oasst/train/p", {"synthetic": 1}, [])


def test_flat_messages_may_come_in_any_order(root) -> None:
    write(root, "messages", FLAT[::-1])
    (sample,), rejects = root.read("oasst", "oasst", "train")
    assert ([t.text for t in sample.turns], rejects) == (BEST, [])


def test_of_all_official_files_one_is_read(root) -> None:
    for form in ("trees", "messages"):
        write(root, form, FLAT)
    root.lines("oasst/2023-04-12_oasst_all.trees.jsonl", tree(FLAT))
    samples, _ = root.read("oasst", "oasst", "train")
    assert len(samples) == 1
    parquet(root.path / "oasst/data/validation-00000-of-00001-abc.parquet", [{**FLAT[0], "message_id": "v"}])
    samples, (reject,) = root.read("oasst", "oasst", "validation")
    assert (samples, reject.value) == ([], "v")


def test_other_languages_are_passed_over(root) -> None:
    for form in ["trees", "messages", "parquet"]:
        with root.case(form):
            write(root, form, [{**row, "lang": "es"} for row in FLAT])
            assert root.read("oasst", "oasst", "train") == ([], [])


def test_a_tree_that_cannot_be_used_is_rejected(root) -> None:
    for rows, reason in [
        ([{**FLAT[0], "tree_state": "aborted_low_grade"}, *FLAT[1:]], "tree is not ready for export"),
        (FLAT[:1], "prompt has no reply"),
        ([FLAT[0], {**FLAT[5], "role": "prompter"}], "message is not of the assistant"),
        ([{**FLAT[0], "role": "assistant"}, FLAT[5]], "message is not of the prompter"),
    ]:
        for form in ["trees", "messages"]:
            with root.case(form, rows, reason):
                name = write(root, form, rows)
                samples, (reject,) = root.read("oasst", "oasst", "train")
                assert (samples, reject.file, reject.row, reject.reason) == ([], name, "1", reason)


def test_a_broken_message_loses_only_itself(root) -> None:
    for row, reason in [
        (message("x", "assistant", "unheard"), "message answers one the file does not hold"),
        (message("best", "assistant", "p"), "message is there twice"),
        (message("x", "assistant", "p", text=None), "row lacks 'text'"),
        ({**message("x", "assistant"), "parent_id": 5}, "'parent_id' is not of type str"),
        ("text", "row is not an object"),
    ]:
        with root.case(row, reason):
            root.lines("oasst/ready.messages.jsonl", *FLAT, row)
            (sample,), (reject,) = root.read("oasst", "oasst", "train")
            assert [t.text for t in sample.turns] == BEST
            assert (reject.file, reject.row, reject.reason) == ("oasst/ready.messages.jsonl", "10", reason)


def test_a_broken_line_loses_only_itself(root) -> None:
    root.text("oasst/ready.messages.jsonl", "{broken\n" + "".join(json.dumps(row) + "\n" for row in FLAT))
    samples, (reject,) = root.read("oasst", "oasst", "train")
    assert (len(samples), reject.row) == (1, "1")


def test_a_parquet_file_that_is_none_is_an_error(root) -> None:
    root.text("oasst/data/train-00000-of-00001-abc.parquet", "PAR1 but no more")
    with pytest.raises(DataError, match="train-00000"):
        root.read("oasst", "oasst", "train")


def test_a_folder_without_the_files_is_an_error(root) -> None:
    root.text("oasst/readme.txt", "")
    with pytest.raises(DataError, match="no annotation file found"):
        root.read("oasst", "oasst", "train")
