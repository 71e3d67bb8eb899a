"""ShareGPT: conversations people shared, as raw HTML or already in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polite_flamingo.errors import DataError
from polite_flamingo.records import Reject, Sample, Task, Turn
from polite_flamingo.sources.base import attempt, need, reject_other_media
from polite_flamingo.sources.forms.files import find_all, read_items, relative
from polite_flamingo.sources.forms.markup import is_html, to_markdown

ASSISTANT = frozenset({"gpt", "chatgpt", "bing", "bard", "assistant"})
HUMAN = frozenset({"human", "user"})
SYSTEM = "system"
FORMS = (  # the best form that is there is read; the others hold the same conversations
    ("ShareGPT_V3_unfiltered_cleaned_split.json",),
    ("ShareGPT_V*_unfiltered_cleaned_split.json",),
    ("**/sg_90k_part[12]_html_cleaned.json",),
    ("**/sg_90k_part[12].json",),
    ("sharegpt*.json", "ShareGPT*.json", "sg_*.json"),
)


class Sharegpt:
    """ShareGPT (section 3.2, text-only instructions), one sample per conversation.

    A raw answer is HTML and becomes Markdown; in a file named ``…cleaned…`` nothing is converted, since HTML there is
    what the conversation is about. An answer before the first question and a question after the last answer are left
    off; a system message goes to ``extras["system"]``. Conversations that are empty or do not alternate are rejected.
    """

    name = "sharegpt"
    tasks = frozenset({Task.TEXT})
    licence = "CC0 1.0 as tagged by the uploader; OpenAI terms of use"
    siblings: tuple[str, ...] = ()

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read the official files of one form (`FORMS`); no splits, `split` is a label."""
        base = root / folder
        form = next((form for form in FORMS if any(any(base.glob(pattern)) for pattern in form)), FORMS[-1])
        for file in find_all(root, folder, *form):
            where, stem = relative(root, file), file.stem
            raw = "cleaned" not in file.name
            seen: Counter[str] = Counter()
            for row, record in enumerate(read_items(file)):
                yield attempt(self.name, where, row, self._sample, split, stem, record, raw, seen)

    def _sample(self, split: str, stem: str, record: Any, raw: bool, seen: Counter[str]) -> Sample:
        reject_other_media(record)
        official = need(record, "id", str)
        seen[official] += 1  # ids repeat within a file
        suffix = f"-{seen[official]}" if seen[official] > 1 else ""
        turns: list[Turn] = []
        system: list[str] = []
        for turn in need(record, "conversations", list):
            role, text = need(turn, "from", str).lower(), need(turn, "value", str)
            if role == SYSTEM:
                system.append(text)
            elif role in HUMAN:
                turns.append(Turn("human", text))
            elif role in ASSISTANT:
                if turns:  # a conversation shared from its middle opens with an answer
                    turns.append(Turn("assistant", to_markdown(text) if raw and is_html(text) else text))
            else:
                raise DataError("turn is of an unknown role", value=turn["from"])
        if len(turns) % 2 and turns[-1].role == "human":
            turns.pop()
        if not turns:
            raise DataError("conversation has no answered question", value=official)
        return Sample(
            id=f"{self.name}/{split}/{stem}-{official}{suffix}",
            source=self.name,
            split=split,
            licence=self.licence,
            task=Task.TEXT,
            turns=tuple(turns),
            extras={"system": "\n".join(system)} if system else {},
        )
