"""Scoring speed: each scorer against a loop that scores one record at a time, with the same weights.

The loop has the form of the authors' readme: for each record encode both texts (STS), one pair (NLI, reward), or the
image and then the sentences of each paragraph (CLIP). Ours is the scorer as the stage uses it.

Records are those of the tiny profile (``make demo`` first). For CLIP every image gets five captions, as COCO has. Each
rate is the best of a few repetitions, the loop's over a sample. ``ratio_distinct`` is the gain without what records
share: every record distinct. ``gflops`` (of the layers' matrix multiplications) beside the machine's own says what is
left to gain. ``--real-sizes`` adds the paper's architectures at full size, with random weights and fewer records.
Prints a table and writes ``reports/bench/score.json``.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from bench.common import machine, publish, verdict
from polite_flamingo.errors import DataError
from polite_flamingo.images import open_image
from polite_flamingo.io.shards import read_shards
from polite_flamingo.records import Rewrite, Task
from polite_flamingo.scorers.clip import load_clip
from polite_flamingo.scorers.nli import LABELS, load_nli, nli_pair
from polite_flamingo.scorers.reward import load_reward
from polite_flamingo.scorers.sts import load_sts

DATA = Path("data/tiny")
MODELS = Path("models/tiny/backbones")
GOALS = {"sts": 8.0, "nli": 8.0, "reward": 8.0, "clip": 4.0}
CLOSE = 1e-3
CAPTIONS_PER_IMAGE = 5
LENGTH_STEPS = (1, 1, 2, 4)  # responses of the mixed workload: so many of the tiny ones, one behind the other

Score = Callable[[Sequence[Rewrite]], Sequence[Any]]


@dataclass(frozen=True)
class Contest:
    """One scorer on one workload.

    Args:
        scorer: Key of `GOALS`.
        workload: What the records are.
        records: All of them.
        load: Loads ours, without any memory of earlier records.
        loop: Scores one record.
        work: Multiply-adds of the layers for one record.
    """

    scorer: str
    workload: str
    records: Sequence[Rewrite]
    load: Callable[[], Score]
    loop: Callable[[Rewrite], Any]
    key: Callable[[Rewrite], Any]
    work: Callable[[Rewrite], float]


def contests(folder: Path, name: str, records: Sequence[Rewrite], images: Path) -> list[Contest]:
    """All contests of the models in `folder`."""
    made: list[Contest] = []
    vqa = [r for r in records if r.task.is_vqa]
    captions = [r for r in records if r.task is Task.CAPTION]
    if (folder / "sts").is_dir():
        made.append(sts_contest(folder / "sts", name, records))
    if (folder / "nli").is_dir():
        made.append(nli_contest(folder / "nli", name, vqa))
    if (folder / "reward").is_dir():
        made.append(reward_contest(folder / "reward", name, records))
    if (folder / "clip").is_dir():
        made.append(clip_contest(folder / "clip", name, shared_images(captions), images))
    return made


def sts_contest(folder: Path, name: str, records: Sequence[Rewrite]) -> Contest:
    """Both texts of a record, one after the other."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu").eval()

    def loop(rewrite: Rewrite) -> float:
        a = model.encode(rewrite.raw_answer, convert_to_tensor=True, show_progress_bar=False)
        b = model.encode(rewrite.rewritten, convert_to_tensor=True, show_progress_bar=False)
        return float(torch.cosine_similarity(a, b, dim=0))

    weights = layer_weights(model[0].auto_model)
    return Contest(
        "sts",
        name,
        records,
        lambda: load_sts(folder, device="cpu").score,
        loop,
        lambda r: (r.raw_answer, r.rewritten),
        lambda r: weights * sum(len(model.tokenizer(text)["input_ids"]) for text in (r.raw_answer, r.rewritten)),
    )


def nli_contest(folder: Path, name: str, records: Sequence[Rewrite]) -> Contest:
    """One pair through the cross-encoder."""
    model, tokenizer = classifier(folder)
    names = {str(label).lower(): int(i) for i, label in model.config.id2label.items()}

    def pair(r: Rewrite) -> tuple[str, str]:
        return nli_pair(r.instruction, r.rewritten, r.raw_answer)

    def loop(rewrite: Rewrite) -> list[float]:
        inputs = tokenizer(*pair(rewrite), truncation=True, max_length=512, return_tensors="pt")
        with torch.no_grad():
            logits = model(**inputs).logits[0].tolist()
        return [logits[names[label]] for label in LABELS]

    weights = layer_weights(model)
    return Contest(
        "nli",
        name,
        records,
        lambda: load_nli(folder, device="cpu").score,
        loop,
        pair,
        lambda r: weights * len(tokenizer(*pair(r))["input_ids"]),
    )


def reward_contest(folder: Path, name: str, records: Sequence[Rewrite]) -> Contest:
    """One pair through the reward model."""
    model, tokenizer = classifier(folder)

    def loop(rewrite: Rewrite) -> float:
        inputs = tokenizer(
            rewrite.instruction, rewrite.rewritten, truncation=True, max_length=512, return_tensors="pt"
        )  # fmt: skip
        with torch.no_grad():
            return float(model(**inputs).logits[0, 0])

    weights = layer_weights(model)
    return Contest(
        "reward",
        name,
        records,
        lambda: load_reward(folder, device="cpu").score,
        loop,
        lambda r: (r.instruction, r.rewritten),
        lambda r: weights * len(tokenizer(r.instruction, r.rewritten)["input_ids"]),
    )


def clip_contest(folder: Path, name: str, records: Sequence[Rewrite], images: Path) -> Contest:
    """The image, then the sentences of each paragraph."""
    from transformers import AutoTokenizer, CLIPModel

    from polite_flamingo.images import ImagePreprocessor

    model = CLIPModel.from_pretrained(folder, local_files_only=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    preprocess = ImagePreprocessor.from_folder(folder)

    def loop(rewrite: Rewrite) -> list[float]:
        with torch.no_grad():
            pixels = preprocess(open_image(images, rewrite.images[0].path))[None]
            seen = model.get_image_features(pixel_values=pixels).pooler_output
            seen = seen / seen.norm(dim=-1, keepdim=True)
            scores = []
            for paragraph in rewrite.paragraphs:
                pieces = paragraph.split(".")[:10]
                told = model.get_text_features(
                    **tokenizer(pieces, padding=True, truncation=True, max_length=77, return_tensors="pt")
                ).pooler_output
                told = told / told.norm(dim=-1, keepdim=True)
                scores.append(float(100 * seen[0] @ told.mean(0)))
        return scores

    vision, text = layer_weights(model.vision_model), layer_weights(model.text_model)
    config = model.config.vision_config
    patches = (config.image_size // config.patch_size) ** 2 + 1

    def work(r: Rewrite) -> float:
        pieces = [piece for paragraph in r.paragraphs for piece in paragraph.split(".")[:10]]
        return vision * patches + text * sum(len(ids) for ids in tokenizer(pieces)["input_ids"])

    return Contest(
        "clip",
        f"{name}, {CAPTIONS_PER_IMAGE} captions per image",
        records,
        lambda: load_clip(folder, image_root=images, device="cpu").score,
        loop,
        lambda r: r.images[0].path,
        work,
    )


def shared_images(captions: Sequence[Rewrite]) -> list[Rewrite]:
    """Every image with the captions of a few records."""
    count = len(captions)
    return [
        replace(captions[(i + 37 * shift) % count], images=captions[i].images[:1])
        for i in range(count // CAPTIONS_PER_IMAGE)
        for shift in range(CAPTIONS_PER_IMAGE)
    ]


def mixed_lengths(records: Sequence[Rewrite]) -> list[Rewrite]:
    """Responses of one to four of the tiny ones, so that lengths are as different as in PF-1M."""
    made = []
    for i, record in enumerate(records):
        parts = [records[(i + 101 * k) % len(records)].rewritten for k in range(LENGTH_STEPS[i % len(LENGTH_STEPS)])]
        made.append(replace(record, rewritten=" ".join(parts)))
    return made


def classifier(folder: Path) -> tuple[Any, Any]:
    """A sequence classifier and its tokenizer."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True).eval()
    return model, AutoTokenizer.from_pretrained(folder, local_files_only=True)


def layer_weights(model: Any) -> float:
    """Weights of the matrices that every token meets: of the linear layers inside the encoder's layers."""
    return float(
        sum(
            module.weight.numel()
            for name, module in model.named_modules()
            if isinstance(module, torch.nn.Linear) and ".layer" in f".{name}"
        )
    )


def hold(contest: Contest, sample: int, repeats: int) -> dict[str, Any]:
    """Run one contest."""
    records = list(contest.records)
    step = max(1, len(records) // sample)
    few = records[::step][:sample]
    contest.loop(few[0])
    loop_seconds, loop_values = best(lambda: [contest.loop(record) for record in few], repeats)
    distinct = list({contest.key(record): record for record in records}.values())

    def ours(asked: Sequence[Rewrite]) -> tuple[float, list[Any]]:
        seconds, values = float("inf"), []
        for _ in range(repeats):
            score = contest.load()  # remembers nothing
            score(few[:1])
            started = time.perf_counter()
            values = list(score(asked))
            seconds = min(seconds, time.perf_counter() - started)
        return seconds, values

    seconds, values = ours(records)
    by_place = dict(zip(map(id, records), values, strict=True))
    distinct_seconds, _ = ours(distinct)
    gap = max(
        abs(x - y)
        for record, theirs in zip(few, loop_values, strict=True)
        for x, y in zip(flat(theirs), flat(by_place[id(record)]), strict=True)
    )
    loop_rate, rate = len(few) / loop_seconds, len(records) / seconds
    loop_work = 2e-9 * sum(map(contest.work, few)) / loop_seconds
    distinct_work = 2e-9 * sum(map(contest.work, distinct)) / distinct_seconds
    return {
        "scorer": contest.scorer,
        "workload": contest.workload,
        "records": len(records),
        "distinct": len(distinct),
        "loop_records": len(few),
        "loop_per_second": round(loop_rate, 2),
        "ours_per_second": round(rate, 2),
        "ratio": round(rate / loop_rate, 2),
        "ratio_distinct": round(len(distinct) / distinct_seconds / loop_rate, 2),
        "largest_difference": round(gap, 6),
        "loop_gflops": round(loop_work, 1),
        "ours_gflops": round(distinct_work, 1),
        "goal": GOALS[contest.scorer],
        "met": rate / loop_rate >= GOALS[contest.scorer] and gap <= CLOSE,
    }


def best(work: Callable[[], list[Any]], repeats: int) -> tuple[float, list[Any]]:
    """Least seconds of a few repetitions, and the result."""
    seconds, result = float("inf"), []
    for _ in range(repeats):
        started = time.perf_counter()
        result = work()
        seconds = min(seconds, time.perf_counter() - started)
    return seconds, result


def flat(value: Any) -> list[float]:
    """A number or a list of them."""
    return list(value) if isinstance(value, list) else [value]


def machine_gflops() -> float:
    """What a large matrix multiplication reaches."""
    a, b = torch.randn(2048, 1024), torch.randn(1024, 1024)
    seconds, _ = best(lambda: [a @ b for _ in range(10)], 5)
    return round(10 * 2 * 2048 * 1024 * 1024 / seconds / 1e9, 1)


def random_models(folder: Path) -> None:
    """The paper's architectures at full size with random weights, and a tokenizer that is at hand."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer
    from transformers import AutoTokenizer, DebertaV2Config, DebertaV2ForSequenceClassification, MPNetConfig, MPNetModel

    tokenizer = AutoTokenizer.from_pretrained(MODELS / "sts", local_files_only=True)
    torch.manual_seed(0)
    deberta = DebertaV2Config(
        vocab_size=len(tokenizer),
        relative_attention=True,
        position_buckets=256,
        norm_rel_ebd="layer_norm",
        share_att_key=True,
        pos_att_type=["p2c", "c2p"],
        type_vocab_size=0,
        max_position_embeddings=512,
        position_biased_input=False,
        id2label=dict(enumerate(LABELS)),
        label2id={label: i for i, label in enumerate(LABELS)},
    )
    DebertaV2ForSequenceClassification(deberta).save_pretrained(folder / "nli")
    tokenizer.save_pretrained(folder / "nli")
    MPNetModel(MPNetConfig(vocab_size=len(tokenizer))).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    modules = [Transformer(str(folder / "base"), max_seq_length=384), Pooling(768), Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder / "sts"))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=120, help="records of the loop (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="of which the best counts (default: %(default)s)")
    parser.add_argument("--scorers", nargs="+", default=list(GOALS), choices=list(GOALS))
    parser.add_argument("--real-sizes", action="store_true", help="also the paper's architectures, random weights")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    if not (DATA / "rewrites").is_dir() or not MODELS.is_dir():
        raise DataError("no records to score", where=DATA / "rewrites", next_step="run `make demo` first")
    records = [Rewrite.from_row(row) for row in read_shards(DATA / "rewrites")]
    figures: dict[str, Any] = {"machine": machine(), "threads": 2, "machine_gflops": machine_gflops(), "contests": []}
    with tempfile.TemporaryDirectory(prefix="bench_score_") as scratch:
        held = [*contests(MODELS, "tiny records", records, DATA / "raw")]
        held += [
            c for c in contests(MODELS, "mixed lengths", mixed_lengths(records), DATA / "raw") if c.scorer != "clip"
        ]
        if arguments.real_sizes:
            random_models(Path(scratch))
            few = mixed_lengths(records)[::10]
            held += contests(Path(scratch), "full size, mixed lengths", few, DATA / "raw")
        print(
            f"{'scorer':<8}{'workload':<36}{'loop/s':>9}{'ours/s':>9}{'ratio':>7}{'distinct':>9}{'|diff|':>9}{'goal':>6}"
        )
        for contest in held:
            if contest.scorer not in arguments.scorers:
                continue
            sample, repeats = arguments.sample, arguments.repeats
            if contest.workload.startswith("full"):
                sample, repeats = 20, 1
            row = hold(contest, sample, repeats)
            figures["contests"].append(row)
            print(
                f"{row['scorer']:<8}{row['workload']:<36}{row['loop_per_second']:>9.1f}{row['ours_per_second']:>9.1f}"
                f"{row['ratio']:>7.1f}{row['ratio_distinct']:>9.1f}{row['largest_difference']:>9.5f}"
                f"{row['goal']:>6.0f} {verdict(row['met'])}",
                flush=True,
            )
    print(json.dumps({"machine_gflops": figures["machine_gflops"], "written": str(publish("score", figures))}))


if __name__ == "__main__":
    main()
