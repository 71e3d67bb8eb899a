"""The page's parts for a profile: its records, and its models, none of them loaded."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from polite_flamingo.demo.examples import draw_examples
from polite_flamingo.demo.page import DemoParts, OnFirstUse
from polite_flamingo.errors import DataError, ModelError
from polite_flamingo.params.schema import TRAINED, Params
from polite_flamingo.talk.models import find_model

TITLES = {"stage1": "stage 1", "stage2": "stage 2", "stage3": "stage 3", "raw": "tuned on raw annotations"}


def parts_of(
    params: Params,
    params_file: Path,
    rewriter: str | None,
    assistants: Sequence[str],
    *,
    copies: Path,
    number: int,
    seed: int,
) -> DemoParts:
    """What the page of a profile is made of.

    Args:
        params: The profile's.
        params_file: Where they came from.
        rewriter: Name of a model (`talk.models`); None: the profile's.
        assistants: Names of models.
        copies: Folder that images of the data are copied to.
        number: Records to begin with.
        seed: Of their draw, and of the noise.

    Raises:
        DataError: there are no records, and no such rewriter either.
    """
    rewriter = rewriter or {TRAINED: "rewriter"}.get(params.rewriter_backend, params.rewriter_backend)
    where: dict[str, Any] = {"profile": params.profile, "params": params_file}
    on: dict[str, Any] = {**where, "device": params.runtime.device}
    drawn = {
        role: draw_examples(params.data / "samples" / role, params.image_root, copies, number=number, seed=seed)
        for role in ("annotation", "evaluation")
    }
    if not any(drawn.values()):
        _check_anything(params, rewriter, where)
    return DemoParts(
        about=f"Profile {params.profile}. Models are loaded when they are first asked, and answer greedily.",
        rewriter=OnFirstUse("rewriter", partial(_rewriter, rewriter, **on)),
        assistants=[OnFirstUse(TITLES.get(name, name), partial(_assistant, name, **on)) for name in assistants],
        reward=OnFirstUse("politeness reward", partial(_reward, params)),
        annotated=drawn["annotation"],
        asked=drawn["evaluation"] or drawn["annotation"],
        seed=seed,
    )


def _check_anything(params: Params, rewriter: str, where: dict[str, Any]) -> None:
    """An error where there are no records, and no rewriter either."""
    try:
        find_model(rewriter, "rewriter", **where)
    except ModelError as error:
        step = "run `polite-flamingo run`, or `make demo` in a clone"
        raise DataError("nothing to show yet", where=params.data, next_step=step) from error


def _rewriter(name: str, **on: Any) -> Any:
    from polite_flamingo.talk.rewriter import Rewriter

    return Rewriter.load(name, **on)


def _assistant(name: str, **on: Any) -> Any:
    from polite_flamingo.talk.assistant import Assistant

    return Assistant.load(name, **on)


def _reward(params: Params) -> Any:
    from polite_flamingo.scorers.reward import load_reward

    folder = params.models / "backbones" / "reward"
    if not folder.is_dir():
        raise ModelError("politeness is not measured: its model is not here", where=folder)
    return load_reward(folder, device=params.runtime.device)
