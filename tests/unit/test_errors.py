"""Messages: what a reader needs of a value, however large it is."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from polite_flamingo.errors import ConfigError, DataError, did_you_mean, quoted
from polite_flamingo.params.reading import load_params


@pytest.mark.parametrize("value", ["a", b"a", ["a", 1], ("a",), {"a": [1, {"b": None}]}, {1}, [], (), None, 0.5])
def test_a_short_value_is_shown_whole(value: object) -> None:
    assert quoted(value) == repr(value)


def test_of_a_large_value_only_the_beginning_is_shown() -> None:
    for value in ("x" * 10**6, 10**5000, [[["x"] * 99] * 99] * 99, {"k": "v" * 10**6}, ["x"] * 10**6):
        assert len(quoted(value)) < 3100


def test_a_value_in_itself_is_shown() -> None:
    value: list[object] = []
    value.append(value)
    assert quoted(value) == "[[[[…]]]]"


def test_what_a_message_says_of_much_data_has_an_end() -> None:
    error = DataError("x" * 10**7, where="y" * 10**7, next_step=did_you_mean("a", map(str, range(10**5))))
    assert len(str(error)) < 100_000


def test_a_file_of_300_bytes_makes_no_message_of_megabytes(tmp_path: Path) -> None:
    bomb = "a: &a [x,x,x,x,x,x,x,x]\n"
    for name, inner in zip("bcdefg", "abcdef", strict=True):
        bomb += f"{name}: &{name} [{','.join([f'*{inner}'] * 8)}]\n"
    (tmp_path / "configs" / "profiles").mkdir(parents=True)
    profile = tmp_path / "configs" / "profiles" / "p.yaml"
    (tmp_path / "params.yaml").write_text("profile: p\n")
    for text in (f"{bomb}overrides: *g\n", f"{bomb}overrides: {{filter: *g, seed: *g}}\n", f"{bomb}sources: *g\n"):
        profile.write_text(text)
        began = time.process_time()
        with pytest.raises(ConfigError) as caught:
            load_params(tmp_path / "params.yaml")
        assert len(str(caught.value)) < 20_000
        assert time.process_time() - began < 1
