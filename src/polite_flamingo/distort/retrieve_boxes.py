"""Strategy 3 (section 3.1.3): the image's captions and boxes stand in for the detailed description made from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from polite_flamingo.distort.base import Draft, Response
from polite_flamingo.prompts.templates import captions_and_boxes
from polite_flamingo.records import Task


@dataclass(frozen=True, slots=True)
class RetrieveBoxes:
    """Captions, the paper's sentence, normalised boxes.

    Applies to the first answer of a detailed description whose sample carries both captions and boxes.
    """

    decimals: int = 3
    name: str = "retrieve_boxes"

    def applies(self, response: Response) -> bool:
        """True for detailed descriptions with captions and boxes."""
        return has_captions_and_boxes(response)

    def distort(self, responses: Sequence[Response], rngs: Sequence[Random]) -> list[Draft]:
        """Put captions and boxes in place of the description; nothing is random here."""
        return [
            Draft(captions_and_boxes(r.sample.extras["captions"], r.sample.extras["boxes"], self.decimals))
            for r in responses
        ]


def has_captions_and_boxes(response: Response) -> bool:
    """Whether `response` is a detailed description made from captions and boxes that are there."""
    sample = response.sample
    return (
        sample.task is Task.DETAIL
        and response.index == 0
        and bool(sample.extras.get("captions"))
        and bool(sample.extras.get("boxes"))
    )
