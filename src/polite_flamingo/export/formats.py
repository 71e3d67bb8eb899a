"""The formats of ``polite-flamingo export``: what each one writes, and what it cannot hold.

Every writer takes one record at a time and raises a `DataError` for one its format cannot hold. Readers of all of them
are in the catalogue, group ``own``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from polite_flamingo.errors import DataError
from polite_flamingo.export import features
from polite_flamingo.export.archives import TarWriter
from polite_flamingo.export.features import Features, Suffixes
from polite_flamingo.export.jsonfile import JsonWriter
from polite_flamingo.export.kept import KeptRecord
from polite_flamingo.export.messages import ROLES, MessagesWriter
from polite_flamingo.export.pf1m import Pf1mWriter
from polite_flamingo.io.files import write_atomic
from polite_flamingo.io.text import write_json
from polite_flamingo.sources.forms.conversations import WRITTEN, attributes, say, write_dj
from polite_flamingo.sources.readers.pf1m import MARK


class Writer(Protocol):
    """Writes records into a folder."""

    def add(self, kept: KeptRecord) -> None:
        """Write one record.

        Raises:
            DataError: the format cannot hold it; nothing is written of it.
        """


@dataclass(frozen=True, slots=True)
class Format:
    """One format.

    Args:
        title: What it is called.
        reader: Catalogue entry that reads it back.
        open: Makes the writer for a folder and the data root images are read from.
        loses: What no record of the format can hold.
        usage: How it is loaded, Markdown; ``DATA_ROOT`` stands for the folder that paths are told from.
        files: Pattern of the files with records.
        embeds: Whether the images are in these files.
        features: Columns of the files, by the suffixes of the records' images; None: the files say it themselves.
    """

    title: str
    reader: str
    open: Callable[[Path, Path], AbstractContextManager[Writer]]
    loses: tuple[str, ...]
    usage: str
    files: str
    embeds: bool = False
    features: Callable[[Suffixes], Features | None] | None = None


class _Pf1m(Pf1mWriter):
    def __init__(self, folder: Path, root: Path) -> None:
        super().__init__(folder / "pf1m.json")

    def add(self, kept: KeptRecord) -> None:
        if any(MARK in text for text in (kept.rewrite.instruction, *(i.path for i in kept.rewrite.images))):
            raise DataError(f"text or path holds the image marker {MARK}")
        self.write(kept.rewrite, kept.cut)


class _Llava(JsonWriter):
    def __init__(self, folder: Path, root: Path) -> None:
        super().__init__(folder / "llava.json")

    def add(self, kept: KeptRecord) -> None:
        paths = [image.path for image in kept.sample.images]
        image = {"image": paths[0] if len(paths) == 1 else paths} if paths else {}
        self.append({"id": kept.sample.id, **image, **conversations(kept), **attributes(kept.sample)})


class _Sharegpt(JsonWriter):
    def __init__(self, folder: Path, root: Path) -> None:
        super().__init__(folder / "sharegpt.json")
        columns = {"messages": "conversations", "images": "images"}
        description = {"file_name": "sharegpt.json", "formatting": "sharegpt", "columns": columns}
        write_json(folder / "dataset_info.json", {"pf1m": description})

    def add(self, kept: KeptRecord) -> None:
        _without(kept, *OTHER_MEDIA)
        self.append(sharegpt_record(kept))


class _Datajuicer(JsonWriter):
    def __init__(self, folder: Path, root: Path) -> None:
        super().__init__(folder / "datajuicer.jsonl", lines=True)

    def add(self, kept: KeptRecord) -> None:
        paths = [image.path for image in kept.sample.images]
        self.append({"id": kept.sample.id, "text": write_dj(kept.sample), "images": paths, **attributes(kept.sample)})


class _Messages(MessagesWriter):
    def add(self, kept: KeptRecord) -> None:
        self.append(kept.sample)


class _Swift(JsonWriter):
    def __init__(self, folder: Path, root: Path) -> None:
        super().__init__(folder / "swift.jsonl", lines=True)

    def add(self, kept: KeptRecord) -> None:
        _without(kept, *OTHER_MEDIA, "<bbox>", "<ref-object>")
        messages = [{"role": ROLES[role], "content": text} for role, text in say(kept.sample)]
        images = [image.path for image in kept.sample.images]
        self.append({"id": kept.sample.id, "messages": messages, "images": images, **attributes(kept.sample)})


class _Axolotl(JsonWriter):
    def __init__(self, folder: Path, root: Path) -> None:
        super().__init__(folder / "axolotl.jsonl", lines=True)
        write_atomic(folder / "axolotl.yaml", AXOLOTL)

    def add(self, kept: KeptRecord) -> None:
        sample = kept.sample
        messages = [
            {
                "role": ROLES[turn.role],
                "content": [
                    *({"type": "image", "path": sample.images[index].path} for index in turn.images),
                    {"type": "text", "text": turn.text},
                ],
            }
            for turn in sample.turns
        ]
        self.append({"id": sample.id, "messages": messages, **attributes(sample)})


class _Tar(TarWriter):
    def add(self, kept: KeptRecord) -> None:
        self.append(sharegpt_record(kept), kept.sample)


def conversations(kept: KeptRecord) -> dict[str, Any]:
    """The turns as LLaVA and ShareGPT write them."""
    return {"conversations": [{"from": WRITTEN[role], "value": text} for role, text in say(kept.sample)]}


def sharegpt_record(kept: KeptRecord) -> dict[str, Any]:
    """A record with as many ``images`` as ``<image>`` markers."""
    images = [image.path for image in kept.sample.images]
    return {"id": kept.sample.id, **conversations(kept), "images": images, **attributes(kept.sample)}


def _without(kept: KeptRecord, *markers: str) -> None:
    """Refuse texts with markers for which a trainer would want a file that is not there."""
    found = [marker for marker in markers if any(marker in turn.text for turn in kept.sample.turns)]
    if found:
        raise DataError(f"text holds the marker {found[0]}")


OTHER_MEDIA = ("<video>", "<audio>")
AXOLOTL = """\
# To be joined with a configuration that names base_model and chat_template. Paths, this one too, are told from where
# axolotl starts: from this folder, if the images were exported with it.
datasets:
  - path: axolotl.jsonl
    ds_type: json
    type: chat_template
    field_messages: messages
processor_type: AutoProcessor
skip_prepare_dataset: true
remove_unused_columns: false
sample_packing: false
"""
_MARKER = "A text that itself holds the marker `{}`"
FORMATS = {
    "pf1m": Format(
        title="PF-1M JSON, the fields of the published data set",
        reader="pf1m_json",
        open=_Pf1m,
        loses=(
            "Id, source, split, licence and extras of a record, and why its generation stopped",
            "The task, but for what its scores tell: caption, VQA, other",
            "Scores beyond four decimals, and the reward of the raw annotation",
            _MARKER.format(MARK),
        ),
        usage=f"A JSON list; `input` is the instruction, then `{MARK}PATH{MARK}` per image.",
        files="pf1m.json",
    ),
    "llava": Format(
        title="LLaVA JSON",
        reader="llava_json",
        open=_Llava,
        loses=(_MARKER.format("<image>"),),
        usage=(
            "LLaVA: `--data_path llava.json --image_folder DATA_ROOT`. `image` is a list where a record has several "
            "images, which LLaVA 1.5's own trainer does not take."
        ),
        files="llava.json",
        features=features.llava,
    ),
    "sharegpt": Format(
        title="ShareGPT JSON with images",
        reader="sharegpt_json",
        open=_Sharegpt,
        loses=(_MARKER.format("<image>") + ", `<video>` or `<audio>`",),
        usage="LLaMA-Factory: `dataset_dir: THIS FOLDER`, `dataset: pf1m`, `media_dir: DATA_ROOT`.",
        files="sharegpt.json",
        features=features.sharegpt,
    ),
    "messages": Format(
        title="Messages with embedded images, Parquet",
        reader="messages_json",
        open=_Messages,
        loses=(),
        usage=(
            "TRL: `SFTTrainer` takes the columns `messages` and `images` of a vision-language model as they are; the "
            "Hugging Face library decodes the images. `details` is JSON in text."
        ),
        files="data/*.parquet",
        embeds=True,
    ),
    "webdataset": Format(
        title="WebDataset tar files",
        reader="webdataset",
        open=_Tar,
        loses=(_MARKER.format("<image>"),),
        usage=(
            "Per record `KEY.json` (ShareGPT's form), `KEY.txt` (the response alone) and the image files: `KEY.jpg`, "
            "or `KEY.0.jpg`, `KEY.1.jpg` where there are several. The Hugging Face library opens such files where "
            "its columns are known, as the head of this card states them."
        ),
        files="*.tar",
        embeds=True,
        features=features.webdataset,
    ),
    "datajuicer": Format(
        title="Data-Juicer JSON Lines",
        reader="datajuicer_jsonl",
        open=_Datajuicer,
        loses=(
            _MARKER.format("<__dj__image>") + " or `<|__dj__eoc|>`",
            "A text with a line that begins with `[[human]]: ` or `[[gpt]]: `",
        ),
        usage="Data-Juicer: `dataset_path: datajuicer.jsonl`, which must lie in DATA_ROOT.",
        files="datajuicer.jsonl",
        features=features.datajuicer,
    ),
    "swift": Format(
        title="messages with image markers, JSON Lines",
        reader="messages_json",
        open=_Swift,
        loses=(_MARKER.format("<image>") + ", `<video>`, `<audio>`, `<bbox>` or `<ref-object>`",),
        usage="ms-swift: `swift sft --dataset swift.jsonl`, with `ROOT_IMAGE_DIR=DATA_ROOT`.",
        files="swift.jsonl",
        features=features.swift,
    ),
    "axolotl": Format(
        title="messages with image paths, JSON Lines",
        reader="messages_json",
        open=_Axolotl,
        loses=(),
        usage=(
            "axolotl: `axolotl.yaml` holds the entry of `datasets`; start in DATA_ROOT, from where its path of "
            "`axolotl.jsonl` is told, too (an export `--with-images` needs no edit)."
        ),
        files="axolotl.jsonl",
        features=features.axolotl,
    ),
}
