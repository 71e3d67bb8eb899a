"""Images: opened and checked in one place, and prepared for a vision tower.

Preparing: from a PIL image to the tensor a tower expects, after the values of a ``preprocessor_config.json``.

Only CLIP-like preprocessing is covered: resize, centre crop, rescale, normalise. It is ours, not transformers'
`CLIPImageProcessorPil`, because that one rounds to float32 at every step: it is as fast, but 68 to 89 % of its values
differ in their last bits (by 2.4e-07 at most), and weights and scores were made with these (`python -m
bench.bench_images`). Neither PyTorch nor transformers is imported to open or check an image.
"""

from __future__ import annotations

import errno
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.errors import SHOWN, ImageError, ModelError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from PIL.Image import Image as PILImage

MAX_PIXELS = 200_000_000  # above this an image is refused as a decompression bomb
MAX_TOWER = 8192  # pixels per side that a tower may ask for
MAX_IMAGE_BYTES = 200 * 1024 * 1024
_LINKED: ContextVar[Path | None] = ContextVar("linked", default=None)  # see links_into
IMAGE_FORMATS = {
    ".jpg": {"JPEG", "MPO"},
    ".jpeg": {"JPEG", "MPO"},
    ".jfif": {"JPEG"},
    ".png": {"PNG"},
    ".gif": {"GIF"},
    ".bmp": {"BMP"},
    ".webp": {"WEBP"},
    ".tif": {"TIFF"},
    ".tiff": {"TIFF"},
}

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
BICUBIC = 3  # PIL's number


@contextmanager
def links_into(folder: Path) -> Iterator[None]:
    """Let links of a data root that the program itself has made lead into a folder."""
    token = _LINKED.set(folder.resolve())
    try:
        yield
    finally:
        _LINKED.reset(token)


def resolve_image(data_root: Path, path: str) -> Path:
    """Return the file of a relative image path; refuses anything outside `data_root` (also through links)."""
    root = data_root.resolve()
    try:
        file = (root / path).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # links in a circle, a name no file can have
        raise ImageError("image path leads to no file", value=path, where=data_root) from error
    linked = _LINKED.get()
    if not file.is_relative_to(root) and (linked is None or not file.is_relative_to(linked)):
        raise ImageError("image path leaves the data root", value=path, where=data_root)
    return file


def open_image(data_root: Path, path: str) -> PILImage:
    """Open, fully decode and convert an image to upright RGB.

    Raises:
        ImageError: missing, truncated, no image, content other than the extension says, too large, outside the root.
    """
    from PIL import Image as PILModule
    from PIL import ImageOps

    file = resolve_image(data_root, path)
    try:
        if not file.is_file():
            raise ImageError(
                "image is missing", value=path, where=data_root, next_step="download it or drop the record"
            )
        if file.stat().st_size > MAX_IMAGE_BYTES:
            raise ImageError("image file is too large", value=file.stat().st_size, where=path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PILModule.DecompressionBombWarning)
            with PILModule.open(file) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ImageError("image has too many pixels", value=image.size, where=path)
                expected = IMAGE_FORMATS.get(file.suffix.lower())
                if expected is not None and image.format not in expected:
                    raise ImageError(
                        f"image is {image.format} but named {file.suffix}",
                        value=path,
                        where=data_root,
                        next_step="rename or convert it",
                    )
                return eight_bits(ImageOps.exif_transpose(image))
    except ImageError:
        raise
    except Exception as error:  # decoders raise nearly everything on bytes made to mislead them
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise  # of the machine, not of the image
        raise ImageError(
            "image cannot be decoded", value=str(error)[:SHOWN], where=path, next_step="replace the file"
        ) from error


def eight_bits(image: PILImage) -> PILImage:
    """RGB of an image as a viewer shows it: 16 bits a pixel scaled to 8, what is transparent on white.

    Args:
        image: An open image.

    Raises:
        ImageError: numbers of no known range.
    """
    from PIL import Image as PILModule

    if image.mode.startswith("I;16"):
        import numpy as np

        return PILModule.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ImageError("image has numbers for pixels", value=image.mode, next_step="save it with 8 bits a channel")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return PILModule.alpha_composite(PILModule.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


@dataclass(frozen=True, slots=True)
class ImagePreprocessor:
    """Callable: PIL image -> float32 tensor (3, height, width).

    Args:
        size: Resize target: an int is the shortest edge (aspect ratio kept), a pair (height, width); None: no resize.
        crop: Centre crop (height, width) in pixels, padded with black where the image is smaller; None: no crop.
        mean: Per-channel mean of RGB in 0..1; None with `std` None: no normalisation.
        std: Per-channel standard deviation.
        resample: PIL's number of the resampling filter; 3 is bicubic.
        rescale: Factor from 0..255; None: not rescaled.
    """

    size: int | tuple[int, int] | None
    crop: tuple[int, int] | None
    mean: tuple[float, ...] | None = CLIP_MEAN
    std: tuple[float, ...] | None = CLIP_STD
    resample: int = BICUBIC
    rescale: float | None = 1 / 255

    @classmethod
    def square(cls, pixels: int) -> ImagePreprocessor:
        """CLIP's preprocessing for a square tower of `pixels`."""
        return cls(size=pixels, crop=(pixels, pixels))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> ImagePreprocessor:
        """Read the keys Hugging Face writes: size, crop_size, resample, rescale_factor, image_mean, image_std, do_*."""
        try:
            size = _size(config["size"]) if config.get("do_resize", True) else None
            crop = None
            if config.get("do_center_crop", "crop_size" in config):
                crop = _pair(config["crop_size"])
            sides = (*(size if isinstance(size, tuple) else (size or 1,)), *(crop or ()))
            if not all(0 < side <= MAX_TOWER for side in sides):
                raise ValueError(f"sides from 1 to {MAX_TOWER} pixels are taken")
            normalise = config.get("do_normalize", True)
            return cls(
                size=size,
                crop=crop,
                mean=tuple(config.get("image_mean") or CLIP_MEAN) if normalise else None,
                std=tuple(config.get("image_std") or CLIP_STD) if normalise else None,
                resample=int(config.get("resample", BICUBIC)),
                rescale=float(config.get("rescale_factor", 1 / 255)) if config.get("do_rescale", True) else None,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                "image preprocessing config cannot be used",
                value=dict(config),
                where="preprocessor_config.json",
                next_step="it needs `size` (shortest_edge, or height and width) and, if cropped, `crop_size`",
            ) from error

    @classmethod
    def from_folder(cls, folder: Path) -> ImagePreprocessor:
        """Read ``preprocessor_config.json`` (or ``processor_config.json``, its newer home) of a model folder."""
        for name, key in (("preprocessor_config.json", None), ("processor_config.json", "image_processor")):
            path = folder / name
            if path.is_file():
                config = json.loads(path.read_text(encoding="utf-8"))
                config = config if key is None else config.get(key)
                if config:
                    return cls.from_config(config)
        raise ModelError(
            "model folder says nothing about image preprocessing",
            value="preprocessor_config.json",
            where=folder,
            next_step="save the model's image processor into the folder",
        )

    def to_config(self) -> dict[str, Any]:
        """Inverse of `from_config`: what to write as ``preprocessor_config.json``."""
        size: dict[str, int] | None = None
        if self.size is not None:
            size = (
                {"shortest_edge": self.size}
                if isinstance(self.size, int)
                else {"height": self.size[0], "width": self.size[1]}
            )
        return {
            "image_processor_type": "CLIPImageProcessor",
            "do_convert_rgb": True,
            "do_resize": self.size is not None,
            **({} if size is None else {"size": size}),
            "resample": self.resample,
            "do_center_crop": self.crop is not None,
            **({} if self.crop is None else {"crop_size": {"height": self.crop[0], "width": self.crop[1]}}),
            "do_rescale": self.rescale is not None,
            **({} if self.rescale is None else {"rescale_factor": self.rescale}),
            "do_normalize": self.mean is not None,
            **(
                {}
                if self.mean is None or self.std is None
                else {"image_mean": list(self.mean), "image_std": list(self.std)}
            ),
        }

    def resized(self, pixels: int) -> ImagePreprocessor:
        """The same treatment for square images of `pixels`."""
        size = pixels if isinstance(self.size, int) else (pixels, pixels)
        return replace(self, size=size, crop=None if self.crop is None else (pixels, pixels))

    def array(self, image: PILImage) -> np.ndarray:
        """Preprocess to a float32 NumPy array (3, height, width)."""
        import numpy as np
        from PIL.Image import Resampling

        image = image.convert("RGB")
        if self.size is not None:
            image = image.resize(self._target(image.width, image.height), Resampling(self.resample))
        pixels = np.asarray(image)
        if self.crop is not None:
            pixels = _centre(pixels, self.crop)
        values = pixels.astype(np.float64)
        if self.rescale is not None:
            values = values * self.rescale
        if self.mean is not None and self.std is not None:
            values = (values - np.asarray(self.mean)) / np.asarray(self.std)
        return np.ascontiguousarray(values.transpose(2, 0, 1), dtype=np.float32)

    def __call__(self, image: PILImage) -> torch.Tensor:
        """Preprocess to a float32 tensor (3, height, width)."""
        import torch

        return torch.from_numpy(self.array(image))

    def _target(self, width: int, height: int) -> tuple[int, int]:
        if isinstance(self.size, tuple):
            return self.size[1], self.size[0]
        assert self.size is not None
        short, long = sorted((width, height))
        long_target = int(self.size * long / short)
        return (self.size, long_target) if width <= height else (long_target, self.size)


def _size(value: Any) -> int | tuple[int, int]:
    if isinstance(value, Mapping):
        return int(value["shortest_edge"]) if "shortest_edge" in value else (int(value["height"]), int(value["width"]))
    return int(value)


def _pair(value: Any) -> tuple[int, int]:
    return (int(value["height"]), int(value["width"])) if isinstance(value, Mapping) else (int(value), int(value))


def _centre(pixels: np.ndarray, crop: tuple[int, int]) -> np.ndarray:
    import numpy as np

    height, width = pixels.shape[:2]
    pad_h, pad_w = max(crop[0] - height, 0), max(crop[1] - width, 0)
    if pad_h or pad_w:
        before_h, before_w = -(-pad_h // 2), -(-pad_w // 2)
        pixels = np.pad(pixels, ((before_h, pad_h - before_h), (before_w, pad_w - before_w), (0, 0)))
        height, width = pixels.shape[:2]
    top, left = (height - crop[0]) // 2, (width - crop[1]) // 2
    return pixels[top : top + crop[0], left : left + crop[1]]
