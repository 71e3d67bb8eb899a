"""Errors in OpenAI's shape: what clients of that protocol understand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from polite_flamingo.batching.tickets import (
    EngineClosedError,
    PromptTooLongError,
    QueueFullError,
    RequestCancelledError,
    RequestTimeoutError,
)
from polite_flamingo.errors import ConfigError, DataError, PoliteFlamingoError

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    421: "invalid_request_error",
    429: "rate_limit_error",
}
CLIENT_LEFT = 499  # nginx's; nobody reads it


class RefusedError(Exception):
    """A request that is answered with an error.

    Args:
        status: HTTP status.
        message: What is wrong.
        param: The field it is about.
        code: Machine-readable word.
        headers: Of the answer.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.headers = dict(headers or {})

    @property
    def shape(self) -> dict[str, Any]:
        """OpenAI's error object."""
        kind = TYPES.get(self.status, "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    @property
    def body(self) -> bytes:
        """JSON."""
        return json.dumps(self.shape).encode()


def refused(error: PoliteFlamingoError, param: str | None = None) -> RefusedError:
    """An error of ours as an answer."""
    shown = isinstance(error.value, str | int | float) and error.value != ""
    message = f"{error.what} ({error.value})" if shown else error.what
    if isinstance(error, QueueFullError):
        return RefusedError(429, error.what, code="queue_full", headers={"Retry-After": str(error.retry_after)})
    if isinstance(error, EngineClosedError):
        return RefusedError(503, error.what, code="stopping", headers={"Retry-After": "5"})
    if isinstance(error, RequestTimeoutError):
        return RefusedError(504, message, code="timeout")
    if isinstance(error, RequestCancelledError):
        return RefusedError(CLIENT_LEFT, message, code="cancelled")
    if isinstance(error, PromptTooLongError):
        return RefusedError(400, message, param=param or "messages", code="context_length_exceeded")
    if isinstance(error, DataError | ConfigError):
        return RefusedError(400, message, param=param)
    return RefusedError(500, error.what, code="model_error")
