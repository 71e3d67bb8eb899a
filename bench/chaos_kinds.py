"""The kinds of file the project writes and reads again: how each is written, and what its reader makes of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.chaos_tally import HELD, LOST, RECOMPUTED, SILENT
from polite_flamingo.io.chunks import resumable
from polite_flamingo.io.hashes import flaw, seal
from polite_flamingo.io.shards import read_checked_shard, read_shards, write_shard
from polite_flamingo.io.text import read_json, write_json

KEYS = [f"unit {number}" for number in range(12)]


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Args:
        name: What it is.
        write: Writes it below a folder.
        read: Reads it again, and says what became of it.
        pattern: The files that are flipped.
    """

    name: str
    write: Callable[[Path], None]
    read: Callable[[Path], str]
    pattern: str = "**/*"


# An unfinished map over chunks


def _chunks(folder: Path, stop: int | None) -> int:
    """Work of twelve chunks, of which `stop` are done before it is killed; returns how many were done now."""
    done: list[int] = []

    def work(chunk: list[int]) -> list[dict[str, Any]]:
        if len(done) == stop:
            raise KeyboardInterrupt
        done.append(chunk[0])
        return [{"id": str(item), "text": f"number {item}"} for item in chunk]

    with suppress(KeyboardInterrupt):
        resumable(range(48), work, out=folder / "out", key="k", work_root=folder / "work", chunk_size=4, label="chaos")
    return len(done)


def _write_chunks(folder: Path) -> None:
    _chunks(folder, 8)


def _read_chunks(folder: Path) -> str:
    done = _chunks(folder, None)
    rows = list(read_shards(folder / "out"))
    if rows != [{"id": str(item), "text": f"number {item}"} for item in range(48)]:
        return SILENT
    return HELD if done == 4 else RECOMPUTED


# A journal: open frames, a sealed shard, the manifest


def _outcomes() -> list[Any]:
    from polite_flamingo.jobs.outcomes import Outcome
    from polite_flamingo.records import Generated

    return [Outcome(place, key, f"id {key}", Generated(f"text {key}", "stop", 3)) for place, key in enumerate(KEYS)]


def _write_journal(folder: Path) -> None:
    from polite_flamingo.jobs.backends.text import TEXTS
    from polite_flamingo.jobs.journal import open_journal

    with open_journal(folder, TEXTS) as journal:
        journal.seal(0, _outcomes())
        journal.append(1, _outcomes()[:6])
        journal.append(1, _outcomes()[6:])


def _read_journal(folder: Path) -> str:
    from polite_flamingo.jobs.backends.text import TEXTS
    from polite_flamingo.jobs.journal import open_journal

    whole = {outcome.key: outcome for outcome in _outcomes()}
    with open_journal(folder, TEXTS) as journal:
        found = [journal.restore(shard, KEYS) for shard in (0, 1)]
    if any(whole[key] != outcome for outcomes in found for key, outcome in outcomes.items()):
        return SILENT
    return HELD if all(outcomes == whole for outcomes in found) else RECOMPUTED


# Answers of an endpoint that are kept


def _write_answers(folder: Path) -> None:
    from polite_flamingo.jobs.backends.answer_cache import AnswerCache
    from polite_flamingo.jobs.backends.chat_completion import Reply

    cache = AnswerCache(folder)
    for number in range(12):
        cache.remember(f"{number + 1:064x}"[::-1], Reply(f"answer {number}", "stop", 5, number))
    cache.close()


def _read_answers(folder: Path) -> str:
    from polite_flamingo.jobs.backends.answer_cache import AnswerCache
    from polite_flamingo.jobs.backends.chat_completion import Reply

    cache, missing = AnswerCache(folder), 0
    for number in range(12):
        reply = cache.recall(f"{number + 1:064x}"[::-1])
        missing += reply is None
        if reply is not None and reply != Reply(f"answer {number}", "stop", 5, number):
            return SILENT
    cache.close()
    return RECOMPUTED if missing else HELD


# Tokenised samples


def _segments() -> list[Any]:
    from polite_flamingo.train.store import Segment

    return [Segment(f"s{n}", tuple(range(9)), (*[-100] * 5, 5, 6, 7, 8), (f"{n}.png",), 1) for n in range(20)]


def _write_tokens(folder: Path) -> None:
    from polite_flamingo.train.store import cached

    cached(folder, "k", _segments)


def _read_tokens(folder: Path) -> str:
    from polite_flamingo.train.store import cached

    made: list[int] = []

    def segments() -> list[Any]:
        made.append(1)
        return _segments()

    store = cached(folder, "k", segments)
    if [store.segment(place) for place in range(len(store))] != _segments():
        return SILENT
    return RECOMPUTED if made else HELD


# An unfinished training


class _Learner:
    """What an unfinished training asks of a learner."""

    rank = 0

    def __init__(self) -> None:
        import torch

        self.learned = {"w": torch.arange(40.0)}
        self.moments = {"m": torch.arange(30.0)}

    def wait(self) -> None:
        """One process."""

    def weights(self) -> dict[str, Any]:
        return self.learned

    def set_weights(self, weights: dict[str, Any]) -> None:
        self.learned = weights

    def save_optimizer(self, folder: Path) -> None:
        import torch

        torch.save(self.moments, folder / "optimizer-00000.pt")

    def load_optimizer(self, folder: Path) -> None:
        import torch

        self.moments = torch.load(folder / "optimizer-00000.pt", weights_only=True)


def _training(folder: Path) -> Any:
    from polite_flamingo.train.resume import Unfinished

    return Unfinished(folder / "t" / "unfinished", {"seed": 1, "steps": 9})


def _progress() -> Any:
    from polite_flamingo.train.feed import Position
    from polite_flamingo.train.resume import TrainingState

    return TrainingState(3, Position(1, 2), 77, [1.5, 1.25, 1.0625], [(2, 1.125), (3, 1.0)])


def _write_training(folder: Path) -> None:
    learner: Any = _Learner()
    unfinished = _training(folder)
    unfinished.save_best(learner)
    unfinished.save(learner, _progress())


def _read_training(folder: Path) -> str:
    whole, learner = _Learner(), _Learner()
    any_learner: Any = learner
    unfinished = _training(folder)
    state = unfinished.state()
    if state is None:
        unfinished.clear(any_learner)
        return RECOMPUTED if (folder / "t" / "unfinished.damaged").is_dir() else LOST
    unfinished.restore(any_learner)
    same = bool(
        (learner.learned["w"] == whole.learned["w"]).all() and (learner.moments["m"] == whole.moments["m"]).all()
    )
    unfinished.restore_best(any_learner)
    same = same and bool((learner.learned["w"] == whole.learned["w"]).all())
    return HELD if same and state == _progress() else SILENT


# A sealed folder: the first half of the comparison on raw annotations


def _write_sealed(folder: Path) -> None:
    write_json(folder / "report.json", {"loss": 1.5})
    (folder / "weights").write_bytes(bytes(range(256)))
    seal(folder)


def _read_sealed(folder: Path) -> str:
    if flaw(folder) is not None:
        return RECOMPUTED
    same = (folder / "weights").read_bytes() == bytes(range(256))
    return HELD if same and read_json(folder / "report.json") == {"loss": 1.5} else SILENT


# A model on shared storage, and its copy on a node


def _write_shared(folder: Path) -> None:
    from polite_flamingo.jobs.shared import Shared

    (folder / "flamingo").mkdir(parents=True)
    (folder / "flamingo" / "weights").write_bytes(bytes(range(200)))
    shared = Shared(f"file://{folder}/store")
    shared.fetch_folder(shared.publish_folder(folder / "flamingo"), folder / "node")


def _read_shared(folder: Path) -> str:
    from polite_flamingo.jobs.shared import Shared

    shared = Shared(f"file://{folder}/store")
    weights = bytes(range(200))
    name = shared.publish_folder(folder / "flamingo")
    before = (folder / "node" / name / "weights").read_bytes()
    if (shared.fetch_folder(name, folder / "node") / "weights").read_bytes() != weights:
        return SILENT
    return HELD if before == weights else RECOMPUTED


# A shard that is checked when it is read


def _write_checked(folder: Path) -> None:
    write_shard(folder / "part-000000.parquet", [{"id": key, "score": 0.5} for key in KEYS], checked=True)


def _read_checked(folder: Path) -> str:
    rows = read_checked_shard(folder / "part-000000.parquet")
    return HELD if rows == [{"id": key, "score": 0.5} for key in KEYS] else SILENT


# Weights that are shipped


def _write_shipped(folder: Path) -> None:
    from polite_flamingo.model.origins import PACKAGED

    folder.mkdir(parents=True)
    shutil.copytree(PACKAGED / "reward", folder / "reward")
    shutil.copy(PACKAGED / "manifest.json", folder)


def _read_shipped(folder: Path) -> str:
    from polite_flamingo.model.origins import PACKAGED, verify_packaged

    verify_packaged("reward", folder)
    return HELD if _content(folder / "reward") == _content(PACKAGED / "reward") else SILENT


def _content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


KINDS = (
    Kind("finished chunks", _write_chunks, _read_chunks, "work/**/*.parquet"),
    Kind("a journal", _write_journal, _read_journal, "[pm]*"),
    Kind("kept answers", _write_answers, _read_answers),
    Kind("tokenised samples", _write_tokens, _read_tokens, "*.arrow"),
    Kind("an unfinished training", _write_training, _read_training),
    Kind("half of the comparison", _write_sealed, _read_sealed),
    Kind("a shared model or its copy", _write_shared, _read_shared, "[ns]*/models/**/*"),
    Kind("a checked shard", _write_checked, _read_checked),
    Kind("shipped weights", _write_shipped, _read_shipped, "reward/**/*"),
)
