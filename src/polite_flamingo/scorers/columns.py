"""The score columns: what the stage ``score`` writes about every rewrite, and of which kind each is.

A column that does not apply to a record, or whose model the profile goes without, is None; none is ever left out. A
column ``x_by_cut`` says what ``x`` is of the text that remains when paragraphs are cut (`scorers.text.cut_texts`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from polite_flamingo.scorers.plugged import Kind, plugged_kinds

OWN: Mapping[str, Kind] = MappingProxyType(
    {
        "words": "integer",
        "repeated_share": "number",
        "boxes": "integer",
        "rouge_l": "number",  # of the text before any paragraph is cut, as in the published records
        "sts": "number",
        "nli": "numbers",  # three logits: contradiction, entailment, neutral
        "clip_logits": "numbers",  # one per paragraph
        "reward": "number",
        "reward_raw": "number",
        "unsupported_objects": "integer",  # these five: scorers/checks.py, beyond the paper
        "numbers_changed": "integer",
        "yes_no_flipped": "integer",
        "negation_changed": "integer",  # these two: of the text before any cut; for the learned filter
        "cut_off": "integer",
        "judge_supported": "number",  # these three: scorers/judge.py, beyond the paper; of the text before any cut
        "judge_other_answer": "integer",
        "judge_reason": "text",
        "sts_by_cut": "numbers",
        "repeated_share_by_cut": "numbers",
        "boxes_by_cut": "numbers",
        "unsupported_objects_by_cut": "numbers",
        "numbers_changed_by_cut": "numbers",
    }
)
BY_CUT = tuple(name.removesuffix("_by_cut") for name in OWN if name.endswith("_by_cut"))


class _Columns(Mapping[str, Kind]):
    """Ours, and those of other packages; these are looked for when they are first needed, for they import ours."""

    def __getitem__(self, name: str) -> Kind:
        return OWN[name] if name in OWN else plugged_kinds()[name]

    def __iter__(self) -> Iterator[str]:
        yield from OWN
        yield from plugged_kinds()

    def __len__(self) -> int:
        return len(OWN) + len(plugged_kinds())


COLUMNS: Mapping[str, Kind] = _Columns()
