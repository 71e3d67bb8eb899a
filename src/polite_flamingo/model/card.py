"""The model card: what lies beside weights and says what they are, made of settings and counts alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PAPER = "Visual Instruction Tuning with Polite Flamingo (arXiv 2307.01003)"
WHAT = {
    "rewriter": "a *Polite Flamingo*: it rewrites terse annotations into polite, grounded responses (section 3.3)",
    "stage1": "a *Clever Flamingo* after stage 1 of 3: instruction tuning of the language model (section 4.3)",
    "stage2": "a *Clever Flamingo* after stage 2 of 3: alignment of the connector (section 4.3)",
    "stage3": "a *Clever Flamingo* after stage 3 of 3: manners recovered (section 4.3)",
    "raw": "the comparison of section 5: tuned on the raw annotations",
}


def render_card(
    name: str,
    *,
    whole: bool,
    base: str,
    tensors: Mapping[str, int],
    lora: Mapping[str, Any] | None,
    configuration: Mapping[str, Any] | None,
) -> str:
    """The card, Markdown with the head the Hugging Face hub reads. The same weights and settings give the same card.

    Args:
        name: What was trained: rewriter, stage1, stage2, stage3, raw, or any other name.
        whole: Whether the base's weights are in the folder too.
        base: Hash of the base.
        tensors: Number of learned values per group of weights.
        lora: Settings of its LoRA.
        configuration: Resolved settings of the training.
    """
    load = (
        'bundle = load_flamingo(Path("THIS_FOLDER"))'
        if whole
        else 'bundle = load_flamingo(Path("FOLDER_OF_THE_BASE"), trainables=Path("THIS_FOLDER"))'
    )
    parts = [
        "---\nlibrary_name: polite-flamingo\npipeline_tag: image-text-to-text\nlicense: other\n"
        "tags: [flamingo, visual-instruction-tuning]\n---",
        f"# {name}",
        f"This is {WHAT.get(name, 'an OpenFlamingo')}, after the method of *{PAPER}*.",
        "The folder holds the whole model: language model with its tokenizer, vision tower and connector."
        if whole
        else f"The folder holds what training changed, not the base. The base has the content hash `{base}`; another "
        "one is refused.",
        "## Use",
        "```python\nfrom pathlib import Path\n\nfrom polite_flamingo.model.flamingo import load_flamingo\n\n"
        f"{load}\n```",
        "## What was learned",
        _table(("weights", "values"), [(group, f"{count:,}") for group, count in tensors.items()])
        if tensors
        else "Nothing beyond the base.",
    ]
    if lora is not None:
        merged = " They are merged into the weights." if whole else ""
        parts.append(f"LoRA adapters: rank {lora['r']}, alpha {lora['alpha']}, dropout {lora['dropout']}.{merged}")
    if configuration:
        parts += ["## Settings", _table(("setting", "value"), sorted(_flat(configuration)))]
    parts += [
        "## Limits",
        "The licence of the base and those of the training data apply to these weights; nobody has added them up here. "
        "The model may state things that are not in the image. Its answers inherit the biases of its base and data.",
    ]
    return "\n\n".join(parts) + "\n"


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            rows += _flat(value, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", f"`{value}`"))
    return rows


def _table(head: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    lines = [head, ("---", "---"), *rows]
    return "\n".join(f"| {left} | {right} |" for left, right in lines)
