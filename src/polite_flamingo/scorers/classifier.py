"""What the NLI and reward scorers share: a Hugging Face sequence classifier over text pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polite_flamingo.devices import pick_device
from polite_flamingo.errors import ModelError

_NO_LIMIT = 10**6  # tokenizers without a limit report 10**30


class PairClassifier:
    """Logits of text pairs, batched by length; long pairs are cut to what the model can read.

    Args:
        model: A sequence classifier in evaluation mode.
        tokenizer: Its tokenizer.
        device: Torch device the model is on.
        batch_size: Pairs per forward pass.
    """

    def __init__(self, model: Any, tokenizer: Any, device: str, batch_size: int) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.device = device
        self.batch_size = batch_size
        self.max_tokens = max_tokens(model.config, tokenizer)

    def logits(self, pairs: Sequence[tuple[str, str]]) -> list[list[float]]:
        """Logits of each pair, in the order of `pairs` and of the model's labels."""
        import torch

        result: list[list[float]] = [[] for _ in pairs]
        order = sorted(range(len(pairs)), key=lambda i: sum(map(len, pairs[i])))
        for start in range(0, len(order), self.batch_size):
            places = order[start : start + self.batch_size]
            inputs = self.tokenizer(
                [pairs[i][0] for i in places],
                [pairs[i][1] for i in places],
                padding=True,
                truncation=True,
                max_length=self.max_tokens,
                return_tensors="pt",
            ).to(self.device)
            with torch.inference_mode():
                values = self.model(**inputs).logits.float().cpu().tolist()
            for place, row in zip(places, values, strict=True):
                result[place] = row
        return result


def load_classifier(folder: Path, *, device: str = "auto", batch_size: int = 64) -> PairClassifier:
    """Load a sequence classifier saved with `save_pretrained`: safetensors only, no remote code, no network.

    Raises:
        ModelError: the folder is missing or holds something else.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    check_folder(folder)
    device = pick_device(device)
    try:
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_safetensors=True
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError("sequence classifier cannot be loaded", value=str(error), where=folder) from error
    return PairClassifier(model.to(device).eval(), tokenizer, device, batch_size)


def check_folder(folder: Path) -> None:
    """Raise `ModelError` unless `folder` is a saved model."""
    if not folder.is_dir():
        raise ModelError("model folder does not exist", where=folder, next_step="run `polite-flamingo backbones`")


def max_tokens(config: Any, tokenizer: Any) -> int:
    """Longest input the model can read, from its tokenizer or its positions."""
    limit = int(tokenizer.model_max_length)
    if limit < _NO_LIMIT:
        return limit
    positions = int(getattr(config, "max_position_embeddings", 512) or 512)
    # RoBERTa-like models count positions from the padding index on.
    return positions - (config.pad_token_id + 1 if config.model_type in {"roberta", "xlm-roberta", "camembert"} else 0)
