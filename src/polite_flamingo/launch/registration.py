"""Trained models of a profile become versions of the registry, and one of them the champion."""

from __future__ import annotations

import base64
import io
import logging
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError, ModelError
from polite_flamingo.images import resolve_image
from polite_flamingo.io.hashes import fingerprint, hash_file
from polite_flamingo.io.shards import read_shards
from polite_flamingo.io.text import read_json, write_json
from polite_flamingo.launch.project import folder_of
from polite_flamingo.markdown import escaped
from polite_flamingo.model.settings import GenerationSettings
from polite_flamingo.params.schema import Params
from polite_flamingo.registry import evidence as scores
from polite_flamingo.registry.evidence import Evidence
from polite_flamingo.registry.gate import FigureComparison, compare, render
from polite_flamingo.registry.kinds import IMAGES, INPUTS, KEY, KINDS, OUTPUTS, ModelKind, training_stage
from polite_flamingo.registry.lineage import Lock
from polite_flamingo.registry.parts import folder_bytes, folder_md5
from polite_flamingo.tracking.git import git_tags
from polite_flamingo.tracking.registry import CHALLENGER, CHAMPION, CONTENT, ModelPackage, ModelRegistry, ModelVersion
from polite_flamingo.tracking.store import tracking_uri
from polite_flamingo.world.truth import load_ground_truth

LOG = logging.getLogger(__name__)

CODE = Path(__file__).resolve().parents[1] / "registry" / "model_code.py"
WEIGHTS, GATES, PROFILE, FORCED = "weights", "gates", "profile", "promotion.forced"
HELD = "held"
NEEDED = ("torch", "transformers", "tokenizers", "safetensors", "einops", "einops-exts", "pillow", "numpy", "pandas")
DONE = Path(".work/registered")  # what the end of a run has registered, so that one that changed nothing asks nobody


@dataclass(frozen=True, slots=True)
class Promotion:
    """What became of a promotion.

    Args:
        promoted: Whether the version is champion now.
        text: Why, for people.
        rows: The comparison, if there was one.
    """

    promoted: bool
    text: str
    rows: tuple[FigureComparison, ...] = ()


def register(params: Params, kind: ModelKind, folder: str | None = None) -> tuple[ModelVersion, bool]:
    """Make a trained model a version, the challenger; the first one is champion at once if the gates held.

    Args:
        params: The profile's parameters.
        kind: What is registered.
        folder: Which of its models, below ``models/P``; None: the usual one.

    Returns:
        The version, and whether it is new.

    Raises:
        DataError: the stages that train or measure it are out of date.
    """
    folder = folder or kind.trained[0]
    lock = _lock(params)
    lock.check(kind.evidence, root=Path(), folders=_folders(params, kind, folder))
    registry = ModelRegistry()
    with tempfile.TemporaryDirectory(prefix="polite-flamingo-") as scratch:
        package = _package(params, kind, folder, lock, registry, Path(scratch))
        known = registry.find(kind.registered, package.tags[CONTENT])
        if known is not None:
            return known, False
        made = registry.register(package)
    champion = registry.aliased(kind.registered, CHAMPION)
    if champion is None or champion.tags.get(PROFILE) == params.profile:
        registry.challenge(made)
    if champion is None:
        LOG.info("%s", promote(params, kind, made.number).text)
    return made, True


def register_finished(params: Params) -> None:
    """At the end of a run: register what is new and complete. A failure is a warning, never an error."""
    for kind in KINDS.values():
        if training_stage(kind.trained[0]) not in params.stages:
            continue
        try:
            lock = _lock(params)
            outputs = lock.outputs(training_stage(kind.trained[0])), lock.outputs(kind.evidence)
            state = fingerprint(tracking_uri(), kind.name, outputs)
            done = DONE / f"{params.profile}-{kind.name}.json"
            if not lock.outputs(kind.evidence) or (done.is_file() and read_json(done) == state):
                continue
            made, new = register(params, kind)
            write_json(done, state)
            if new:
                LOG.info("registered %s, version %d", made.name, made.number)
        except DataError as error:
            LOG.info("the %s was not registered: %s", kind.name, error.what)
        except Exception as error:  # registering must never stop a pipeline
            LOG.warning("the %s was not registered (%s: %s)", kind.name, type(error).__name__, error)


def promote(params: Params, kind: ModelKind, number: int | None = None, reason: str | None = None) -> Promotion:
    """Make a version the champion, if it is not shown to be worse than the present one.

    Args:
        params: The profile's parameters; `registry` says which figures count.
        kind: Of which model.
        number: The version; None: the challenger.
        reason: Promote whatever the gate says, for this reason, which becomes a tag.

    Raises:
        ModelError: there is no such version.
    """
    registry = ModelRegistry()
    version = registry.version(kind.registered, number) if number else registry.aliased(kind.registered, CHALLENGER)
    if version is None:
        raise ModelError(
            "there is no challenger", where=kind.registered, next_step="`polite-flamingo models register`, or --version"
        )
    champion = registry.aliased(kind.registered, CHAMPION)
    title = f"{kind.registered} version {version.number}"
    if champion is not None and champion.number == version.number:
        return Promotion(True, f"{title} is the champion already")
    rows, objections = _judge(params, kind, registry, version, champion)
    against = "the first champion" if champion is None else f"instead of version {champion.number}"
    table = f"{render(rows)}\n" if rows else ""
    verdicts = {f"promotion.{row.figure}": row.verdict for row in rows}
    if objections and reason is None:
        registry.note(version, {**verdicts, "promotion.refused": "; ".join(objections)})
        return Promotion(False, f"{table}{title} is refused: {'; '.join(objections)}", tuple(rows))
    forced = {FORCED: f"{reason} (objections: {'; '.join(objections) or 'none'})"} if reason is not None else {}
    instead = "" if champion is None else str(champion.number)
    registry.promote(version, champion, {**verdicts, **forced, "promotion.instead_of": instead})
    how = f", forced: {reason}" if objections else ""
    return Promotion(True, f"{table}{title} is champion, {against}{how}", tuple(rows))


def roll_back(kind: ModelKind, reason: str) -> str:
    """Make the champion before this one champion again."""
    going, coming = ModelRegistry().roll_back(kind.registered, reason)
    return f"{kind.registered} version {coming.number} is champion again, instead of version {going.number}"


def listing() -> dict[str, list[dict[str, Any]]]:
    """Versions of every kind: number, aliases, where from, headline figures."""
    registry = ModelRegistry()
    listed: dict[str, list[dict[str, Any]]] = {}
    for kind in KINDS.values():
        aliases = {alias: registry.aliased(kind.registered, alias) for alias in (CHAMPION, CHALLENGER)}
        listed[kind.registered] = [
            {
                "version": made.number,
                "aliases": [alias for alias, named in aliases.items() if named and named.number == made.number],
                "profile": made.tags.get(PROFILE, ""),
                "trained": made.tags.get("trained", ""),
                "commit": made.tags.get("git.commit", ""),
                "run": made.run,
                "figures": {k.removeprefix("figure."): v for k, v in made.tags.items() if k.startswith("figure.")},
                "rolled_back": made.tags.get("rolled_back.reason"),
                "forced": made.tags.get(FORCED),
            }
            for made in registry.versions(kind.registered)
        ]
    return listed


def _judge(
    params: Params, kind: ModelKind, registry: ModelRegistry, version: ModelVersion, champion: ModelVersion | None
) -> tuple[list[FigureComparison], list[str]]:
    """The comparison with the champion, and what speaks against the new version."""
    objections = []
    if not version.tags.get(GATES, "").startswith(HELD):
        objections.append(f"its quality gates: {version.tags.get(GATES, 'none recorded')}")
    if champion is None or version.tags.get(WEIGHTS, "new") == champion.tags.get(WEIGHTS, "old"):
        return [], objections  # nothing to compare with, or with itself
    with tempfile.TemporaryDirectory(prefix="polite-flamingo-") as scratch:
        new, old = (
            Evidence.read(registry.file(made, f"artifacts/{scores.FILE}", Path(scratch) / str(made.number)))
            for made in (version, champion)
        )
    rows = compare(
        new,
        old,
        params.registry.margins(kind.name),
        strict=params.registry.strict,
        resamples=params.evaluate.bootstrap_samples,
        seed=params.seed,
    )
    objections += [f"{row.figure} {row.verdict}" for row in rows if row.refused]
    if not any(row.difference.n for row in rows):
        objections.append("nothing could be compared")
    return rows, objections


def _package(
    params: Params, kind: ModelKind, folder: str, lock: Lock, registry: ModelRegistry, scratch: Path
) -> ModelPackage:
    """All that makes a version."""
    measured = _evidence(params, kind, folder)
    measured.write(scratch / scores.FILE)
    adapter, base = params.models / folder, params.models / "backbones" / "flamingo"
    stage = training_stage(folder)
    weights = lock.outputs(stage)[adapter.as_posix()]
    source = registry.source_run(adapter.as_posix(), weights)
    made_by = source.tags if source else git_tags(Path())  # without a run: who registers
    tags = {name: value for name, value in made_by.items() if name.startswith("git.")}
    parts = {"base": base, "adapter": adapter}
    copied = {name: path for name, path in parts.items() if folder_bytes(path) <= params.registry.copy_below_gb * 1e9}
    decoding = _decoding(params, kind)
    config = {
        "kind": kind.name,
        "decoding": decoding,
        "device": params.runtime.device,
        "dtype": params.runtime.dtype,
        "batch_size": params.runtime.generation_batch_size,
        "parts": {
            name: {"path": path.as_posix(), "md5": folder_md5(path), "commit": tags.get("git.commit", "HEAD")}
            for name, path in parts.items()
            if name not in copied
        },
    }
    size = sum(map(folder_bytes, parts.values())) / 1e6
    counting = params.registry.margins(kind.name)
    tags = {
        **{f"figure.{name}": f"{mean:.4f}" for name, mean in measured.means().items() if name in counting},
        **tags,
        CONTENT: fingerprint(weights, decoding, dict(measured.sets)),
        WEIGHTS: fingerprint(weights, decoding),
        PROFILE: params.profile,
        "trained": folder,
        "run.pipeline": (source and source.pipeline) or "unknown",
        "run.stage": (source and source.stage) or "unknown",
        "licence": _licences(params),
        GATES: _gates(params),
        "size": f"{size:.1f} MB, copied: {', '.join(copied) or 'nothing'}",
        **{f"md5.{path}": md5 for path, md5 in _made_of(lock, stage, kind).items()},
    }
    inputs, example = package_inputs(kind)
    return ModelPackage(
        name=kind.registered,
        purpose=kind.what,
        code=CODE,
        files={**copied, "evidence": scratch / scores.FILE},
        config=config,
        inputs=inputs,
        outputs=list(OUTPUTS),
        parameters=decoding,
        example=example,
        requirements=_requirements(),
        description=_card(kind, measured, adapter),
        tags=tags,
        source=source,
    )


def _evidence(params: Params, kind: ModelKind, folder: str) -> Evidence:
    """Scores of a trained model, from what the stages kept."""

    @cache
    def hash_image(path: str) -> str:
        return hash_file(resolve_image(params.image_root, path))

    if kind.name == "assistant":
        judges = read_json(params.reports / "evaluate.json")["judges"]
        return scores.assistant_evidence(
            read_shards(params.data / "answers" / folder),
            seen_sources=params.trained_on,
            judges={name: judge["weights"] for name, judge in judges.items() if isinstance(judge, Mapping)},
            hash_image=hash_image,
        )
    own = params.rewriter_backend == "flamingo"  # else another model rewrote the annotations
    decisions = read_shards(params.data / "pf1m" / "decisions", ["id", "kept"])
    scorers = [params.models / "backbones" / name for name in ("clip", "nli", "reward", "sts")]
    return scores.rewriter_evidence(
        read_shards(params.data / "revised" / folder),
        read_shards(params.data / "scored") if own else (),
        {row["id"]: row["kept"] for row in decisions},
        truth=load_ground_truth(params.image_root),
        judges={
            "filter": params.filter.model_dump(mode="json"),
            "score": params.score.model_dump(mode="json"),
            "scorers": [fingerprint(path) for path in scorers if path.is_dir()],
        },
        hash_image=hash_image,
    )


def _folders(params: Params, kind: ModelKind, folder: str) -> tuple[str, ...]:
    """Outputs that are compared with dvc.lock: the weights, and what the scores are read from."""
    read = ["answers"] if kind.name == "assistant" else ["revised/rewriter", "scored", "pf1m/decisions"]
    return ((params.models / folder).as_posix(), *((params.data / name).as_posix() for name in read))


def _made_of(lock: Lock, stage: str, kind: ModelKind) -> dict[str, str]:
    """Paths and md5 of data and models that a training read and wrote, and of the data it was measured by."""
    measured = lock.inputs(kind.evidence) | lock.outputs(kind.evidence)
    data = {path: md5 for path, md5 in measured.items() if path.startswith("data/")}
    made = data | lock.inputs(stage) | lock.outputs(stage)
    return {path: md5 for path, md5 in made.items() if not path.startswith("reports/")}


def _lock(params: Params) -> Lock:
    return Lock.read(folder_of(params.profile, Path()) / "dvc.lock", params.profile)


def _decoding(params: Params, kind: ModelKind) -> dict[str, Any]:
    """How the pipeline lets this model answer."""
    own = (params.evaluate,) if kind.name == "assistant" else ()
    return GenerationSettings.of(params.generation, *own, seed=params.seed).model_dump()


def _gates(params: Params) -> str:
    checks = [read_json(path) for path in sorted((params.reports / "checks").glob("*.json"))]
    failed = [check["name"] for check in checks if not check["passed"]]
    if failed or not checks:
        return f"failed: {', '.join(failed)}" if failed else "none ran"
    return f"{HELD}: {', '.join(check['name'] for check in checks)}"


def _licences(params: Params) -> str:
    """Shares of the licences of the records that were trained on."""
    folders = [params.data / "samples" / role for role in ("instruction", "annotation")]
    counts = Counter(
        row["licence"] for folder in folders if folder.is_dir() for row in read_shards(folder, ["licence"])
    )
    total = counts.total()
    return "; ".join(f"{name} {count / total:.0%}" for name, count in counts.most_common()) or "unknown"


def _card(kind: ModelKind, measured: Evidence, adapter: Path) -> str:
    """The model card with the figures, as MLflow shows it beside the version."""
    figures = [
        f"| {escaped(name)} | {mean:.4f} | {len(measured.scores[name])} |" for name, mean in measured.means().items()
    ]
    columns = [f"| {name} | {text} |" for name, text in {**kind.asked, **INPUTS}.items()]
    card = (adapter / "README.md").read_text(encoding="utf-8") if (adapter / "README.md").is_file() else ""
    return "\n".join(
        [
            kind.what,
            "\n| figure | mean | records |\n|---|---|---|",
            *figures,
            "\n| input | what |\n|---|---|",
            *columns,
            "",
            card.split("---\n", 2)[-1].strip(),
        ]
    )


def package_inputs(kind: ModelKind) -> tuple[list[tuple[str, bool, bool]], dict[str, Any]]:
    """Columns of the input (name, needed, several), and a row that can be asked.

    The row shows a drawn picture, so that no dataset's image travels with a model.
    """
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (64, 64), "white")
    ImageDraw.Draw(picture).ellipse((16, 16, 48, 48), fill="red")
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    texts = {"question": "What is shown in the picture?", "instruction": "Describe the picture.", "draft": "red circle"}
    row: dict[str, Any] = {name: texts[name] for name in kind.asked}
    columns = [*((name, True, False) for name in kind.asked), (IMAGES, False, True), (KEY, False, False)]
    return columns, {**row, IMAGES: [base64.b64encode(buffer.getvalue()).decode()], KEY: "example"}


def _requirements() -> list[str]:
    """What loading needs, with the versions of this environment; the package itself is not on an index."""
    pinned = []
    for name in NEEDED:
        try:
            pinned.append(f"{name}=={version(name).partition('+')[0]}")
        except PackageNotFoundError:
            LOG.warning("%s is not installed", name)
    return pinned
