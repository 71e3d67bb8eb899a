"""What published files of answers give here, beside what was published of them, as tables of docs/evaluation.md."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.common import WORK
from polite_flamingo.benchmarks.answer_files import AnswerFile
from polite_flamingo.benchmarks.data import read_data
from polite_flamingo.benchmarks.evaluation import evaluate
from polite_flamingo.benchmarks.figures import Draws, report
from polite_flamingo.evaluate.chair import check_objects, named_objects
from polite_flamingo.marked import fill

SHORT, BRIEF = "Instruction2", "Instruction1"  # POPE's files; its Table 1 calls them I1 and I2
POPE = {  # Li et al. 2023, Table 1: CHAIR_I, CHAIR_S, words, of 2,000 images
    (SHORT, "mplug"): (14.8, 25.4, 35.8),
    (SHORT, "llava"): (10.5, 32.7, 64.3),
    (SHORT, "mmgpt"): (11.1, 15.0, 11.6),
    (SHORT, "minigpt-4"): (6.7, 9.5, 24.7),
    (SHORT, "instructblip"): (2.6, 3.7, 8.5),
    (BRIEF, "mplug"): (30.2, 76.8, 98.5),
    (BRIEF, "llava"): (18.8, 62.7, 90.7),
    (BRIEF, "mmgpt"): (18.2, 36.2, 45.7),
    (BRIEF, "minigpt-4"): (9.2, 31.5, 116.2),
    (BRIEF, "instructblip"): (2.5, 3.4, 7.5),
}
HAELM = {"HaELM": 0.61, "ChatGPT": 0.64}  # Wang et al. 2023: accuracy on the labels


def published(root: Path, page: Path | None) -> dict[str, Any]:
    """Evaluate the files below a folder.

    Args:
        root: Holds photos/, gvt/ and llava/.
        page: Gets the tables, if named.
    """
    told = {
        "descriptions": _descriptions(root / "photos"),
        "haelm": _haelm(root / "photos"),
        "questions": _questions(root),
    }
    parts = {
        "descriptions": _descriptions_table(told["descriptions"]),
        "labels": _haelm_table(told["haelm"]),
        "questions": _questions_table(told["questions"]),
    }
    print("\n\n".join(parts.values()))
    if page is not None:
        fill(page, parts)
    return told


def _descriptions(photos: Path) -> dict[str, Any]:
    """CHAIR of the descriptions, by file of their source."""
    folder = WORK / "published"
    folder.mkdir(parents=True, exist_ok=True)
    files: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    with gzip.open(photos / "mllm_descriptions" / "descriptions.jsonl.gz", "rt", encoding="utf-8") as lines:
        for record in map(json.loads, filter(str.strip, lines)):
            source = record["source"].split("/")
            name = f"{source[0]} {source[-1].split('_')[0] if source[0] == 'POPE' else ''} {record['model']}"
            files[" ".join(name.split())].append({"image_id": record["image_id"], "caption": record["text"]})
    given = []
    for name, records in sorted(files.items()):
        path = folder / f"{name.replace(' ', '-')}.json"
        path.write_text(json.dumps(records))
        given.append(AnswerFile(name, path))
    annotations = photos / "coco" / "annotations"
    sets = read_data([annotations / "captions_val2014_subset.json", annotations / "chair_objects.json"])
    done = report(evaluate(given, sets), Draws())
    own = next(iter(done["sets"].values()))
    return {"models": own["models"], "files": done["files"]}


def _descriptions_table(told: Mapping[str, Any]) -> str:
    rows = []
    for name, figures in told["models"].items():
        source, _, rest = name.partition(" ")
        known = POPE.get(tuple(rest.split(" ", 1))) if source == "POPE" else None
        cells = [_cell(figures["chair_i"], 100), _cell(figures["chair_s"], 100), f"{figures['words']['value']:.1f}"]
        theirs = [f"{value}" for value in known] if known else ["-"] * 3
        rows.append(
            [name, str(figures["chair_s"]["n"]), *(x for pair in zip(cells, theirs, strict=True) for x in pair)]
        )
    head = ["file and model", "images here", "CHAIR_I", "published", "CHAIR_S", "published", "words", "published"]
    return _table(head, rows)


def _haelm(photos: Path) -> dict[str, Any]:
    """Does an invented object tell the descriptions that people call inaccurate?"""
    own = read_data([photos / "hallucination" / "haelm_eval.jsonl.gz"])[0]
    with gzip.open(photos / "hallucination" / "haelm_eval.jsonl.gz", "rt", encoding="utf-8") as lines:
        said = [json.loads(line)["caption"] for line in lines if line.strip()]
    pairs = [
        (bool(check_objects(text, frozenset().union(*map(named_objects, item.answers))).invented), item.label == 0)
        for item, text in zip(own.items, said, strict=True)
    ]
    flagged = [wrong for invented, wrong in pairs if invented]
    wrong = [invented for invented, is_wrong in pairs if is_wrong]
    return {
        "descriptions": len(pairs),
        "inaccurate": len(wrong),
        "accuracy": sum(a == b for a, b in pairs) / len(pairs),
        "precision": sum(flagged) / len(flagged),
        "recall": sum(wrong) / len(wrong),
        "published": HAELM,
    }


def _haelm_table(told: Mapping[str, Any]) -> str:
    n, share = told["descriptions"], told["inaccurate"] / told["descriptions"]
    ours = [f"{told[name]:.1%}" for name in ("accuracy", "precision", "recall")]
    rows = [
        ["an object that no caption names (CHAIR without annotated objects)", *ours],
        ["always inaccurate", f"{share:.1%}", f"{share:.1%}", "100.0%"],
        *([f"{name}, published for all 300", f"{value:.0%}", "-", "-"] for name, value in told["published"].items()),
    ]
    return _table(
        [f"{n} descriptions, {told['inaccurate']} called inaccurate", "accuracy", "precision", "recall"], rows
    )


def _questions(root: Path) -> dict[str, Any]:
    """GVT's questions under an answerer that always says the same, and GPT-4's answers to LLaVA's questions."""
    folder = WORK / "published"
    found: dict[str, Any] = {}
    for name, text in (("coco_mci", "Yes, there is."), ("coco_oc", "There are two of them.")):
        own = read_data([root / "gvt" / f"{name}.json"])
        path = folder / f"{name}.json"
        path.write_text(json.dumps([{"id": item.id, "answer": text} for item in own[0].items]))
        figures = report(evaluate([AnswerFile("constant", path)], own), Draws())["sets"][name]["models"]["constant"]
        found[f'gvt/{name}: always "{text}"'] = figures
    file = AnswerFile("GPT-4", root / "llava" / "qa90_gpt4_answer.jsonl")
    done = report(evaluate([file], read_data([root / "llava" / "qa90_questions.jsonl"])), Draws())
    found["llava/qa90: GPT-4"] = done["sets"]["qa90_questions"]["models"]["GPT-4"]
    return found


def _questions_table(told: Mapping[str, Any]) -> str:
    rows = []
    for name, figures in told.items():
        official = figures.get("official")
        rows.append(
            [
                name,
                str(figures["words"]["n"]),
                "-" if official is None else _cell(official, 100),
                _cell(figures["f1"], 100) if "f1" in figures else "-",
                f"{figures['words']['value']:.1f}",
                _cell(figures["sentences"], 100),
            ]
        )
    return _table(["questions and answerer", "answers", "official", "F1", "words", "whole sentences"], rows)


def _cell(figure: Mapping[str, Any], scale: float) -> str:
    value, low, high = (figure[key] * scale for key in ("value", "low", "high"))
    return f"{value:.1f} ({low:.1f} to {high:.1f})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
