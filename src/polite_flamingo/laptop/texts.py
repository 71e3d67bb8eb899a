"""Human text about the photographs: captions, questions with short answers and reasons, statements, object lists.

Read from a folder that holds one per data set (``coco``, ``flickr8k``, ``vqa_yesno`` …); what is absent is left out.
Descriptions in `mllm_descriptions` are not read, since they name things that no picture shows; some responses are by
GPT-4 and ChatGPT (LLaVA, Ferret-Bench, FOHE, StableLLaVA).
"""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polite_flamingo.calibrate.statements import sentence
from polite_flamingo.errors import DataError
from polite_flamingo.sources.photographs import coco_name, part_of

COCO = "coco/val2014_224"
FLICKR = "flickr8k/images_224"
DAQUAR = "daquar/images"
TRUTH = {"entailment": "True", "contradiction": "False"}
UNTOLD = "it cannot be told"
_BEFORE_MARK = re.compile(r"\s+([.,;:!?'])")


@dataclass(frozen=True, slots=True)
class Inquiry:
    """A question about a photograph, or a statement that is true or false.

    Args:
        image: Path below the data root; None: there is none, the question alone is asked.
        text: The question or the statement.
        answer: The short answer.
        source: Data set.
        reasons: What people gave as reasons, and full-sentence answers where the data set has them.
        choices: What could be chosen from.
    """

    image: str | None
    text: str
    answer: str
    source: str
    reasons: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()

    @property
    def part(self) -> str:
        """Part of the split (`sources.photographs`)."""
        return part_of(self.image or self.text)


def read_lines(path: Path) -> Iterator[Any]:
    """Records of a JSON-lines file, gzipped or not; none where the file is absent."""
    if not path.is_file():
        return
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    yield from (json.loads(line) for line in raw.splitlines() if line.strip())


def read_all(path: Path, default: Any) -> Any:
    """Content of a JSON file, gzipped or not; `default` where it is absent."""
    if not path.is_file():
        return default
    raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return json.loads(raw)


def captions(root: Path) -> dict[str, list[str]]:
    """Human captions by photograph, as sentences.

    Raises:
        DataError: there are none at all.
    """
    found: defaultdict[str, list[str]] = defaultdict(list)
    coco = read_all(root / "coco/annotations/captions_val2014_subset.json", {"images": [], "annotations": []})
    names = {record["id"]: record["file_name"] for record in coco["images"]}
    for record in coco["annotations"]:
        found[f"{COCO}/{names[record['image_id']]}"].append(tidy(record["caption"]))
    tokens = root / "flickr8k/Flickr8k.token.txt"
    for line in tokens.read_text(encoding="utf-8").splitlines() if tokens.is_file() else ():
        name, _, text = line.partition("\t")
        found[f"{FLICKR}/{name.rpartition('#')[0]}"].append(tidy(text))
    kept = {image: texts for image, texts in found.items() if (root / image).is_file()}
    if not kept:
        raise DataError("no captioned photographs", where=root, next_step="--data-root is the folder that holds coco/")
    return kept


def tidy(caption: str) -> str:
    """A caption with a capital, a full stop and no blanks before marks."""
    return sentence(_BEFORE_MARK.sub(r"\1", caption.strip().strip('"')))


def objects(root: Path) -> dict[str, list[str]]:
    """The 80 COCO objects that are in a photograph, by photograph."""
    listed: Mapping[str, list[str]] = read_all(root / "coco/annotations/chair_objects.json", {})
    named = {f"{COCO}/{coco_name(key)}": value for key, value in listed.items()}
    return {image: value for image, value in named.items() if (root / image).is_file()}


def questions(root: Path) -> list[Inquiry]:
    """Questions with short answers about photographs, of all data sets."""
    found = [*_vqa(root), *_okvqa(root), *_aokvqa(root), *_daquar(root), *_vqa_x(root)]
    return [question for question in found if question.image is not None and (root / question.image).is_file()]


def statements(root: Path) -> list[Inquiry]:
    """Statements about photographs: true, false or (e-SNLI-VE's neutral ones) neither."""
    found = [
        Inquiry(f"{COCO}/{coco_name(record['image'].split('.')[0])}", record["caption"], _truth(record["label"]), "vsr")
        for record in read_lines(root / "vsr/vsr.jsonl")
    ]
    for file in sorted((root / "esnlive").glob("*.csv.gz")):
        with gzip.open(file, "rt", encoding="utf-8", newline="") as rows:
            for row in csv.DictReader(rows):
                reasons = (tidy(row["explanation"]),) if len(row["explanation"].split()) > 2 else ()
                answer = TRUTH.get(row["gold_label"], UNTOLD)
                found.append(Inquiry(f"{FLICKR}/{row['image']}", tidy(row["hypothesis"]), answer, "esnlive", reasons))
    return [question for question in found if question.image and (root / question.image).is_file()]


def verbalised(root: Path) -> list[Inquiry]:
    """Questions without a photograph, their short answers and full-sentence answers (in `reasons`).

    ParaQA's paraphrases, many of which lose what is asked for, are left out.
    """
    folder = root / "verbalised_answers"
    found: list[Inquiry] = []
    for record in read_all(folder / "vquanda_train.json.gz", []):
        found += _bracketed(record["question"], [record["verbalized_answer"]], "vquanda")
    for record in read_lines(folder / "qadialog_votes.jsonl.gz"):
        best = max(record["responses"], key=lambda response: (response["votes"], len(response["text"])))
        if best["votes"] >= 2:
            found.append(Inquiry(None, record["question"], record["answer"], "qadialog", (tidy(best["text"]),)))
    for record in read_lines(folder / "qadialog_ratings.jsonl.gz"):
        if record["votes"].get("e", 0) >= 0.7 * sum(record["votes"].values()):
            found.append(
                Inquiry(
                    None,
                    tidy(record["question"]).rstrip(".").strip(),
                    record["answer"],
                    "qadialog",
                    (tidy(record["response"]),),
                )
            )
    return found


def responses(root: Path) -> list[Inquiry]:
    """Good long responses about images (in `reasons`), the picture where it is here; `answer` is empty."""
    found = []
    for record in read_lines(root / "llava_qa90/qa90_gpt4_on_local_images.jsonl"):
        image = f"{COCO}/{coco_name(record['image_id'])}"
        found.append(Inquiry(image, record["question"], "", "llava", (record["gpt4_answer"],)))
    for record in read_lines(root / "ferret_bench/ferret_gpt4.jsonl"):
        image = f"{COCO}/{coco_name(record['image_id'])}"
        found.append(Inquiry(image, record["question"], "", "ferret", (record["answer"],)))
    rewritten = read_all(root / "image_text_only/fohe_rewritten_captions.json", {"annotations": []})["annotations"]
    found += [Inquiry(None, "", "", "fohe", (record["caption"].strip(),)) for record in rewritten]
    for file in sorted((root / "image_text_only").glob("imageinwords_*.jsonl.gz")):
        described = [record["IIW"] for record in read_lines(file) if "IIW" in record]
        found += [Inquiry(None, "", "", "iiw", (_first_sentences(text, 3),)) for text in described]
    for record in read_lines(root / "image_text_only/stablellava_sample.jsonl.gz"):
        asked = record["question"].replace("<image>", "").strip()
        found.append(Inquiry(None, asked, "", "stablellava", (record["answer"].strip(),)))
    return [response for response in found if response.image is None or (root / response.image).is_file()]


def _vqa(root: Path) -> Iterator[Inquiry]:
    for record in read_lines(root / "vqa_yesno/vaq2.0.jsonl"):
        yield Inquiry(f"{COCO}/{record['image']}", record["question"].strip(), record["answer"], "vqav2")


def _okvqa(root: Path) -> Iterator[Inquiry]:
    listed = read_all(root / "okvqa/OpenEnded_mscoco_val2014_questions.json", {"questions": []})["questions"]
    scores = {
        record["question_id"]: record["label"] for record in read_all(root / "okvqa/okvqa_val_soft_answers.json", [])
    }
    for record in listed:
        answers = scores.get(record["question_id"])
        if answers:
            image = f"{COCO}/{coco_name(record['image_id'])}"
            yield Inquiry(image, record["question"].strip(), max(answers, key=answers.__getitem__), "okvqa")


def _aokvqa(root: Path) -> Iterator[Inquiry]:
    for record in read_all(root / "aokvqa/aokvqa_v1p0_val_subset.json", []):
        choices = tuple(record["choices"])
        yield Inquiry(
            f"{COCO}/{coco_name(record['image_id'])}",
            record["question"].strip(),
            choices[record["correct_choice_idx"]],
            "aokvqa",
            tuple(tidy(text) for text in record["rationales"]),
            choices,
        )


def _daquar(root: Path) -> Iterator[Inquiry]:
    for record in read_lines(root / "daquar/qa.jsonl"):
        asked = tidy(record["question"].rstrip("?. ")).rstrip(".") + "?"
        yield Inquiry(f"{DAQUAR}/{record['image']}.jpg", asked, record["answer"].replace("_", " "), "daquar")


def _vqa_x(root: Path) -> Iterator[Inquiry]:
    for record in read_all(root / "vqa_x/vqaX.json.gz", {}).values():
        given = [answer["answer"] for answer in record["answers"]]
        answer = max(dict.fromkeys(given), key=given.count)
        reasons = tuple(tidy(text) for text in record["explanation"])
        yield Inquiry(f"{COCO}/{record['image_name']}", record["question"].strip(), answer, "vqax", reasons)


def _bracketed(question: str, texts: list[str], source: str) -> Iterator[Inquiry]:
    """Full sentences with the short answer in brackets; lists of more than three and empty slots are left out."""
    for text in texts:
        match = re.search(r"\[([^\]]+)\]", text)
        if match and match[1] != "answer" and match[1].count(",") <= 2 and "*" not in match[1]:
            full = tidy(re.sub(r"^(Yes|No) (?!,)", r"\1, ", text.replace("[", "").replace("]", "")))
            yield Inquiry(None, question.strip(), match[1].strip(), source, (full,))


def _first_sentences(text: str, count: int) -> str:
    return " ".join(re.split(r"(?<=[.!?])\s+", text.strip())[:count])


def _truth(value: Any) -> str:
    return "True" if value else "False"
