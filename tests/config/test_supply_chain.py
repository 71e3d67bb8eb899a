"""The lock and its hashes agree, the threat model names tests that exist, and an audit says what it could not ask."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from bench.audit import told

ROOT = Path(__file__).resolve().parents[2]
PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)


def _pins(text: str) -> dict[str, str]:
    return {re.sub("[-_.]+", "-", name).lower(): version for name, version in PIN.findall(text)}


def test_every_locked_version_has_hashes() -> None:
    text = (ROOT / "requirements.hashes").read_text()
    locked = _pins((ROOT / "requirements.lock").read_text())
    assert locked.pop("torch"), "any build of its version will do"
    assert _pins(text) == locked, "make lock"
    hashed = re.split(r"\n(?=[A-Za-z])", text.partition("\n")[2])
    assert [block.splitlines()[0] for block in hashed if not re.search(r"--hash=sha256:[0-9a-f]{64}", block)] == []


def test_the_tests_of_the_threat_model_exist() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (ROOT / "docs" / "threat_model.md").read_text())
    assert len(named) > 25
    missing = [f"{file}::{name}" for file, name in named if f"def {name}(" not in (ROOT / file).read_text()]
    assert missing == []


@pytest.mark.parametrize(
    ("answer", "said", "status"),
    [
        ("", "nothing was audited, for no index answers", 0),
        ([{"name": "a", "skip_reason": "not found"}], "nothing was audited, for the index knows none of the 1", 0),
        ([{"name": "a", "version": "1", "vulns": []}], "1 of 1 packages audited, 0 findings", 0),
        (
            [{"name": "a", "version": "1", "vulns": [{"id": "X-1", "fix_versions": ["2"]}]}],
            "a 1: X-1, mended in 2\n1 of 1 packages audited, 1 findings",
            1,
        ),
    ],
    ids=str,
)
def test_an_audit_tells_what_was_not_asked(answer: object, said: str, status: int) -> None:
    text, ended = told(json.dumps({"dependencies": answer}) if answer else "", "no route\n")
    assert text.startswith(said) and ended == status
