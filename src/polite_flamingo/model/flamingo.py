"""OpenFlamingo: architecture, building, loading (sections 3.2 and 4.1 of arXiv 2307.01003).

The only importer of ``open_flamingo``. Its ``__init__`` pulls in open_clip and torchvision; neither is needed, so the
package is bound without running it, and the vision tower is a Hugging Face ``CLIPVisionModel``. Sizes are in
`model.config`, the tower in `model.tower`, images and saving in `model.bundle`; what is used everywhere can be imported
from here.

Images: text attends to the last image before it only (OpenFlamingo 2). With several images in one turn (Spot-the-Diff)
the text after them attends directly to the last; what it knows of the earlier ones comes through self-attention to
their ``<image>`` and ``<|endofchunk|>`` tokens. That is the model's definition and is kept.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from polite_flamingo.errors import ModelError, did_you_mean
from polite_flamingo.imaging import ImagePreprocessor
from polite_flamingo.io import read_json
from polite_flamingo.model.bundle import (
    FlamingoBundle,
    connector_tensors,
    named_tensors,
    number_type,
    resolve_device,
    save_flamingo,
)
from polite_flamingo.model.config import DECODER_LAYERS, CrossAttention, FlamingoConfig, Perceiver, VisionTokens
from polite_flamingo.model.sampling import gumbel
from polite_flamingo.model.tokens import add_special_tokens
from polite_flamingo.model.tower import VisionTower, position_code
from polite_flamingo.prompts.templates import CHUNK_TOKEN, IMAGE_TOKEN


def _bind_open_flamingo() -> None:
    """Make ``open_flamingo.src.*`` importable without running the package's ``__init__``."""
    if "open_flamingo" in sys.modules:
        return
    spec = importlib.util.find_spec("open_flamingo")
    if spec is None or spec.submodule_search_locations is None:
        raise ModelError("open_flamingo is not installed", next_step="run `make setup`, which installs it --no-deps")
    module = types.ModuleType("open_flamingo")
    module.__path__ = list(spec.submodule_search_locations)
    module.__spec__ = spec
    sys.modules["open_flamingo"] = module


_bind_open_flamingo()

from open_flamingo.src.flamingo import Flamingo as _OpenFlamingo  # noqa: E402
from open_flamingo.src.flamingo_lm import FlamingoLMMixin as _OpenFlamingoLM  # noqa: E402
from open_flamingo.src.helpers import GatedCrossAttentionBlock, MaskedCrossAttention, PerceiverResampler  # noqa: E402
from open_flamingo.src.utils import extend_instance  # noqa: E402

__all__ = [
    "CachedCrossAttention",
    "CrossAttention",
    "FlamingoBundle",
    "FlamingoConfig",
    "GatedCrossAttentionBlock",
    "MaskedCrossAttention",
    "Perceiver",
    "PoliteFlamingo",
    "VisionTokens",
    "VisionTower",
    "build_flamingo",
    "gumbel",
    "load_flamingo",
    "named_tensors",
    "number_type",
    "position_code",
    "resolve_device",
    "save_flamingo",
]

IGNORED = -100


class CachedCrossAttention(MaskedCrossAttention):
    """OpenFlamingo's masked cross-attention with the same weights and results, and two differences in cost.

    It uses PyTorch's fused attention, and without gradients it keeps the keys and values of the images while the same
    media tensor is shown again, so decoding does not recompute them at every step. Who manages rows himself pins the
    keys and values of their last images instead.
    """

    _media: torch.Tensor | None = None
    _key_value: tuple[torch.Tensor, torch.Tensor] | None = None
    _pinned: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None

    def forward(
        self,
        x: torch.Tensor,
        media: torch.Tensor,
        media_locations: torch.Tensor | None = None,
        use_cached_media: bool = False,
    ) -> torch.Tensor:
        """Attend from text to the last image before it.

        Args:
            x: Text features (B, T_txt, D).
            media: Image latents (B, T_img, n, D_img).
            media_locations: True at ``<image>`` tokens (B, T_prompt).
            use_cached_media: `x` continues the text that `media_locations` describes.
        """
        query = self._heads(self.to_q(self.norm(x)))
        if self._pinned is not None:
            key, value, blind = self._pinned
            out = functional.scaled_dot_product_attention(query, key, value, scale=self.scale).transpose(1, 2)
            return self.to_out(out.flatten(2).masked_fill(blind[:, None, None], 0.0))
        if media_locations is None:
            raise ModelError("cross-attention was called without media locations")
        images, latents = media.shape[1:3]
        key, value = self._keys_values(media)
        if use_cached_media:
            text_time = media_locations.sum(dim=1, keepdim=True).expand(-1, x.shape[1])
        else:
            text_time = media_locations.cumsum(dim=-1)
        media_time = torch.arange(1, images + 1, device=x.device).repeat_interleave(latents)
        no_media = text_time == 0  # attends to nothing: let it see the first image, then zero the result
        mask = text_time.clamp(min=1).unsqueeze(-1) == media_time
        out = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask.unsqueeze(1), scale=self.scale)
        out = out.transpose(1, 2).flatten(2).masked_fill(no_media.unsqueeze(-1), 0.0)
        return self.to_out(out)

    def _keys_values(self, media: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if self._key_value is not None and self._media is media and not torch.is_grad_enabled():
            return self._key_value
        key, value = self.to_kv(media.flatten(1, 2)).chunk(2, dim=-1)
        pair = self._heads(key), self._heads(value)
        if not torch.is_grad_enabled():
            self._media, self._key_value = media, pair
        return pair

    def _heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def pin(self, key: torch.Tensor, value: torch.Tensor, blind: torch.Tensor) -> None:
        """Until `forget`, attend to these keys and values (B, heads, n, width) instead; `blind` rows see none."""
        self._pinned = key, value, blind

    def kept(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values (B, heads, T_img * n, width) of the images last shown without gradients."""
        if self._key_value is None:
            raise ModelError("cross-attention has seen no images")
        return self._key_value

    def forget(self) -> None:
        """Drop the kept and the pinned keys and values."""
        self._media = self._key_value = self._pinned = None


class _LanguageModel(_OpenFlamingoLM):
    """Mixin over a Hugging Face causal LM. ``generate()`` may leave out the mask and asks for ``logits_to_keep``."""

    _row_generators: list[torch.Generator] | None = None

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs: Any,
    ) -> Any:
        if position_ids is not None:
            kwargs["position_ids"] = position_ids
        return super().forward(input_ids, attention_mask, logits_to_keep=logits_to_keep, **kwargs)

    def clear_conditioned_layers(self) -> None:
        super().clear_conditioned_layers()
        for block in self.gated_cross_attn_layers:
            if block is not None:
                block.attn.forget()

    def _get_top_k_continuations(self, accumulated_log_probs: torch.Tensor, **kwargs: Any) -> Any:
        """Beam sampling drawn from one generator per prompt, so that a result does not depend on its batch.

        The k largest of log p + Gumbel noise are k draws without replacement from p, which is what the original does
        with the global generator.
        """
        if not kwargs.get("do_sample") or self._row_generators is None:
            return super()._get_top_k_continuations(accumulated_log_probs=accumulated_log_probs, **kwargs)
        noisy = accumulated_log_probs + gumbel(self._row_generators, accumulated_log_probs)
        chosen = torch.topk(noisy, k=kwargs["beams_to_keep"]).indices
        hidden = torch.full_like(accumulated_log_probs, -torch.inf)
        hidden.scatter_(1, chosen, accumulated_log_probs.gather(1, chosen))
        return super()._get_top_k_continuations(accumulated_log_probs=hidden, **{**kwargs, "do_sample": False})


class PoliteFlamingo(_OpenFlamingo):
    """OpenFlamingo over precomputed patch tokens.

    ``vision_x`` may be patch tokens of distinct images (N, v, d) with ``image_index`` (B, T_img) saying which image
    each slot shows, or patch tokens (B, T_img, 1, v, d).
    """

    def forward(
        self,
        lang_x: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        *,
        vision_tokens: torch.Tensor,
        image_index: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
    ) -> Any:
        """Logits of every position.

        Args:
            lang_x: Token ids (B, T_txt).
            attention_mask: 1 where a token is real (B, T_txt).
            vision_tokens: Patch tokens (N, v, d), or (B, T_img, 1, v, d) without `image_index`.
            image_index: Image of each slot (B, T_img).
            labels: Next-token labels, -100 ignored (B, T_txt); adds ``loss``.

        Returns:
            Hugging Face's causal LM output.
        """
        self._encode_vision_x(vision_tokens, image_index)
        try:
            return self.lang_encoder(input_ids=lang_x, attention_mask=attention_mask, labels=labels, use_cache=False)
        finally:
            self.lang_encoder.clear_conditioned_layers()

    def supervised_loss(
        self,
        lang_x: torch.Tensor,
        attention_mask: torch.Tensor | None,
        labels: torch.Tensor,
        vision_tokens: torch.Tensor,
        image_index: torch.Tensor,
    ) -> torch.Tensor:
        """Sum of the negative log-likelihood (nats) of the labelled tokens; logits are computed for these alone.

        Args:
            lang_x: Token ids (B, T_txt).
            attention_mask: 1 where a token is real (B, T_txt), or None when all are.
            labels: Token ids where supervised, -100 elsewhere (B, T_txt).
            vision_tokens: Patch tokens of distinct images (N, v, d).
            image_index: Image of each slot (B, T_img).
        """
        lm = self.lang_encoder
        self._encode_vision_x(vision_tokens, image_index)
        try:
            locations = lang_x == self.media_token_id
            for layer in lm._get_decoder_layers():
                layer.condition_media_locations(locations)
                layer.condition_use_cached_media(False)
            hidden = lm.base_model(input_ids=lang_x, attention_mask=attention_mask, use_cache=False).last_hidden_state
        finally:
            lm.clear_conditioned_layers()
        targets = labels[:, 1:]
        kept = targets != IGNORED
        logits = lm.get_output_embeddings()(hidden[:, :-1][kept])
        return functional.cross_entropy(logits.float(), targets[kept], reduction="sum")

    def _encode_vision_x(self, vision_x: torch.Tensor, image_index: torch.Tensor | None = None) -> None:
        media = self.perceiver(vision_x) if image_index is None else self.latents(vision_x)[image_index]
        for layer in self.lang_encoder._get_decoder_layers():
            layer.condition_vis_x(media)

    def latents(self, vision_tokens: torch.Tensor) -> torch.Tensor:
        """What the perceiver makes (N, n, d) of patch tokens of images (N, v, d)."""
        return self.perceiver(vision_tokens[:, None, None])[:, 0]

    @contextmanager
    def showing(self, media: torch.Tensor) -> Iterator[Any]:
        """Within the block the language model generates with these latents (B, T_img, n, d); yields the model."""
        self.lang_encoder._use_cached_vision_x = True
        try:
            for layer in self.lang_encoder._get_decoder_layers():
                layer.condition_vis_x(media)
            yield self.lang_encoder
        finally:
            self.lang_encoder.clear_conditioned_layers()
            self.lang_encoder._use_cached_vision_x = False


def build_flamingo(
    lm: Any,
    tokenizer: Any,
    vision: Any,
    *,
    config: FlamingoConfig,
    image_processor: ImagePreprocessor | None = None,
    device: str | torch.device = "cpu",
    seed: int = 0,
) -> FlamingoBundle:
    """Join a causal LM and a CLIP vision tower with a fresh connector (gates closed, all weights frozen).

    The special tokens are added where missing; their embeddings start at the mean of all embeddings plus a little noise
    (tied embeddings stay tied).

    Args:
        lm: Hugging Face causal LM, changed in place.
        tokenizer: Its tokenizer, changed in place.
        vision: Hugging Face ``CLIPVisionModel``.
        config: Sizes.
        image_processor: Preprocessing; default: CLIP's at the tower's image size.
        device: Where to put the model.
        seed: Seed of the fresh weights; the global generator is not touched.

    Raises:
        ModelError: the LM's family is unknown or the tower is no CLIP vision model.
    """
    vision = getattr(vision, "vision_model", vision)
    if not hasattr(vision, "config") or not hasattr(vision.config, "patch_size"):
        raise ModelError("the vision tower must be a CLIPVisionModel", value=type(vision).__name__)
    path = DECODER_LAYERS.get(lm.config.model_type) if config.decoder_layers == "auto" else config.decoder_layers
    if path is None:
        raise ModelError(
            "no decoder layers known for this language model",
            value=lm.config.model_type,
            next_step="set `decoder_layers` in the model's config.json; "
            + did_you_mean(lm.config.model_type, DECODER_LAYERS),
        )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        add_special_tokens(lm, tokenizer)
        tower = VisionTower(vision, config.vision_tokens)
        extend_instance(lm, _LanguageModel)
        lm.set_decoder_layers_attr_name(path)
        media, chunk = tokenizer.convert_tokens_to_ids([IMAGE_TOKEN, CHUNK_TOKEN])
        width, depth = tower.size[1], len(lm._get_decoder_layers())
        # Built without its own blocks (none of the standard size is ever allocated), then given ours.
        model = PoliteFlamingo(
            types.SimpleNamespace(visual=vision), lm, chunk, media, vis_dim=width, cross_attn_every_n_layers=depth + 1
        )
        model.perceiver = PerceiverResampler(dim=width, **asdict(config.perceiver))
        blocks: Any = [
            _block(model.lang_dim, width, config.xattn) if (i + 1) % config.cross_attn_every_n_layers == 0 else None
            for i in range(depth)
        ]
        lm.gated_cross_attn_layers = nn.ModuleList(blocks)
        lm.init_flamingo_layers(False)
    if all(block is None for block in lm.gated_cross_attn_layers):
        raise ModelError(
            "the language model would get no cross-attention at all",
            value=config.cross_attn_every_n_layers,
            where=f"{depth} decoder layers",
            next_step="lower cross_attn_every_n_layers",
        )
    where = torch.device(device)
    dtype = next(lm.parameters()).dtype
    model.to(where, dtype).requires_grad_(False).eval()
    tower.to(where, dtype)
    return FlamingoBundle(
        model=model,
        tokenizer=tokenizer,
        image_processor=image_processor or ImagePreprocessor.square(vision.config.image_size),
        tower=tower,
        config=replace(config, decoder_layers=path),
        device=where,
    )


def load_flamingo(
    folder: Path,
    *,
    device: str | torch.device = "cpu",
    dtype: str = "float32",
    trainables: Path | None = None,
    merge: bool = True,
) -> FlamingoBundle:
    """Load a model folder and, if given, what a training wrote on top of it.

    Args:
        folder: Folder written by `save_flamingo`.
        device: "cpu", "cuda", "cuda:1" or "auto".
        dtype: "float32", "bfloat16" or "float16".
        trainables: Folder written by `model.checkpoint.save_trainables`.
        merge: Fold the LoRA of `trainables` into the weights (faster; no further training).

    Raises:
        ModelError: a part is missing, does not fit or `trainables` belongs to another base.
    """
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer, CLIPVisionModel

    for name in ("config.json", "connector.safetensors", "lm", "vision"):
        if not (folder / name).exists():
            raise ModelError(
                "model folder lacks a part",
                value=name,
                where=folder,
                next_step="run the stage `backbones`, or give a folder written by save_flamingo",
            )
    number_type(dtype)
    config = FlamingoConfig.from_dict(read_json(folder / "config.json"), where=folder / "config.json")
    try:
        lm = AutoModelForCausalLM.from_pretrained(folder / "lm", dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(folder / "lm")
        vision = CLIPVisionModel.from_pretrained(folder / "vision", dtype=torch.float32)
        connector = load_file(folder / "connector.safetensors")
    except (OSError, ValueError, KeyError) as error:
        raise ModelError("model folder cannot be loaded", value=str(error), where=folder) from error
    bundle = build_flamingo(
        lm, tokenizer, vision, config=config, image_processor=ImagePreprocessor.from_folder(folder / "vision")
    )
    bundle.folder = folder
    _load_connector(bundle, connector, where=folder / "connector.safetensors")
    bundle.device = resolve_device(device)
    bundle.model.to(bundle.device)
    bundle.tower.to(bundle.device)
    bundle.cast(dtype)
    if trainables is not None:
        from polite_flamingo.model.checkpoint import load_trainables
        from polite_flamingo.model.lora import merge_lora

        load_trainables(bundle, trainables)
        if merge and bundle.lora is not None:
            merge_lora(bundle)
    return bundle


def _block(dim: int, dim_visual: int, sizes: CrossAttention) -> nn.Module:
    block = GatedCrossAttentionBlock(dim=dim, dim_visual=dim_visual, dim_head=sizes.dim_head, heads=sizes.heads)
    attention = CachedCrossAttention(dim=dim, dim_visual=dim_visual, dim_head=sizes.dim_head, heads=sizes.heads)
    attention.load_state_dict(block.attn.state_dict())
    block.attn = attention
    return block


def _load_connector(bundle: FlamingoBundle, tensors: Mapping[str, torch.Tensor], where: Path) -> None:
    known = named_tensors(bundle.model)
    needed = set(connector_tensors(bundle.model))
    missing, unknown = sorted(needed - set(tensors)), sorted(set(tensors) - set(known))
    wrong = sorted(n for n in set(tensors) & set(known) if tensors[n].shape != known[n].shape)
    if missing or unknown or wrong:
        raise ModelError(
            f"the connector does not fit: {len(missing)} tensors missing, {len(unknown)} unknown, {len(wrong)} of "
            "another shape",
            value=(missing + unknown + wrong)[:5],
            where=where,
            next_step="its config.json and connector.safetensors must come from one save_flamingo",
        )
    with torch.no_grad():
        for name, tensor in tensors.items():
            known[name].copy_(tensor)
