"""One split for all data sets of the same photographs."""

from __future__ import annotations

from collections import Counter

from polite_flamingo.records import Image, Sample, Task, Turn
from polite_flamingo.sources.photographs import coco_name, part_of, photograph
from polite_flamingo.sources.selection import Selection, SourceSpec


def test_a_photograph_has_one_part_under_all_its_names() -> None:
    names = ["COCO_val2014_000000240718.jpg", "coco/val2014_224/COCO_val2014_000000240718.jpg", "000000240718.jpg"]
    assert {photograph(name) for name in [*names, "COCO_train2014_000000240718"]} == {coco_name(240718)}
    assert photograph("image58.png") == photograph("daquar/images/image86.jpg") == "daquar block 2"
    assert photograph("images_224/1115679311_245eff2f4b.jpg") == "1115679311_245eff2f4b.jpg"


def test_a_tenth_each_is_kept_back() -> None:
    parts = Counter(part_of(coco_name(number)) for number in range(2000))
    assert abs(parts["held_out"] - 200) < 45 and abs(parts["validation"] - 200) < 45


def test_a_source_may_give_the_records_of_one_part_alone() -> None:
    paths = [f"coco/val2014_224/{coco_name(number)}" for number in range(100)]
    samples = [
        Sample(
            path, "coco", "val", "-", Task.CAPTION, (Turn("human", "?"), Turn("assistant", "A cat.")), (Image(path),)
        )
        for path in paths
    ]
    spec = SourceSpec(name="coco", folder="coco", role="annotation", split="val", part="held_out")
    taken = [part for sample in samples for part in Selection(spec, spec.reader()).taken(sample)]
    assert [part.images[0].path for part in taken] == [path for path in paths if part_of(path) == "held_out"]
