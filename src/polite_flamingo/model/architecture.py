"""OpenFlamingo's architecture over precomputed patch tokens (appendix A of arXiv 2307.01003).

The only importer of ``open_flamingo``. Its ``__init__`` pulls in open_clip and torchvision; neither is needed, so the
package is bound without running it, and the vision tower is a Hugging Face ``CLIPVisionModel`` (`model.tower`).

Images: text attends to one image only, and `CachedCrossAttention.attend_previous` says to which. True is OpenFlamingo
2: the last image before it. With several images in one turn (Spot-the-Diff) the text after them attends directly to the
last; what it knows of the earlier ones comes through self-attention to their ``<image>`` and ``<|endofchunk|>`` tokens.
False is OpenFlamingo 1, from which the paper's models were trained: the next image after it, and text after the last
image attends to none. That is each model's definition and is kept.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from polite_flamingo.errors import ModelError
from polite_flamingo.model.config import CrossAttention, FlamingoConfig
from polite_flamingo.model.sampling import gumbel


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
from open_flamingo.src.flamingo_lm import FlamingoLayer  # noqa: E402
from open_flamingo.src.flamingo_lm import FlamingoLMMixin as _OpenFlamingoLM  # noqa: E402
from open_flamingo.src.helpers import GatedCrossAttentionBlock, MaskedCrossAttention, PerceiverResampler  # noqa: E402
from open_flamingo.src.utils import extend_instance  # noqa: E402

__all__ = [
    "CachedCrossAttention",
    "GatedCrossAttentionBlock",
    "MaskedCrossAttention",
    "PerceiverResampler",
    "PoliteFlamingo",
    "join",
]

IGNORED = -100


class CachedCrossAttention(MaskedCrossAttention):
    """OpenFlamingo's masked cross-attention with the same weights and results, and two differences in cost.

    It uses PyTorch's fused attention, and without gradients it keeps the keys and values of the images while the same
    media tensor is shown again, so decoding does not recompute them at every step. Who manages rows himself pins the
    keys and values of their last images instead.

    `attend_previous` True: text attends to the last image before it; False: to the next one after it (see the module's
    text). In both cases an ``<image>`` token attends to its own image, and text without such an image to none.
    """

    attend_previous = True
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
        """Attend from text to one image.

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
        text_time = self._image_of(media_locations, x.shape[1], use_cached_media)
        media_time = torch.arange(1, images + 1, device=x.device).repeat_interleave(latents)
        no_media = text_time == 0  # attends to nothing: let it see the first image, then zero the result
        mask = text_time.clamp(min=1).unsqueeze(-1) == media_time
        out = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask.unsqueeze(1), scale=self.scale)
        out = out.transpose(1, 2).flatten(2).masked_fill(no_media.unsqueeze(-1), 0.0)
        return self.to_out(out)

    def _image_of(self, media_locations: torch.Tensor, width: int, continues: bool) -> torch.Tensor:
        """Number (1, 2, …; 0: none) of the image that each of `width` text tokens attends to (B, width)."""
        total = media_locations.sum(dim=1, keepdim=True)
        if continues:
            return total.expand(-1, width) if self.attend_previous else torch.zeros_like(total).expand(-1, width)
        before = media_locations.cumsum(dim=-1)
        if self.attend_previous:
            return before
        following = before + (~media_locations).long()
        return following.masked_fill(following > total, 0)

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


class _Layer(FlamingoLayer):
    """OpenFlamingo's layer (cross-attention, then decoder block) that may recompute its activations in backward."""

    checkpointing = False

    def forward(self, lang_x: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs: Any) -> Any:
        if not (self.checkpointing and torch.is_grad_enabled()):
            return super().forward(lang_x, attention_mask=attention_mask, **kwargs)
        # What the layer was conditioned on is gone when backward comes, so it goes in as arguments.
        condition = self.vis_x, self.media_locations, self.use_cached_media
        return checkpoint(self._recomputed, lang_x, *condition, attention_mask, kwargs, use_reentrant=False)

    def _recomputed(
        self,
        lang_x: torch.Tensor,
        vis_x: torch.Tensor,
        media_locations: torch.Tensor,
        use_cached_media: bool,
        attention_mask: torch.Tensor | None,
        kwargs: dict[str, Any],
    ) -> Any:
        if self.gated_cross_attn_layer is not None:
            lang_x = self.gated_cross_attn_layer(
                lang_x, vis_x, media_locations=media_locations, use_cached_media=use_cached_media
            )
        return self.decoder_layer(lang_x, attention_mask=attention_mask, **kwargs)


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

    def init_flamingo_layers(self, gradient_checkpointing: bool) -> None:
        """Put each cross-attention before its decoder block."""
        pairs = zip(self.gated_cross_attn_layers, self.old_decoder_blocks, strict=True)
        layers = [_Layer(attention, block, False) for attention, block in pairs]
        for layer in layers:
            layer.checkpointing = gradient_checkpointing
        self._set_decoder_layers(nn.ModuleList(layers))

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


def join(lm: Any, vision: nn.Module, config: FlamingoConfig, *, layers: str, media: int, chunk: int) -> PoliteFlamingo:
    """Join a causal LM and a CLIP vision model with a fresh connector; also on the meta device.

    Args:
        lm: Hugging Face causal LM, changed in place.
        vision: Hugging Face ``CLIPVisionModel``.
        config: Sizes.
        layers: Attribute path of the decoder blocks.
        media: Id of ``<image>``.
        chunk: Id of ``<|endofchunk|>``.

    Raises:
        ModelError: no decoder block would get a cross-attention.
    """
    extend_instance(lm, _LanguageModel)
    lm.set_decoder_layers_attr_name(layers)
    width, depth = int(vision.config.hidden_size), len(lm._get_decoder_layers())  # type: ignore[union-attr, arg-type]
    every = config.cross_attn_every_n_layers
    if every > depth:
        raise ModelError(
            "the language model would get no cross-attention at all",
            value=every,
            where=f"{depth} decoder layers",
            next_step="lower cross_attn_every_n_layers",
        )
    # Built without its own blocks (none of the standard size is ever allocated), then given ours.
    model = PoliteFlamingo(
        types.SimpleNamespace(visual=vision), lm, chunk, media, vis_dim=width, cross_attn_every_n_layers=depth + 1
    )
    model.perceiver = PerceiverResampler(dim=width, **asdict(config.perceiver))
    blocks: Any = [
        _block(model.lang_dim, width, config.xattn, config.attend_previous) if (i + 1) % every == 0 else None
        for i in range(depth)
    ]
    lm.gated_cross_attn_layers = nn.ModuleList(blocks)
    lm.init_flamingo_layers(False)
    return model


def _block(dim: int, dim_visual: int, sizes: CrossAttention, attend_previous: bool) -> nn.Module:
    block = GatedCrossAttentionBlock(dim=dim, dim_visual=dim_visual, dim_head=sizes.dim_head, heads=sizes.heads)
    attention = CachedCrossAttention(dim=dim, dim_visual=dim_visual, dim_head=sizes.dim_head, heads=sizes.heads)
    attention.load_state_dict(block.attn.state_dict())
    attention.attend_previous = attend_previous
    block.attn = attention
    return block
