"""A copy of the pipeline whose stages only pretend to work, to see which ones DVC runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[2]
STAGES: dict[str, Any] = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]

# Stands for `python` on the stages' PATH: writes what dvc.yaml says the stage writes, different every time.
STAND_IN = """\
import json, pathlib, sys, uuid
stage, profile = sys.argv[3], sys.argv[5]
with open("ran.txt", "a") as log:
    log.write(f"{stage}@{profile}\\n")
for out in json.loads(pathlib.Path("outs.json").read_text())[stage]:
    path = pathlib.Path(out.replace("${profile}", profile).replace("${item.profile}", profile))
    inside = ["a.txt", "instruction", "annotation", "evaluation"]
    for file in [path] if path.suffix else [path / name for name in inside]:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"run": str(uuid.uuid4())}))
"""


def outs_of(stage: dict[str, Any]) -> list[str]:
    return [*stage.get("outs", []), *stage.get("metrics", [])]


class Copy:
    """A copy of the pipeline whose stages only pretend to work."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("params.yaml", "dvc.yaml", ".dvcignore"):
            shutil.copy(PROJECT / name, root)
        shutil.copytree(PROJECT / "configs", root / "configs")
        for path in {dep for stage in STAGES.values() for dep in stage["deps"] if dep.startswith("src/")}:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            if path.endswith(".py"):
                (root / path).touch()
            else:
                (root / path).mkdir(exist_ok=True)
                (root / path / "__init__.py").touch()
        (root / "outs.json").write_text(json.dumps({name: outs_of(stage) for name, stage in STAGES.items()}))
        (root / "stand_in.py").write_text(STAND_IN)
        (root / "bin").mkdir()
        (root / "bin" / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" stand_in.py "$@"\n')
        (root / "bin" / "python").chmod(0o755)
        self.dvc("init", "--no-scm", "--quiet")

    def dvc(self, *words: str) -> str:
        environment = {
            **os.environ,
            "PATH": f"{self.root / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "DVC_NO_ANALYTICS": "1",
        }
        command = [sys.executable, "-m", "dvc", *words]
        done = subprocess.run(command, cwd=self.root, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ran(self, *words: str) -> list[str]:
        """Stages that `dvc repro` runs."""
        log = self.root / "ran.txt"
        log.unlink(missing_ok=True)
        self.dvc("repro", *words)
        return log.read_text().split() if log.exists() else []

    def edit(self, path: str, old: str, new: str) -> None:
        text = (self.root / path).read_text()
        assert old in text
        (self.root / path).write_text(text.replace(old, new, 1))
