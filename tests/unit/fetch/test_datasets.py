"""The verbs `fetch` and `sources`: whole datasets, from a real server."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.unit.cases import case
from tests.unit.fetch.server import Served, Site

from polite_flamingo import cli
from polite_flamingo.errors import BusyError, ConfigError, DataError
from polite_flamingo.fetch import datasets, fetch_datasets, find_state, transfer
from polite_flamingo.fetch.record import is_done
from polite_flamingo.io.locks import locked
from polite_flamingo.records import Reject, Sample, Task
from polite_flamingo.sources import registry
from polite_flamingo.sources.forms.files import has_annotations, open_file
from polite_flamingo.sources.forms.regions import need_writable
from polite_flamingo.sources.reading import read_source
from polite_flamingo.sources.registry import Entry, RemoteFile

ROW = {"choices": ["a", "b"], "correct_choice_idx": 0, "question": "Which?", "rationales": ["So."], "image_id": 1}


def zipped(**files: Any) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as packed:
        for name, value in files.items():
            packed.writestr(f"{name}.json", json.dumps(value))
    return data.getvalue()


class World(NamedTuple):
    site: Site
    root: Path
    said: list[str]

    def fetch(self, *names: str, accept: bool = True) -> str:
        self.said.clear()
        self.site.requests.clear()
        fetch_datasets(names, self.root, accept_licence=accept, say=self.said.append)
        return "\n".join(self.said)

    def gets(self) -> list[str]:
        return [name for method, name, _, _ in self.site.requests if method == "GET"]

    def state(self, name: str) -> tuple[str, tuple[str, ...]]:
        found = find_state(registry.catalogue()[name], self.root)
        return found.state, found.splits

    def files(self, folder: str) -> list[str]:
        return sorted(p.relative_to(self.root / folder).as_posix() for p in (self.root / folder).rglob("*"))


@pytest.fixture
def world(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A catalogue of three datasets: an archive and a plain file, one by hand only, one more of the first's folder."""
    rows = [{**ROW, "question_id": str(number)} for number in range(3)]
    site.files["questions.zip"] = Served(zipped(aokvqa_v1p0_train=rows, aokvqa_v1p0_val=rows[:1]))
    site.files["notes.txt"] = Served(b"notes")
    common = {"reader": "polite_flamingo.sources.readers.aokvqa:Aokvqa", "group": "vqa", "permissive": True}
    common |= {"folder": "questions", "home": "https://example.org/questions"}
    splits = {"train": 3, "val": 1}
    archive = RemoteFile(url=site.url("questions.zip"), to="questions.zip", unpack=True)
    notes = RemoteFile(url=site.url("notes.txt"), to="doc/notes.txt", md5=hashlib.md5(b"notes").hexdigest())
    manual = "Ask for the key.\nPut key.json into the folder."
    entries = [
        Entry(name="questions", title="Questions", splits=splits, files=(archive, notes), **common),
        Entry(name="by_hand", title="By hand", splits=splits, manual=manual, **{**common, "folder": "hand"}),
        Entry(name="again", title="The same archive", splits={"train": 3}, files=(archive,), **common),
    ]
    known = {entry.name: entry for entry in entries}
    for module in (registry, datasets):
        monkeypatch.setattr(module, "catalogue", lambda: known)
    monkeypatch.setattr(transfer, "LONGEST_WAIT", 0.01)
    return World(site, tmp_path / "root", [])


def test_without_accepting_the_licence_everything_is_shown_and_nothing_fetched(world: World) -> None:
    with pytest.raises(ConfigError, match=r"licence is not accepted[\s\S]*--accept-licence"):
        world.fetch("questions", accept=False)
    said = "\n".join(world.said)
    for shown in ("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0", "https://example.org/questions"):
        assert shown in said
    assert "notes.txt: 5 bytes, from http://" in said
    assert "images or boxes of coco" in said
    assert world.gets() == []
    assert not world.root.exists()


def test_archives_are_unpacked_and_removed_and_readers_find_their_files(world: World, tmp_path: Path) -> None:
    assert world.state("questions") == ("absent", ())
    world.fetch("questions")
    listed = [".fetched.json", "aokvqa_v1p0_train.json", "aokvqa_v1p0_val.json", "doc", "doc/notes.txt"]
    assert world.files("questions") == listed
    assert world.state("questions") == ("present", ("train", "val"))
    assert read_source("questions", world.root / "questions", tmp_path / "out", split="train")[0]["read"] == 3


def test_what_was_fetched_is_not_fetched_again(world: World) -> None:
    world.fetch("questions")
    assert "there     questions.zip" in world.fetch("questions", accept=False)
    assert world.gets() == []


def test_an_odd_record_of_what_was_fetched_is_none(tmp_path: Path) -> None:
    remote = RemoteFile(url="u", to="a.zip", unpack=True)
    for facts in ("5", "null", '{"url": "u", "unpacked": 5}', '{"url": "u", "unpacked": [5]}', '{"url": "u"}'):
        (tmp_path / ".fetched.json").write_text(f'{{"a.zip": {facts}}}')
        assert not is_done(tmp_path, remote)


def test_what_was_unpacked_and_lost_is_fetched_again(world: World) -> None:
    world.fetch("questions")
    (world.root / "questions" / "aokvqa_v1p0_val.json").unlink()
    assert world.state("questions") == ("partial", ("train",))
    world.fetch("questions")
    assert world.gets() == ["questions.zip"]
    assert world.state("questions")[0] == "present"


def test_two_datasets_share_what_they_have_in_common(world: World) -> None:
    world.fetch("questions", "again")
    assert sorted(world.gets()) == ["notes.txt", "questions.zip"]
    assert world.state("again") == ("present", ("train",))


def test_one_missing_file_does_not_keep_the_others_away(world: World) -> None:
    archive = world.site.files.pop("questions.zip")
    with pytest.raises(DataError, match=r"answers 404[\s\S]*questions\.zip"):
        world.fetch("questions")
    assert (world.root / "questions" / "doc" / "notes.txt").read_bytes() == b"notes"
    assert world.state("questions") == ("partial", ())
    world.site.files["questions.zip"] = archive
    world.fetch("questions")
    assert world.gets() == ["questions.zip"]


def test_all_failures_are_told_together(world: World) -> None:
    world.site.files.clear()
    with pytest.raises(DataError, match=r"2 files could not be fetched[\s\S]*questions\.zip[\s\S]*notes\.txt"):
        world.fetch("questions")


def test_a_wrong_checksum_is_told_and_the_file_kept_away(world: World) -> None:
    world.site.files["notes.txt"] = Served(b"other")
    with pytest.raises(DataError, match="another md5"):
        world.fetch("questions")
    assert world.files("questions/doc") == []


def test_a_cut_transfer_is_partial_until_the_next_call(world: World) -> None:
    served = world.site.files["questions.zip"]
    served.cut_after = [100, *[0] * 9]
    with pytest.raises(DataError, match="keeps breaking off"):
        world.fetch("questions")
    assert world.state("questions") == ("partial", ())
    served.cut_after = []
    assert "100 bytes of it there" in world.fetch("questions")
    assert world.site.gets("questions.zip") == [("bytes=100-", 206)]
    assert world.state("questions")[0] == "present"


def test_a_call_killed_before_unpacking_unpacks_without_fetching(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(datasets, "unpack", killed)
        world.fetch("questions")
    assert world.state("questions") == ("partial", ())
    world.fetch("questions")
    assert world.gets() == ["notes.txt"]
    assert not (world.root / "questions" / "questions.zip").exists()


def test_an_archive_somebody_put_there_is_used_and_stays(world: World) -> None:
    archive = world.root / "questions" / "questions.zip"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(world.site.files["questions.zip"].data)
    world.fetch("questions")
    assert world.gets() == ["notes.txt"]
    assert archive.exists()
    assert world.state("questions")[0] == "present"
    (world.root / "questions" / "aokvqa_v1p0_val.json").unlink()
    world.fetch("questions")
    assert world.gets() == []
    assert archive.exists()


def test_another_file_of_that_name_is_told_and_left(world: World) -> None:
    notes = world.root / "questions" / "doc" / "notes.txt"
    notes.parent.mkdir(parents=True)
    notes.write_text("mine")
    with pytest.raises(DataError, match="another md5"):
        world.fetch("questions")
    assert notes.read_text() == "mine"


def test_a_full_disk_stops_before_anything_is_fetched(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(world.root.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
    with pytest.raises(DataError, match=r"files need .* the disk has 10 bytes free"):
        world.fetch("questions")
    assert world.gets() == []


def test_a_disk_that_fills_up_stops_the_rest(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise transfer.DiskFullError(world.root)

    monkeypatch.setattr(datasets, "transfer", full)
    with pytest.raises(transfer.DiskFullError):
        world.fetch("questions")


def test_steps_by_hand_are_told_and_ask_for_no_licence(world: World) -> None:
    said = world.fetch("by_hand", accept=False)
    assert "by hand   Ask for the key." in said
    assert "by hand   Put key.json into the folder." in said


def test_files_put_there_by_hand_are_found(world: World) -> None:
    folder = world.root / "hand"
    folder.mkdir(parents=True)
    assert world.state("by_hand") == ("absent", ())
    (folder / "aokvqa_v1p0_train.json").write_text("never read, so that it may be broken")
    assert world.state("by_hand") == ("partial", ("train",))
    (folder / "aokvqa_v1p0_val.json").write_text("[]")
    assert world.state("by_hand") == ("present", ("train", "val"))


def test_two_processes_do_not_fetch_the_same_dataset(world: World) -> None:
    folder = world.root / "questions"
    with locked(folder / ".fetch.lock"), pytest.raises(BusyError):
        world.fetch("questions")


def test_an_unknown_name_is_refused_with_a_suggestion(world: World) -> None:
    with pytest.raises(ConfigError, match="did you mean 'questions'"):
        world.fetch("question")


def test_a_target_outside_the_folder_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    evil = RemoteFile(url=world.site.url("notes.txt"), to="../evil.txt")
    entry = registry.catalogue()["by_hand"]
    known = {"evil": Entry(**{**{f: getattr(entry, f) for f in entry.__slots__}, "name": "evil", "files": (evil,)})}
    for module in (registry, datasets):
        monkeypatch.setattr(module, "catalogue", lambda: known)
    with pytest.raises(DataError, match="leaves the data root"):
        world.fetch("evil")


def test_the_verbs_use_the_data_root_they_are_given(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ["--data-root", str(world.root)]
    assert cli.main(["fetch", "questions", *chosen]) == cli.USER_ERROR
    assert "licence is not accepted" in capsys.readouterr().err
    assert cli.main(["fetch", "questions", "--accept-licence", *chosen]) == 0
    assert "Apache-2.0" in capsys.readouterr().out
    assert world.state("questions")[0] == "present"


def test_sizes_are_written_for_people() -> None:
    for size, text in [(5, "5 bytes"), (6_600_000, "6.6 MB"), (13_400_000_000, "13.4 GB")]:
        with case(size, text):
            assert datasets.human(size) == text


def _reads(root: Path) -> None:
    open_file(root / "rows.json").read()


@pytest.mark.parametrize("work", [need_writable, _reads])
def test_looking_for_annotations_stops_before_anything_is_read_or_written(tmp_path: Path, work: Any) -> None:
    class Reader:
        name, licence, tasks, siblings = "reader", "none", frozenset[Task](), ()

        def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
            work(root)
            yield Reject("reader", "rows.json", "0", "was read")

    assert has_annotations(Reader(), tmp_path, "set", "train")
    assert list(tmp_path.iterdir()) == []
