"""An event loop for code that is called from threads without one."""

from __future__ import annotations

import asyncio
import threading


class EventLoop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="endpoint", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let its threads end, then the loop."""
        asyncio.run_coroutine_threadsafe(self.loop.shutdown_default_executor(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
