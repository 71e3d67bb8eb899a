"""The images of requests: made once while their questions follow each other, however many ask at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from cachetools import LRUCache

from polite_flamingo.jobs.backends.chat_completion import ChatImage, image_url

CACHE_BYTES = 64 * 1024 * 1024


class ChatImages:
    """Images below a root as data urls; used from one event loop.

    Args:
        root: Folder of the image paths.
        edge: Longest edge, pixels.
        most_bytes: Largest JPEG.
    """

    def __init__(self, root: Path, *, edge: int, most_bytes: int) -> None:
        self._root, self._edge, self._most_bytes = root, edge, most_bytes
        self._made: LRUCache[str, ChatImage] = LRUCache(CACHE_BYTES, getsizeof=lambda image: len(image.url))
        self._in_making: dict[str, asyncio.Task[ChatImage]] = {}

    async def get(self, paths: Sequence[str]) -> list[ChatImage]:
        """The images at some paths.

        Raises:
            ImageError: one cannot be used.
        """
        return [self._made.get(path) or await self._make(path) for path in paths]

    def make(self, path: str) -> ChatImage:
        """An image, made anew.

        Raises:
            ImageError: it cannot be used.
        """
        return ChatImage.of(image_url(self._root, path, edge=self._edge, most_bytes=self._most_bytes))

    async def _make(self, path: str) -> ChatImage:
        task = self._in_making.get(path)
        if task is None:
            task = self._in_making[path] = asyncio.create_task(asyncio.to_thread(self.make, path))
            task.add_done_callback(lambda _: self._in_making.pop(path, None))
        image = await asyncio.shield(task)  # others may wait for it, too
        if len(image.url) <= CACHE_BYTES:
            self._made[path] = image
        return image
