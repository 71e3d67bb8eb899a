"""GPTeacher: GPT-4 instructions, role play and code; the answer's key is ``response`` or ``output``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from polite_flamingo.records import Reject, Sample, Task
from polite_flamingo.sources.base import attempt
from polite_flamingo.sources.forms.files import find_all, read_items, relative
from polite_flamingo.sources.forms.instructions import instruction_sample

PATTERNS = (
    "gpteacher*.json",
    "**/gpt4-instruct-dedupe-only-dataset.json",
    "**/roleplay-simple-deduped-roleplay-instruct.json",
    "**/roleplay-instruct-v2*.json",
    "**/codegen-instruct.json",
)
THINNED = "**/gpt4-instruct-similarity-0.[6-9]-dataset.json"  # ever smaller selections of the deduplicated file


class Gpteacher:
    """GPTeacher (section 4.3, text-only instructions).

    Of the instruct files only the deduplicated one is read, or the largest of its selections (similarity 0.9 before 0.8
    …) where that one is not there. Toolformer's answers are calls of tools; it is not read.
    """

    name = "gpteacher"
    tasks = frozenset({Task.TEXT})
    licence = "MIT"
    siblings: tuple[str, ...] = ()

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read the official files that are there, or ``gpteacher*.json``; no splits, `split` is a label."""
        base = root / folder
        thinned = sorted(base.glob(THINNED))
        extra = [thinned[-1].relative_to(base).as_posix()] if thinned and not any(base.glob(PATTERNS[1])) else []
        for file in find_all(root, folder, *PATTERNS, *extra):
            where, stem = relative(root, file), file.stem
            for row, record in enumerate(read_items(file)):
                yield attempt(
                    self.name,
                    where,
                    row,
                    instruction_sample,
                    self,
                    split,
                    f"{stem}-{row}",
                    record,
                    ("response", "output"),
                )
