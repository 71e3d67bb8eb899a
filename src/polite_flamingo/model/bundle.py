"""A Flamingo with its tokenizer and image side: building it, encoding images once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from cachetools import LRUCache
from torch import nn

from polite_flamingo.errors import ModelError, did_you_mean
from polite_flamingo.images import ImagePreprocessor, open_image
from polite_flamingo.io.hashes import fingerprint
from polite_flamingo.model.architecture import PoliteFlamingo, join
from polite_flamingo.model.config import DECODER_LAYERS, FlamingoConfig
from polite_flamingo.model.tokens import add_special_tokens, place_images
from polite_flamingo.model.tower import VisionTower
from polite_flamingo.prompts.templates import CHUNK_TOKEN, IMAGE_TOKEN

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
CACHE_BYTES = 512 * 1024 * 1024


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
        resolution: Side of the images in pixels where it is not the tower's own.
        quantized: Number format of the decoder's linear layers, if quantised (`model.quantize`).
        cache_bytes: Most bytes of encoded images that are kept, patch tokens and latents each.
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
    resolution: int | None = None
    quantized: str | None = None
    cache_bytes: int = CACHE_BYTES
    _tokens: LRUCache[str, torch.Tensor] = field(init=False)
    _latents: LRUCache[str, torch.Tensor] = field(init=False)
    _latents_of: tuple[Any, ...] = field(init=False, default=())
    _loader: ThreadPoolExecutor | None = field(init=False, default=None)
    _loading: dict[str, Future[torch.Tensor]] = field(init=False, default_factory=dict)
    _base_hash: str | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._tokens = LRUCache(self.cache_bytes, getsizeof=attrgetter("nbytes"))
        self._latents = LRUCache(self.cache_bytes, getsizeof=attrgetter("nbytes"))

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

    def encode_images(
        self,
        images: Sequence[str | PILImage],
        image_root: Path | None = None,
        *,
        keep: bool = True,
        pixels: Mapping[str, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Patch tokens (N, v, d) of images on the model's device.

        A path (relative to `image_root`) is encoded once and kept, least recently used first out, up to `cache_bytes`;
        not while the tower itself is trained. Without images one zero image is returned, which no text attends to.

        Args:
            images: Paths or images.
            image_root: Folder of the paths.
            keep: False: take what is kept, but keep nothing new.
            pixels: Preprocessed images (3, H, W) by path; what is not there is opened here.
        """
        if not images:
            return torch.zeros(1, *self.tower.size, device=self.device, dtype=self.dtype)
        trained = any(p.requires_grad for p in self.tower.parameters())
        rows: dict[int, torch.Tensor] = {}
        missing: OrderedDict[str, list[int]] = OrderedDict()
        for index, image in enumerate(images):
            key = f"{image_root}/{image}" if isinstance(image, str) else f"#{index}"
            hit = None if trained else self._tokens.get(key)
            if hit is not None:
                rows[index] = hit
            else:
                missing.setdefault(key, []).append(index)
        groups = list(missing.items())
        for start in range(0, len(groups), 64):
            chunk = groups[start : start + 64]
            batch = torch.stack([self._pixels(images[positions[0]], image_root, pixels) for _, positions in chunk])
            with torch.set_grad_enabled(trained and torch.is_grad_enabled()):
                tokens = self.tower(batch.to(self.device, self.dtype))
            for (key, positions), row in zip(chunk, tokens, strict=True):
                for index in positions:
                    rows[index] = row
                if keep and not trained and not key.startswith("#"):
                    _keep(self._tokens, key, row)
        return torch.stack([rows[index] for index in range(len(images))])

    def is_encoded(self, path: str, image_root: Path) -> bool:
        """True where the patch tokens of an image are kept and its pixels are not needed."""
        return f"{image_root}/{path}" in self._tokens

    def image_latents(
        self, paths: Sequence[str], image_root: Path | None, *, pixels: Mapping[str, torch.Tensor] | None = None
    ) -> torch.Tensor:
        """What the perceiver makes (N, n, d) of images, without gradients; one zero image where there are none.

        Each image is encoded once, however many prompts show it, and kept (least recently used first out, up to
        `cache_bytes`) until a weight of the tower or the perceiver changes.

        Args:
            paths: Paths, or names that `pixels` has.
            image_root: Folder of the paths; None: all are in `pixels`.
            pixels: Preprocessed images (3, H, W) by name; equal names stand for equal images.
        """
        if not paths:
            sizes = self.config.perceiver.num_latents, self.tower.size[1]
            return torch.zeros(1, *sizes, device=self.device, dtype=self.dtype)
        state = tuple((p.data_ptr(), p._version) for m in (self.tower, self.model.perceiver) for p in m.parameters())
        if state != self._latents_of:
            self._latents.clear()
            self._latents_of = state
        rows = {path: self._latents.get(f"{image_root}/{path}") for path in paths}
        missing = [path for path, row in rows.items() if row is None]
        for start in range(0, len(missing), 64):
            chunk = missing[start : start + 64]
            with torch.no_grad():
                latents = self.model.latents(self.encode_images(chunk, image_root, keep=False, pixels=pixels))
            for path, row in zip(chunk, latents, strict=True):
                rows[path] = row
                _keep(self._latents, f"{image_root}/{path}", row)
        return torch.stack([row for path in paths if (row := rows[path]) is not None])

    def prefetch_images(self, paths: Iterable[str], image_root: Path, *, most: int = 256) -> None:
        """Open and preprocess images in a thread while the model works; whoever encodes them next finds them ready.

        Images that are encoded already, and those beyond `most` waiting ones, are left out; one that nobody came for
        makes room. A broken image raises where it is encoded, not here.
        """
        for path in dict.fromkeys(paths):
            key = f"{image_root}/{path}"
            if key in self._loading or key in self._latents or key in self._tokens:
                continue
            if len(self._loading) >= most:
                oldest = next(iter(self._loading))
                if not self._loading[oldest].done():
                    return
                del self._loading[oldest]  # nobody came for it
            if self._loader is None:
                self._loader = ThreadPoolExecutor(1, thread_name_prefix="images")
            self._loading[key] = self._loader.submit(self._load_pixels, path, image_root)

    def cast(self, dtype: str) -> None:
        """Turn all weights into another number type; forgets the encoded images."""
        self.model.to(number_type(dtype))
        self.tower.to(number_type(dtype))
        self.clear_cache()

    def checkpoint_activations(self, on: bool = True) -> None:
        """Recompute activations in backward instead of keeping them: less memory, a third more time, equal gradients.

        Decoder blocks with their cross-attention, and the tower where it is trained. No effect without gradients.
        """
        for layer in self.model.lang_encoder._get_decoder_layers():
            layer.checkpointing = on
        self.tower.checkpointing = on

    def clear_cache(self) -> None:
        """Forget all encoded images (after the vision tower's weights were replaced)."""
        self._tokens.clear()
        self._latents.clear()

    def _pixels(
        self, image: str | PILImage, image_root: Path | None, ready: Mapping[str, torch.Tensor] | None
    ) -> torch.Tensor:
        if not isinstance(image, str):
            return self.image_processor(image)
        if ready is not None and image in ready:
            return ready[image]
        if image_root is None:
            raise ModelError("an image path needs an image root", value=image)
        loading = self._loading.pop(f"{image_root}/{image}", None)
        return self._load_pixels(image, image_root) if loading is None else loading.result()

    def _load_pixels(self, path: str, image_root: Path) -> torch.Tensor:
        return self.image_processor(open_image(image_root, path))


def _keep(cache: LRUCache[str, torch.Tensor], key: str, tensor: torch.Tensor) -> None:
    """Keep a copy, the least recently used out; a tensor that alone exceeds the cache is not kept."""
    if tensor.nbytes <= cache.maxsize:
        cache[key] = tensor.detach().clone()


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
    """Join a causal LM and a vision tower with a fresh connector (gates closed, all weights frozen).

    The special tokens are added where missing; their embeddings start at the mean of all embeddings plus a little noise
    (tied embeddings stay tied).

    Args:
        lm: Hugging Face causal LM, changed in place.
        tokenizer: Its tokenizer, changed in place.
        vision: Hugging Face ``CLIPVisionModel``, or an `EfficientNetLite`.
        config: Sizes.
        image_processor: Preprocessing; default: CLIP's at the tower's image size.
        device: Where to put the model.
        seed: Seed of the fresh weights; the global generator is not touched.

    Raises:
        ModelError: the LM's family is unknown or the tower is no vision model with patches.
    """
    vision = getattr(vision, "vision_model", vision)
    if not hasattr(vision, "config") or not hasattr(vision.config, "patch_size"):
        raise ModelError(
            "the vision tower must be a CLIPVisionModel or an EfficientNetLite", value=type(vision).__name__
        )
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
        place_images(tokenizer, last=not config.attend_previous)
        tower = VisionTower(vision, config.vision_tokens)
        media, chunk = tokenizer.convert_tokens_to_ids([IMAGE_TOKEN, CHUNK_TOKEN])
        model = join(lm, vision, config, layers=path, media=media, chunk=chunk)
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


def number_type(name: str) -> torch.dtype:
    """PyTorch's type of a number type's name; an unknown one is a `ModelError`."""
    if name not in DTYPES:
        raise ModelError("unknown number type", value=name, next_step=did_you_mean(name, DTYPES))
    return DTYPES[name]


def named_tensors(model: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters by name, each once; Flamingo registers decoder blocks and cross-attention twice."""
    names: dict[int, tuple[str, nn.Parameter]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        known = names.get(id(parameter))
        preferred = ".gated_cross_attn_layers." in name or ".old_decoder_blocks." in name
        if known is None or preferred:
            names[id(parameter)] = (name, parameter)
    return dict(sorted(names.values(), key=lambda item: item[0]))
