"""The photographs of ordinary packages."""

from __future__ import annotations

import pytest

from polite_flamingo.errors import DataError
from polite_flamingo.io.text import read_json, read_jsonl, write_json
from polite_flamingo.laptop import packaged


def test_the_data_root_has_pictures_captions_questions_and_licences(tmp_path, monkeypatch) -> None:
    here = [entry for entry in read_json(packaged.LISTED) if entry["package"] != "scikit-image"]  # an extra's
    write_json(tmp_path / "listed.json", here)
    monkeypatch.setattr(packaged, "LISTED", tmp_path / "listed.json")
    counts = packaged.write_root(tmp_path / "root")
    folder = tmp_path / "root" / packaged.FOLDER
    questions = list(read_jsonl(folder / "questions.jsonl"))
    assert counts == {"photographs": 3, "captions": 3, "questions": len(questions)}
    assert len({question["id"] for question in questions}) == len(questions) == 10
    assert all((folder / question["image"]).is_file() for question in questions)
    assert (folder / "LICENCES.md").read_text().count("\n- ") == 3


def test_a_picture_that_is_not_here_is_named_with_its_package() -> None:
    with pytest.raises(DataError, match=r"scikit-image(?s:.*)no_such_package/a.png(?s:.*)make real"):
        packaged.find_photograph({"file": "no_such_package/a.png", "package": "scikit-image"})
