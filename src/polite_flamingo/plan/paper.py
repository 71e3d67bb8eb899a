"""What the paper states of its trainings (Table 4) and of PF-1M (Figure 10, Table 6), to stand beside a plan."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PaperTraining:
    """A column of Table 4.

    Args:
        learned: Values that learn.
        samples: Samples of an epoch; each opens a sequence (section 4.4).
        epochs: Passes over them.
        batch: Sequences per step.
        context: Tokens of a sequence.
        hours: On eight A100.
    """

    learned: float
    samples: int
    epochs: int
    batch: int
    context: int
    hours: float

    @property
    def steps(self) -> int:
        """Steps of the training."""
        return round(self.samples * self.epochs / self.batch)

    @property
    def tokens(self) -> int:
        """Tokens of the training, when every sequence is full."""
        return self.samples * self.epochs * self.context


TABLE_4 = {
    "rewriter": PaperTraining(0.29e9, 255_000, 3, 256, 1024, 11.8),
    "stage1": PaperTraining(0.29e9, 772_000, 1, 256, 1024, 11.8),
    "stage2": PaperTraining(0.1e9, 1_070_000, 3, 1024, 196, 9.5),
    "stage3": PaperTraining(0.29e9, 772_000, 1, 256, 1024, 11.5),
}
REWRITTEN, ADOPTED = 1_170_000, 975_782  # Figure 10, Table 6
KEPT_SHARE = ADOPTED / REWRITTEN
KEPT_OF_THE_REST = 0.826  # of each set but those taken whole; so the rows of Table 6 sum to 1.17M before filtering

TABLE_6 = {  # samples adopted, and the names of the datasets in the catalogue
    "COCO-2014": (59_670, "coco"),
    "Flickr-30k": (31_695, "flickr30k"),
    "TextCaps": (69_703, "textcaps"),
    "Image2Paragraph": (7_954, "image2paragraph"),
    "CC-3M": (67_025, "cc3m"),
    "RefCOCOg": (8_103, "refcocog"),
    "RET-3": (13_551, "rsicd rsitmd ucm"),
    "DIOR": (5_907, "dior"),
    "DOTA": (1_733, "dota"),
    "HRRSD": (5_898, "hrrsd"),
    "ELEVATER-IC": (21_772, "elevater_*"),
    "Spot-the-Diff": (6_787, "spot_the_diff"),
    "Image-Editing-Requests": (2_747, "image_editing_request"),
    "LevirCC": (6_761, "levir_cc"),
    "A-OKVQA": (14_868, "aokvqa"),
    "VQA-E": (65_133, "vqa_e"),
    "ScienceQA": (4_596, "scienceqa"),
    "VQA-v2": (210_743, "vqav2"),
    "CLEVR": (26_390, "clevr"),
    "GQA": (223_244, "gqa"),
    "TextVQA": (30_056, "textvqa"),
    "OCR-VQA": (24_164, "ocrvqa"),
    "PointQA": (67_282, "pointqa"),
}
