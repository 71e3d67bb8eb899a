"""A registered model at work: rows with base64 images in, texts out, by the pipeline's own generation.

No row names a file: images come as the bytes of a file, are checked as any image of a dataset is (`images.open_image`)
and lie for the time of one call in a folder of its own.
"""

from __future__ import annotations

import base64
import hashlib
import io
import tempfile
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from polite_flamingo.errors import DataError, ImageError
from polite_flamingo.images import IMAGE_FORMATS, MAX_IMAGE_BYTES
from polite_flamingo.model.settings import GenerationSettings
from polite_flamingo.prompts.templates import assistant_prompt
from polite_flamingo.records import Turn
from polite_flamingo.registry.kinds import IMAGES, KEY, ModelKind
from polite_flamingo.rewrite.question import RewriteQuestion

if TYPE_CHECKING:
    from polite_flamingo.model.bundle import FlamingoBundle
    from polite_flamingo.model.generate import Prompt
    from polite_flamingo.records import Generated

SUFFIXES = {name: suffix for suffix, names in reversed(IMAGE_FORMATS.items()) for name in names}
FORMATS = sorted(set(SUFFIXES) - {"MPO"})  # Pillow opens those as JPEG first


class Answering:
    """A loaded model that answers rows; calls from several threads take turns.

    Args:
        bundle: The model.
        kind: What it is asked.
        decoding: How it answers unless a call says otherwise.
        batch_size: Prompts decoded together.
    """

    def __init__(
        self, bundle: FlamingoBundle, kind: ModelKind, decoding: GenerationSettings, batch_size: int = 16
    ) -> None:
        self._bundle, self._kind, self._decoding, self._batch_size = bundle, kind, decoding, batch_size
        self._turn = threading.Lock()

    def answer(self, rows: Sequence[Mapping[str, Any]], **decoding: Any) -> list[Generated]:
        """Answer rows, in order.

        Args:
            rows: The kind's texts by column, and where there are ``images`` (base64) and ``id``.
            decoding: Replaces settings of decoding.

        Raises:
            DataError: a text is missing, or a setting does not fit.
            ImageError: an image is not base64 of an image that may be used; the message names the row.
        """
        from polite_flamingo.model.generate import generate

        try:
            settings = GenerationSettings(**{**self._decoding.model_dump(), **decoding})
        except ValidationError as error:
            problem = error.errors()[0]
            raise DataError(
                f"decoding cannot be done so: {problem['msg']}",
                value=problem["input"],
                where=".".join(map(str, problem["loc"])),
            ) from None
        with self._turn, tempfile.TemporaryDirectory(prefix="polite-flamingo-") as scratch:
            prompts = [self._prompt(row, number, Path(scratch)) for number, row in enumerate(rows, 1)]
            try:
                return generate(self._bundle, prompts, settings, image_root=Path(scratch), batch_size=self._batch_size)
            finally:
                self._bundle.clear_cache()  # the images of this call are not asked about again by their paths

    def _prompt(self, row: Mapping[str, Any], number: int, folder: Path) -> Prompt:
        from polite_flamingo.model.generate import Prompt
        from polite_flamingo.model.tokens import plain

        for column in self._kind.asked:
            if not isinstance(row.get(column), str):
                raise DataError("a text is missing", value=row.get(column), where=f"row {number}, {column}")
        given = row.get(IMAGES)
        images = [] if given is None or isinstance(given, float) else list(given)  # pandas: NaN where there is none
        names = tuple(_keep(text, folder, f"row {number}, {IMAGES}") for text in images)
        key = row.get(KEY)
        key = key if isinstance(key, str) else ""
        clean = partial(plain, self._bundle.tokenizer)
        if self._kind.name == "rewriter":
            text = RewriteQuestion(key, row["instruction"], row["draft"], names).prompt(clean)
        else:
            text = assistant_prompt([Turn("human", clean(row["question"]), tuple(range(len(names))))])
        return Prompt(text, names, key=key)


def load_answering(kind: ModelKind, base: Path, adapter: Path, config: Mapping[str, Any]) -> Answering:
    """Load a version.

    Args:
        kind: What it is asked.
        base: Folder of the base.
        adapter: Folder of what was trained.
        config: ``decoding``, ``device``, ``dtype`` and ``batch_size``.

    Raises:
        ModelError: a folder is incomplete, or the two do not belong together.
    """
    from polite_flamingo.model.flamingo import load_flamingo

    bundle = load_flamingo(base, trainables=adapter, device=config["device"], dtype=config["dtype"])
    return Answering(bundle, kind, GenerationSettings(**config["decoding"]), config["batch_size"])


def _keep(text: Any, folder: Path, where: str) -> str:
    """Write an image's bytes below `folder`, named by their content; returns the name."""
    from PIL import Image as PILModule

    try:
        if not isinstance(text, str) or len(text) > MAX_IMAGE_BYTES * 4 // 3 + 128:
            raise ValueError("no text, or too long")
        body = text.partition(",")[2] if text.startswith("data:") else text
        data = base64.b64decode(body, validate=True)
        with PILModule.open(io.BytesIO(data), formats=FORMATS) as image:
            suffix = SUFFIXES[str(image.format)]
    except Exception as error:  # decoders raise nearly everything on bytes made to mislead them
        raise ImageError(
            "this is no image in base64",
            value=str(text)[:40],
            where=where,
            next_step=f"send the bytes of a file ({', '.join(sorted(set(SUFFIXES.values())))}) in base64, not its name",
        ) from error
    name = f"{hashlib.sha256(data).hexdigest()}{suffix}"
    (folder / name).write_bytes(data)
    return name
