"""Semantic textual similarity between raw answer and rewrite (column ``sts``; section 3.3).

Cosine of two sentence-transformer embeddings, of the whole rewritten text and the whole raw answer, bounding boxes
included, as in the authors' code. It is taken before the paragraph filter cuts anything (the published values may have
been taken after): filters never run a model, and a rewrite that needs its second paragraph removed to resemble the
captions is judged as it was written. Every task is scored; only the filter looks at captions alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polite_flamingo.devices import pick_device
from polite_flamingo.errors import ModelError
from polite_flamingo.records import Rewrite
from polite_flamingo.scorers.classifier import check_folder


class StsScorer:
    """Similarity by a sentence-transformer."""

    column = "sts"

    def __init__(self, model: Any, batch_size: int) -> None:
        self._model = model
        self._batch_size = batch_size

    def similarity(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Cosine of each pair, -1..1; each distinct text is embedded once."""
        texts = list(dict.fromkeys(text for pair in pairs for text in pair))
        if not texts:
            return []
        vectors = self._model.encode(
            texts,
            batch_size=self._batch_size,
            normalize_embeddings=True,
            convert_to_numpy=True,
            show_progress_bar=False,
        )
        place = {text: i for i, text in enumerate(texts)}
        return [float(vectors[place[a]] @ vectors[place[b]]) for a, b in pairs]

    def score(self, rewrites: Sequence[Rewrite]) -> list[float]:
        """Similarity of each rewrite and its raw answer, rounded to 4 decimals as published."""
        return [round(value, 4) for value in self.similarity([(r.rewritten, r.raw_answer) for r in rewrites])]

    def score_cuts(self, rewrites: Sequence[Rewrite], texts: Sequence[Sequence[str] | None]) -> list[list[float]]:
        """Similarity of each of a record's `texts`, or of its one text, with its raw answer."""
        asked = [(r.rewritten,) if cuts is None else tuple(cuts) for r, cuts in zip(rewrites, texts, strict=True)]
        pairs = [(text, r.raw_answer) for r, cuts in zip(rewrites, asked, strict=True) for text in cuts]
        values = iter(self.similarity(pairs))
        return [[round(next(values), 4) for _ in cuts] for cuts in asked]


def load_sts(folder: Path, *, device: str = "auto", batch_size: int = 64) -> StsScorer:
    """Load a sentence-transformer from a local folder: safetensors only, no remote code, no network."""
    from sentence_transformers import SentenceTransformer

    check_folder(folder)
    try:
        model = SentenceTransformer(
            str(folder),
            device=pick_device(device),
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )
    except (OSError, ValueError, KeyError) as error:
        raise ModelError("sentence-transformer cannot be loaded", value=str(error), where=folder) from error
    return StsScorer(model.eval(), batch_size)
