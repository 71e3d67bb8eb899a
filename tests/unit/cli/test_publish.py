"""`polite-flamingo publish` against a server that speaks the hub's calls."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from tests.unit.export.exporting import REPORT, several, write_kept
from tests.unit.export.hub_server import Hub

from polite_flamingo import cli
from polite_flamingo.io.text import write_json

PROJECT = Path(__file__).parents[3]
TOKEN = "hf_secret"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A project that has filtered, and a hub on this machine."""
    from huggingface_hub import constants

    (tmp_path / "configs" / "profiles").mkdir(parents=True)
    for name in ("params.yaml", "configs/profiles/tiny.yaml"):
        (tmp_path / name).write_text((PROJECT / name).read_text())
    records = several()
    write_kept(tmp_path / "data/tiny/pf1m", records)
    write_json(tmp_path / "reports/tiny/filter.json", REPORT)
    for path in {image.path for record in records for image in record.rewrite.images}:
        (tmp_path / "data/tiny/raw" / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "data/tiny/raw" / path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    hub = Hub(TOKEN)
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


def test_parquet_and_card_are_sent_and_an_earlier_publication_is_replaced(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    import pyarrow.parquet as pq

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.files = {"data/pf1m-00007.parquet": "lfsFile", ".gitattributes": "file"}
    assert cli.main(["publish", "me/birds"]) == 0
    out = capsys.readouterr()
    assert hub.created["visibility"] == "private"
    assert hub.files == {".gitattributes": "file", "README.md": "file", "data/pf1m-00000.parquet": "lfsFile"}
    assert hub.messages == ["4 records"]
    (parquet,) = hub.objects.values()
    assert pq.read_table(io.BytesIO(parquet)).column_names[:5] == ["id", "images", "question", "raw_answer", "response"]
    assert json.loads(out.out)["commit"].startswith(hub.url)
    assert TOKEN not in out.out + out.err + caplog.text


def test_without_a_token_it_says_what_would_be_sent(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["publish", "me/birds", "--public", "--permissive-only"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["dry_run"], summary["visibility"], summary["records"]) == (
        "no HF_TOKEN in the environment",
        "public",
        3,
    )
    assert [*summary["files"]] == ["README.md", "data/pf1m-00000.parquet"]
    assert summary["licences"] == [{"licence": "CC BY 4.0", "commercial_use": "yes"}]
    assert hub.files == {}


def test_a_refusal_is_explained_without_the_token(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert cli.main(["publish", "me/birds"]) == cli.USER_ERROR
    error = capsys.readouterr().err
    assert "HTTP 401" in error
    assert "hf_wrong" not in error
    assert cli.main(["publish", "birds"]) == cli.USER_ERROR
    assert "write owner/name" in capsys.readouterr().err
