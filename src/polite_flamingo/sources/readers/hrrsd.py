"""HRRSD: objects in high-resolution remote sensing images."""

from __future__ import annotations

from polite_flamingo.sources.forms.voc import SPLITS, Voc


class Hrrsd(Voc):
    """HRRSD (TGRS-HRRSD), one sample per image (Table 6, row HRRSD).

    The lists per class (``T junction_train.txt`` …) and the COCO form of the same annotations are not read.
    """

    name = "hrrsd"
    licence = "none stated"
    lists = ("OPT2017/ImageSets/Main", "ImageSets/Main")
    annotations = ("OPT2017/Annotations", "Annotations")
    images = dict.fromkeys(SPLITS, ("OPT2017/JPEGImages", "JPEGImages"))
