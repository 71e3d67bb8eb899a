"""API keys: of the environment or a file, never of the command line, where every user of the machine can read them."""

from __future__ import annotations

import os
from pathlib import Path

from polite_flamingo.callers import LOCAL
from polite_flamingo.errors import ConfigError, keep_secret

VARIABLE = "POLITE_FLAMINGO_API_KEY"
SHORTEST = 16  # characters
STEP = "make one with `python -c 'import secrets; print(secrets.token_urlsafe(32))'`"


def api_keys(file: Path | None, host: str) -> tuple[str, ...]:
    """The keys, one a line of `file`, or the environment's.

    Args:
        file: The file that was named.
        host: Where the server listens; elsewhere than on this machine it needs a key.

    Raises:
        ConfigError: the file cannot be used, others may read it, a key is short, or there is none and one is needed.
    """
    if file is None:
        text, where = os.environ.get(VARIABLE, ""), VARIABLE
    else:
        where = str(file)
        if not file.is_file():
            raise ConfigError("no such file", value=where, where="--api-key-file")
        if file.stat().st_mode & 0o077:
            raise ConfigError("others may read the API keys", where=where, next_step=f"chmod 600 {file}")
        text = file.read_text(encoding="utf-8")
    keys = tuple(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))
    for key in keys:
        keep_secret(key)
        if len(key) < SHORTEST or not key.isascii():
            raise ConfigError(f"an API key has fewer than {SHORTEST} characters", where=where, next_step=STEP)
    if not keys and host not in LOCAL:
        raise ConfigError(
            "a server that others can reach needs an API key",
            value=host,
            where="--host",
            next_step=f"put one into {VARIABLE} or a file (--api-key-file); {STEP}",
        )
    return keys
