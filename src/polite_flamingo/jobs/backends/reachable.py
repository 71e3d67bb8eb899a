"""Whether an endpoint answers, asked once before a run begins."""

from __future__ import annotations

import json
import logging
import os
import time
from typing import TYPE_CHECKING

from polite_flamingo.errors import ModelError, hide, keep_secret
from polite_flamingo.jobs.backends.chat_client import EndpointDownError
from polite_flamingo.jobs.backends.chat_completion import KEY_VARIABLE, beginning, check_url

if TYPE_CHECKING:
    import httpx

LOG = logging.getLogger(__name__)
SECONDS = 10.0  # an endpoint has to answer
MOST_BYTES = 1 << 20  # read of its answer
REFUSED = {401: "the key is missing or wrong", 402: "it wants to be paid", 403: "the key may not be used there"}


def require_endpoint(spec: str) -> None:
    """Ask an ``openai:<url>#<model>`` for its models; nothing is bought. Other backends are no endpoints.

    One that answers anything but a web page is taken to be up: not every server lists its models. Where one lists them
    without the model that is wanted, a warning names those it has, for some servers take any name.

    Raises:
        ConfigError: the url is none.
        EndpointDownError: nobody answers.
        ModelError: the key is refused, or something else than an endpoint answers.
    """
    import httpx

    kind, _, rest = spec.partition(":")
    address, _, model = rest.rpartition("#")
    if kind != "openai" or not address:
        return
    key = os.environ.get(KEY_VARIABLE)
    keep_secret(key)
    url = check_url(address, sends_key=bool(key))
    try:
        answer, data = _beginning(f"{url}/models", {"Authorization": f"Bearer {key}"} if key else {})
    except httpx.HTTPError as error:
        raise EndpointDownError(
            "endpoint does not answer",
            value=f"{type(error).__name__}: {error}",
            where=url,
            next_step="start its server, or name another one in the profile (docs/backends.md); nothing was done yet",
        ) from None
    if answer.status_code in REFUSED:
        raise ModelError(
            f"endpoint answered {answer.status_code}: {REFUSED[answer.status_code]}",
            where=url,
            next_step=f"check {KEY_VARIABLE} in the environment",
        )
    _require_api(answer, data, url)
    try:
        listed = [str(entry["id"]) for entry in json.loads(data)["data"]]
    except (ValueError, LookupError, TypeError, RecursionError):
        return
    if listed and model not in listed:
        names = ", ".join(listed[:10]) + (f" and {len(listed) - 10} more" if len(listed) > 10 else "")
        LOG.warning("%s does not list the model %r; it lists %s (name one of them after the #)", url, model, names)


def _beginning(address: str, headers: dict[str, str]) -> tuple[httpx.Response, bytes]:
    """An answer with the beginning of its body, as much as comes in time."""
    import httpx

    began, data = time.monotonic(), bytearray()
    with httpx.stream("GET", address, headers={"Accept-Encoding": "identity", **headers}, timeout=SECONDS) as answer:
        for piece in answer.iter_raw():
            data += piece
            if len(data) > MOST_BYTES or time.monotonic() - began > SECONDS:
                break
    return answer, bytes(data)


def _require_api(answer: httpx.Response, data: bytes, url: str) -> None:
    """Refuse what is no API: a web page, or a server that sends on to another address."""
    if answer.is_redirect:
        raise ModelError(
            "the address sends on to another one",
            value=answer.headers.get("location"),
            where=url,
            next_step="name the address of the API itself; requests with pictures and keys are not sent on",
        )
    if answer.is_success and "html" in answer.headers.get("content-type", ""):
        raise ModelError(
            "the address answers with a web page, not as an API",
            value=hide(beginning(data))[:80],
            where=f"{url}/models",
            next_step="name the address of the API: with most servers it ends in /v1, openai:http://HOST:PORT/v1#MODEL",
        )
