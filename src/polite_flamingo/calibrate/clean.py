"""Right rewrites of real annotations, made from what the datasets themselves offer; no model writes them.

====================  =============================================  ==============================================
dataset               raw answer                                     rewrite
====================  =============================================  ==============================================
COCO, Flickr8k        all captions but one or two; COCO's boxes      those left out, each a paragraph
LLaVA (detail)        captions and boxes of the image                the published GPT-4 description
image edits           all requests but one                           the request left out, by another person
VQAv2, GVT            the short answer                               question and answer as a sentence, by rule
VSR                   "True" or "False"                              statement and verdict as a sentence, by rule
A-OKVQA               "Answer: …" and two of the three rationales    the answer in a sentence, the third rationale
ScienceQA             "Answer: …"                                    the published explanation if it ends on the answer
====================  =============================================  ==============================================

People may disagree about an image and GPT-4 may invent, so "right" is what the dataset holds for right.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from polite_flamingo.calibrate.statements import confirm, deny, sentence, state
from polite_flamingo.errors import DataError
from polite_flamingo.prompts.templates import captions_and_boxes
from polite_flamingo.records import Rewrite, Sample, Task
from polite_flamingo.sources import load_source
from polite_flamingo.sources.forms.coco import DECIMALS

Rule = Callable[[Sample, Random], "tuple[str, str] | None"]  # raw answer and right rewrite, None: no rule fits

KEPT = ("boxes", "choices", "short_answer")  # of the extras; captions and rationales may hold the rewrite itself
MAX_WORDS = 80  # of an explanation: in a longer one a changed detail leaves the answer as it was


@dataclass(frozen=True, slots=True)
class Offer:
    """One dataset that offers right rewrites.

    Args:
        source: Reader.
        folder: Below the data root.
        split: As the reader names it.
        rule: Makes raw answer and rewrite of a sample.
    """

    source: str
    folder: str
    split: str
    rule: Rule


def another_caption(sample: Sample, rng: Random) -> tuple[str, str] | None:
    """One caption is the rewrite, or two as paragraphs; the others (with the boxes) are the annotation."""
    captions = _texts(sample, "captions")
    if sample.task is not Task.CAPTION or len(captions) < 2:
        return None
    paragraphs = 2 if len(captions) > 3 and rng.random() < 0.5 else 1
    kept = [sentence(captions.pop(rng.randrange(len(captions)))) for _ in range(paragraphs)]
    return _annotation(captions, sample), "\n\n".join(kept)


def another_request(sample: Sample, rng: Random) -> tuple[str, str] | None:
    """One request for the edit is the rewrite, the others are the annotation."""
    sentences = _texts(sample, "sentences")
    if len(sentences) < 2:
        return None
    kept = sentences.pop(rng.randrange(len(sentences)))
    return "\n".join(sentences), sentence(kept)


def description(sample: Sample, rng: Random) -> tuple[str, str] | None:
    """The published description is the rewrite, captions and boxes are the annotation."""
    captions = _texts(sample, "captions")
    if sample.task is not Task.DETAIL or not captions:
        return None
    return _annotation(captions, sample), sample.response


def full_sentence(sample: Sample, rng: Random) -> tuple[str, str] | None:
    """Question and short answer as one sentence."""
    answer = state(sample.instruction, sample.response)
    return None if answer is None else (sample.response, answer)


def verdict(sample: Sample, rng: Random) -> tuple[str, str] | None:
    """A statement and whether it is true, as a sentence."""
    statement = str(sample.extras.get("statement", "")).rstrip(".")
    if not statement or sample.response not in ("True", "False"):
        return None
    return sample.response, confirm(statement, rng) if sample.response == "True" else deny(statement, rng)


def third_rationale(sample: Sample, rng: Random) -> tuple[str, str] | None:
    """The answer with one rationale is the rewrite, the answer with the others is the annotation."""
    answer = str(sample.extras.get("short_answer", ""))
    rationales = _texts(sample, "rationales")
    if not answer or len(rationales) < 2:
        return None
    rationale = rationales.pop(rng.randrange(len(rationales)))
    opening = rng.choice(("The answer is {}.", "The best answer is {}.", "It is {}.")).format(answer)
    return f"Answer: {answer}. {' '.join(rationales)}", f"{opening} {sentence(rationale)}"


def explanation(sample: Sample, rng: Random) -> tuple[str, str] | None:
    """The published explanation is the rewrite, if its last sentence holds the answer; the bare answer is raw."""
    answer = str(sample.extras.get("short_answer", "")).rstrip(".")
    rationales = _texts(sample, "rationales")
    if sample.task is not Task.VQA or not answer or not rationales or len(rationales[-1].split()) > MAX_WORDS:
        return None
    text = rationales[-1].strip()
    last = re.split(r"(?<=[.!?])\s+", text)[-1]
    if answer.lower() not in last.lower():
        return None
    return f"Answer: {answer}.", text


OFFERS = (
    Offer("coco", "coco", "train2017", another_caption),
    Offer("coco", "coco", "val2017", another_caption),
    Offer("flickr8k", "flickr8k", "all", another_caption),
    Offer("llava_eval", "llava", "val", description),
    Offer("image_editing_request", "change", "valid", another_request),
    Offer("vqav2", "vqa", "train", full_sentence),
    Offer("gvt", "gvt", "coco_oc", full_sentence),
    Offer("gvt", "gvt", "coco_mci", full_sentence),
    Offer("aokvqa", "aokvqa", "val", third_rationale),
    Offer("vsr", "vsr", "local_images", verdict),
    Offer("vsr", "vsr", "random_dev", verdict),
    Offer("scienceqa", "scienceqa", "train", explanation),
)


def clean_rewrites(
    root: Path, *, seed: int, per_offer: int = 200, offers: Iterable[Offer] = OFFERS
) -> Iterator[Rewrite]:
    """Yield right rewrites of the datasets below `root`; datasets that are not there are passed over.

    Args:
        root: Data root.
        seed: Seed of every draw.
        per_offer: Records of one split of a dataset at most, drawn.
        offers: What to look for.

    Raises:
        DataError: none of them is there.
    """
    total = 0
    for offer in offers:
        if not (root / offer.folder).is_dir():
            continue
        try:
            samples = [
                item for item in load_source(offer.source).read(root, offer.folder, offer.split, seed=seed)
                if isinstance(item, Sample)
            ]  # fmt: skip
        except DataError:
            continue  # another split of the dataset lies there
        rewrites = [rewrite for sample in samples if (rewrite := _rewrite(sample, offer.rule, root, seed)) is not None]
        drawn = Random(f"{seed}:{offer.source}:{offer.split}:clean").sample(rewrites, min(per_offer, len(rewrites)))
        total += len(drawn)
        yield from sorted(drawn, key=lambda rewrite: rewrite.id)
    if not total:
        raise DataError(
            "no dataset that offers right rewrites",
            where=root,
            next_step="expected some of " + ", ".join(dict.fromkeys(offer.folder for offer in offers)),
        )


def _annotation(captions: list[str], sample: Sample) -> str:
    return captions_and_boxes(captions, sample.extras.get("boxes") or [], DECIMALS)


def _texts(sample: Sample, name: str) -> list[str]:
    """Texts that the dataset has of one kind; new, so that one may be taken out."""
    return [str(text) for text in sample.extras.get(name, ())]


def _rewrite(sample: Sample, rule: Rule, root: Path, seed: int) -> Rewrite | None:
    texts = rule(sample, Random(f"{seed}:{sample.id}:clean"))
    if texts is None:
        return None
    raw_answer, rewritten = texts
    has_images = all((root / image.path).is_file() for image in sample.images)
    extras = {name: sample.extras[name] for name in KEPT if name in sample.extras}
    rewrite = sample.to_rewrite(rewritten, extras=extras)
    return replace(rewrite, raw_answer=raw_answer, images=sample.images if has_images else ())
