"""Whether an endpoint answers, asked once before a run begins."""

from __future__ import annotations

import logging
import os

from polite_flamingo.errors import ModelError
from polite_flamingo.jobs.backends.chat_client import EndpointDownError
from polite_flamingo.jobs.backends.chat_completion import KEY_VARIABLE, check_url

LOG = logging.getLogger(__name__)
SECONDS = 10.0  # an endpoint has to answer
REFUSED = (401, 402, 403)


def require_endpoint(spec: str) -> None:
    """Ask an ``openai:<url>#<model>`` for its models; nothing is bought. Other backends are no endpoints.

    One that answers anything is taken to be up: not every server lists its models. Where one lists them without the
    model that is wanted, a warning names those it has.

    Raises:
        ConfigError: the url is none.
        EndpointDownError: nobody answers.
        ModelError: the key is refused.
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
            f"endpoint answered {answer.status_code}", where=url, next_step=f"check {KEY_VARIABLE} in the environment"
        )
    try:
        listed = [str(entry["id"]) for entry in answer.json()["data"]]
    except (ValueError, LookupError, TypeError):
        return
    if listed and model not in listed:
        LOG.warning("%s does not list the model %r; it has %s", url, model, ", ".join(listed[:10]))
