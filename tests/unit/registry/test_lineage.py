"""dvc.lock as the witness of a model: what it was made of, and whether that still holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from polite_flamingo.errors import DataError, ModelError
from polite_flamingo.registry.lineage import Lock
from polite_flamingo.registry.parts import ROOT_VARIABLE, folder_md5, located


def lock(**changed: str) -> Lock:
    """download -> train -> evaluate, whose md5 sums agree unless one is changed."""

    def entry(deps: dict[str, str], outs: dict[str, str]) -> dict[str, Any]:
        return {
            part: [{"path": path, "md5": changed.get(f"{part}:{path}", md5)} for path, md5 in values.items()]
            for part, values in (("deps", deps), ("outs", outs))
        }

    return Lock(
        {
            "download@tiny": entry({"src/a.py": "0"}, {"data/tiny/samples": "1"}),
            "train@tiny": entry({"data/tiny/samples/evaluation": "1e", "src/b.py": "2"}, {"models/tiny/m": "3"}),
            "evaluate@tiny": entry({"models/tiny/m": "3", "data/tiny/samples": "1"}, {"data/tiny/answers": "4"}),
            "train@other": entry({}, {"models/other/m": "9"}),
        },
        "tiny",
    )


def check(subject: Lock, *folders: str, root: Path = Path()) -> None:
    subject.check("evaluate", root=root, folders=folders)


def test_data_and_models_are_named_and_code_is_not() -> None:
    assert lock().inputs("train") == {"data/tiny/samples/evaluation": "1e"}
    assert lock().outputs("train") == {"models/tiny/m": "3"}


def test_a_chain_that_agrees_passes() -> None:
    check(lock())


@pytest.mark.parametrize("changed", ["outs:models/tiny/m", "outs:data/tiny/samples"])
def test_a_stage_that_ran_on_something_else_is_named(changed: str) -> None:
    with pytest.raises(DataError, match="ran on another state") as caught:
        check(lock(**{changed: "new"}))
    assert changed.partition(":")[2] in str(caught.value)


def test_a_stage_that_has_not_run_is_named() -> None:
    with pytest.raises(DataError, match="has not run"):
        Lock.read(Path("missing"), "tiny").check("evaluate", root=Path(), folders=())


def test_a_folder_must_be_the_one_of_the_lock(tmp_path: Path) -> None:
    folder = tmp_path / "models" / "tiny" / "m"
    folder.mkdir(parents=True)
    (folder / "w").write_text("w")
    same = dict.fromkeys(("outs:models/tiny/m", "deps:models/tiny/m"), folder_md5(folder))
    check(lock(**same), "models/tiny/m", root=tmp_path)
    with pytest.raises(DataError, match="not what dvc"):
        check(lock(), "models/tiny/m", root=tmp_path)


def test_a_folder_has_the_md5_that_dvc_gives_it(tmp_path: Path) -> None:
    for name in ("b/x.txt", "b.txt", "a/ä", "c"):
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_text(name)
    assert folder_md5(tmp_path / "out") == "0a3cbd2b9f78885a946566ece61b0ff9.dir"  # of `dvc add out`


def test_weights_that_are_referred_to_must_be_there_and_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "w").write_text("w")
    part = {"path": "models", "md5": folder_md5(tmp_path / "models"), "commit": "abc"}
    assert located("base", {}, {"base": part}) == tmp_path / "models"
    assert located("base", {"base": "/copied"}, {}) == Path("/copied")
    (tmp_path / "models" / "w").write_text("v")
    with pytest.raises(ModelError, match="refers to weights"):
        located("base", {}, {"base": part})
    with pytest.raises(ModelError, match="not here") as caught:
        located("base", {}, {"base": {**part, "path": "elsewhere"}})
    assert "--rev abc" in str(caught.value)
