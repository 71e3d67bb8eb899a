"""Whether an endpoint answers, asked once before a run begins."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from polite_flamingo.errors import ModelError
from polite_flamingo.jobs.backends.chat_client import EndpointDownError
from polite_flamingo.jobs.backends.chat_completion import KEY_VARIABLE, check_url

if TYPE_CHECKING:
    import httpx

LOG = logging.getLogger(__name__)
SECONDS = 10.0  # an endpoint has to answer
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
    url = check_url(address, sends_key=bool(key))
    try:
        answer = httpx.get(f"{url}/models", headers={"Authorization": f"Bearer {key}"} if key else {}, timeout=SECONDS)
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
    _require_api(answer, url, key)
    try:
        listed = [str(entry["id"]) for entry in answer.json()["data"]]
    except (ValueError, LookupError, TypeError):
        return
    if listed and model not in listed:
        names = ", ".join(listed[:10]) + (f" and {len(listed) - 10} more" if len(listed) > 10 else "")
        LOG.warning("%s does not list the model %r; it lists %s (name one of them after the #)", url, model, names)


def _require_api(answer: httpx.Response, url: str, key: str | None) -> None:
    """Refuse what is no API: a web page, or a server that sends on to another address."""
    if answer.is_redirect:
        raise ModelError(
            "the address sends on to another one",
            value=answer.headers.get("location"),
            where=url,
            next_step="name the address of the API itself; requests with pictures and keys are not sent on",
        )
    if answer.is_success and "html" in answer.headers.get("content-type", ""):
        text = " ".join(answer.text.split())
        raise ModelError(
            "the address answers with a web page, not as an API",
            value=(text.replace(key, "[key]") if key else text)[:80],
            where=f"{url}/models",
            next_step="name the address of the API: with most servers it ends in /v1, openai:http://HOST:PORT/v1#MODEL",
        )
