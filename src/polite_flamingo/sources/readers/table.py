"""One's own data without code: a table in any usual file, and a ``mapping.yaml`` beside it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError, did_you_mean
from polite_flamingo.prompts.requests import CHANGE, PLAIN, draw_request
from polite_flamingo.records import Image, Reject, Sample, Task, Turn
from polite_flamingo.sources.base import attempt
from polite_flamingo.sources.forms.answers import choose, unlettered, with_choices
from polite_flamingo.sources.forms.conversations import unmarked
from polite_flamingo.sources.forms.files import find_all, relative
from polite_flamingo.sources.forms.mapping import (
    FILE,
    GIVEN,
    Plan,
    as_text,
    choices_of,
    is_missing,
    listed,
    load_plan,
    look_up,
    said,
)
from polite_flamingo.sources.forms.pictures import Pictures
from polite_flamingo.sources.forms.rows import NumberedRow, read_rows, saved_files

ALL = "all"  # the split that means every row
LOOKED_AT = 20  # rows within which every column must turn up


class Table:
    """Any table: CSV, TSV, JSON, JSON Lines, Parquet, or a dataset of the Hugging Face library.

    `polite_flamingo.sources.forms.mapping` says what ``mapping.yaml`` holds. Sample ids are ``table/split/folder/id``.
    A list of captions becomes one raw answer, as in the paper (section 4.1, 2307.01003).

    Args:
        mapping: What ``mapping.yaml`` would hold, as a profile gives it; None: the file lies in the folder.
    """

    name = "table"
    tasks = frozenset(Task)
    licence = "as mapping.yaml states"
    siblings: tuple[str, ...] = ()

    def __init__(self, mapping: Mapping[str, Any] | None = None) -> None:
        self._mapping = mapping

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read the table of a folder; `split` ``all`` takes the rows of every split."""
        plan = load_plan(root / folder / FILE, self._mapping)
        pictures = Pictures(root, folder)
        base, files = _files(root, folder, split, plan)
        for file in files:
            where = relative(base, file) if plan.hub is None else f"{plan.hub[0]}/{relative(base, file)}"
            rows = read_rows(self.name, base, file, plan.layout, plan.columns)
            for number, row in _checked(rows, plan, file, FILE if self._mapping is None else GIVEN):
                if isinstance(row, Reject):
                    yield row
                elif _belongs(plan, row, split):
                    official = f"{file.name.partition('.')[0]}-{number}"
                    yield attempt(
                        self.name, where, number, self._sample, plan, pictures, folder, split, seed, official, row
                    )
                    if pictures.problem is not None:
                        raise pictures.problem

    def _sample(
        self, plan: Plan, pictures: Pictures, folder: str, split: str, seed: int, official: str, row: Any
    ) -> Sample:
        if not isinstance(row, dict):
            raise DataError("row is not an object", value=row)
        values = {
            name: plan.fields[name].read(row) for name in ("task", "licence", "id", "split") if name in plan.fields
        }
        task = _task(values["task"])
        official = values.get("id") or official
        split = values.get("split") or split
        sample_id = f"{self.name}/{split}/{folder}/{official}"
        images = _images(plan, pictures, row)
        question = plan.fields["question"].read(row) if "question" in plan.fields else None
        question = unmarked(question) if question and images else question
        answer, extras = _answer(plan, task, row)
        choices = choices_of(row, plan.choices) if plan.choices else []
        if choices:
            given = plan.fields["answer"].value(row) if "answer" in plan.fields else answer
            place = choose(choices, given)
            if place is None:
                raise DataError("answer names none of the choices", value=[answer, *choices])
            choices = unlettered(choices)
            question = with_choices(question or _request(task, seed, sample_id), choices)
            answer = choices[place]
            extras |= {"choices": choices, "answers": [answer]}
        if plan.permissive is not None:
            extras["permissive"] = plan.permissive
        return Sample(
            id=sample_id,
            source=self.name,
            split=split,
            licence=values["licence"] or "",
            task=task,
            turns=(
                Turn("human", question or _request(task, seed, sample_id), tuple(range(len(images)))),
                Turn("assistant", answer),
            ),
            images=images,
            extras=extras,
        )


def _files(root: Path, folder: str, split: str, plan: Plan) -> tuple[Path, Sequence[Path]]:
    """The folder that file names are told from, and the files."""
    names = [name.replace("{split}", "*" if split == ALL else split) for name in plan.where]
    if plan.kind == "saved":
        return root, [file for name in names for file in saved_files(root / folder / name, split)]
    if plan.hub is not None:
        base = _snapshot(*plan.hub, names)
        return base, find_all(base, ".", *names)
    return root, [file for file in find_all(root, folder, *names) if file.name != FILE]


def _snapshot(repository: str, revision: str, patterns: Sequence[str]) -> Path:
    """Folder of the files of one revision; what is not in the Hugging Face cache is fetched unless that is off."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(repository, repo_type="dataset", revision=revision, allow_patterns=list(patterns))
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise DataError(
            "dataset of the Hugging Face hub cannot be had",
            value=f"{repository}@{revision}",
            where=" ".join(str(error).split())[:200],
            next_step=f"hf download --repo-type dataset --revision {revision} {repository}",
        ) from None


def _checked(rows: Iterator[NumberedRow], plan: Plan, file: Path, place: str) -> Iterator[NumberedRow]:
    """The same rows, after a look at the first: a column that none of them has is a mistake in the mapping."""
    first = list(islice(rows, LOOKED_AT))
    seen = [row for _, row in first if isinstance(row, dict)]
    known = {str(column) for row in seen for column in row}
    for column in sorted(plan.columns) if seen else ():
        if column not in known and all(look_up(row, column) is None for row in seen):
            hint = did_you_mean(column, known)
            raise DataError(
                "table has no such column", value=column, where=file, next_step=f"{hint} (mend it in {place})"
            )
    return chain(first, rows)


def _belongs(plan: Plan, row: Any, split: str) -> bool:
    """Whether a row is of the wanted split; one that does not say is looked at, and rejected there."""
    if split == ALL or "split" not in plan.fields or not isinstance(row, dict):
        return True
    try:
        return plan.fields["split"].read(row) in (None, split)
    except DataError:
        return True


def _task(name: str | None) -> Task:
    try:
        return Task(name or "")
    except ValueError:
        raise DataError("unknown task", value=name, next_step=", ".join(Task)) from None


def _images(plan: Plan, pictures: Pictures, row: dict[str, Any]) -> tuple[Image, ...]:
    images: list[Image] = []
    for field in plan.images:
        value = field.value(row)
        images += [pictures.locate(item) for item in listed(value) or ([] if value is None else [value])]
    return tuple(images)


def _answer(plan: Plan, task: Task, row: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The raw answer, and what extras know of the others."""
    texts: list[str] = []
    if "answers" in plan.fields:
        column = plan.fields["answers"].column or ""
        value = plan.fields["answers"].value(row)
        items = listed(value) or [value]
        texts = [as_text(item, column) for item in map(said, items) if not is_missing(item)]
        texts = [" ".join(text.split()) for text in texts] if task.is_caption else texts
    single = plan.fields["answer"].read(row) if "answer" in plan.fields else None
    if single is None and not texts:
        raise DataError("row has no answer", value=sorted(map(str, row)))
    extras: dict[str, Any] = {("captions" if task.is_caption else "answers"): texts} if texts else {}
    if single is not None:
        return single, extras
    return "\n".join(texts) if task.is_caption else Counter(texts).most_common(1)[0][0], extras


def _request(task: Task, seed: int, sample_id: str) -> str:
    pools = {Task.CAPTION: PLAIN, Task.DETAIL: PLAIN, Task.CHANGE: CHANGE}
    if task not in pools:
        raise DataError("row has no question, and none can be drawn for its task", value=str(task))
    return draw_request(pools[task], seed=seed, sample_id=sample_id)
