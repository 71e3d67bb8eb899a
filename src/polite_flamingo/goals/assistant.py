"""Does the photograph matter to the tuned assistant? Its answers with and without it, to the same questions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polite_flamingo.evaluate.answers import ask
from polite_flamingo.evaluate.bootstrap import bootstrap_mean
from polite_flamingo.evaluate.cider import Cider
from polite_flamingo.goals.figures import Share
from polite_flamingo.io.chunks import resumable
from polite_flamingo.io.hashes import fingerprint
from polite_flamingo.io.shards import read_shards
from polite_flamingo.laptop.adapters import share
from polite_flamingo.laptop.texts import questions
from polite_flamingo.laptop.verbalise import preserved
from polite_flamingo.model.settings import GenerationSettings
from polite_flamingo.params.schema import Params
from polite_flamingo.records import Image, Rewrite, Sample, Task, Turn

if TYPE_CHECKING:
    from polite_flamingo.model.bundle import FlamingoBundle

STAGE = "stage3"
BESIDE = ("okvqa", "aokvqa")  # no sources of the profile's evaluation
RESAMPLES = 1000


def is_tuned(params: Params) -> bool:
    """Whether the profile's assistant has been tuned here."""
    return (params.models / STAGE).is_dir()


def asked_beside(root: Path, most: int) -> list[Sample]:
    """Held-out questions of `BESIDE` with their commonest answer, from the files of a data root; none where they lack.

    Args:
        root: The data root.
        most: Questions of a set, at most.
    """
    asked = [question for question in questions(root) if question.part == "held_out"]
    return [
        Sample(
            id=f"{name}/val/{number}",
            source=name,
            split="val",
            licence="-",
            task=Task.VQA,
            turns=(Turn("human", question.text, (0,)), Turn("assistant", question.answer)),
            images=(Image(str(question.image)),),
        )
        for name in BESIDE
        for number, question in enumerate([one for one in asked if one.source == name][:most])
    ]


def measure_assistant(params: Params, samples: Sequence[Sample], folder: Path) -> dict[str, Share]:
    """Right short answers and CIDEr of captions, with the photograph, without it, and the difference.

    Short answers of `BESIDE` are counted by set.

    Args:
        params: Of the profile, whose `STAGE` is there.
        samples: Held-out questions and captions.
        folder: Where the answers are kept.
    """
    said = {seen: _answers(params, samples, folder, with_images=seen) for seen in (True, False)}
    captions = [i for i, sample in enumerate(samples) if sample.task.is_caption]
    short = [i for i, sample in enumerate(samples) if sample.task.is_vqa and sample.source not in BESIDE]
    references = [[str(text) for text in samples[i].extras["captions"]] for i in captions]
    cider = Cider(references)
    figures: dict[str, Share] = {}
    right: dict[bool, list[bool]] = {}
    for seen, name in ((True, "with"), (False, "without")):
        if captions:
            scores = [100 * cider.score(said[seen][i], known) for i, known in zip(captions, references, strict=True)]
            figures[f"cider_{name}"] = _mean(scores, params.seed, f"cider {name}")
        right[seen] = [preserved(samples[i].response, said[seen][i]) for i in short]
        if short:
            figures[f"short_{name}"] = share(right[seen])
        for source in BESIDE:
            own = [i for i, sample in enumerate(samples) if sample.source == source]
            if own:
                figures[f"{source}_{name}"] = share([preserved(samples[i].response, said[seen][i]) for i in own])
    gains = [float(a) - float(b) for a, b in zip(right[True], right[False], strict=True)]
    return figures | ({"gain_yes_no_and_short": _mean(gains, params.seed, "gain")} if gains else {})


def _mean(values: Sequence[float], seed: int, purpose: str) -> Share:
    interval = bootstrap_mean(values, resamples=RESAMPLES, seed=seed, purpose=f"goals {purpose}")
    ends = {"value": interval.value, "low": interval.low, "high": interval.high}
    return {name: float(end or 0.0) for name, end in ends.items()} | {"n": len(values)}


def _answers(params: Params, samples: Sequence[Sample], folder: Path, *, with_images: bool) -> list[str]:
    from polite_flamingo.model.flamingo import load_flamingo

    base, weights = params.models / "backbones" / "flamingo", params.models / STAGE
    settings = GenerationSettings.of(params.generation, params.evaluate, seed=params.seed)
    runtime = params.runtime
    loaded: list[FlamingoBundle] = []

    def work(chunk: list[Sample]) -> list[dict[str, object]]:
        if not loaded:
            loaded.append(load_flamingo(base, device=runtime.device, dtype=runtime.dtype, trainables=weights))
        answers = ask(
            loaded[0],
            chunk,
            settings,
            image_root=params.image_root,
            batch_size=runtime.generation_batch_size,
            with_images=with_images,
        )
        return [answer.to_row() for answer in answers]

    out = folder / ("with" if with_images else "without")
    rows = [sample.to_row() for sample in samples]
    key = fingerprint("goals", base, weights, settings.model_dump(), rows, with_images)
    name = f"assistant {out.name} the photographs"
    resumable(samples, work, out=out, key=key, total=len(samples), label=name, work_root=folder / "work")
    return [Rewrite.from_row(row).rewritten for row in read_shards(out)]
