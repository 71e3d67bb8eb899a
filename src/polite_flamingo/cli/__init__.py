"""``polite-flamingo <verb>``: one verb per stage of the pipeline, and a few to look at what it did.

`parser` has the verbs and their options, `verbs` what they do. Imports stay light here: a stage's libraries are loaded
only when it runs.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

from polite_flamingo.cli.parser import build_parser
from polite_flamingo.environment import prepare_environment
from polite_flamingo.errors import PoliteFlamingoError
from polite_flamingo.pipeline import BY_NAME

__all__ = ["USER_ERROR", "build_parser", "main"]

USER_ERROR = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; a user's error ends with status 2 and a message, without a traceback."""
    prepare_environment()
    parser = build_parser()
    arguments = parser.parse_args(_spelled(sys.argv[1:] if argv is None else argv))
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s", stream=sys.stderr)
    first = os.environ.get("RANK", "0") == "0"  # of the processes that share a training
    logging.getLogger("polite_flamingo").setLevel(logging.INFO if first else logging.ERROR)
    try:
        return int(arguments.handler(arguments) or 0)
    except PoliteFlamingoError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `polite-flamingo report | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.filename is None:
            raise
        print(f"error: {_about_file(error)}", file=sys.stderr)
        return USER_ERROR


def _spelled(argv: Sequence[str]) -> list[str]:
    """Write a stage with underscores, as DVC does, and any other verb with dashes, however they were typed."""
    words = list(argv)
    takes_value = {"--profile", "--params", "--data-root", "--device"}
    for index, word in enumerate(words):
        if not word.startswith("-") and (index == 0 or words[index - 1] not in takes_value):
            stage = word.replace("-", "_")
            words[index] = stage if stage in BY_NAME else word.replace("_", "-")
            break
    return words


def _about_file(error: OSError) -> PoliteFlamingoError:
    """What the operating system says about a path, as an error of ours."""
    what = "file does not exist" if isinstance(error, FileNotFoundError) else "file cannot be used"
    step = "check the path, and that you may read or write there"
    return PoliteFlamingoError(what, value=error.strerror, where=error.filename2 or error.filename, next_step=step)
