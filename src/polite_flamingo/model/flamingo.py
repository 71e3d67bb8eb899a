"""OpenFlamingo: building, saving, loading, encoding images once (sections 3.2 and 4.1 of arXiv 2307.01003).

The only importer of ``open_flamingo``. Its ``__init__`` pulls in open_clip and torchvision; neither is needed, so the
package is bound without running it, and the vision tower is a Hugging Face ``CLIPVisionModel``.

A model folder holds ``config.json`` (see `FlamingoConfig`), ``lm/`` (Hugging Face causal LM and tokenizer, with the
special tokens once saved from here), ``vision/`` (CLIPVisionModel and ``preprocessor_config.json``) and
``connector.safetensors`` (perceiver and gated cross-attention; other tensors of the model may stand there too).

Images: text attends to the last image before it only (OpenFlamingo 2). With several images in one turn (Spot-the-Diff)
the text after them attends directly to the last; what it knows of the earlier ones comes through self-attention to
their ``<image>`` and ``<|endofchunk|>`` tokens. That is the model's definition and is kept.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

from polite_flamingo.errors import ModelError, did_you_mean
from polite_flamingo.imaging import ImagePreprocessor
from polite_flamingo.io import fingerprint, open_image, read_json, write_json
from polite_flamingo.prompts.templates import CHUNK_TOKEN, IMAGE_TOKEN, PAD_TOKEN

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage


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

DECODER_LAYERS = {  # model type -> attribute path of the decoder blocks
    "llama": "model.layers",
    "mistral": "model.layers",
    "gpt_neox": "gpt_neox.layers",
    "gpt_neo": "transformer.h",
    "gptj": "transformer.h",
    "opt": "model.decoder.layers",
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
CACHE_BYTES = 512 * 1024 * 1024
IGNORED = -100


@dataclass(frozen=True, slots=True)
class Perceiver:
    """Sizes of the perceiver resampler; the defaults are OpenFlamingo's."""

    depth: int = 6
    num_latents: int = 64
    dim_head: int = 64
    heads: int = 8


@dataclass(frozen=True, slots=True)
class CrossAttention:
    """Sizes of the gated cross-attention; the defaults are OpenFlamingo's."""

    dim_head: int = 64
    heads: int = 8


@dataclass(frozen=True, slots=True)
class VisionTokens:
    """What is done to the patch tokens of a small tower, whose tokens lose their position; off for real towers.

    Args:
        unit_variance: Scale every token to zero mean and unit variance.
        position_code: Add a fixed two-dimensional sine-cosine code of the patch's place.
    """

    unit_variance: bool = False
    position_code: bool = False


@dataclass(frozen=True, slots=True)
class FlamingoConfig:
    """``config.json`` of a model folder.

    Args:
        cross_attn_every_n_layers: A gated cross-attention stands before every n-th decoder block.
        perceiver: Sizes of the resampler.
        xattn: Sizes of the cross-attention.
        decoder_layers: Attribute path of the decoder blocks, or "auto" (by model type).
        vision_tokens: Treatment of the patch tokens.
    """

    cross_attn_every_n_layers: int = 4
    perceiver: Perceiver = field(default_factory=Perceiver)
    xattn: CrossAttention = field(default_factory=CrossAttention)
    decoder_layers: str = "auto"
    vision_tokens: VisionTokens = field(default_factory=VisionTokens)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: object = None) -> FlamingoConfig:
        """Parse `config.json`; an unknown key is a `ModelError`."""
        parts: dict[str, Any] = {"perceiver": Perceiver, "xattn": CrossAttention, "vision_tokens": VisionTokens}
        known = cls.__dataclass_fields__
        for key in values:
            if key not in known:
                raise ModelError(
                    "unknown key in a Flamingo's config", value=key, where=where, next_step=did_you_mean(key, known)
                )
        try:
            return cls(**{key: parts[key](**value) if key in parts else value for key, value in values.items()})
        except TypeError as error:
            raise ModelError("a Flamingo's config cannot be used", value=str(error), where=where) from error


class CachedCrossAttention(MaskedCrossAttention):
    """OpenFlamingo's masked cross-attention with the same weights and results, and two differences in cost.

    It uses PyTorch's fused attention, and without gradients it keeps the keys and values of the images while the same
    media tensor is shown again, so decoding does not recompute them at every step.
    """

    _media: torch.Tensor | None = None
    _key_value: tuple[torch.Tensor, torch.Tensor] | None = None

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
        if media_locations is None:
            raise ModelError("cross-attention was called without media locations")
        images, latents = media.shape[1:3]
        query = self._heads(self.to_q(self.norm(x)))
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

    def select_rows(self, keep: torch.Tensor, media: torch.Tensor) -> None:
        """Keep the keys and values of some rows, now those of `media`."""
        if self._key_value is not None:
            self._media, self._key_value = media, (self._key_value[0][keep], self._key_value[1][keep])

    def forget(self) -> None:
        """Drop the kept keys and values."""
        self._media = self._key_value = None


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

    def select_rows(self, keep: torch.Tensor) -> None:
        """Go on generating with these rows of the batch only."""
        selected: torch.Tensor | None = None
        for layer in self._get_decoder_layers():
            if selected is None:
                selected = layer.vis_x[keep]
            layer.condition_media_locations(layer.media_locations[keep])
            layer.condition_vis_x(selected)
            if layer.gated_cross_attn_layer is not None:
                layer.gated_cross_attn_layer.attn.select_rows(keep, selected)

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


def gumbel(generators: Sequence[torch.Generator], like: torch.Tensor) -> torch.Tensor:
    """Gumbel noise shaped like `like` (rows, n), each row from its own generator."""
    rows = [torch.rand(like.shape[1], generator=g, dtype=torch.float64) for g in generators]
    exponential = (-torch.stack(rows).clamp_min(1e-300).log()).clamp_min(1e-300)
    return (-exponential.log()).to(like.device, like.dtype)


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
        if image_index is None:
            media = self.perceiver(vision_x)
        else:
            media = self.perceiver(vision_x[:, None, None])[:, 0][image_index]
        for layer in self.lang_encoder._get_decoder_layers():
            layer.condition_vis_x(media)

    @contextmanager
    def showing(self, vision_tokens: torch.Tensor, image_index: torch.Tensor) -> Iterator[Any]:
        """Within the block the language model generates with these images; yields the language model."""
        self.lang_encoder._use_cached_vision_x = True
        try:
            self._encode_vision_x(vision_tokens, image_index)
            yield self.lang_encoder
        finally:
            self.lang_encoder.clear_conditioned_layers()
            self.lang_encoder._use_cached_vision_x = False


class VisionTower(nn.Module):
    """A Hugging Face CLIP vision model seen as a function from pixels to patch tokens before the post layer norm."""

    def __init__(self, visual: nn.Module, tokens: VisionTokens) -> None:
        super().__init__()
        self.visual = visual
        self.tokens = tokens

    @property
    def size(self) -> tuple[int, int]:
        """Number of patch tokens and their width."""
        config: Any = self.visual.config
        return (config.image_size // config.patch_size) ** 2, config.hidden_size

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Patch tokens (N, v, d) of pixels (N, 3, H, W)."""
        return self.dress(self.visual(pixel_values=pixels).last_hidden_state[:, 1:])

    def dress(self, tokens: torch.Tensor) -> torch.Tensor:
        """Apply `VisionTokens` to patch tokens (N, v, d)."""
        if self.tokens.unit_variance:
            tokens = functional.layer_norm(tokens, tokens.shape[-1:])
        if self.tokens.position_code:
            tokens = tokens + position_code(tokens.shape[1], tokens.shape[2]).to(tokens)
        return tokens


def position_code(patches: int, width: int) -> torch.Tensor:
    """Fixed two-dimensional sine-cosine code (patches, width) of a square grid in row order; values in -1..1."""
    side = round(patches**0.5)
    if side * side != patches or width % 4:
        raise ModelError(
            "a position code needs a square grid of patches and a width divisible by 4", value=(patches, width)
        )
    frequency = 1.0 / 100 ** (torch.arange(width // 4, dtype=torch.float32) / max(width // 4, 1))
    angle = torch.arange(side, dtype=torch.float32)[:, None] * frequency
    wave = torch.cat([angle.sin(), angle.cos()], dim=1)
    rows = wave[:, None].expand(side, side, -1)
    columns = wave[None].expand(side, side, -1)
    return torch.cat([rows, columns], dim=-1).reshape(patches, width)


@dataclass
class FlamingoBundle:
    """A Flamingo with all it needs to be used.

    Args:
        model: The model; ``model.lang_encoder`` is the Hugging Face LM with cross-attention.
        tokenizer: Tokenizer with ``<image>``, ``<|endofchunk|>`` and ``<PAD>``.
        image_processor: PIL image -> float tensor (3, H, W).
        tower: Vision tower -> patch tokens.
        config: Sizes.
        device: Where the model is.
        folder: Where it was loaded from.
        lora: Settings of the injected LoRA, if any (`model.lora`).
        base: Copies of the base's tensors that were made trainable or replaced, by name.
    """

    model: PoliteFlamingo
    tokenizer: Any
    image_processor: ImagePreprocessor
    tower: VisionTower
    config: FlamingoConfig
    device: torch.device
    folder: Path | None = None
    lora: Any = None
    base: dict[str, torch.Tensor] = field(default_factory=dict)
    cache_bytes: int = CACHE_BYTES
    _cache: OrderedDict[str, torch.Tensor] = field(default_factory=OrderedDict)
    _cached_bytes: int = 0
    _base_hash: str | None = None

    @property
    def media_token_id(self) -> int:
        """Id of ``<image>``."""
        return self.model.media_token_id

    @property
    def dtype(self) -> torch.dtype:
        """Number type of the frozen weights."""
        return next(self.tower.parameters()).dtype

    @property
    def base_hash(self) -> str:
        """Content hash of the base weights: of the folder, or of the tensors if it was built in memory."""
        if self._base_hash is None:
            if self.folder is not None:
                self._base_hash = fingerprint(
                    *(
                        path
                        for name in ("config.json", "connector.safetensors", "lm", "vision")
                        if (path := self.folder / name).exists()
                    )
                )
            else:
                import hashlib

                digest = hashlib.sha256()
                for name, tensor in named_tensors(self.model).items():
                    digest.update(name.encode())
                    digest.update(tensor.detach().float().cpu().numpy().tobytes())
                self._base_hash = digest.hexdigest()[:24]
        return self._base_hash

    def encode_images(self, images: Sequence[str | PILImage], image_root: Path | None = None) -> torch.Tensor:
        """Patch tokens (N, v, d) of images on the model's device.

        A path (relative to `image_root`) is encoded once and kept, least recently used first out, up to `cache_bytes`;
        not while the tower itself is trained. Without images one zero image is returned, which no text attends to.
        """
        if not images:
            return torch.zeros(1, *self.tower.size, device=self.device, dtype=self.dtype)
        trained = any(p.requires_grad for p in self.tower.parameters())
        rows: dict[int, torch.Tensor] = {}
        missing: OrderedDict[str, list[int]] = OrderedDict()
        for index, image in enumerate(images):
            key = f"{image_root}/{image}" if isinstance(image, str) else f"#{index}"
            hit = self._cache.get(key)
            if hit is not None and not trained:
                self._cache.move_to_end(key)
                rows[index] = hit
            else:
                missing.setdefault(key, []).append(index)
        groups = list(missing.items())
        for start in range(0, len(groups), 64):
            chunk = groups[start : start + 64]
            pixels = torch.stack([self._pixels(images[where[0]], image_root) for _, where in chunk])
            with torch.set_grad_enabled(trained and torch.is_grad_enabled()):
                tokens = self.tower(pixels.to(self.device, self.dtype))
            for (key, where), row in zip(chunk, tokens, strict=True):
                for index in where:
                    rows[index] = row
                if not trained and not key.startswith("#"):
                    self._keep(key, row)
        return torch.stack([rows[index] for index in range(len(images))])

    def cast(self, dtype: str) -> None:
        """Turn all weights into another number type; forgets the encoded images."""
        self.model.to(number_type(dtype))
        self.tower.to(number_type(dtype))
        self.clear_cache()

    def clear_cache(self) -> None:
        """Forget all encoded images (after the vision tower's weights were replaced)."""
        self._cache.clear()
        self._cached_bytes = 0

    def _pixels(self, image: str | PILImage, image_root: Path | None) -> torch.Tensor:
        if isinstance(image, str):
            if image_root is None:
                raise ModelError("an image path needs an image root", value=image)
            image = open_image(image_root, image)
        return self.image_processor(image)

    def _keep(self, key: str, row: torch.Tensor) -> None:
        row = row.detach().clone()
        size = row.numel() * row.element_size()
        if size > self.cache_bytes:
            return
        self._cache[key] = row
        self._cached_bytes += size
        while self._cached_bytes > self.cache_bytes:
            _, old = self._cache.popitem(last=False)
            self._cached_bytes -= old.numel() * old.element_size()


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
        _add_special_tokens(lm, tokenizer)
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


def save_flamingo(bundle: FlamingoBundle, folder: Path) -> None:
    """Write the model folder (see the module's text). LoRA weights are not part of a base: merge or save them first."""
    from safetensors.torch import save_file

    if bundle.lora is not None:
        raise ModelError("a model with LoRA cannot be saved as a base", where=folder, next_step="merge the LoRA first")
    folder.mkdir(parents=True, exist_ok=True)
    lm = bundle.model.lang_encoder
    plain = type(lm).__bases__[1]  # the Hugging Face class below the mixin
    weights = {
        name.replace(".decoder_layer.", "."): value
        for name, value in lm.state_dict().items()
        if "gated_cross_attn_layer" not in name and not name.startswith("old_decoder_blocks.")
    }
    copy = plain(lm.config)
    copy.load_state_dict(weights)
    copy.to(next(lm.parameters()).dtype).save_pretrained(folder / "lm")
    bundle.tokenizer.save_pretrained(folder / "lm")
    vision: Any = bundle.tower.visual
    vision.save_pretrained(folder / "vision")
    write_json(folder / "vision" / "preprocessor_config.json", bundle.image_processor.to_config())
    save_file(_connector(bundle.model), folder / "connector.safetensors")
    write_json(folder / "config.json", asdict(bundle.config))


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


def number_type(name: str) -> torch.dtype:
    """PyTorch's type of a number type's name; an unknown one is a `ModelError`."""
    if name not in DTYPES:
        raise ModelError("unknown number type", value=name, next_step=did_you_mean(name, DTYPES))
    return DTYPES[name]


def resolve_device(device: str | torch.device) -> torch.device:
    """``auto`` is CUDA where there is one, else the CPU."""
    if isinstance(device, str) and device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def named_tensors(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters by name, each once; Flamingo registers decoder blocks and cross-attention twice."""
    names: dict[int, tuple[str, nn.Parameter]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        known = names.get(id(parameter))
        preferred = ".gated_cross_attn_layers." in name or ".old_decoder_blocks." in name
        if known is None or preferred:
            names[id(parameter)] = (name, parameter)
    return dict(sorted(names.values(), key=lambda item: item[0]))


def _block(dim: int, dim_visual: int, sizes: CrossAttention) -> nn.Module:
    block = GatedCrossAttentionBlock(dim=dim, dim_visual=dim_visual, dim_head=sizes.dim_head, heads=sizes.heads)
    attention = CachedCrossAttention(dim=dim, dim_visual=dim_visual, dim_head=sizes.dim_head, heads=sizes.heads)
    attention.load_state_dict(block.attn.state_dict())
    block.attn = attention
    return block


def _add_special_tokens(lm: Any, tokenizer: Any) -> None:
    tokenizer.padding_side = "right"
    known = tokenizer.get_vocab()
    if tokenizer.eos_token_id is None:
        raise ModelError("the tokenizer has no end-of-sequence token", next_step="set eos_token in its config")
    extra = [token for token in (CHUNK_TOKEN, IMAGE_TOKEN) if token not in known]
    if extra:
        tokenizer.add_tokens(extra, special_tokens=True)
    if tokenizer.pad_token != PAD_TOKEN:  # some models pad with eos, which would unteach stopping
        tokenizer.add_special_tokens({"pad_token": PAD_TOKEN})
    lm.config.pad_token_id = tokenizer.pad_token_id
    embeddings = lm.get_input_embeddings()
    old = min(len(known), embeddings.weight.shape[0])
    if len(tokenizer) > embeddings.weight.shape[0]:
        lm.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    if len(tokenizer) == old:
        return
    tables = [lm.get_input_embeddings().weight]
    output = lm.get_output_embeddings()
    if output is not None and output.weight is not tables[0]:
        tables.append(output.weight)
    with torch.no_grad():
        for table in tables:
            mean, spread = table[:old].mean(dim=0), table[:old].std(dim=0)
            noise = torch.randn(len(tokenizer) - old, table.shape[1], device=table.device).to(table.dtype)
            table[old : len(tokenizer)] = mean + 0.1 * spread * noise


def _connector(model: PoliteFlamingo) -> dict[str, torch.Tensor]:
    return {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in named_tensors(model).items()
        if name.startswith("perceiver.") or ".gated_cross_attn_layers." in name
    }


def _load_connector(bundle: FlamingoBundle, tensors: Mapping[str, torch.Tensor], where: Path) -> None:
    known = named_tensors(bundle.model)
    needed = set(_connector(bundle.model))
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
