"""The four steps of curation as functions, for notebooks and scripts: no project, no params.yaml, no DVC.

``import polite_flamingo as pf`` has them all. Each takes an iterable and gives an iterator, or takes a
``datasets.Dataset`` and gives one, whose columns are those of the records (`records`: ``to_row``, ``from_row``). They
hold what the stages hold (prompts, repair, scores, filters in the paper's order), and nothing of what makes a run of a
million records resumable; for that there is ``polite-flamingo run``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from polite_flamingo.errors import DataError
from polite_flamingo.filter.chain import FilterSettings
from polite_flamingo.filter.sets import judge_sets
from polite_flamingo.filter.table import decide_table, write_table
from polite_flamingo.io.chunks import chunked
from polite_flamingo.jobs.backends.load import SHIPPED, BackendOptions, load_backend
from polite_flamingo.jobs.questions import Failure
from polite_flamingo.jobs.settings import TextMachineSettings
from polite_flamingo.model.settings import GenerationSettings
from polite_flamingo.prompts.rewriting import DEFAULT, load_prompts
from polite_flamingo.records import Reject, Rewrite, Sample
from polite_flamingo.rewrite.job import as_rewrite
from polite_flamingo.rewrite.kinds import kind_of
from polite_flamingo.rewrite.question import FIGURE_3_VERSION, question_of
from polite_flamingo.rewrite.repair import RepairingBackend, RepairPolicy
from polite_flamingo.scorers.base import score_records
from polite_flamingo.scorers.checks import checker_of
from polite_flamingo.scorers.job import CLIP, MODEL_COLUMNS, with_all_columns
from polite_flamingo.scorers.load import Recipe, scorer_folders
from polite_flamingo.scorers.text import cut_texts
from polite_flamingo.sources.exchanges import exchanges
from polite_flamingo.sources.readers.table import ALL, Table
from polite_flamingo.sources.registry import load_source

if TYPE_CHECKING:
    from polite_flamingo.jobs.backends.text import TextBackend

R = TypeVar("R", Sample, Rewrite)
REJECTS = "mend it, or pass a list as `rejects`, which gets all that cannot be used"
ROWS_FILE = "rows.parquet"


def read_samples(
    source: str | Any,
    folder: str | Path,
    *,
    split: str = ALL,
    mapping: Mapping[str, Any] | None = None,
    rejects: list[Reject] | None = None,
    seed: int = 42,
) -> Iterator[Sample] | Any:
    """Read annotations.

    Args:
        source: A dataset of the catalogue, ``package.module:Class``, a plug-in; or a ``datasets.Dataset`` of one's own
            columns, which `mapping` names.
        folder: Folder of the dataset's files; image paths are relative to the folder it lies in. Of a
            ``datasets.Dataset`` the folder that embedded images are written to (``derived/`` beside it).
        split: Split as the dataset names it.
        mapping: What a ``mapping.yaml`` would hold, of a table or a ``datasets.Dataset``.
        rejects: Gets the rows that cannot be used; without it the first of them is an error.
        seed: Of drawn requests.

    Returns:
        An iterator of samples; a ``datasets.Dataset`` where one was given.

    Raises:
        DataError: a file, or without `rejects` a row, cannot be used.
        ConfigError: there is no such reader.
    """
    place = Path(folder).absolute()
    if isinstance(source, str):
        reader = load_source(source) if mapping is None else Table(mapping)
        return _accepted(reader.read(place.parent, place.name, split, seed=seed), rejects)
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place) as rows:
        source.to_parquet(Path(rows) / ROWS_FILE)
        name = Path(rows).name
        reader = Table({"file": f"{name}/{ROWS_FILE}", **(mapping or {})})
        samples = list(_accepted(reader.read(place.parent, place.name, split, seed=seed), rejects))
    return as_dataset(samples)


def rewrite_samples(
    samples: Iterable[Sample] | Any,
    model: str | TextBackend,
    *,
    images: str | Path = ".",
    style: str = DEFAULT,
    generation: Mapping[str, Any] | None = None,
    repair: Mapping[str, Any] | None = None,
    machine: Mapping[str, Any] | None = None,
    rejects: list[Reject] | None = None,
) -> Iterator[Rewrite] | Any:
    """Rewrite raw answers into polite ones (section 4.1); an answer with a visible fault is asked for again.

    Of a dialogue every answer becomes a rewrite of its own.

    Args:
        samples: Samples, or a ``datasets.Dataset`` of them.
        model: ``laptop``, ``hf:<folder or id@revision>``, ``openai:<base url>#<model>``, a plug-in, or a backend of
            your own (`jobs.questions.Backend`).
        images: Data root, the folder that image paths are relative to.
        style: Of the request: polite, concise, stepwise, or a template file; ``laptop`` knows none.
        generation: Decoding, keys of ``generation`` in params.yaml, and ``seed``.
        repair: Keys of ``repair`` in params.yaml.
        machine: Keys of a profile's ``runtime``, e.g. ``device`` or ``endpoint: {concurrency: 64}``.
        rejects: Gets the samples without an answer; without it the first of them is an error.

    Returns:
        An iterator of rewrites, as they come; a ``datasets.Dataset`` where one was given.

    Raises:
        ConfigError: there is no such model or style.
        ModelError: the model, or an endpoint as a whole, does not answer.
    """
    prompts = None if model == SHIPPED else load_prompts(style)
    if isinstance(model, str):
        settings = GenerationSettings(**(generation or {}))
        options = BackendOptions(Path(images).resolve(), TextMachineSettings(**(machine or {})))
        model = load_backend(model, settings, options)
    backend = RepairingBackend(model, RepairPolicy(**(repair or {})))

    def rewritten(records: Iterable[Sample]) -> Iterator[Rewrite | Reject]:
        with closing(backend):
            questions = (part for sample in records for part in exchanges(sample))
            for chunk in chunked(questions, backend.batch_size):
                answers = backend.answer([question_of(sample, prompts) for sample in chunk])
                for sample, answer in zip(chunk, answers, strict=True):
                    if isinstance(answer, Failure):
                        yield Reject(sample.source, "samples", sample.id, answer.reason)
                    else:
                        version = FIGURE_3_VERSION if prompts is None else prompts[kind_of(sample)].version
                        yield as_rewrite(sample, answer, version)

    return _like(samples, _accepted(rewritten(_records(Sample, samples)), rejects))


def score_rewrites(
    rewrites: Iterable[Rewrite] | Any,
    *,
    images: str | Path = ".",
    machine: Mapping[str, Any] | None = None,
    clip_mode: str = "paper",
    **models: str,
) -> Iterator[Rewrite] | Any:
    """Give rewrites all of their score columns (section 4.2). They are held in memory: objects are told by all of them.

    Args:
        rewrites: Rewrites, or a ``datasets.Dataset`` of them.
        images: Data root.
        machine: Keys of a profile's ``runtime``.
        clip_mode: ``paper`` or ``fixed``.
        models: The scorers to use, by name (``clip``, ``nli``, ``reward``, ``sts``): a folder, or an origin as in a
            profile's ``backbones``. Columns of the others are empty, and their filters keep every record.

    Returns:
        An iterator of scored rewrites; a ``datasets.Dataset`` where one was given.

    Raises:
        ModelError: a model cannot be used.
    """
    records = list(_records(Rewrite, rewrites))
    settings = TextMachineSettings(**(machine or {}))
    folders = scorer_folders(models, models, models, Path(".work") / "none")
    values: list[dict[str, Any]] = [{} for _ in records]
    texts: list[list[str] | None] = [None] * len(records)
    scorers: dict[str, Any] = {}
    for column in (column for column in MODEL_COLUMNS if column.scorer in models):
        if column.scorer not in scorers:
            folder = folders[column.scorer]
            recipe = Recipe(column.scorer, folder, Path(images).resolve(), clip_mode, settings, identity="")
            scorers[column.scorer] = recipe.load()
        questions = [column.ask(record, cut) for record, cut in zip(records, texts, strict=True)]
        for index, value in enumerate(score_records(scorers[column.scorer], questions)):
            values[index][column.name] = value
            if column.name == CLIP:
                texts[index] = cut_texts(records[index], value)
    checker = checker_of(lambda: records)
    scored = (with_all_columns(*each, checker, Path(images)) for each in zip(records, values, texts, strict=True))
    return _like(rewrites, scored)


def filter_rewrites(
    scored: Iterable[Rewrite] | Any,
    settings: Mapping[str, Mapping[str, Any]] | FilterSettings | None = None,
    *,
    rejected: list[tuple[Rewrite, str]] | None = None,
) -> Iterator[Rewrite] | Any:
    """Keep the rewrites that every filter passes, in the order of Figure 10; paragraphs of captions may be cut.

    Args:
        scored: Scored rewrites, or a ``datasets.Dataset`` of them; held in memory.
        settings: Keys of ``filter`` in params.yaml, e.g. ``{"numbers": {"max_changed": 0}}``; None: the paper's.
        rejected: Gets the others, each with its reason.

    Returns:
        An iterator of the kept; a ``datasets.Dataset`` where one was given.

    Raises:
        DataError: a record has not been scored.
    """
    chain = settings if isinstance(settings, FilterSettings) else FilterSettings.model_validate(settings or {})
    records = list(_records(Rewrite, scored))

    def kept() -> Iterator[Rewrite]:
        with tempfile.TemporaryDirectory() as work:
            table = Path(work) / "table"
            write_table(records, table)
            sets, ahead, number = judge_sets(table, chain), iter(records), 0
            for batch, decisions in decide_table(table, chain, ("id",)):
                for rewrite, alone in decisions.on(islice(ahead, len(batch))):
                    decision = sets.apply(rewrite, alone, number)
                    number += 1
                    if decision.reason is None:
                        yield decision.rewrite
                    elif rejected is not None:
                        rejected.append((rewrite, decision.reason))

    return _like(scored, kept())


def as_dataset(records: Iterable[Sample | Rewrite]) -> Any:
    """A ``datasets.Dataset`` of records, one column per field; nested fields are JSON in text."""
    from datasets import Dataset

    return Dataset.from_list([record.to_row() for record in records])


def as_records(kind: type[R], rows: Iterable[Mapping[str, Any]]) -> Iterator[R]:
    """The records of the rows of a ``datasets.Dataset``.

    Args:
        kind: ``Sample`` or ``Rewrite``.
        rows: The rows.
    """
    return (kind.from_row(row) for row in rows)


def _records(kind: type[R], given: Iterable[R] | Any) -> Iterator[R]:
    rows: Any = given
    return as_records(kind, rows) if _is_dataset(given) else iter(given)


def _like(given: Any, records: Iterator[Rewrite]) -> Iterator[Rewrite] | Any:
    return as_dataset(records) if _is_dataset(given) else records


def _is_dataset(given: Any) -> bool:
    return hasattr(given, "to_parquet") and hasattr(given, "column_names")


def _accepted(items: Iterable[R | Reject], rejects: list[Reject] | None) -> Iterator[R]:
    for item in items:
        if not isinstance(item, Reject):
            yield item
        elif rejects is None:
            raise DataError(item.reason, value=item.value or None, where=f"{item.file}: {item.row}", next_step=REJECTS)
        else:
            rejects.append(item)
