"""DVC's plots without a network."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from polite_flamingo.errors import ConfigError
from polite_flamingo.launch.plots import offline_page, plots_command


def test_the_page_holds_the_libraries_and_dvcs_places(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = SimpleNamespace(javascript_bundle=lambda vl_version: 'window.vega = "</script>";')
    monkeypatch.setitem(sys.modules, "vl_convert", bundle)
    page = offline_page()
    assert "{plot_divs}" in page
    assert page.count("</script>") == 1  # what the libraries say does not end their element
    assert "https://" not in page


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    with pytest.raises(ConfigError, match=r"polite-flamingo\[plots\]"):
        offline_page()


def test_revisions_are_compared_and_none_is_shown() -> None:
    words = [plots_command(revisions, Path("p.html"), Path("out"))[3:6] for revisions in ((), ("main", "stricter"))]
    assert words == [["plots", "show", "--html-template"], ["plots", "diff", "main"]]
