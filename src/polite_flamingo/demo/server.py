"""The page's server, on this machine alone: Gradio behind its guard, and a folder for what is uploaded."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn
from starlette.types import ASGIApp

from polite_flamingo.demo.guard import MAX_UPLOAD, PageGuard
from polite_flamingo.errors import ConfigError
from polite_flamingo.launch.guard import Guard

if TYPE_CHECKING:
    import gradio as gr

HOST = "127.0.0.1"
PORT = 8791
GRACE = 2  # seconds that open connections have when the server stops
UPLOADS = "GRADIO_TEMP_DIR"
PRIVATE = {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_SHARE": "False", "GRADIO_MCP_SERVER": "False"}


@contextmanager
def uploads() -> Iterator[Path]:
    """A new folder for this server's uploads, gone when it ends. Enter it before Gradio is imported.

    Raises:
        ConfigError: Gradio is not installed.
    """
    if find_spec("gradio") is None:
        raise ConfigError("the page needs Gradio", next_step="pip install 'polite-flamingo[demo]'")
    with tempfile.TemporaryDirectory(prefix="polite-flamingo-demo-", ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        os.environ.update(PRIVATE, **{UPLOADS: str(folder)})
        yield folder


def application(page: gr.Blocks, folder: Path) -> ASGIApp:
    """The page as a web application.

    Args:
        page: What `DemoPage.blocks` made.
        folder: Of the uploads.
    """
    import gradio as gr
    from fastapi import FastAPI

    from polite_flamingo.demo.render import CSS

    app = FastAPI(openapi_url=None)
    gr.mount_gradio_app(
        app, page, "/", css=CSS, theme=_theme(), footer_links=[], run_history=False, show_error=False,
        allowed_paths=[], blocked_paths=_blocked(folder), max_file_size=MAX_UPLOAD, ssr_mode=False, pwa=False,
        enable_monitoring=False, mcp_server=False,
    )  # fmt: skip
    page.app = app.routes[-1].app  # type: ignore[attr-defined]  # whose open requests `close` ends
    page.has_launched = True  # else a mounted page takes the path of any file as that of an upload
    return Guard(PageGuard(app, folder))


def listen(port: int) -> socket.socket:
    """A socket of this machine; port 0 is any free one.

    Raises:
        ConfigError: the port is taken, or is none.
    """
    try:
        return socket.create_server((HOST, port))
    except (OSError, OverflowError) as error:
        raise ConfigError(
            "the port cannot be listened on", value=port, where="--port", next_step="another one"
        ) from error


class PageServer(uvicorn.Server):
    """Serves a page; told to stop, it ends what is open with it.

    Args:
        app: What `application` made of the page.
        page: The page.
    """

    def __init__(self, app: ASGIApp, page: gr.Blocks) -> None:
        super().__init__(
            uvicorn.Config(
                app, access_log=False, server_header=False, log_level="warning", timeout_graceful_shutdown=GRACE
            )
        )
        self._page = page

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop, and return to the caller, who has uploads to remove; uvicorn's own would die by the signal."""
        self._page.close(verbose=False)
        self.force_exit = self.should_exit
        self.should_exit = True


def _theme() -> gr.themes.Default:
    """The plain theme in the fonts of the machine: none is fetched."""
    import gradio as gr
    from gradio.themes.utils.fonts import Font

    return gr.themes.Default(
        font=[Font("system-ui"), Font("sans-serif")], font_mono=[Font("ui-monospace"), Font("monospace")]
    )


def _blocked(folder: Path) -> list[str]:
    """This project and the home folder, unless the uploads lie in them."""
    return [str(path) for path in (Path.cwd(), Path.home()) if not folder.is_relative_to(path)]
