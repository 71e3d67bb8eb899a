"""The package of docs/how_to_plug_in.md, installed: its reader, backend, scorer and filter at work."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from polite_flamingo import plugins
from polite_flamingo.errors import ConfigError

PROJECT = Path(__file__).parents[2]
CURATE = """
import json, sys
import polite_flamingo as pf
from polite_flamingo.filter.chain import FilterSettings

samples = pf.read_samples("birdwatch", "walks")
scored = list(pf.score_rewrites(pf.rewrite_samples(samples, "parrot:Gladly!", repair={"attempts": 0})))
rejected = []
kept = list(pf.filter_rewrites(scored, {"plugins": {"shouting": {"max_capitals": 4}}}, rejected=rejected))
try:
    FilterSettings(plugins={"shoutin": {}})
except ValueError as error:
    unknown = str(error)
print(json.dumps({
    "kept": [rewrite.rewritten for rewrite in kept],
    "rejected": [reason for _, reason in rejected],
    "off": len(list(pf.filter_rewrites(scored))),
    "unknown": unknown,
}))
"""


def test_the_package_of_the_page_works_once_it_is_installed(tmp_path: Path) -> None:
    page = (PROJECT / "docs" / "how_to_plug_in.md").read_text(encoding="utf-8")
    (module,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tables,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    site = tmp_path / "site"
    info = site / "birdwatch-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "birdwatch.py").write_text(module)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: birdwatch\nVersion: 1.0\n")
    lines = tables.replace('[project.entry-points."', "[").replace('"]', "]").replace('"', "")
    (info / "entry_points.txt").write_text(lines)
    (tmp_path / "walks").mkdir()
    notes = [{"id": n, "question": "Which bird is it?", "answer": bird} for n, bird in enumerate(["a robin", "a wren"])]
    (tmp_path / "walks" / "notes.json").write_text(json.dumps(notes))
    paths = os.pathsep.join([str(PROJECT / "src"), str(site)])
    done = subprocess.run(
        [sys.executable, "-c", CURATE],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert outcome["kept"] == ["Gladly! It is a wren."]
    assert outcome["rejected"] == ["shouting: 8 capitals, more than 4"]
    assert outcome["off"] == 2
    assert "did you mean 'shouting'?" in outcome["unknown"]


def test_a_broken_package_and_two_of_one_name_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [EntryPoint("birds", "no_such_module:Birds", "polite_flamingo.readers")]
    monkeypatch.setattr(plugins, "entry_points", lambda **_: points)
    plugins.named.cache_clear()
    try:
        with pytest.raises(ConfigError, match="plug-in cannot be loaded") as error:
            plugins.load("readers", "birds")
        assert "No module named 'no_such_module'" in str(error.value)
        points.append(EntryPoint("birds", "other:Birds", "polite_flamingo.readers"))
        plugins.named.cache_clear()
        with pytest.raises(ConfigError, match="two plug-ins of one name"):
            plugins.named("readers")
    finally:
        monkeypatch.undo()
        plugins.named.cache_clear()
