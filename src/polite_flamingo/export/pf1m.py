"""PF-1M's JSON: a list of records with exactly the fields the authors published.

=====================  =================================================================================
``input``              instruction, then ``<img_path>PATH<img_path>`` per image
``output``             rewritten response, after the paragraph filter
``rouge_score``        Rouge-L with the original, before the paragraph filter
``filtered_paragraphs``    captions of several paragraphs: ``[[clip_logit, text], …]`` that were cut
``paragraph_clip_scores``  captions of several paragraphs: clip_logit of each that remained
``nli_similarity``     VQA: logits of contradiction, entailment, neutral
``sts_similarity``     captions: cosine with the original
``original``           raw annotation
``reward``             politeness reward of the output
=====================  =================================================================================

Numbers have at most four decimals. A score whose model the profile goes without leaves its field out. Files are written
as a stream, one record at a time; `sources.readers.pf1m` reads them. Not in the format, hence lost: id, source,
licence, split, extras.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.export.jsonfile import JsonWriter
from polite_flamingo.records import Image, Rewrite
from polite_flamingo.sources.readers.pf1m import MARK, SCORES, split_input, task_of

DECIMALS = 4
_REQUIRED = ("input", "output", "original")

Cut = Sequence[tuple[float, str]]


def to_record(rewrite: Rewrite, cut: Cut = ()) -> dict[str, Any]:
    """Published form of a kept rewrite.

    Args:
        rewrite: A kept record; its text and ``clip_logits`` are those after the paragraph filter.
        cut: (clip_logit, text) of the paragraphs the filter has cut.
    """
    scores = rewrite.scores
    record: dict[str, Any] = {
        "input": rewrite.instruction + "".join(f"{MARK}{image.path}{MARK}" for image in rewrite.images),
        "output": rewrite.rewritten,
    }
    if scores.get("rouge_l") is not None:
        record["rouge_score"] = round(scores["rouge_l"], DECIMALS)
    several = bool(cut) or "\n\n" in rewrite.rewritten
    if rewrite.task.is_caption and several and scores.get("clip_logits") is not None:
        record["filtered_paragraphs"] = [[round(logit, DECIMALS), text] for logit, text in cut]
        record["paragraph_clip_scores"] = [round(logit, DECIMALS) for logit in scores["clip_logits"]]
    if rewrite.task.is_vqa and scores.get("nli") is not None:
        record["nli_similarity"] = [round(logit, DECIMALS) for logit in scores["nli"]]
    if rewrite.task.is_caption and scores.get("sts") is not None:
        record["sts_similarity"] = round(scores["sts"], DECIMALS)
    record["original"] = rewrite.raw_answer
    if scores.get("reward") is not None:
        record["reward"] = round(scores["reward"], DECIMALS)
    return record


def from_record(record: dict[str, Any], *, id: str) -> tuple[Rewrite, Cut]:
    """Inverse of `to_record` as far as the format allows: the task is told by which scores are there.

    Raises:
        DataError: a field is missing or an image path leaves the data root.
    """
    missing = [name for name in _REQUIRED if not isinstance(record.get(name), str)]
    if missing:
        raise DataError("PF-1M record lacks text fields", value=missing, where=id)
    instruction, images = split_input(record["input"])
    rewrite = Rewrite(
        id=id,
        source="pf1m",
        split="train",
        licence="",
        task=task_of(record, len(images)),
        instruction=instruction,
        images=tuple(Image(path) for path in images),
        raw_answer=record["original"],
        rewritten=record["output"],
        finish_reason="stop",
        scores={ours: record[theirs] for theirs, ours in SCORES.items() if theirs in record},
    )
    return rewrite, [(float(logit), str(text)) for logit, text in record.get("filtered_paragraphs", [])]


class Pf1mWriter(JsonWriter):
    """Writes one record at a time; the file appears, complete, when the ``with`` block ends without an error."""

    def write(self, rewrite: Rewrite, cut: Cut = ()) -> None:
        """Append a kept rewrite."""
        self.append(to_record(rewrite, cut))
