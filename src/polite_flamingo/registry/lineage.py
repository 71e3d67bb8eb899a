"""Where a model comes from, by dvc.lock: md5 of what its stages read and wrote, and whether that still holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from polite_flamingo.errors import DataError
from polite_flamingo.registry.parts import folder_md5

DATA = ("data/", "models/", "reports/")  # what a stage reads and writes, its code aside


@dataclass(frozen=True, slots=True)
class Lock:
    """The stages of a dvc.lock.

    Args:
        stages: By name, with the profile behind ``@``.
        profile: The profile.
    """

    stages: Mapping[str, Any]
    profile: str

    @classmethod
    def read(cls, path: Path, profile: str) -> Lock:
        """The lock of a project; without a file it has no stage."""
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        return cls((yaml.safe_load(text) or {}).get("stages", {}), profile)

    def outputs(self, stage: str) -> dict[str, str]:
        """Paths and md5 of what a stage wrote."""
        return dict(self._entries(stage, "outs"))

    def inputs(self, stage: str) -> dict[str, str]:
        """Paths and md5 of the data and models a stage read."""
        return {path: md5 for path, md5 in self._entries(stage, "deps") if path.startswith(DATA)}

    def check(self, stage: str, *, root: Path, folders: tuple[str, ...]) -> None:
        """Make sure that a stage and all before it ran on what lies there now.

        Args:
            stage: The last stage that counts.
            root: Top of the project.
            folders: Outputs whose bytes are compared with the lock.

        Raises:
            DataError: a stage is missing in the lock or ran on something else, or a folder is not what the lock names.
        """
        if not self.outputs(stage):
            raise DataError("the stage has not run", value=f"{stage}@{self.profile}", next_step=self._run(stage))
        written = {path: (name, md5) for name in self._names() for path, md5 in self.outputs(name).items()}
        ahead, seen = [stage], {stage}
        while ahead:
            reader = ahead.pop()
            for path, md5 in self.inputs(reader).items():
                writer, now = next((w for p, w in written.items() if _within(path, p)), (None, md5))
                if path in written and now != md5:
                    raise DataError(
                        f"{reader} ran on another state of its input", value=path, next_step=self._run(stage)
                    )
                if writer is not None and writer not in seen:
                    seen.add(writer)
                    ahead.append(writer)
        for folder in folders:
            known = written.get(folder, ("", ""))[1]
            if folder_md5(root / folder) != known:
                raise DataError(
                    "the folder is not what dvc.lock names", value=known, where=folder, next_step=self._run(stage)
                )

    def _entries(self, stage: str, part: str) -> Iterator[tuple[str, str]]:
        entry = self.stages.get(f"{stage}@{self.profile}", {})
        yield from ((item["path"], item["md5"]) for item in entry.get(part, ()) if "md5" in item)

    def _names(self) -> list[str]:
        return [name.partition("@")[0] for name in self.stages if name.endswith(f"@{self.profile}")]

    def _run(self, stage: str) -> str:
        return f"run `polite-flamingo run --profile {self.profile} --until {stage}`"


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")
