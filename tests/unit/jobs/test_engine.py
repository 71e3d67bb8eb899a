"""The engine answers every request once, in order, however it is cut, repaired or interrupted."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from tests.unit.jobs.stub import Generated, Stub, requests

from polite_flamingo.errors import BusyError, ModelError
from polite_flamingo.io import read_json
from polite_flamingo.jobs.backends.base import Request
from polite_flamingo.jobs.engine import Batch, LocalExecutor, answer_safely, as_request, as_rewrite, outcomes, run
from polite_flamingo.jobs.journal import open_journal
from polite_flamingo.jobs.repair import Answer, Outcome, RepairPolicy
from polite_flamingo.records import Image, Sample, Task, Turn


def go(asked: Iterable[Request], stub: Stub, folder: Path, call_size: int = 4, **more):
    return run(
        asked,
        LocalExecutor(stub, call_size),
        journal=folder / "journal",
        image_root=more.pop("image_root", folder),
        shard_size=more.pop("shard_size", 16),
        **more,
    )


def shards(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted((folder / "journal").iterdir()) if p.name != "lock"}


class Stopped(Exception):
    pass


class StopsAfter(Stub):
    """Stops for good after a number of calls, as a kill would."""

    def __init__(self, calls: int, **more) -> None:
        super().__init__(**more)
        self.left = calls

    def generate(self, asked):
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return super().generate(asked)


def test_every_request_is_answered_once_in_order(tmp_path):
    stub = Stub()
    progress = go(requests(50), stub, tmp_path)
    found = list(outcomes(tmp_path / "journal"))
    assert [o.index for o in found] == list(range(50))
    assert [o.id for o in found] == [f"t/{i}" for i in range(50)]
    assert sorted(key for key, _ in stub.asked) == sorted(f"t/{i}" for i in range(50))
    assert (progress.computed, progress.restored, progress.failed) == (50, 0, 0)
    assert not list((tmp_path / "journal").glob("*.frames"))


def test_batches_hold_requests_of_near_equal_length(tmp_path):
    lengths = []

    class Watching(Stub):
        def generate(self, asked):
            lengths.append([len(r.instruction) for r in asked])
            return super().generate(asked)

    go(requests(40), Watching(), tmp_path, call_size=8, shard_size=40)
    assert lengths == [sorted(group, reverse=True) for group in lengths]
    assert [group[0] for group in lengths] == sorted((group[0] for group in lengths), reverse=True)


@pytest.mark.parametrize("call_size", [1, 3, 64])
def test_shards_do_not_depend_on_the_size_of_batches(tmp_path, call_size):
    go(requests(50), Stub(), tmp_path / "a", call_size=4)
    go(requests(50), Stub(), tmp_path / "b", call_size=call_size)
    assert shards(tmp_path / "a") == shards(tmp_path / "b")


def test_answers_that_come_back_in_another_order_end_in_the_same_shards(tmp_path):
    class Backwards(LocalExecutor):
        def map(self, batches: Iterable[Batch], policy: RepairPolicy) -> Iterator[tuple[Batch, list[Answer]]]:
            yield from reversed(list(super().map(batches, policy)))

    go(requests(50), Stub(), tmp_path / "a")
    run(requests(50), Backwards(Stub(), 4), journal=tmp_path / "b" / "journal", image_root=tmp_path, shard_size=16)
    assert shards(tmp_path / "a") == shards(tmp_path / "b")


@pytest.mark.parametrize("calls", [0, 1, 5, 11])
def test_an_interrupted_run_goes_on_without_answering_anything_twice(tmp_path, calls):
    go(requests(50), Stub(), tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        go(requests(50), StopsAfter(calls), tmp_path / "cut")
    second = Stub()
    progress = go(requests(50), second, tmp_path / "cut")
    assert progress.restored == 50 - len(second.asked)
    assert progress.restored >= 2 * calls  # calls at the end of a shard are smaller
    assert shards(tmp_path / "cut") == shards(tmp_path / "straight")


def test_a_finished_job_is_not_done_again(tmp_path):
    go(requests(50), Stub(), tmp_path)
    second = Stub()
    assert go(requests(50), second, tmp_path).restored == 50
    assert second.asked == []


@pytest.mark.parametrize("change", ["identity", "policy", "instruction", "draft", "id"])
def test_whatever_an_answer_depends_on_no_stale_work_is_reused(tmp_path, change):
    go(requests(20), Stub(), tmp_path)
    asked = requests(20)
    if change in ("instruction", "draft", "id"):
        field = "key" if change == "id" else change
        asked = [
            Request(**{n: getattr(r, n) for n in ("key", "instruction", "draft")} | {field: f"new {i}"})
            for i, r in enumerate(asked)
        ]
    second = Stub(identity="other" if change == "identity" else "stub")
    policy = RepairPolicy(attempts=1) if change == "policy" else RepairPolicy(attempts=0)
    assert go(asked, second, tmp_path, policy=policy).restored == 0
    assert len(second.asked) == 20


def test_a_changed_record_costs_itself_only(tmp_path):
    go(requests(50), Stub(), tmp_path)
    asked = requests(50)
    asked[20] = Request("t/20", "Another question?", "red")
    second = Stub()
    go(asked, second, tmp_path)
    assert second.asked == [("t/20", 0)]
    assert next(o for o in outcomes(tmp_path / "journal") if o.index == 20).id == "t/20"


def test_a_changed_image_costs_its_records_only(tmp_path, picture):
    asked = [Request(f"t/{i}", "What is it?", "red", (f"{i % 2}.png",)) for i in range(10)]
    for i in range(2):
        picture(tmp_path / f"{i}.png", (i, 0, 0))
    go(asked, Stub(), tmp_path)
    picture(tmp_path / "1.png", (9, 9, 9))
    second = Stub()
    go(asked, second, tmp_path)
    assert sorted(key for key, _ in second.asked) == [f"t/{i}" for i in range(1, 10, 2)]


def test_a_shorter_input_leaves_nothing_of_the_longer_one(tmp_path):
    go(requests(50), Stub(), tmp_path / "a")
    go(requests(20), Stub(), tmp_path / "a")
    go(requests(20), Stub(), tmp_path / "b")
    assert shards(tmp_path / "a") == shards(tmp_path / "b")


def test_a_broken_image_costs_its_record_and_is_named(tmp_path, picture):
    picture(tmp_path / "good.png", (1, 2, 3))
    (tmp_path / "bad.png").write_bytes(b"no image")
    asked = [Request(f"t/{i}", "?", "red", ("good.png", "bad.png") if i == 3 else ("good.png",)) for i in range(6)]
    stub = Stub()
    progress = go(asked, stub, tmp_path)
    found = list(outcomes(tmp_path / "journal"))
    assert [o.status for o in found] == ["done"] * 3 + ["broken"] + ["done"] * 2
    assert "bad.png" in found[3].finish_reason
    assert ("t/3", 0) not in stub.asked
    assert progress.broken == 1


def test_a_record_that_breaks_a_call_costs_itself_only(tmp_path, caplog):
    asked = requests(20)
    asked[7] = Request("t/7", "?", "crash")
    with caplog.at_level(logging.WARNING):
        go(asked, Stub(), tmp_path)
    found = list(outcomes(tmp_path / "journal"))
    assert [o.index for o in found if o.status == "failed"] == [7]
    assert found[7].finish_reason == "error: RuntimeError: out of luck"
    assert "t/7 cannot be answered" in caplog.text


def test_failed_records_are_tried_again_by_the_next_run(tmp_path):
    asked = requests(20)
    asked[7] = Request("t/7", "?", "never:error")
    assert go(asked, Stub(), tmp_path).failed == 1
    second = Stub()
    assert go(asked, second, tmp_path).restored == 19
    assert second.asked == [("t/7", 0)]


def test_a_backend_that_answers_nothing_ends_the_run_and_keeps_what_was_done(tmp_path):
    asked = [*requests(10), *[Request(f"x/{i}", "?", "never:error") for i in range(30)]]
    with pytest.raises(ModelError, match="refused"):
        go(asked, Stub(), tmp_path, shard_size=10)
    second = Stub()
    with pytest.raises(ModelError):
        go(asked, second, tmp_path, shard_size=10)
    assert not [key for key, _ in second.asked if key.startswith("t/")]


def test_a_backend_that_is_unusable_says_so_at_once(tmp_path):
    class Unusable(Stub):
        def generate(self, asked):
            raise ModelError("weights are gone")

    with pytest.raises(ModelError, match="weights are gone"):
        go(requests(10), Unusable(), tmp_path)


def test_a_fault_of_the_input_surfaces_and_keeps_what_was_done(tmp_path):
    def broken() -> Iterator[Request]:
        yield from requests(40)
        raise Stopped

    with pytest.raises(Stopped):
        go(broken(), Stub(), tmp_path)
    assert go(requests(40), Stub(), tmp_path).restored >= 16


def test_a_second_process_on_the_same_journal_is_refused(tmp_path):
    with open_journal(tmp_path / "journal"), pytest.raises(BusyError, match="another process"):
        go(requests(4), Stub(), tmp_path)


def test_progress_reaches_the_tracker_and_the_bar(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("polite_flamingo.jobs.engine.REPORT_SECONDS", 0.0)
    seen: list[tuple[int | None, dict[str, float]]] = []

    class Tracker:
        def params(self, values):
            pass

        def metrics(self, values, step=None):
            seen.append((step, dict(values)))

        def artifact(self, path):
            pass

    asked = [*requests(8), Request("x", "?", "never:unchanged"), Request("y", "?", "once:empty")]
    go(asked, Stub(delay=0.01), tmp_path, total=10, label="rewrite", tracker=Tracker(), policy=RepairPolicy(attempts=1))
    assert [step for step, _ in seen] == sorted(step for step, _ in seen)
    assert seen[-1][0] == 10
    assert {"records_per_second", "tokens_per_second", "failed"} <= set(seen[-1][1])
    assert (seen[-1][1]["repaired"], seen[-1][1]["kept_raw"], seen[-1][1]["seconds_remaining"]) == (1, 1, 0)
    bar = capsys.readouterr().err
    assert "rewrite: 100%" in bar
    assert "repaired=1, raw=1, failed=0" in bar


def test_a_lone_surrogate_does_not_stop_the_job(tmp_path):
    class Odd(Stub):
        def generate(self, asked):
            return [Generated("half \ud83d", "stop", 1) for _ in asked]

    go(requests(2), Odd(), tmp_path)
    assert [o.text for o in outcomes(tmp_path / "journal")] == ["half ?"] * 2


def test_an_annotation_becomes_a_request_and_a_rewrite():
    sample = Sample(
        "s", "vqa", "train", "x", Task.VQA,
        (Turn("human", "What?", (1,)), Turn("assistant", "red")), (Image("a.png"), Image("b.png")), {"choices": []},
    )  # fmt: skip
    assert as_request(sample) == Request("s", "What?", "red", ("b.png",))
    plain = as_rewrite(sample, Outcome(0, "k", "s", "done", "It is red.", "stop", 4))
    assert (plain.rewritten, plain.raw_answer, plain.extras) == ("It is red.", "red", {"choices": []})
    raw = as_rewrite(sample, Outcome(0, "k", "s", "raw", "red", "stop", 4, 2, "unchanged"))
    assert raw.extras["repair"] == {"attempts": 2, "fault": "unchanged", "kept": "raw"}


def test_the_manifest_names_every_sealed_shard(tmp_path):
    go(requests(40), Stub(), tmp_path)
    manifest = read_json(tmp_path / "journal" / "manifest.json")
    assert {name: entry["rows"] for name, entry in manifest["shards"].items()} == {"0": 16, "1": 16, "2": 8}


def test_a_call_halves_until_the_bad_record_is_alone():
    stub = Stub()
    asked = [*requests(7), Request("bad", "?", "crash")]
    answers = answer_safely(stub, asked, RepairPolicy(attempts=0))
    assert [a.status for a in answers] == ["done"] * 7 + ["failed"]
    assert stub.calls == [8, 4, 4, 2, 2, 1, 1]
