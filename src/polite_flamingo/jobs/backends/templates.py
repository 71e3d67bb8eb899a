"""Chat templates, which are programs of whoever made the model, each in a process that can be ended.

transformers renders them in Jinja's sandbox, which keeps them from files and code, but not from loops and texts without
an end. Here another process renders, with a limit of time and memory, one for all models of a process.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from polite_flamingo.errors import ModelError

SECONDS = 10  # that a template may take; ordinary ones take less than a millisecond
MEMORY = 1 << 30  # bytes beside what the interpreter has
MOST = 8_000_000  # characters of a prompt
KEPT = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "HF_HOME")  # of the environment: no secret


class TemplateProcess:
    """Renders chat templates elsewhere; started at the first one, and again after one that had to be ended.

    Args:
        seconds: That one may take.
    """

    def __init__(self, seconds: int = SECONDS) -> None:
        self._seconds = seconds
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def render(
        self, template: str, messages: Sequence[Mapping[str, Any]], *, continued: bool, variables: Mapping[str, Any]
    ) -> str:
        """The prompt.

        Args:
            template: Jinja.
            messages: The chat.
            continued: The last message is to go on; else one of the assistant begins.
            variables: Special tokens by name.

        Raises:
            ModelError: the template fails, does not end, or asks for more memory or text than any prompt.
        """
        request = json.dumps([template, messages, continued, variables])
        with self._lock:
            process = self._started()
            assert process.stdin is not None and process.stdout is not None
            try:
                process.stdin.write(request + "\n")
                process.stdin.flush()
                line = process.stdout.readline()
            except OSError:
                line = ""
            if not line:
                self.close()
                raise _refused(f"it did not end within {self._seconds} s, or took more than {MEMORY >> 20} MB")
        answer: dict[str, str] = json.loads(line)
        if "error" in answer:
            raise _refused(answer["error"])
        return answer["text"]

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            environment = {name: os.environ[name] for name in KEPT if name in os.environ}
            environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
            command = [sys.executable, "-m", __name__, str(self._seconds)]
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment, text=True)
        return self._process


def _refused(why: str) -> ModelError:
    return ModelError(
        "the model's chat template is refused",
        value=why,
        next_step="put a chat_template.jinja that you have read into a local copy of its folder",
    )


TEMPLATES = TemplateProcess()
atexit.register(TEMPLATES.close)


def main(seconds: int) -> None:
    """Render what comes, a line of JSON each, until nothing comes any more; `seconds` for each."""
    import resource

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever reads the answers; then nothing comes any more
    from transformers.utils.chat_template_utils import render_jinja_template

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends the process, wherever it is
    for line in sys.stdin:
        signal.alarm(seconds)
        try:
            template, messages, continued, variables = json.loads(line)
            chat, _ = render_jinja_template(
                conversations=[messages],
                chat_template=template,
                continue_final_message=continued,
                add_generation_prompt=not continued,
                **variables,
            )
            if len(chat[0]) > MOST:
                raise ValueError(f"it wrote {len(chat[0]):,} characters")
            answer = {"text": chat[0]}
        except (Exception, RecursionError) as error:  # templates fail in every way there is
            answer = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
        signal.alarm(0)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]))
