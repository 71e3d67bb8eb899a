"""A profile that params.yaml does not name runs in a side project; nothing of the project itself changes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from polite_flamingo.errors import BusyError, ConfigError
from polite_flamingo.launch.pipeline_file import read_stages, write_pipeline
from polite_flamingo.launch.project import FOLDER, cache_folder, folder_of, project_of
from polite_flamingo.params.reading import load_params

PROJECT = Path(__file__).resolve().parents[3]
TEXT = "# comment\nprofile: tiny          # tiny | laptop\nseed: 42\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    root.mkdir()
    (root / "params.yaml").write_text(TEXT)
    (root / "dvc.lock").write_text("of tiny")
    for name in (".dvc", "src/polite_flamingo", "data", "configs/profiles"):
        (root / name).mkdir(parents=True)
    for name in ("dvc.yaml", "configs/profiles/tiny.yaml", "configs/profiles/laptop.yaml"):
        shutil.copyfile(PROJECT / name, root / name)
    return root


def _contents(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file() and ".work" not in path.parts)
    return {path.relative_to(root).as_posix(): path.read_text() for path in files}


def test_the_profile_of_params_yaml_runs_in_the_project_itself(root: Path) -> None:
    with project_of("tiny", root) as folder:
        assert folder == root


def test_another_profile_has_its_own_params_and_shares_the_rest(root: Path) -> None:
    before = _contents(root)
    with project_of("laptop", root) as folder:
        assert folder == folder_of("laptop", root) == root / FOLDER / "laptop"
        assert (folder / "params.yaml").read_text() == TEXT.replace("profile: tiny", "profile: laptop")
        assert not (folder / "dvc.lock").exists()
        (folder / "data" / "written").write_text("through the link")
        (folder / "reports" / "first").write_text("there was no such folder")
        assert f'dir = "{root / ".dvc" / "cache"}"' in (folder / ".dvc" / "config").read_text()
    written = {"data/written": "through the link", "reports/first": "there was no such folder"}
    assert _contents(root) == {**before, **written}


def test_a_side_project_keeps_its_state_and_follows_the_project(root: Path) -> None:
    (root / "notes").mkdir()
    with project_of("laptop", root) as folder:
        (folder / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    (root / "notes").rmdir()
    (root / "own_reader.py").touch()
    (root / "params.yaml").write_text(TEXT.replace("seed: 42", "seed: 7"))
    with project_of("laptop", root) as folder:
        assert (folder / "dvc.lock").read_text().endswith("stages: {}\n")
        assert "seed: 7" in (folder / "params.yaml").read_text()
        assert (folder / "own_reader.py").exists()
        assert not (folder / "notes").is_symlink()


def test_a_moved_project_takes_its_side_projects_along(root: Path) -> None:
    with project_of("laptop", root):
        pass
    moved = root.rename(root.with_name("moved"))
    assert (moved / FOLDER / "laptop" / "data").resolve() == moved / "data"


def test_two_profiles_may_run_at_a_time_but_each_only_once(root: Path) -> None:
    with project_of("laptop", root), project_of("tiny", root):
        for profile in ("laptop", "tiny"):
            with pytest.raises(BusyError, match=profile), project_of(profile, root):
                pass


def test_a_configured_cache_is_shared(root: Path) -> None:
    (root / ".dvc" / "config.local").write_text("[cache]\n    dir = ../../elsewhere\n")
    assert cache_folder(root).resolve() == root.parent / "elsewhere"


@pytest.mark.parametrize("name", ["with space", "ümlaut", "a, b#c", "it's", 'say "so"'])
def test_the_cache_is_shared_whatever_the_project_s_folder_is_called(root: Path, name: str) -> None:
    moved = root.rename(root.with_name(name))
    with project_of("laptop", moved) as folder:
        assert cache_folder(folder).resolve() == moved / ".dvc" / "cache"


def test_work_may_lie_on_another_disk(root: Path) -> None:
    (root.parent / "disk" / "deep").mkdir(parents=True)
    (root / ".work").symlink_to(root.parent / "disk" / "deep")
    with project_of("laptop", root) as folder:
        assert (folder / "data").resolve() == root / "data"


def test_a_quoted_profile_is_the_same_profile(root: Path) -> None:
    (root / "params.yaml").write_text(TEXT.replace("tiny  ", '"tiny"', 1))
    assert folder_of("tiny", root) == root
    with project_of("laptop", root) as folder:
        assert 'profile: "laptop"' in (folder / "params.yaml").read_text()


def test_a_file_without_a_profile_is_refused(root: Path) -> None:
    (root / "params.yaml").write_text("seed: 1\n")
    with pytest.raises(ConfigError, match="no profile is named"), project_of("laptop", root):
        pass


def test_a_run_may_wait_for_the_one_that_has_the_profile(root: Path) -> None:
    other = project_of("laptop", root)
    other.__enter__()
    waits: list[int] = []

    def wait() -> None:
        waits.append(1)
        if len(waits) == 3:
            other.__exit__(None, None, None)

    with project_of("laptop", root, wait=wait) as folder:
        assert folder == root / FOLDER / "laptop"
    assert len(waits) == 3


def test_a_file_of_locks_that_a_kill_has_torn_is_removed_and_a_whole_one_is_kept(root: Path) -> None:
    for profile in ("tiny", "laptop"):
        with project_of(profile, root) as folder:
            locks = folder / ".dvc" / "tmp" / "rwlock"
        locks.parent.mkdir(exist_ok=True)
        for text, kept in (("", False), ('{"src": {"re', False), ("{}", True)):
            locks.write_text(text)
            with project_of(profile, root):
                assert locks.exists() is kept, text


def test_a_state_that_a_kill_has_torn_is_set_aside_and_a_conflict_of_git_is_left_to_its_person(root: Path) -> None:
    whole = "schema: '2.0'\nstages:\n  a@x:\n    cmd: x\n    outs:\n    - path: data/a\n      md5: f00\n"
    conflict = f"<<<<<<< HEAD\n{whole}=======\n{whole}>>>>>>> other\n"
    states = (
        ("", False),
        (whole[:-24], False),
        (whole[: whole.index(" x") + 1], False),
        (whole, True),
        (conflict, True),
    )
    for profile in ("laptop", "tiny"):
        for text, kept in states:
            with project_of(profile, root) as folder:
                (folder / "dvc.lock").write_text(text)
            with project_of(profile, root):
                assert (folder / "dvc.lock").exists() is kept, text


def test_dvc_watches_files_of_answers(tmp_path: Path) -> None:
    (tmp_path / "configs" / "profiles").mkdir(parents=True)
    roles = ("instruction", "evaluation", "annotation")
    sources = ", ".join(f"{{name: table, folder: ., role: {role}, split: all}}" for role in roles)
    judges = ", ".join(f"{name}: laptop" for name in ("flamingo", "nli", "reward", "sts"))
    (tmp_path / "configs" / "profiles" / "mine.yaml").write_text(
        f"sources: [{sources}]\nbackbones: {{{judges}}}\noverrides: {{evaluate: {{models: [stage3, a.jsonl]}}}}\n"
    )
    (tmp_path / "params.yaml").write_text("profile: mine\n")
    params = load_params(tmp_path / "params.yaml")
    write_pipeline(params, tmp_path, tmp_path)
    assert "a.jsonl" in read_stages(tmp_path / "dvc.yaml")["evaluate"]["deps"]
    assert "evaluate.models: no such file of answers: a.jsonl" in params.contradictions()


def test_dvc_watches_the_template_of_the_rewriting(tmp_path: Path) -> None:
    (tmp_path / "configs" / "profiles").mkdir(parents=True)
    (tmp_path / "params.yaml").write_text("profile: mine\n")
    (tmp_path / "configs" / "profiles" / "mine.yaml").write_text(
        "sources: [{name: table, folder: ., role: annotation, split: all}]\nrewriter_backend: openai:http://x/v1#m\n"
        "overrides: {rewriting: {style: ask.txt}}\n"
    )
    params = load_params(tmp_path / "params.yaml")
    write_pipeline(params, tmp_path, tmp_path)
    rewrite = read_stages(tmp_path / "dvc.yaml")["rewrite"]
    assert "ask.txt" in rewrite["deps"]
    assert {"configs/profiles/${profile}.yaml": ["rewriter_backend", "overrides.rewriting"]} in rewrite["params"]
    (problem,) = params.contradictions()
    assert "no such style, and no file of this name: ask.txt" in problem
