"""Semantic textual similarity between raw answer and rewrite (columns ``sts``, ``sts_by_cut``; section 4.2).

Cosine of two sentence-transformer embeddings, of the whole rewritten text and the whole raw answer, bounding boxes
included, as in the authors' code. ``sts_by_cut`` is the same of the text that is left when paragraphs are cut: the
filter judges the text after the cut, and runs no model for it. Every task is scored; only the filter looks at captions
alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polite_flamingo.devices import pick_device
from polite_flamingo.model.vetting import check_finite, loading, vet
from polite_flamingo.records import Rewrite
from polite_flamingo.scorers.base import DECIMALS, ScoreQuestion, score_records
from polite_flamingo.scorers.batching import ROWS, Batches, area_on
from polite_flamingo.scorers.classifier import check_folder, max_tokens, pick_dtype

_KEPT = 16_384  # texts whose embeddings are remembered, 50 MB at 768 numbers


def ask(rewrite: Rewrite, texts: Sequence[str] | None = None) -> ScoreQuestion:
    """The raw answer, then the rewritten text or each of the `cut_texts`, of which the first is the whole."""
    return ScoreQuestion(rewrite.id, (rewrite.raw_answer, *(texts or (rewrite.rewritten,))))


class StsScorer:
    """Similarity by a sentence-transformer; each distinct text is embedded once.

    Args:
        model: A `SentenceTransformer` in evaluation mode.
        batch_size: Most texts per forward pass.
    """

    def __init__(self, model: Any, batch_size: int) -> None:
        self._model = model
        tokenizer = model.tokenizer
        limit = model.max_seq_length or max_tokens(model[0].auto_model.config, tokenizer)
        self._tokens = lambda texts: tokenizer(texts, truncation=True, max_length=limit)["input_ids"]
        self._batches: Batches[str, Any] = Batches(
            self._forward, self._lengths, rows=batch_size, area=area_on(str(model.device)), kept=_KEPT
        )

    def similarity(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Cosine of each pair, -1..1."""
        embeddings = self._batches([text for pair in pairs for text in pair])
        return [float(embeddings[a] @ embeddings[b]) for a, b in pairs]

    def score(self, rewrites: Sequence[Rewrite]) -> list[float]:
        """Similarity of each whole rewrite and its raw answer."""
        return [values[0] for values in score_records(self, [ask(rewrite) for rewrite in rewrites])]

    def answer(self, questions: Sequence[ScoreQuestion]) -> list[list[float]]:
        """Similarity of each text after the first with the first, rounded as published."""
        pairs = [(question.texts[0], text) for question in questions for text in question.texts[1:]]
        values = iter(self.similarity(pairs))
        return [[round(next(values), DECIMALS) for _ in question.texts[1:]] for question in questions]

    def _lengths(self, texts: list[str]) -> list[int]:
        return [len(ids) for ids in self._tokens(texts)]

    def _forward(self, texts: list[str]) -> Any:
        vectors = self._model.encode(
            texts, batch_size=len(texts), convert_to_tensor=True, show_progress_bar=False
        ).float()  # normalised in full precision, whatever the weights have
        return [row.copy() for row in (vectors / vectors.norm(dim=-1, keepdim=True)).cpu().numpy()]


def load_sts(folder: Path, *, device: str = "auto", batch_size: int = ROWS, dtype: str = "float32") -> StsScorer:
    """Load a sentence-transformer from a local folder: safetensors only, no remote code, no network.

    Raises:
        ModelError: the folder is missing or holds something else.
    """
    from sentence_transformers import SentenceTransformer

    check_folder(folder)
    device = pick_device(device)
    with loading("sentence-transformer", folder):
        vet(folder)
        model = SentenceTransformer(
            str(folder),
            device=device,
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True, "dtype": pick_dtype(dtype, device)},
        )
        check_finite(model.named_parameters(), folder)
    return StsScorer(model.eval(), batch_size)
