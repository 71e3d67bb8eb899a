"""Files of answers: 100,000 answers of five models with kept scores, and published files beside what was published.

Each size is a process of its own that evaluates synthetic files of five models (a fifth captions with five references,
a fifth yes and no, the others VQA with ten annotators), whose scores by three judges are kept already, as
``polite-flamingo evaluate-answers`` does. Prints seconds, memory and their growth, and writes
``reports/bench/answers.json``. With ``--data-root`` the descriptions of `photos/mllm_descriptions`, HaELM's labels and
the questions of GVT and LLaVA are evaluated too: their figures stand in docs/evaluation.md (``--page``).
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.common import ROOT, WORK, machine, publish, verdict

SIZES = (10_000, 100_000)  # answers of all models together
MODELS = 5
MAX_SECONDS = 120.0
SEED = 7
WORDS = ("a", "the", "dog", "cat", "person", "red", "blue", "bench", "table", "stands", "near", "two", "three", "small")


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; status 1 where a bound does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--job", type=int, metavar="ANSWERS", help="evaluate files of so many answers, in this process")
    parser.add_argument("--data-root", type=Path, help="folder that holds photos/, gvt/ and llava/")
    parser.add_argument("--page", type=Path, help="Markdown page whose tables are written anew")
    given = parser.parse_args(argv)
    if given.job is not None:
        print(json.dumps(job(given.job)))
        return 0
    results = [_measured(size) for size in SIZES]
    seconds = results[-1]["seconds"]
    growth = (results[-1]["megabytes"] - results[-1]["before"]) / max(
        1.0, results[0]["megabytes"] - results[0]["before"]
    )
    for one in results:
        print(f"{one['answers']:>8,} answers of {MODELS} models: {one['seconds']:6.1f} s, {one['megabytes']:.0f} MB")
    computed = results[-1]["cpu_seconds"]
    print(f"two minutes: {verdict(seconds < MAX_SECONDS)} ({seconds:.1f} s, {computed:.1f} of them computed)")
    print(f"memory: {growth:.2f} times for {SIZES[1] // SIZES[0]} times the answers")
    figures: dict[str, Any] = {"machine": machine(("numpy",)), "sizes": results, "growth": growth}
    if given.data_root is not None:
        from bench.published_answers import published

        figures["published"] = published(given.data_root, given.page)
    publish("answers", figures)
    return int(seconds >= MAX_SECONDS)


def job(answers: int) -> dict[str, Any]:
    """Evaluate files of so many answers whose scores are kept."""
    from polite_flamingo.benchmarks.answer_files import parse_files
    from polite_flamingo.benchmarks.data import read_data
    from polite_flamingo.benchmarks.evaluation import evaluate
    from polite_flamingo.benchmarks.figures import Draws, report
    from polite_flamingo.benchmarks.judges import JUDGES, KeptJudge

    folder = WORK / f"answers-{answers}"
    judges = {name: KeptJudge(name, folder / "judge", folder / "scores") for name in JUDGES}
    fresh = not (folder / "questions.json").is_file()
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
        _write(folder, answers // MODELS)
    made = [0]

    def stand_in(pairs: list[tuple[str, str]]) -> list[Any]:
        made[0] += len(pairs)
        return [[float(len(second) % 3), 1.0, 0.5] for _, second in pairs]

    for name, judge in judges.items():
        score = stand_in if name == "nli" else lambda pairs: [value[0] for value in stand_in(pairs)]
        judge.__dict__.update(identity="bench", _score=score)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started = time.perf_counter()
    files = parse_files([str(path) for path in sorted(folder.glob("model-*.jsonl"))])
    told = report(
        evaluate(files, read_data([folder / "vqa.jsonl", folder / "yes.jsonl", folder / "captions.jsonl"]), judges),
        Draws(),
    )
    return {
        "answers": sum(file["matched"] for file in told["files"]),
        "seconds": round(time.perf_counter() - started, 1),
        "cpu_seconds": round(time.process_time(), 1),
        "megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "before": round(before, 1),
        "judged": made[0],
    }


def _measured(answers: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.bench_answers", "--job", str(answers)]
    for _ in range(2):  # the first keeps the scores
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert result["judged"] == 0, "all scores are kept"
    return result


def _write(folder: Path, questions: int) -> None:
    """Questions of three sets, and the answers of five models to them."""
    folder.mkdir(parents=True)
    (folder / "judge").mkdir()
    draw = random.Random(SEED)

    def words(count: int) -> str:
        return " ".join(draw.choice(WORDS) for _ in range(count))

    with (
        open(folder / "vqa.jsonl", "w") as vqa,
        open(folder / "yes.jsonl", "w") as yes,
        open(folder / "captions.jsonl", "w") as captions,
    ):
        for i in range(questions):
            image = f"COCO_val2014_{i // 3:012}.jpg"
            asked = {"question_id": f"q{i}", "image": image, "question": f"What is {words(5)}?"}
            if i % 5 == 0:
                record = {"id": f"q{i}", "image": image, "captions": [words(11) for _ in range(5)], "objects": ["dog"]}
                captions.write(json.dumps(record) + "\n")
            elif i % 5 == 1:
                yes.write(json.dumps({**asked, "label": draw.choice(("yes", "no"))}) + "\n")
            else:
                truth = draw.choice(WORDS)
                answers = [truth if draw.random() < 0.7 else draw.choice(WORDS) for _ in range(10)]
                vqa.write(json.dumps({**asked, "answers": answers}) + "\n")
    for model in range(MODELS):
        with open(folder / f"model-{model}.jsonl", "w") as file:
            for i in range(questions):
                text = f"{words(draw.choice((1, 12, 25, 60))).capitalize()}."
                file.write(json.dumps({"question_id": f"q{i}", "text": text}) + "\n")
    (folder / "questions.json").write_text("{}")


if __name__ == "__main__":
    sys.exit(main())
