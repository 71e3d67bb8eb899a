"""Answers of an endpoint, kept on disk under the content hash of what was asked."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from pathlib import Path

from polite_flamingo.io import replacing
from polite_flamingo.jobs.backends.chat_completion import Reply

LOG = logging.getLogger(__name__)


class AnswerCache:
    """One small JSON file per answer.

    Args:
        folder: Where; None: nothing is kept.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def recall(self, name: str) -> Reply | None:
        """The answer kept under a content hash."""
        file = self._file(name)
        if file is None or not file.is_file():
            return None
        try:
            return Reply(**json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            LOG.warning("a kept answer cannot be read and is asked for again: %s: %s", file, error)
            return None

    def remember(self, name: str, reply: Reply) -> None:
        """Keep an answer; where the disk refuses, none are kept any more."""
        file = self._file(name)
        if file is None:
            return
        try:
            with replacing(file, durable=False) as tmp:  # what a power cut spoils is asked for again
                tmp.write_text(json.dumps(asdict(reply), ensure_ascii=False, sort_keys=True), encoding="utf-8")
        except OSError as error:
            LOG.warning("answers are not kept any more: %s: %s", self._folder, error)
            self._folder = None

    def _file(self, name: str) -> Path | None:
        return None if self._folder is None else self._folder / name[:2] / f"{name}.json"
