"""The paper as a list of stages, in the order they run, and which of them a profile has.

dvc.yaml says what each one reads and writes.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: a verb of the command line, a stage of dvc.yaml, a task of the flows.

    Args:
        name: Verb.
        module: Module below ``polite_flamingo.stages`` whose ``run(params, tracker, *arguments)`` does the work.
        arguments: What `run` needs besides parameters and tracker.
        summary: What it does, with the paper's place.
    """

    name: str
    module: str
    summary: str
    arguments: tuple[str, ...] = ()


STAGES: tuple[Stage, ...] = (
    Stage("download", "download", "read annotation files into samples; broken rows go to quarantine"),
    Stage("check_raw", "check", "gate: the samples (ours)", ("raw",)),
    Stage("backbones", "backbones", "put the pretrained models in place and measure them"),
    Stage("distort", "distort", "make (distorted, original) pairs (section 3.1)"),
    Stage("check_distorted", "check", "gate: the pairs (ours)", ("distorted",)),
    Stage("train_rewriter", "train_rewriter", "train Polite Flamingo on the pairs (section 3.3)"),
    Stage("rewrite", "rewrite", "rewrite the raw annotations (section 4.1)"),
    Stage("check_rewritten", "check", "gate: the rewrites (ours)", ("rewritten",)),
    Stage("score", "score", "score the rewrites: Rouge-L, STS, NLI, reward, CLIP (section 4.2)"),
    Stage("filter", "filter", "decide what is kept and export PF-1M (section 4.2, Figure 10)"),
    Stage("check_pf1m", "check", "gate: PF-1M (ours)", ("pf1m",)),
    Stage("tune_stage1", "tune", "instruction tuning with LoRA (section 4.3)", ("stage1",)),
    Stage("tune_stage2", "tune", "alignment of the connector (section 4.3)", ("stage2",)),
    Stage("tune_stage3", "tune", "politeness recovered with LoRA at a tenth of the rate (section 4.3)", ("stage3",)),
    Stage("tune_raw", "tune", "stages 1 and 2 on raw annotations, to compare with (section 5)", ("raw",)),
    Stage("evaluate", "evaluate", "measure all of them and draw the figures (section 5)"),
    Stage("summary", "summary", "gather the headline figures in one small file (ours)"),
    Stage("train_second_rewriter", "train_rewriter", "train the next rewriter from stage 3 (section 5.4)", ("second",)),
    Stage("compare_rewriters", "compare_rewriters", "measure both rewriters on the same drafts (section 5.4)"),
)

BY_NAME = {stage.name: stage for stage in STAGES}
CURATE = tuple(s.name for s in STAGES[: [s.name for s in STAGES].index("check_pf1m") + 1])
TUNE = ("tune_stage1", "tune_stage2", "tune_stage3", "tune_raw")
EVALUATE = ("evaluate", "summary")
TRAIN_REWRITER = ("distort", "check_distorted", "train_rewriter")
REWRITE = ("rewrite", "check_rewritten", "score", "filter", "check_pf1m")
SECOND_GENERATION = ("train_second_rewriter", "compare_rewriters")  # of the profiles in `second_generation`
FULL = tuple(s.name for s in STAGES if s.name not in SECOND_GENERATION)


def stages_of(
    *, backbones: bool, trains_rewriter: bool, rewrites: bool, tunes: bool, evaluates: bool, second_generation: bool
) -> tuple[str, ...]:
    """The stages of a profile, in the order they run. All that asks which stages there are asks here.

    Args:
        backbones: Some stage loads a model that the profile names.
        trains_rewriter: The rewriter is trained; a model that comes ready needs no pairs and no training.
        rewrites: PF-1M is made, and not taken from published files.
        tunes: The assistant is tuned on PF-1M.
        evaluates: The tuned assistant is measured.
        second_generation: The next rewriter is trained from the assistant.
    """
    wanted = {
        "backbones": backbones,
        **dict.fromkeys(TRAIN_REWRITER, trains_rewriter),
        **dict.fromkeys(REWRITE, rewrites),
        **dict.fromkeys(TUNE, tunes),
        "evaluate": evaluates,
        **dict.fromkeys(SECOND_GENERATION, second_generation),
    }
    return tuple(stage.name for stage in STAGES if wanted.get(stage.name, True))
