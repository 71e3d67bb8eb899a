import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as PILImage

from polite_flamingo.errors import ConfigError, DataError
from polite_flamingo.io.shards import read_shards
from polite_flamingo.io.text import read_json, read_jsonl
from polite_flamingo.params.reading import load_params
from polite_flamingo.params.schema import DATA_ROOT_VARIABLE, Params
from polite_flamingo.prompts.templates import BOX_SENTENCE
from polite_flamingo.records import Sample
from polite_flamingo.sources.drawing import spread
from polite_flamingo.sources.selection import SourceLimits, SourceSpec
from polite_flamingo.stages import download
from polite_flamingo.tracking.base import NullTracker
from polite_flamingo.train.mixture import samples_of

PROJECT = Path(__file__).parents[2]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root of 20 COCO images with captions, and 10 text dialogues."""
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "given"
    folder = data / "coco" / "train2017"
    folder.mkdir(parents=True)
    images = []
    for number in range(20):
        name = f"{number:012d}.jpg"
        PILImage.new("RGB", (16, 16), (number * 10, 0, 0)).save(folder / name)
        images.append({"id": number, "file_name": name, "width": 16, "height": 16})
    write(
        data,
        "coco/annotations/captions_train2017.json",
        {
            "images": images,
            "annotations": [{"image_id": i, "caption": f"Picture {i}."} for i in range(20)],
        },
    )
    write(data, "text/alpaca_data.json", [{"instruction": f"Ask {i}", "output": f"Answer {i}."} for i in range(10)])
    monkeypatch.setenv(DATA_ROOT_VARIABLE, str(data))
    return data


def write(root: Path, name: str, value: Any) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(json.dumps(value), encoding="utf-8")


def params(*extra: SourceSpec, share: float = 0.05, **limits: int) -> Params:
    base = load_params(PROJECT / "params.yaml", "tiny")
    specs = [
        SourceSpec(name="coco", folder="coco", role="annotation", split="train2017"),
        SourceSpec(name="alpaca", folder="text", role="instruction", split="train"),
    ]
    quality = base.quality.model_copy(update={"max_rejected_share": share})
    changes = {"profile": "mine", "world": None, "limits": SourceLimits(**limits), "quality": quality}
    return base.model_copy(update={**changes, "sources": [*specs, *extra]})


def run(settings: Params) -> dict[str, Any]:
    return download.run(settings, NullTracker())


def ids(role: str) -> list[str]:
    return [Sample.from_row(row).id for row in read_shards(Path("data/mine/samples") / role)]


def quarantine() -> list[dict[str, Any]]:
    return list(read_jsonl(Path("data/mine/samples/quarantine.jsonl")))


def test_everything_usable_is_kept_in_official_order(root: Path) -> None:
    report = run(params())
    assert ids("annotation") == [f"coco/train2017/{i}" for i in range(20)]
    assert ids("instruction") == [f"alpaca/train/alpaca_data-{i}" for i in range(10)]
    assert ids("evaluation") == []
    assert (report["read"], report["rejected"]) == (30, 0)
    assert report["kept"] == {"annotation": 20, "instruction": 10, "evaluation": 0}
    assert report["licences"]["CC BY-NC 4.0"] == 10
    assert read_json(Path("reports/mine/download.json")) == report
    assert quarantine() == []


def test_the_manifest_lists_every_file_with_its_hash(root: Path) -> None:
    (root / "unrelated").mkdir()
    (root / "unrelated" / "a.txt").write_text("not of a source")
    run(params())
    rows = read_json(Path("data/mine/raw/manifest.json"))
    assert len(rows) == 22
    assert [row["path"] for row in rows] == sorted(row["path"] for row in rows)
    data = (root / "text" / "alpaca_data.json").read_bytes()
    expected = {"path": "text/alpaca_data.json", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    assert rows[-1] == expected


def test_two_runs_write_the_same_bytes(root: Path) -> None:
    def outputs() -> dict[str, bytes]:
        files = [p for top in ("data", "reports") for p in Path(top).rglob("*") if p.is_file()]
        return {p.as_posix(): p.read_bytes() for p in files}

    run(params(annotation=7))
    first = outputs()
    run(params(annotation=7))
    assert outputs() == first


def test_a_bad_image_goes_to_quarantine_and_loses_nothing_else(root: Path) -> None:
    folder = root / "coco" / "train2017"
    (folder / "000000000003.jpg").unlink()
    PILImage.effect_noise((64, 64), 80).save(folder / "000000000004.jpg")
    (folder / "000000000004.jpg").write_bytes((folder / "000000000004.jpg").read_bytes()[:-600])
    PILImage.new("P", (4, 4)).save(folder / "000000000005.jpg", format="GIF")
    report = run(params(share=0.5))
    assert ids("annotation") == [f"coco/train2017/{i}" for i in range(20) if i not in (3, 4, 5)]
    assert report["rejected"] == 3
    assert [(row["source"], row["file"], row["row"], row["reason"]) for row in quarantine()] == [
        ("coco", f"coco/train2017/{number:012d}.jpg", f"coco/train2017/{number}", reason)
        for number, reason in (
            (3, "image is missing"),
            (4, "image cannot be decoded"),
            (5, "image is GIF but named .jpg"),
        )
    ]


def test_an_image_linked_from_outside_the_root_is_rejected(root: Path, tmp_path: Path) -> None:
    file = root / "coco" / "train2017" / "000000000003.jpg"
    file.replace(tmp_path / "outside.jpg")
    file.symlink_to(tmp_path / "outside.jpg")
    run(params())
    assert [row["reason"] for row in quarantine()] == ["image path leaves the data root"]


def test_too_many_rejects_stop_the_stage_and_name_rows_after_quarantine_is_written(root: Path) -> None:
    for number in (3, 4):
        (root / "coco" / "train2017" / f"{number:012d}.jpg").unlink()
    with pytest.raises(
        DataError, match=r"2 of 30 rows were rejected[\s\S]*2 x image is missing \(.*coco/train2017/3\)"
    ):
        run(params())
    assert [row["row"] for row in quarantine()] == ["coco/train2017/3", "coco/train2017/4"]
    assert not Path("data/mine/samples/annotation").exists()


def test_a_source_without_one_usable_row_stops_the_stage(root: Path) -> None:
    write(root, "more/alpaca_x.json", [{"instruction": "Ask"}])
    spec = SourceSpec(name="alpaca", folder="more", role="instruction", split="train")
    with pytest.raises(DataError, match=r"'alpaca' \(more, split train\) yields no usable row of 1"):
        run(params(spec, share=1.0))


def test_a_broken_annotation_file_is_named_with_line_and_column(root: Path) -> None:
    (root / "text" / "alpaca_data.json").write_text('[{"instruction": "Ask",}]')
    with pytest.raises(DataError, match=r"alpaca_data\.json:1:\d+"):
        run(params())


def test_an_id_read_twice_is_rejected_the_second_time(root: Path) -> None:
    spec = SourceSpec(name="coco", folder="coco", role="evaluation", split="train2017", limit=1)
    with pytest.raises(DataError, match="yields no usable row"):
        run(params(spec, share=1.0))
    assert {row["reason"] for row in quarantine()} == {"id was read before"}


def test_a_limit_is_kept_and_the_draw_ignores_other_sources(root: Path) -> None:
    run(params(annotation=6))
    six = ids("annotation")
    assert len(six) == 6
    assert six == sorted(six, key=lambda i: int(i.rpartition("/")[2]))
    write(root, "more/alpaca_x.json", [{"instruction": f"Ask {i}", "output": "Yes, sure."} for i in range(9)])
    report = run(params(SourceSpec(name="alpaca", folder="more", role="annotation", split="train"), annotation=6))
    mixed = ids("annotation")
    assert [row["kept"] for row in report["sources"]] == [3, 10, 3]
    assert set(mixed[:3]) < set(six)


def test_a_limit_of_a_source_and_another_seed_change_the_draw(root: Path) -> None:
    settings = params()
    first = settings.sources[0].model_copy(update={"limit": 4})
    settings = settings.model_copy(update={"sources": [first, settings.sources[1]]})
    run(settings)
    four = ids("annotation")
    run(settings.model_copy(update={"seed": 7}))
    assert len(four) == 4
    assert ids("annotation") != four


def test_a_limit_is_spread_evenly() -> None:
    expected = {
        ((100, 5, 100), 45): [20, 5, 20],
        ((3, 3), 100): [3, 3],
        ((9, 9, 9), 4): [2, 1, 1],
        ((0, 9), 2): [0, 2],
        ((), 5): [],
        ((5, 5), 0): [0, 0],
    }
    assert {(available, limit): spread(available, limit) for available, limit in expected} == expected


def test_an_absent_data_root_says_what_to_set(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATA_ROOT_VARIABLE, str(root / "nowhere"))
    with pytest.raises(DataError, match=f"set {DATA_ROOT_VARIABLE} or pass --data-root"):
        run(params())


def test_a_data_root_without_a_sources_folder_says_which(root: Path) -> None:
    spec = SourceSpec(name="vqav2", folder="vqa", role="annotation", split="train")
    with pytest.raises(DataError, match=r"lacks dataset folders[\s\S]*'vqa'"):
        run(params(spec))


def test_an_unknown_source_stops_before_anything_is_read(root: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'flickr8k'"):
        run(params(SourceSpec(name="flickr9k", folder="coco", role="annotation", split="all")))
    assert not Path("data").exists()


def test_the_embedded_world_goes_through_the_same_readers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(DATA_ROOT_VARIABLE, raising=False)
    base = load_params(PROJECT / "params.yaml", "tiny")
    assert base.world is not None
    scenes = base.world.scenes.model_copy(update={"train": 8, "val": 2, "test": 4, "out_of_domain": 4})
    settings = base.model_copy(
        update={"world": base.world.model_copy(update={"scenes": scenes}), "limits": SourceLimits(annotation=20)}
    )
    report = run(settings)
    assert report["rejected"] == 0
    assert report["kept"]["annotation"] == 20
    assert all(row["kept"] for row in report["sources"])
    samples = [Sample.from_row(row) for row in read_shards(Path("data/tiny/samples/instruction"))]
    details = [s for s in samples if s.task == "detail"]
    assert details
    assert all(s.extras["captions"] and s.extras["boxes"] for s in details)
    held_out = [Sample.from_row(row) for row in read_shards(Path("data/tiny/samples/evaluation"))]
    assert {s.split for s in held_out} == {"test", "out_of_domain"}
    assert all((settings.image_root / i.path).is_file() for s in held_out for i in s.images)


def test_published_pf1m_is_tuned_on_as_it_is_and_what_lacks_its_image_is_counted(root: Path) -> None:
    record = {"input": "What is it? <img_path>coco/train2017/000000000003.jpg<img_path>", "nli_similarity": [0, 1, 0]}
    published = [
        {**record, "output": "It is a red picture.", "original": f"red\n\n{BOX_SENTENCE}\nred: []"},
        {"input": "Say hello.", "output": "Hello!", "original": "hello"},
        {**record, "input": "What?<img_path>flickr30/1.jpg<img_path>", "output": "A man.", "original": "man"},
    ]
    write(root, "published/pf_1m.json", published)
    report = run(params(SourceSpec(name="pf1m_json", folder="published", role="pf1m", split="train")))
    assert (report["kept"]["pf1m"], report["rejected"]) == (2, 1)
    assert [(row["file"], row["reason"]) for row in quarantine()] == [("flickr30/1.jpg", "image is missing")]
    instruction, kept = (Path("data/mine/samples") / role for role in ("instruction", "pf1m"))
    assert [(s.instruction, s.response, s.turns[0].images) for s in samples_of("pf1m", instruction, kept)] == [
        ("What is it? ", "It is a red picture.", (0,)),
        ("Say hello.", "Hello!", ()),
    ]
    assert [s.response for s in samples_of("raw", instruction, kept)] == ["red", "hello"]


def test_a_source_may_be_asked_something_else_than_its_reader_draws(root: Path) -> None:
    asked = SourceSpec(name="coco", folder="coco", role="evaluation", split="train2017", limit=2, request="And now?")
    settings = params()
    run(settings.model_copy(update={"sources": [settings.sources[1], asked]}))
    rows = list(read_shards(Path("data/mine/samples/evaluation")))
    assert [Sample.from_row(row).instruction for row in rows] == ["And now?"] * 2
