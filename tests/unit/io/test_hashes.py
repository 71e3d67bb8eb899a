"""A folder that was sealed."""

from __future__ import annotations

from pathlib import Path

from polite_flamingo.io.hashes import SEAL, flaw, seal


def test_a_bit_flipped_anywhere_in_a_sealed_folder_is_seen(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    (folder / "below").mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"abc")
    (folder / "below" / "b.bin").write_bytes(b"")
    assert flaw(folder) == "it is not complete"
    seal(folder)
    assert flaw(folder) is None
    spaces = 0
    for path in (folder / "a.bin", folder / SEAL):
        whole = path.read_bytes()
        for bit in range(0, 8 * len(whole), 9):
            spoilt = bytearray(whole)
            spoilt[bit // 8] ^= 1 << bit % 8
            path.write_bytes(spoilt)
            spaces += flaw(folder) is None
        path.write_bytes(whole)
    assert spaces < 5, "only JSON's own spaces may change unseen"
    (folder / "stray").touch()
    assert flaw(folder) is not None
