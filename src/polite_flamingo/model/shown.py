"""What the rows in slots see: of each row the keys and values of its last image, to which alone its text attends."""

from __future__ import annotations

import torch

from polite_flamingo.model.bundle import FlamingoBundle


class ShownImages:
    """The images of the rows in slots.

    Args:
        bundle: The model.
        slots: Number of rows.
    """

    def __init__(self, bundle: FlamingoBundle, slots: int) -> None:
        self._bundle, self._slots = bundle, slots
        self._lm = bundle.model.lang_encoder
        self._attentions = [block.attn for block in self._lm.gated_cross_attn_layers if block is not None]
        self._seen: list[tuple[torch.Tensor, torch.Tensor]] = []  # per attention: keys, values of the last image
        self._blind = torch.ones(slots, dtype=torch.bool, device=bundle.device)  # rows without an image

    def none(self) -> torch.Tensor:
        """Latents (1, 1, n, d) of a prompt without images."""
        size = 1, 1, self._bundle.config.perceiver.num_latents, self._bundle.tower.size[1]
        return torch.zeros(size, device=self._bundle.device, dtype=self._bundle.dtype)

    def show(self, ids: torch.Tensor, media: torch.Tensor) -> None:
        """Show latents (B, T_img, n, d) to prompts (B, q) that are read next."""
        for layer in self._lm._get_decoder_layers():
            layer.condition_vis_x(media)
            layer.condition_media_locations(ids == self._bundle.media_token_id)
            layer.condition_use_cached_media(False)
        for attention in self._attentions:
            attention.forget()

    def keep(self, counts: torch.Tensor, start: int) -> None:
        """Store keys and values of the last image of the prompts just read; `counts` tells how many each shows."""
        count = len(counts)
        for number, attention in enumerate(self._attentions):
            key, value = attention.kept()
            latents = self._bundle.config.perceiver.num_latents
            last = (counts - 1).clamp_min(0)
            row = torch.arange(count, device=counts.device)
            pair = [x.unflatten(2, (-1, latents))[row, :, last] for x in (key, value)]
            if number == len(self._seen):
                self._seen.append((pair[0].new_zeros(self._slots, *pair[0].shape[1:]),) * 2)
                self._seen[number] = (self._seen[number][0], self._seen[number][0].clone())
            for store, new in zip(self._seen[number], pair, strict=True):
                store[start : start + count] = new
        blind = counts == 0 if self._bundle.config.attend_previous else torch.ones_like(counts, dtype=torch.bool)
        self._blind[start : start + count] = blind

    def pin(self, count: int) -> None:
        """The first `count` rows are read next, a token each."""
        for attention, (key, value) in zip(self._attentions, self._seen, strict=True):
            attention.pin(key[:count], value[:count], self._blind[:count])

    def move(self, source: torch.Tensor, to: torch.Tensor) -> None:
        """The rows `source` go to the slots `to`."""
        for store in (self._blind, *(x for pair in self._seen for x in pair)):
            store[to] = store[source]

    def close(self) -> None:
        """Leave the model without images."""
        self._lm.clear_conditioned_layers()
        self._seen = []
