"""Keys and values of rows in slots, each row with its own length (see `model.slots`)."""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache


class SlotCache(Cache):
    """A Hugging Face cache whose rows stand in slots and may differ in length.

    Before each forward pass one of `read_prefix`, `read` and `decode` says what the new keys and values are.

    Args:
        slots: Number of rows.
        columns: Tokens by which the slots grow.
    """

    def __init__(self, slots: int, columns: int) -> None:
        super().__init__(layers=[])
        self.prefix_length = 0
        self.columns = columns
        self._slots = slots
        self._keys: list[torch.Tensor] = []  # per layer (slots, heads, columns, width)
        self._values: list[torch.Tensor] = []
        self._prefix: list[tuple[torch.Tensor, torch.Tensor]] = []  # per layer (1, heads, prefix, width)
        self._mode = ""
        self._start = self._count = self._past = self._width = 0
        self._bare: set[int] = set()  # slots in which other tokens stand where the prefix belongs
        self._lengths: torch.Tensor | None = None
        self._rows: torch.Tensor | None = None

    def read_prefix(self) -> None:
        """The next forward pass reads what all rows begin with (batch of one)."""
        self._mode = "prefix"

    def read(self, start: int, count: int, past: int, width: int) -> None:
        """The next forward pass reads the prompts of `count` rows from slot `start` on, up to column `width`.

        Args:
            start: The first row's slot.
            count: Rows.
            past: Tokens that are there already: all of the prefix, or 0 of rows that do not begin with it.
            width: Columns in use afterwards.
        """
        self._mode, self._start, self._count, self._past = "read", start, count, past
        self._grow(width)
        slots = set(range(start, start + count))
        if past:
            self._put_prefix(sorted(self._bare & slots))
            self._bare -= slots
        elif self.prefix_length:
            self._bare |= slots

    def decode(self, lengths: torch.Tensor, width: int) -> None:
        """The next forward pass reads one token per row; `lengths` (n) tokens are there, `width` after it at most."""
        self._mode, self._lengths, self._width = "decode", lengths, width
        self._rows = torch.arange(len(lengths), device=lengths.device)
        self._grow(width)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store new keys and values (rows, heads, new, width); returns all that the rows may attend to."""
        if self._mode == "prefix":
            self._prefix.append((key_states, value_states))
            self.prefix_length = key_states.shape[2]
            self._grow(self.prefix_length)
            return key_states, value_states
        if layer_idx == len(self._keys):
            self._keys.append(self._empty(key_states, layer_idx, 0))
            self._values.append(self._empty(value_states, layer_idx, 1))
        keys, values = self._keys[layer_idx], self._values[layer_idx]
        if self._mode == "decode":
            keys[self._rows, :, self._lengths] = key_states[:, :, 0]
            values[self._rows, :, self._lengths] = value_states[:, :, 0]
            count = len(key_states)
            return keys[:count, :, : self._width], values[:count, :, : self._width]
        slots = slice(self._start, self._start + self._count)
        columns = slice(self._past, self._past + key_states.shape[2])
        keys[slots, :, columns] = key_states
        values[slots, :, columns] = value_states
        return keys[slots, :, : columns.stop], values[slots, :, : columns.stop]

    def move(self, source: torch.Tensor, to: torch.Tensor, width: int) -> None:
        """Copy the first `width` columns of the rows `source` to the slots `to`."""
        moves = list(zip(source.tolist(), to.tolist(), strict=True)) if self._bare else []
        start = 0 if any(slot in self._bare for pair in moves for slot in pair) else self.prefix_length
        for store in (*self._keys, *self._values):
            store[to, :, start:width] = store[source, :, start:width]
        for old, new in moves:
            (self._bare.add if old in self._bare else self._bare.discard)(new)

    def clear(self) -> None:
        """Free everything."""
        self._keys, self._values, self._prefix = [], [], []

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Columns in use; positions and masks are given explicitly and do not depend on it."""
        return self._width

    def _empty(self, like: torch.Tensor, layer: int, which: int) -> torch.Tensor:
        store = like.new_zeros(self._slots, like.shape[1], self.columns, like.shape[3])
        if self.prefix_length:
            store[:, :, : self.prefix_length] = self._prefix[layer][which]
        return store

    def _put_prefix(self, slots: list[int]) -> None:
        for layer, (keys, values) in enumerate(zip(self._keys, self._values, strict=True)):
            for slot in slots:
                keys[slot, :, : self.prefix_length] = self._prefix[layer][0][0]
                values[slot, :, : self.prefix_length] = self._prefix[layer][1][0]

    def _grow(self, width: int) -> None:
        self._width = width
        if width <= self.columns:
            return
        self.columns = -(-max(width, self.columns * 5 // 4) // 64) * 64
        for stores in (self._keys, self._values):
            for number, store in enumerate(stores):
                grown = store.new_zeros(*store.shape[:2], self.columns, store.shape[3])
                grown[:, :, : store.shape[2]] = store
                stores[number] = grown
