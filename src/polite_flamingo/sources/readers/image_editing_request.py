"""Image-Editing-Request: a picture, its edited copy and what somebody would ask an editor to do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from polite_flamingo.prompts.requests import EDIT
from polite_flamingo.records import Reject, Sample, Task
from polite_flamingo.sources.base import attempt, below, need, need_texts
from polite_flamingo.sources.forms.files import find_one, read_items, relative
from polite_flamingo.sources.forms.pairs import Ids, pair_sample


class ImageEditingRequest:
    """Image-Editing-Request, one sample per row, the unedited image first (Table 6, row Image-Editing-Request).

    A row has one request in the training split and three in the others; all are in the raw answer.
    """

    name = "image_editing_request"
    tasks = frozenset({Task.CHANGE})
    licence = "none stated"
    siblings: tuple[str, ...] = ()

    def read(self, root: Path, folder: str, split: str, *, seed: int) -> Iterator[Sample | Reject]:
        """Read ``dataset/adobe/<split>.json`` (``data/<split>.json`` in the repository's first version).

        `split` is ``train``, ``valid`` or ``test``; images lie in ``images``.
        """
        patterns = [f"{base}{split}.json" for base in ("dataset/adobe/", "data/", "", "image_editing_request_")]
        file = find_one(root, folder, *patterns)
        where = relative(root, file)
        ids = Ids()
        for row, record in enumerate(read_items(file)):
            yield attempt(self.name, where, row, self._sample, f"{folder}/images", split, record, ids, seed)

    def _sample(self, folder: str, split: str, record: Any, ids: Ids, seed: int) -> Sample:
        uid = need(record, "uid", str)
        requests = need_texts(record, "sents")
        images = (below(folder, need(record, "img0", str)), below(folder, need(record, "img1", str)))
        return pair_sample(self, split, ids.unique(uid), EDIT, images, requests, seed)
