"""Writes params.yaml of this folder anew: its own values, what it leaves out, the schema's comments."""

from __future__ import annotations

from pathlib import Path

from polite_flamingo.io.files import write_atomic
from polite_flamingo.params.file import rendered

if __name__ == "__main__":
    write_atomic(Path("params.yaml"), rendered())
