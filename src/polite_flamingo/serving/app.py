"""The routes: OpenAI's chat completions, rewriting, and what operators ask."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial, wraps
from typing import Any

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from polite_flamingo import __version__
from polite_flamingo.batching.tickets import Completion, Ticket
from polite_flamingo.errors import PoliteFlamingoError
from polite_flamingo.serving.faults import CLIENT_LEFT, RefusedError, refused
from polite_flamingo.serving.following import Bell, Following, until_left
from polite_flamingo.serving.limits import RequestGuard
from polite_flamingo.serving.metrics import ServingMetrics
from polite_flamingo.serving.schema import ChatBody, RequestBody, RewriteBody, parse
from polite_flamingo.serving.service import ServedModel, Service
from polite_flamingo.serving.settings import ServingSettings

LOG = logging.getLogger(__name__)
Handler = Callable[["Routes", Request, "Trace"], Awaitable[Response]]
STREAMED = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
SLOW_READER = 30.0  # seconds that a client may take to read its stream beyond those of the answer
NO_DELTA = b'"delta": {}'  # a string of JSON cannot hold it
PLAIN = "text/plain; version=0.0.4; charset=utf-8"


class Trace:
    """What is counted about a request: no content."""

    def __init__(self, path: str) -> None:
        self.path, self.model, self.status = path, "", 200
        self.began = time.monotonic()
        self.streams = False  # the answer goes on after the route returned


def answered(handler: Handler) -> Callable[[Routes, Request], Awaitable[Response]]:
    """A route whose errors are answered in OpenAI's shape, and that is counted."""

    @wraps(handler)
    async def route(self: Routes, request: Request) -> Response:
        trace = Trace(request.url.path)
        self.metrics.active.inc()
        self.active += 1
        try:
            return await handler(self, request, trace)
        except RefusedError as error:
            return _refusal(error, trace)
        except PoliteFlamingoError as error:
            return _refusal(refused(error), trace)
        except Exception as error:  # told without its message, which may hold what a client sent
            trail = "".join(traceback.format_tb(error.__traceback__))
            LOG.error("%s failed: %s\n%s", trace.path, type(error).__name__, trail)
            return _refusal(RefusedError(500, "the server failed", code="internal_error"), trace)
        finally:
            if not trace.streams:
                self.count(trace)

    del route.__wrapped__  # FastAPI would read the handler's arguments
    return route


def _refusal(error: RefusedError, trace: Trace) -> Response:
    trace.status = error.status
    return JSONResponse(error.shape, error.status, headers=error.headers)


class Routes:
    """The routes.

    Args:
        service: What they do.
        settings: Limits.
    """

    def __init__(self, service: Service, settings: ServingSettings) -> None:
        self.service, self._settings = service, settings
        self.metrics = ServingMetrics({name: served.engine for name, served in service.models.items()})
        self.draining = False
        self.active = 0
        self._bell: Bell | None = None
        self._created = int(time.time())

    @answered
    async def models(self, request: Request, trace: Trace) -> Response:
        """The served models."""
        listed = [self._listed(served) for served in self.service.models.values()]
        return JSONResponse({"object": "list", "data": listed})

    @answered
    async def model(self, request: Request, trace: Trace) -> Response:
        """One of them."""
        return JSONResponse(self._listed(self.service.find(request.path_params["name"])))

    @answered
    async def chat(self, request: Request, trace: Trace) -> Response:
        """A chat completion, streamed or whole."""
        body = await self._read(request, ChatBody)
        following = Following(self._bell_here())

        def submit() -> ServedModel:
            served, asked = self.service.chat(body, request.scope.get("client_id", ""))
            trace.model = served.name
            following.submit(served.engine, asked)
            return served

        try:
            served = await run_in_threadpool(submit)
        except BaseException:
            following.cancel()
            raise
        shape = {
            "id": f"chatcmpl-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": served.name,
            "system_fingerprint": None,
        }
        if body.stream:
            trace.streams = True
            usage = body.stream_options is not None and body.stream_options.include_usage
            events = self._events(following, shape, usage, trace)
            return _Stream(events, self._settings.seconds + SLOW_READER, partial(self._streamed, following, trace))
        try:
            results = await following.results(request)
        finally:
            following.cancel()
        self._first(following.tickets, trace)
        choices = [_choice(number, result) for number, result in enumerate(results)]
        return JSONResponse({**shape, "object": "chat.completion", "choices": choices, "usage": _usage(results)})

    @answered
    async def rewrite(self, request: Request, trace: Trace) -> Response:
        """A rewrite with its repairs, and what the filters say of it."""
        body = await self._read(request, RewriteBody)
        served, speaker, work = await run_in_threadpool(self.service.rewriter, body, request.scope.get("client_id", ""))
        trace.model = served.name
        try:
            said, judged = await until_left(request, asyncio.wrap_future(served.rewrite(work)))
        finally:
            speaker.silence()
        if said.error:
            raise RefusedError(400, said.error)
        return JSONResponse(
            {
                "object": "rewrite",
                "id": f"rewrite-{secrets.token_hex(12)}",
                "created": int(time.time()),
                "model": served.name,
                "text": said.text,
                "raw": said.raw,
                "finish_reason": said.finish_reason,
                "tokens": said.tokens,
                "repairs": {"attempts": said.attempts, "fault": said.fault, "kept_raw": said.kept_raw},
                "judgement": None if judged is None else judged.to_json(),
            }
        )

    @answered
    async def health(self, request: Request, trace: Trace) -> Response:
        """Whether requests are taken."""
        alive = all(served.engine.alive for served in self.service.models.values())
        status = "stopping" if self.draining else "ok" if alive else "failed"
        return JSONResponse({"status": status}, 200 if status == "ok" else 503)

    @answered
    async def numbers(self, request: Request, trace: Trace) -> Response:
        """Prometheus' metrics."""
        return Response(await run_in_threadpool(self.metrics.text), media_type=PLAIN)

    def count(self, trace: Trace) -> None:
        """A request has been answered."""
        self.active -= 1
        self.metrics.active.dec()
        self.metrics.requests.labels(trace.path, trace.model, str(trace.status)).inc()
        self.metrics.seconds.labels(trace.path, trace.model).observe(time.monotonic() - trace.began)

    def _listed(self, served: ServedModel) -> dict[str, Any]:
        return {
            "id": served.name,
            "object": "model",
            "created": self._created,
            "owned_by": "polite-flamingo",
            "kind": served.place.kind,
            "context": served.engine.context,
        }

    def _bell_here(self) -> Bell:
        """That of the running loop."""
        if self._bell is None or self._bell.loop is not asyncio.get_running_loop():
            self._bell = Bell()
        return self._bell

    async def _read(self, request: Request, shape: type[Any]) -> Any:
        if self.draining:
            raise RefusedError(503, "the server is stopping", code="stopping", headers={"Retry-After": "5"})
        body = parse(await request.body(), shape, self._settings.limits)
        request.scope["body_read"]()
        return body

    async def _events(
        self, following: Following, shape: dict[str, Any], usage: bool, trace: Trace
    ) -> AsyncIterator[bytes]:
        """Server-sent events: a chunk per piece of text, the reasons, the counts, the end."""
        chunk = {**shape, "object": "chat.completion.chunk", **({"usage": None} if usage else {})}

        def event(number: int, delta: dict[str, Any], reason: str | None = None) -> bytes:
            choice = {"index": number, "delta": delta, "logprobs": None, "finish_reason": reason}
            return _event({**chunk, "choices": [choice]})

        try:
            for number in range(len(following.tickets)):
                yield event(number, {"role": "assistant", "content": ""})
            around = [event(number, {}).split(NO_DELTA) for number in range(len(following.tickets))]
            async for number, piece in following.pieces():
                delta = json.dumps({"content": piece}, ensure_ascii=False).encode()
                yield (b'"delta": ' + delta).join(around[number])
            results = [ticket.result(0) for ticket in following.tickets]
            for number, result in enumerate(results):
                yield event(number, {}, result.finish_reason)
            if usage:
                yield _event({**chunk, "choices": [], "usage": _usage(results)})
            yield b"data: [DONE]\n\n"
        except PoliteFlamingoError as error:
            failure = refused(error)
            trace.status = failure.status
            yield _event(failure.shape)

    def _streamed(self, following: Following, trace: Trace) -> None:
        """A stream has ended, or its client left."""
        if any(not ticket.done for ticket in following.tickets):
            trace.status = CLIENT_LEFT
        following.cancel()
        self._first(following.tickets, trace)
        self.count(trace)

    def _first(self, tickets: Sequence[Ticket], trace: Trace) -> None:
        came = [ticket.first_token for ticket in tickets if ticket.first_token is not None]
        if came:
            self.metrics.first.labels(trace.path, trace.model).observe(max(0.0, min(came) - trace.began))


class _Stream(StreamingResponse):
    """Server-sent events within some seconds, and something to be done when they end, also if they never began."""

    def __init__(self, events: AsyncIterator[bytes], seconds: float, ended: Callable[[], None]) -> None:
        super().__init__(events, media_type="text/event-stream", headers=STREAMED)
        self._seconds, self._ended = seconds, ended

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            async with asyncio.timeout(self._seconds):
                await super().__call__(scope, receive, send)
        except TimeoutError:
            LOG.warning("a client that does not read its stream was let go")
        finally:
            self._ended()


def build_app(service: Service, settings: ServingSettings, keys: Sequence[str] = ()) -> tuple[RequestGuard, Routes]:
    """The application, guarded, and its routes.

    Args:
        service: The models.
        settings: Names, origins, limits.
        keys: API keys; none: no key is asked for.
    """
    routes = Routes(service, settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        for served in service.models.values():
            await run_in_threadpool(partial(served.close, finish=False))

    app = FastAPI(
        title="Polite Flamingo",
        version=__version__,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        openapi_url="/openapi.json",
        lifespan=lifespan,
    )
    app.add_api_route("/v1/models", routes.models, methods=["GET"])
    app.add_api_route("/v1/models/{name:path}", routes.model, methods=["GET"])
    app.add_api_route("/v1/chat/completions", routes.chat, methods=["POST"], openapi_extra=_described(ChatBody))
    app.add_api_route("/v1/rewrite", routes.rewrite, methods=["POST"], openapi_extra=_described(RewriteBody))
    app.add_api_route("/health", routes.health, methods=["GET", "HEAD"])
    app.add_api_route("/metrics", routes.numbers, methods=["GET"])

    @app.exception_handler(HTTPException)
    async def elsewhere(request: Request, error: HTTPException) -> Response:
        message = f"{str(error.detail).lower()}: /openapi.json tells what can be asked"
        shape = RefusedError(error.status_code, message, code="unknown_url").shape
        return JSONResponse(shape, error.status_code, headers=error.headers)

    return RequestGuard(app, settings, keys), routes


def _described(shape: type[RequestBody]) -> dict[str, Any]:
    schema = shape.model_json_schema()
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _choice(number: int, result: Completion) -> dict[str, Any]:
    message = {"role": "assistant", "content": result.text, "refusal": None}
    return {"index": number, "message": message, "logprobs": None, "finish_reason": result.finish_reason}


def _usage(results: Sequence[Completion]) -> dict[str, int]:
    read, told = results[0].prompt_tokens, sum(result.tokens for result in results)
    return {"prompt_tokens": read, "completion_tokens": told, "total_tokens": read + told}


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"
