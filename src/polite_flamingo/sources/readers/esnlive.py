"""e-SNLI-VE: does a photograph of Flickr30k bear a sentence out, with an explanation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.records import Image, Reject, Sample, Task
from polite_flamingo.sources.base import attempt, below, need, single_turn
from polite_flamingo.sources.forms.answers import with_choices, with_reasons
from polite_flamingo.sources.forms.files import find_one, relative
from polite_flamingo.sources.forms.rows import read_rows

CHOICES = {"entailment": "yes", "contradiction": "no", "neutral": "it cannot be told"}
PLACES = (
    *("flickr30k/flickr30k-images", "flickr30k/flickr30k_images", "flickr30k/images"),
    *("flickr8k/Flicker8k_Dataset", "flickr8k/Images", "flickr8k/images_224"),  # these photographs are also there
)


class Esnlive:
    """e-SNLI-VE; the raw answer is "Answer: …" and the explanation, as of A-OKVQA."""

    name = "esnlive"
    tasks = frozenset({Task.VQA})
    licence = "none stated; images: Flickr terms"
    siblings = ("flickr30k", "flickr8k")

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read ``esnlive_<split>.csv``, also gzipped; images are ``Flickr30kID``, or ``image`` where there is one."""
        file = find_one(root, folder, f"esnlive_{split}.csv", f"esnlive_{split}.csv.gz")
        for number, row in read_rows(self.name, root, file):
            if isinstance(row, Reject):
                yield row
            else:
                yield attempt(self.name, relative(root, file), number, self._sample, root, folder, split, row)

    def _sample(self, root: Path, folder: str, split: str, row: Any) -> Sample:
        label, statement = need(row, "gold_label", str), need(row, "hypothesis", str)
        if label not in CHOICES:
            raise DataError("'gold_label' is none of the three", value=label)
        name = need(row, "image" if row.get("image") else "Flickr30kID", str)
        reason = " ".join(need(row, "explanation", str).split())
        return single_turn(
            self,
            split,
            f"{self.name}/{split}/{need(row, 'pairID', str)}",
            Task.VQA,
            question=with_choices(f'Is this so: "{statement}"', list(CHOICES.values())),
            answer=with_reasons(CHOICES[label], [reason]),
            images=(_find(root, folder, name),),
            extras={
                "statement": statement,
                "choices": list(CHOICES.values()),
                "short_answer": CHOICES[label],
                "rationales": [reason],
                "answers": [],
            },
        )


def _find(root: Path, folder: str, name: str) -> Image:
    images = [below(place, name) for place in (f"{folder}/images", *PLACES)]
    return next((image for image in images if (root / image.path).is_file()), images[1])
