"""Instructions of numeric libraries are pinned: where there is something to pin, and over nobody's own choice."""

from __future__ import annotations

import os

import pytest

from polite_flamingo import environment
from polite_flamingo.environment import AVX2, PINS, pin_instructions


@pytest.fixture(autouse=True)
def processor(monkeypatch: pytest.MonkeyPatch, tmp_path):
    for name in (*AVX2, "MKL_CBWR"):
        monkeypatch.setenv(name, "of the test")  # put back at its end, whatever is set
        monkeypatch.delenv(name)
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("flags : fpu avx avx2 fma\n", encoding="utf-8")
    monkeypatch.setattr(environment, "CPUINFO", cpuinfo)
    return cpuinfo


def pinned() -> dict[str, str]:
    return {name: os.environ[name] for name in (*AVX2, "MKL_CBWR") if name in os.environ}


@pytest.mark.parametrize("instructions", PINS)
def test_a_profile_says_what_is_pinned(instructions):
    pin_instructions(instructions)
    assert pinned() == PINS[instructions]


def test_a_processor_without_avx2_keeps_its_own_code(processor):
    processor.write_text("flags : fpu avx fma\n", encoding="utf-8")
    pin_instructions("avx2")
    assert pinned() == {}


def test_what_the_caller_chose_stays(monkeypatch):
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    pin_instructions("avx2")
    assert pinned()["MKL_CBWR"] == "COMPATIBLE"
