"""What the NLI and reward scorers share: a Hugging Face sequence classifier over text pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polite_flamingo.devices import pick_device
from polite_flamingo.errors import ModelError
from polite_flamingo.model.vetting import check_loaded, loading, vet
from polite_flamingo.scorers.batching import ROWS, Batches, area_on

Pair = tuple[str, str]

_NO_LIMIT = 10**6  # tokenizers without a limit report 10**30
_MOST = 512  # tokens of a pair, where a model names no limit: all of the paper's judges were trained on these
_KEPT = 65_536  # pairs whose logits are remembered


class PairClassifier:
    """Logits of text pairs; each distinct pair is read once, long pairs are cut to what the model can read.

    Args:
        model: A sequence classifier in evaluation mode.
        tokenizer: Its tokenizer.
        device: Torch device the model is on.
        batch_size: Most pairs per forward pass.
    """

    def __init__(self, model: Any, tokenizer: Any, device: str, batch_size: int) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.device = device
        self.max_tokens = max_tokens(model.config, tokenizer)
        self._tokens: dict[Pair, dict[str, list[int]]] = {}  # of the pairs being read
        self._batches: Batches[Pair, list[float]] = Batches(
            self._forward, self._lengths, rows=batch_size, area=area_on(device), kept=_KEPT
        )

    def logits(self, pairs: Sequence[Pair]) -> list[list[float]]:
        """Logits of each pair, in the order of `pairs` and of the model's labels."""
        logits = self._batches(pairs)
        return [logits[pair] for pair in pairs]

    def _lengths(self, pairs: list[Pair]) -> list[int]:
        first, second = zip(*pairs, strict=True)
        tokens = self.tokenizer(list(first), list(second), truncation=True, max_length=self.max_tokens)
        names = list(tokens)
        rows = zip(*(tokens[name] for name in names), strict=True)
        self._tokens = {pair: dict(zip(names, row, strict=True)) for pair, row in zip(pairs, rows, strict=True)}
        return [len(ids) for ids in tokens["input_ids"]]

    def _forward(self, pairs: list[Pair]) -> list[list[float]]:
        import torch

        inputs = self.tokenizer.pad([self._tokens[pair] for pair in pairs], return_tensors="pt").to(self.device)
        with torch.inference_mode():
            values: list[list[float]] = self.model(**inputs).logits.float().cpu().tolist()
        return values


def load_classifier(
    folder: Path, *, device: str = "auto", batch_size: int = ROWS, dtype: str = "float32"
) -> PairClassifier:
    """Load a sequence classifier saved with `save_pretrained`: safetensors only, no remote code, no network.

    Args:
        folder: The model's folder.
        device: ``auto``, ``cpu`` or ``cuda``.
        batch_size: Most pairs per forward pass.
        dtype: Of the weights on CUDA; on a CPU they are always float32.

    Raises:
        ModelError: the folder is missing or holds something else.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    check_folder(folder)
    device = pick_device(device)
    with loading("sequence classifier", folder):
        vet(folder)
        model, found = AutoModelForSequenceClassification.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=pick_dtype(dtype, device),
            output_loading_info=True,
        )
        check_loaded(model, found, folder)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return PairClassifier(model.to(device).eval(), tokenizer, device, batch_size)


def check_folder(folder: Path) -> None:
    """Raise `ModelError` unless `folder` is a saved model."""
    if not folder.is_dir():
        raise ModelError("model folder does not exist", where=folder, next_step="run `polite-flamingo backbones`")


def pick_dtype(name: str, device: str) -> Any:
    """The torch type of weights: as asked for on CUDA, float32 elsewhere (slower in half precision, and less exact)."""
    import torch

    return getattr(torch, name) if device.startswith("cuda") else torch.float32


def max_tokens(config: Any, tokenizer: Any) -> int:
    """Longest input the model can read, from its tokenizer or its positions."""
    limit = int(tokenizer.model_max_length)
    if limit < _NO_LIMIT:
        return limit
    positions = int(getattr(config, "max_position_embeddings", _MOST) or _MOST)
    # RoBERTa-like models count positions from the padding index on, MPNet keeps two places of its own.
    return positions - (config.pad_token_id + 1 if config.model_type in _OFFSET else 0)


_OFFSET = {"roberta", "xlm-roberta", "camembert", "mpnet"}
