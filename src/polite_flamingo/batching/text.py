"""Tokens to text while they come: whole characters alone, without what stops it, without spaces at its ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tokenizers.decoders import DecodeStream


class TextStream:
    """The text of one continuation.

    Args:
        tokenizer: Hugging Face's, a fast one.
        decode: Tokens to the text as it is when it is whole.
        stop: Texts before which it ends.
    """

    def __init__(self, tokenizer: Any, decode: Callable[[Sequence[int]], str], stop: Sequence[str] = ()) -> None:
        self._core = tokenizer.backend_tokenizer
        self._decode = decode
        self._stop = tuple(stop)
        self._longest = max(map(len, self._stop), default=0)
        self._told = ""  # what was handed out
        self.restart()

    def restart(self) -> None:
        """The tokens come again from the first on; what was handed out is not handed out twice."""
        self._stream = DecodeStream(skip_special_tokens=True)
        self._text = ""
        self._searched = 0
        self.stopped = False  # by a stop text

    def push(self, tokens: Sequence[int]) -> str:
        """The next tokens; returns the text that is certain now and was not handed out yet."""
        for token in tokens:
            piece = self._stream.step(self._core, token)
            if piece:
                self._text += piece
                self._look_for_stop()
                if self.stopped:
                    break
        text = self._text if self.stopped else self._text[: len(self._text) - self._undecided()]
        return self._hand_out(text.strip())

    def close(self, tokens: Sequence[int]) -> tuple[str, str]:
        """The whole text of all tokens (the end excluded), and what of it was not handed out yet."""
        whole = self._text if self.stopped else self._decode(tokens)
        if not self.stopped:  # characters that were held back may still make a stop text
            places = [place for stop in self._stop if (place := whole.find(stop)) >= 0]
            self.stopped = bool(places)
            whole = whole[: min(places)] if places else whole
        whole = whole.strip()
        return whole, self._hand_out(whole)

    def _look_for_stop(self) -> None:
        start = max(0, self._searched - self._longest + 1)
        places = [place for stop in self._stop if (place := self._text.find(stop, start)) >= 0]
        if places:
            self._text = self._text[: min(places)]
            self.stopped = True
        self._searched = len(self._text)

    def _undecided(self) -> int:
        """Characters at the end that may be the beginning of a stop text."""
        for length in range(min(self._longest - 1, len(self._text)), 0, -1):
            end = self._text[-length:]
            if any(stop.startswith(end) for stop in self._stop):
                return length
        return 0

    def _hand_out(self, text: str) -> str:
        if len(text) <= len(self._told) or not text.startswith(self._told):
            return ""
        new = text[len(self._told) :]
        self._told = text
        return new
