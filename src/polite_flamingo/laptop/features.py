"""Patch tokens of photographs on disk, so that training opens and encodes no picture twice.

One append-only file of float16 rows and one of the pictures' content hashes, a line each. A row counts once its line is
whole, so a process killed at any instant leaves a valid store; the next one cuts what is unfinished.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from polite_flamingo.images import ImagePreprocessor, open_image
from polite_flamingo.model.efficientnet import CHANNELS, EfficientNetLite
from polite_flamingo.sources.photographs import part_of

LOG = logging.getLogger(__name__)
HASH_LINE = 65  # hexadecimal digits and a line break
BATCH = 64
PROJECTED_ON = 1500  # photographs of the training part


class FeatureStore:
    """Rows of one shape by content hash.

    Args:
        folder: Where the files lie; made if absent.
        shape: Shape of a row.
    """

    def __init__(self, folder: Path, shape: tuple[int, ...]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.shape = shape
        self._rows, self._hashes = folder / "rows.f16", folder / "hashes.txt"
        size = 2 * int(np.prod(shape))
        for file in (self._rows, self._hashes):
            file.touch()
        whole = min(self._rows.stat().st_size // size, self._hashes.stat().st_size // HASH_LINE)
        for file, unit in ((self._rows, size), (self._hashes, HASH_LINE)):
            with file.open("r+b") as handle:
                handle.truncate(whole * unit)
        self.places = {digest: row for row, digest in enumerate(self._hashes.read_text().split())}

    def __contains__(self, digest: str) -> bool:
        return digest in self.places

    def append(self, digests: Sequence[str], rows: np.ndarray) -> None:
        """Add rows; they count once their hashes are written."""
        with self._rows.open("ab") as file:
            file.write(np.ascontiguousarray(rows, np.float16).tobytes())
        with self._hashes.open("a") as file:
            file.writelines(f"{digest}\n" for digest in digests)
        for digest in digests:
            self.places[digest] = len(self.places)

    def rows(self) -> np.ndarray:
        """All rows (N, *shape), mapped from the file."""
        return np.memmap(self._rows, np.float16, "r").reshape(-1, *self.shape)


def content_hash(root: Path, path: str) -> str:
    """SHA-256 of a picture's bytes."""
    return hashlib.sha256((root / path).read_bytes()).hexdigest()


def fit_projection(
    tower: EfficientNetLite, root: Path, paths: Sequence[str], processor: ImagePreprocessor, *, device: str
) -> None:
    """Set the tower's projection to the principal components of the patch tokens of training photographs.

    A component is divided by the square root of its standard deviation, half way to equal variances.
    """
    chosen = [path for path in paths if part_of(path) == "train"]
    chosen = sorted(chosen, key=lambda path: hashlib.sha256(path.encode()).digest())[:PROJECTED_ON]
    total, products, count = torch.zeros(CHANNELS, dtype=torch.float64), torch.zeros(CHANNELS, CHANNELS), 0
    products = products.double()
    for _, pixels in _opened(root, chosen, processor):
        with torch.no_grad():
            tokens = tower.maps(pixels.to(device)).flatten(2).transpose(1, 2).flatten(0, 1).double().cpu()
        total, products, count = total + tokens.sum(0), products + tokens.T @ tokens, count + len(tokens)
    mean = total / count
    values, vectors = torch.linalg.eigh(products / count - mean[:, None] * mean)
    width = tower.config.hidden_size
    matrix = (vectors / values.clamp(min=1e-9) ** 0.25).T.flip(0)[:width]
    with torch.no_grad():
        tower.projection.weight.copy_(matrix.half().float())  # as they are shipped
        tower.projection.bias.copy_(-(tower.projection.weight.double().cpu() @ mean))
    share = float(values.flip(0)[:width].sum() / values.sum())
    LOG.info("projection to %d channels keeps %.1f %% of the variance", width, 100 * share)


def encode_photographs(
    store: FeatureStore,
    tower: EfficientNetLite,
    root: Path,
    paths: Sequence[str],
    processor: ImagePreprocessor,
    *,
    device: str,
) -> torch.Tensor:
    """Row of each photograph in the store, of those that were not encoded before too; mirrored ones stand after all.

    Returns:
        Row numbers (2, N): as they are, and mirrored.
    """
    with ThreadPoolExecutor(8) as pool:
        digests = list(pool.map(lambda path: content_hash(root, path), paths))
    missing = {digest: path for digest, path in zip(digests, paths, strict=True) if f"{digest[:63]}m" not in store}
    names = list(missing)
    done = 0
    for chunk, pixels in _opened(root, list(missing.values()), processor):
        keys = names[done : done + len(chunk)]
        done += len(chunk)
        for part, marked in ((pixels, keys), (pixels.flip(-1), [f"{key[:63]}m" for key in keys])):
            with torch.no_grad(), torch.autocast(torch.device(device).type, torch.bfloat16):
                tokens = tower(pixel_values=part.to(device)).last_hidden_state
            fresh = [i for i, key in enumerate(marked) if key not in store]
            store.append([marked[i] for i in fresh], tokens[fresh].half().cpu().numpy())
        if done % (10 * BATCH) < BATCH:
            LOG.info("%d of %d photographs encoded", done, len(names))
    plain = [store.places[digest] for digest in digests]
    mirrored = [store.places[f"{digest[:63]}m"] for digest in digests]
    return torch.tensor([plain, mirrored])


def _opened(root: Path, paths: Sequence[str], processor: ImagePreprocessor) -> Iterator[tuple[list[str], torch.Tensor]]:
    """Photographs with their pixels (N, 3, H, W), `BATCH` at a time, the next ones opened meanwhile."""
    chunks = [list(paths[i : i + BATCH]) for i in range(0, len(paths), BATCH)]
    with ThreadPoolExecutor(8) as pool:

        def load(path: str) -> torch.Tensor:
            return processor(open_image(root, path))

        waiting = [[pool.submit(load, path) for path in chunk] for chunk in chunks[:4]]
        for index, chunk in enumerate(chunks):
            yield chunk, torch.stack([future.result() for future in waiting.pop(0)])
            if index + 4 < len(chunks):
                waiting.append([pool.submit(load, path) for path in chunks[index + 4]])
