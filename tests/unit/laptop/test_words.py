"""The perceiver's warm start: photographs come apart, and a stopped one ends like one that ran through."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from polite_flamingo.laptop.words import caption_words, warm_perceiver
from polite_flamingo.model.architecture import PerceiverResampler

CAPTIONS = {
    f"{kind}{number}.jpg": [f"A {kind} in the park."]
    for kind in ("dog", "boat", "train", "child")
    for number in range(8)
}


class Model(nn.Module):
    """A perceiver as a Flamingo shows it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.perceiver = PerceiverResampler(dim=16, depth=1, dim_head=8, heads=2, num_latents=4)

    def latents(self, tokens: torch.Tensor) -> torch.Tensor:
        """Latents (N, n, d) of tokens (N, v, d)."""
        out: torch.Tensor = self.perceiver(tokens[:, None, None])[:, 0]
        return out


def photographs() -> tuple[torch.Tensor, dict[str, tuple[int, int]]]:
    """Features that show what the captions name, and their rows."""
    kinds = {kind: torch.randn(16, generator=torch.Generator().manual_seed(i)) for i, kind in enumerate("dbtc")}
    tokens = torch.stack([kinds[image[0]].expand(9, -1) for image in CAPTIONS])
    noise = torch.randn(tokens.shape, generator=torch.Generator().manual_seed(9))
    return tokens + 0.5 * noise, {image: (row, row) for row, image in enumerate(CAPTIONS)}


def warm(folder: Path, epochs: int) -> tuple[Any, float]:
    """A perceiver warmed for some epochs of six."""
    features, rows = photographs()
    bundle: Any = SimpleNamespace(model=Model(), device=torch.device("cpu"))
    return bundle.model, warm_perceiver(bundle, features, rows, CAPTIONS, folder, epochs=epochs, batch=8, rate=1e-2)


def apart(model: Any) -> float:
    """Variance of the latents, whose mean square is one, between photographs of different things."""
    with torch.no_grad():
        latents = model.latents(photographs()[0])
    return float(latents.unflatten(0, (4, 8)).mean(1).var(0).mean())


def test_words_are_those_that_enough_captions_use() -> None:
    words, said = caption_words({**CAPTIONS, "cat.jpg": ["A cat in the park."]})
    assert words == ["boat", "child", "dog", "park", "train"]
    assert [words[place] for place in said["dog0.jpg"]] == ["dog", "park"]
    assert [words[place] for place in said["cat.jpg"]] == ["park"]


def test_latents_of_different_things_come_apart(tmp_path: Path) -> None:
    model, loss = warm(tmp_path, 20)
    assert apart(model) > 2 * apart(Model())
    assert loss < 0.5 * warm(tmp_path / "short", 1)[1]


def test_a_warm_start_that_is_called_again_is_not_made_again(tmp_path: Path) -> None:
    model, loss = warm(tmp_path, 3)
    again, same = warm(tmp_path, 3)
    assert same == loss
    torch.testing.assert_close(again.state_dict(), model.state_dict())
