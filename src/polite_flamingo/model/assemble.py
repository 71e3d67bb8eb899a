"""A Flamingo from parts: a pretrained causal LM, a CLIP vision tower and a fresh connector.

The fresh connector's gates are closed, so until it is trained (stage 2 of the U) the images have no effect. That is how
OpenFlamingo itself starts; a profile that only trains LoRA on such a model rewrites from the text alone.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from polite_flamingo.errors import ModelError
from polite_flamingo.model.origins import materialise


def assemble_flamingo(parts: str, folder: Path, *, seed: int, every: int = 10) -> dict[str, float]:
    """Build a Flamingo folder.

    Args:
        parts: ``<origin of the LM>|<origin of a CLIP>``, origins as in `model.origins`.
        folder: Where the Flamingo goes.
        seed: Seed of the fresh connector.
        every: A cross-attention before every `every`-th decoder block.

    Returns:
        Parameter counts in millions: ``lm``, ``vision``, ``connector``.
    """
    from transformers import CLIPVisionModel

    from polite_flamingo.imaging import ImagePreprocessor
    from polite_flamingo.model.flamingo import CrossAttention, FlamingoConfig, Perceiver, build_flamingo, save_flamingo

    language, separator, sight = parts.partition("|")
    if not separator:
        raise ModelError(
            "a Flamingo is built from two parts",
            value=parts,
            where="backbones.flamingo",
            next_step="write build:<origin of the LM>|<origin of a CLIP>",
        )
    with tempfile.TemporaryDirectory() as scratch:
        lm_folder, clip_folder = Path(scratch) / "lm", Path(scratch) / "clip"
        materialise(language, "lm", lm_folder)
        materialise(sight, "clip", clip_folder)
        lm, tokenizer = _load_lm(lm_folder)
        vision = CLIPVisionModel.from_pretrained(clip_folder, use_safetensors=True)
        bundle = build_flamingo(
            lm,
            tokenizer,
            vision,
            config=FlamingoConfig(
                cross_attn_every_n_layers=every,
                perceiver=Perceiver(depth=2, num_latents=16),
                xattn=CrossAttention(),
            ),
            image_processor=ImagePreprocessor.from_folder(clip_folder),
            seed=seed,
        )
        shutil.rmtree(folder, ignore_errors=True)
        save_flamingo(bundle, folder)
    sizes = {"lm": 0, "vision": 0, "connector": 0}
    seen: set[int] = set()
    for name, parameter in bundle.model.named_parameters():
        if id(parameter) not in seen:
            seen.add(id(parameter))
            part = "vision" if name.startswith("vision_encoder") else "lm"
            sizes["connector" if name.startswith("perceiver") or "gated_cross_attn" in name else part] += (
                parameter.numel()
            )
    return {f"{part}_parameters_m": round(count / 1e6, 2) for part, count in sizes.items()}


def _load_lm(folder: Path) -> tuple[Any, Any]:
    """Load a causal LM and its tokenizer; GGUF weights are de-quantised into a plain model."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    gguf = sorted(folder.glob("*.gguf"))
    if not gguf:
        return (
            AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True),
            AutoTokenizer.from_pretrained(folder),
        )
    quantised = AutoModelForCausalLM.from_pretrained(folder, gguf_file=gguf[0].name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=gguf[0].name)
    values = quantised.config.to_dict()
    values.pop("quantization_config", None)
    plain = type(quantised)(type(quantised.config).from_dict(values))
    plain.load_state_dict(quantised.state_dict())
    return plain, tokenizer
