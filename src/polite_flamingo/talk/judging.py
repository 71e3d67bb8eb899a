"""What the filters would say of one rewrite: every score, every verdict, in the order of Figure 10.

Scorers are those that lie beside the model's base, or are named. One that is not there is named in the judgement: its
columns are empty, and the filters that read it pass everything, as in a profile that goes without it. What a filter
says of whole sources (near duplicates, templates) is not said of one record.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polite_flamingo.devices import DeviceSettings
from polite_flamingo.errors import DataError, did_you_mean
from polite_flamingo.filter.chain import ORDER, Decision, FilterSettings, decide
from polite_flamingo.filter.table import batch_of
from polite_flamingo.jobs.settings import MachineSettings
from polite_flamingo.params.schema import SCORED_BY
from polite_flamingo.records import Image, Rewrite
from polite_flamingo.scorers.base import Scorer, score_records
from polite_flamingo.scorers.checks import checker_of
from polite_flamingo.scorers.job import CLIP, MODEL_COLUMNS, with_all_columns
from polite_flamingo.scorers.load import SCORERS, Recipe, scorer_folders
from polite_flamingo.scorers.text import cut_texts
from polite_flamingo.start.profile import LAPTOP_CUT
from polite_flamingo.start.profile import SCORERS as NAMED
from polite_flamingo.talk.models import ModelPlace
from polite_flamingo.talk.raw_answers import RawAnswer

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

SETS = tuple(NAMED)  # names of sets of scorers: none, paper, laptop
OF_LAPTOP = FilterSettings.model_validate(  # calibrated for the small judges of photographs, as `init` writes them
    {
        "nli": {"reject": ["contradiction", "neutral"]},
        "paragraphs": {"min_clip_logit": LAPTOP_CUT},
        "numbers": {"max_changed": 0},
        "yes_no": {"reject_flipped": True},
    }
)


@dataclass(frozen=True, slots=True)
class RewriteJudgement:
    """What the filters say of a rewrite.

    Args:
        decision: Kept or not, the reason, and every filter's score, threshold and verdict.
        scored: The record with its score columns.
        missing: Scorers that are not there, and why.
    """

    decision: Decision
    scored: Rewrite
    missing: Mapping[str, str]

    @property
    def kept(self) -> bool:
        """Whether every filter passes it."""
        return self.decision.kept

    @property
    def unjudged(self) -> tuple[str, ...]:
        """Filters that had no scorer, and so passed it unseen."""
        return tuple(name for name in ORDER if SCORED_BY.get(name) in self.missing)

    def to_json(self) -> dict[str, Any]:
        """All of it, for programs."""
        decision = self.decision
        verdicts = [
            {
                "filter": name,
                "score": result.score,
                "threshold": result.threshold,
                "passed": result.passed,
                "judged": name not in self.unjudged,
            }
            for name, result in decision.verdicts.items()
        ]
        return {
            "kept": self.kept,
            "reason": decision.reason,
            "text": decision.text,
            "cut": [{"clip_logit": logit, "text": text} for logit, text in decision.cut],
            "filters": json.loads(json.dumps(verdicts, default=str)),
            "scores": dict(self.scored.scores),
            "missing": dict(self.missing),
        }


@dataclass
class RewriteJudge:
    """Scorers and filters for one record at a time; calls from several threads take turns.

    Args:
        folders: Folder of each scorer's model that there is.
        missing: The others, and why.
        filters: The filters' settings.
        clip_mode: ``paper`` or ``fixed``.
        device: Where the scorers run.
    """

    folders: Mapping[str, Path]
    missing: Mapping[str, str]
    filters: FilterSettings
    clip_mode: str = "paper"
    device: DeviceSettings = field(default_factory=DeviceSettings)

    def __post_init__(self) -> None:
        self._turn = threading.Lock()
        self._scratch = tempfile.TemporaryDirectory(prefix="polite-flamingo-")
        self._scorers: dict[str, Scorer] = {}

    @classmethod
    def of(
        cls, place: ModelPlace, scorers: str | Mapping[str, str] | None = None, *, device: str = "auto"
    ) -> RewriteJudge:
        """The judge of what a model says.

        Args:
            place: The model. Filters are set as in its profile, where that is known, else as in the paper.
            scorers: ``paper``, ``laptop``, ``none``, or a folder or origin by scorer (``clip``, ``nli``, ``reward``,
                ``sts``); None: those beside the model's base, and the laptop's for the laptop's rewriter.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.

        Raises:
            DataError: there is no such scorer.
            ModelError: one that is named cannot be had.
        """
        if scorers is None and place.form == "laptop":
            scorers = "laptop"
        small = scorers == "laptop"
        params = None if small else place.profile
        filters = OF_LAPTOP if small else params.filter if params is not None else FilterSettings()
        mode = "fixed" if small else str(params.score.clip_mode) if params is not None else "paper"
        if scorers is None:
            beside = Path(place.base).parent
            folders = {name: beside / name for name in SCORERS if (beside / name / "config.json").is_file()}
        else:
            named = NAMED.get(scorers) if isinstance(scorers, str) else scorers
            unknown = sorted(set(named or ()) - set(SCORERS))
            if named is None or unknown:
                raise DataError(
                    "no such scorers",
                    value=unknown or scorers,
                    next_step=did_you_mean(unknown[0], SCORERS) if unknown else f"one of {', '.join(SETS)}",
                )
            folders = scorer_folders(named, named, named, Path(".work") / "none")
        why = "none beside the model's base" if scorers is None else "not named"
        missing = {name: why for name in SCORERS if name not in folders}
        return cls(folders, missing, filters, mode, DeviceSettings(device=device))

    def judge(self, raw: RawAnswer, text: str, finish_reason: str = "stop") -> RewriteJudgement:
        """Score and judge a rewrite.

        Args:
            raw: What was rewritten.
            text: The rewrite.
            finish_reason: "stop", or "length" where it was cut off.

        Raises:
            ModelError: a scorer cannot be used.
        """
        root = Path(self._scratch.name)
        with self._turn:
            names = [self._keep(picture) for picture in raw.pictures]
            rewrite = Rewrite(
                **{
                    **{name: getattr(raw.sample, name) for name in ("id", "source", "split", "licence", "task")},
                    "instruction": raw.sample.instruction,
                    "images": tuple(map(Image, names)),
                    "raw_answer": raw.sample.response,
                    "rewritten": text,
                    "finish_reason": finish_reason,
                }
            )
            try:
                scored = self._score(rewrite, root)
            finally:
                for name in set(names):
                    (root / name).unlink()
        (pair,) = decide(batch_of([scored]), self.filters).on([scored])
        return RewriteJudgement(pair[1], scored, self.missing)

    def _score(self, rewrite: Rewrite, root: Path) -> Rewrite:
        values: dict[str, Any] = {}
        texts: list[str] | None = None
        for column in (column for column in MODEL_COLUMNS if column.scorer in self.folders):
            if column.scorer not in self._scorers:
                self._scorers[column.scorer] = self._load(column.scorer, root)
            question = column.ask(rewrite, texts)
            (values[column.name],) = score_records(self._scorers[column.scorer], [question])
            if column.name == CLIP:
                texts = cut_texts(rewrite, values[CLIP])
        return with_all_columns(rewrite, values, texts, checker_of(lambda: [rewrite]), root)

    def _load(self, name: str, root: Path) -> Scorer:
        machine = MachineSettings(**self.device.model_dump())
        return Recipe(name, self.folders[name], root, self.clip_mode, machine, identity="").load()

    def _keep(self, picture: PILImage) -> str:
        """Put an image where the scorers look, under its content's name: they keep what they know of it by name."""
        digest = hashlib.sha256(repr(picture.size).encode() + picture.tobytes()).hexdigest()
        picture.save(Path(self._scratch.name) / f"{digest}.png", compress_level=1)
        return f"{digest}.png"
