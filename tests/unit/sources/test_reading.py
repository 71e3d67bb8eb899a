"""The verb `read`: one dataset's official files to shards of samples, with counts that tell the truth."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from PIL import Image as PILImage

from polite_flamingo import cli
from polite_flamingo.errors import ConfigError, DataError
from polite_flamingo.io.shards import read_shards, write_shards
from polite_flamingo.io.text import read_jsonl
from polite_flamingo.records import Image, Reject, Sample, Task, Turn
from polite_flamingo.sources import catalogue, counts, reading
from polite_flamingo.sources.quarantine import Quarantine
from polite_flamingo.sources.reading import SEED, Intake, read_source

PROJECT = Path(__file__).resolve().parents[3]


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A-OKVQA with three rows: a good one with its image, a good one without, a broken one."""
    folder = tmp_path / "root" / "aokvqa"
    folder.mkdir(parents=True)
    good = {"choices": ["cat", "dog"], "correct_choice_idx": 1, "question": "Which pet?", "rationales": ["It barks."]}
    rows = [
        {**good, "question_id": "a", "image_id": 1},
        {**good, "question_id": "b", "image_id": 2},
        {**good, "question_id": "c", "image_id": 3, "correct_choice_idx": 5},
    ]
    for split in ("train", "val"):
        (folder / f"aokvqa_v1p0_{split}.json").write_text(json.dumps(rows))
    image = tmp_path / "root" / "coco" / "train2017" / "000000000001.jpg"
    image.parent.mkdir(parents=True)
    PILImage.new("RGB", (4, 4)).save(image)
    return folder


def samples(out: Path) -> list[Sample]:
    return [Sample.from_row(row) for row in read_shards(out / "samples")]


def test_samples_go_to_shards_and_bad_rows_to_quarantine(raw: Path, tmp_path: Path) -> None:
    (done,) = read_source("aokvqa", raw, tmp_path / "out", split="train")
    assert [s.id for s in samples(tmp_path / "out")] == ["aokvqa/train/a", "aokvqa/train/b"]
    (reject,) = read_jsonl(tmp_path / "out" / "quarantine.jsonl")
    assert (reject["file"], reject["row"]) == ("aokvqa/aokvqa_v1p0_train.json", "2")
    assert {**done, "seconds": 0} == {"split": "train", "read": 3, "rejected": 1, "images_missing": 1, "seconds": 0}


def test_the_verb_reads_all_splits_that_are_there_and_prints_a_json_line_for_each(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["read", "aokvqa", str(raw), "--out", str(tmp_path / "out")]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["split"], line["read"]) for line in lines] == [("train", 3), ("val", 3)]
    assert [s.split for s in samples(tmp_path / "out")] == ["train", "train", "val", "val"]


def test_what_is_not_found_is_told_by_what_is_there(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (raw / "aokvqa_v1p0_train.json").unlink()
    assert cli.main(["read", "aokvqa", str(raw), "--out", str(tmp_path / "out"), "--split", "train"]) == 2
    assert (
        "there are aokvqa_v1p0_val.json; what lies there fits `read aokvqa` with splits val" in capsys.readouterr().err
    )
    assert cli.main(["read", "aokvqa", str(raw.parent), "--out", str(tmp_path / "out")]) == 2
    assert f"there are {raw.name}/" in capsys.readouterr().err


def test_a_relative_folder_has_a_data_root_too(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(raw)
    assert read_source("aokvqa", Path(), tmp_path / "out")[0]["images_missing"] == 1


def test_siblings_of_a_linked_folder_are_looked_for_beside_the_link(raw: Path, tmp_path: Path) -> None:
    raw.rename(tmp_path / "elsewhere")
    raw.symlink_to(tmp_path / "elsewhere")
    assert read_source("aokvqa", raw, tmp_path / "out")[0]["images_missing"] == 1


def test_reading_again_replaces_what_was_read_and_nothing_else(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    read_source("aokvqa", raw, out, split="val")
    (out / "notes.txt").write_text("mine")
    read_source("aokvqa", raw, out, split="train")
    assert sorted(path.name for path in out.iterdir()) == ["notes.txt", "quarantine.jsonl", "samples"]
    assert {s.split for s in samples(out)} == {"train"}


def test_a_broken_file_leaves_an_earlier_reading_as_it_was(raw: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    read_source("aokvqa", raw, out, split="train")
    (raw / "aokvqa_v1p0_train.json").write_text("[{")
    with pytest.raises(DataError, match="not valid JSON"):
        read_source("aokvqa", raw, out)
    assert len(samples(out)) == 2
    assert sorted(path.name for path in out.iterdir()) == ["quarantine.jsonl", "samples"]


def test_a_folder_of_other_files_is_never_replaced(raw: Path, tmp_path: Path) -> None:
    precious = tmp_path / "out" / "samples" / "precious.txt"
    precious.parent.mkdir(parents=True)
    precious.write_text("mine")
    with pytest.raises(DataError, match=r"other than samples[\s\S]*precious\.txt"):
        read_source("aokvqa", raw, tmp_path / "out")
    assert precious.read_text() == "mine"


def test_an_absent_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"dataset folder does not exist[\s\S]*nowhere"):
        read_source("aokvqa", tmp_path / "nowhere", tmp_path / "out")


def test_a_reader_outside_the_catalogue_needs_a_split(raw: Path, tmp_path: Path) -> None:
    own = "polite_flamingo.sources.readers.aokvqa:Aokvqa"
    with pytest.raises(ConfigError, match="--split"):
        read_source(own, raw, tmp_path / "out")
    assert read_source(own, raw, tmp_path / "out", split="train")[0]["read"] == 3


def test_the_default_seed_is_that_of_the_parameters() -> None:
    from polite_flamingo.params.reading import load_params

    assert load_params(PROJECT / "params.yaml", "tiny").seed == SEED
    (seed,) = (option for option in cli.VERBS.commands["read"].params if option.name == "seed")
    assert seed.default == SEED


def test_another_number_of_rows_than_the_official_one_is_warned_of(
    raw: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        read_source("aokvqa", raw, tmp_path / "out")
    assert "aokvqa, split train: 3 rows, the official release has 17056" in caplog.text


def test_the_official_number_of_rows_is_not(
    raw: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"aokvqa": replace(catalogue()["aokvqa"], splits={"train": 3, "val": None})}
    monkeypatch.setattr(counts, "catalogue", lambda: MappingProxyType(known))
    for split in ("train", "val"):
        read_source("aokvqa", raw, tmp_path / "out", split=split)
    assert caplog.text == ""


def test_an_image_is_missing_once_however_often_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "REMEMBERED", 4)  # the list of missing images is merged many times
    (tmp_path / "there.jpg").touch()
    names = ["there.jpg", *(f"{number % 50}.jpg" for number in range(1000))]

    def items() -> Iterator[Sample]:
        turns = (Turn("human", "?", (0,)), Turn("assistant", "!"))
        for number, name in enumerate(names):
            yield Sample(str(number), "s", "all", "none", Task.VQA, turns, (Image(name),))

    intake = Intake(tmp_path)
    with open(tmp_path / "q", "w") as file:
        assert sum(1 for _ in intake.samples(items(), Quarantine(file))) == 1001
    assert intake.images_missing == 50


def test_memory_does_not_grow_with_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless:
        name, licence, tasks, siblings = "endless", "none", frozenset({Task.TEXT}), ()
        rows = 0

        def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
            turns = (Turn("human", "Say something long."), Turn("assistant", "word " * 40))
            for number in range(self.rows):
                yield Sample(f"endless/all/{number}", "endless", "all", "none", Task.TEXT, turns)

    (tmp_path / "raw").mkdir()
    monkeypatch.setattr(reading, "load_source", lambda _: Endless())
    monkeypatch.setattr(reading, "write_shards", partial(write_shards, rows_per_shard=500))

    def peak(rows: int) -> int:
        Endless.rows = rows
        tracemalloc.start()
        try:
            read_source("endless", tmp_path / "raw", tmp_path / "out", split="all")
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(100)  # libraries are loaded once
    assert peak(6000) < 1.3 * peak(1500)


def test_reading_imports_no_torch(raw: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from polite_flamingo.cli import main;"
        f"main(['read', 'aokvqa', {str(raw)!r}, '--out', {str(tmp_path / 'out')!r}]);"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_download_stage_warns_in_the_same_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raw: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from polite_flamingo.params.reading import load_params
    from polite_flamingo.params.schema import DATA_ROOT_VARIABLE
    from polite_flamingo.sources.selection import SourceLimits, SourceSpec
    from polite_flamingo.stages import download
    from polite_flamingo.tracking.base import NullTracker

    base = load_params(PROJECT / "params.yaml", "tiny")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(DATA_ROOT_VARIABLE, str(raw.parent))
    quality = base.quality.model_copy(update={"max_rejected_share": 1.0})
    spec = SourceSpec(name="aokvqa", folder="aokvqa", role="annotation", split="train")
    changes: dict[str, Any] = {"profile": "mine", "world": None, "limits": SourceLimits(), "quality": quality}
    with caplog.at_level(logging.WARNING):
        download.run(base.model_copy(update={**changes, "sources": [spec]}), NullTracker())
    assert "3 rows, the official release has 17056" in caplog.text
