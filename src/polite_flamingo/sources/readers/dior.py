"""DIOR: objects in optical remote sensing images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from polite_flamingo.sources.forms.voc import Voc


class Dior(Voc):
    """DIOR with its horizontal boxes, one sample per image (Table 6, row DIOR).

    The oriented boxes of ``Annotations/Oriented Bounding Boxes`` are not read.
    """

    name = "dior"
    licence = "none stated; published for research"
    lists = ("ImageSets/Main", "Main")
    annotations = ("Annotations/Horizontal Bounding Boxes", "Annotations")
    images: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **dict.fromkeys(("train", "val", "trainval"), ("JPEGImages-trainval", "JPEGImages")),
        "test": ("JPEGImages-test", "JPEGImages"),
    }
    names: ClassVar[Mapping[str, str]] = {
        "Expressway-Service-area": "expressway service area",
        "Expressway-toll-station": "expressway toll station",
        "baseballfield": "baseball field",
        "basketballcourt": "basketball court",
        "golffield": "golf field",
        "groundtrackfield": "ground track field",
        "storagetank": "storage tank",
        "tenniscourt": "tennis court",
        "trainstation": "train station",
    }
