"""The web page of a study: a few routes over the study's file, for people who were given a link.

A link ends with ``#token``, which a browser sends to nobody; the page puts it into a header of its requests. That
header also keeps other sites from writing, beside a check of the origin. The name asked for (``Host``) is checked
against DNS rebinding, bodies are short, and nothing but the page's own files may run or be shown in it.
"""

from __future__ import annotations

import hmac
import json
import logging
import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from polite_flamingo.errors import ConfigError, DataError, StorageError
from polite_flamingo.study.drawing import CHECK
from polite_flamingo.study.forms import form_of
from polite_flamingo.study.judgements import Standing, check, labels_json
from polite_flamingo.study.records import SEEN, UNDONE, StudyEvent, StudyItem
from polite_flamingo.study.store import StudyFile

LOG = logging.getLogger(__name__)
LOCAL = ("127.0.0.1", "localhost", "[::1]")
PORT = 8790
MAX_BODY = 32_768  # bytes of a request
MAX_KEY = 64
NO_LINK = "this link is not, or no longer, one of the study's"
UNCLEAR = "the click is not understood"
PAGE = {"/": "page.html", "/page.js": "page.js", "/page.css": "page.css"}
TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class StudyServer:
    """What the routes do, without the web.

    Args:
        study: The file.
    """

    def __init__(self, study: StudyFile) -> None:
        self._study = study
        self._about = study.about()
        self._form = form_of(self._about["form"])
        self._items = study.items()
        self._numbers = {item.id: number for number, item in enumerate(self._items)}
        self._assignments = study.assignments()
        self._tokens = study.tokens()

    def annotator(self, token: str) -> str | None:
        """Whose link it is."""
        found = [name for name, own in self._tokens.items() if hmac.compare_digest(own.encode(), token.encode())]
        return found[0] if found else None

    def overview(self, annotator: str) -> dict[str, Any]:
        """What the page needs before the first sample."""
        standing = self._standing(self._study.events())
        second = standing.second_round(annotator)
        first = standing.first_round(annotator)
        return {
            "id": self._about["id"],
            "title": self._about["title"],
            "guidelines": self._about["guidelines"],
            "ranking": self._about["ranking"],
            "criteria": self._form.to_json(),
            "annotator": annotator,
            "rounds": {
                "1": {
                    "items": [self._numbers[item] for item in first],
                    "done": [self._numbers[item] for item in first if standing.done(annotator, item)],
                },
                "2": {
                    "items": [self._numbers[item] for item in second],
                    "done": [self._numbers[item] for item in second if not standing.open_keys(item)],
                },
            },
        }

    def sample(self, annotator: str, number: int, round_: int) -> dict[str, Any] | None:
        """One sample as its annotator may see it, without who gave the answers; None where it is none of theirs."""
        item = self._items[number] if 0 <= number < len(self._items) else None
        role = None if item is None else self._role(annotator, item)
        if item is None or role is None or round_ not in (1, 2) or (round_ == 1 and role == CHECK):
            return None
        standing = self._standing(self._study.events(item.id))
        if round_ == 2 and not standing.second_round_has(annotator, item.id):
            return None
        if round_ == 2:
            seen = StudyEvent(f"seen:{annotator}:{number}", annotator, item.id, 2, SEEN)
            self._study.add(seen)
        return self._shown(standing, annotator, item, round_)

    def keep(self, annotator: str, sent: Mapping[str, Any]) -> dict[str, Any]:
        """Keep a click and say what its sample is like then.

        Raises:
            DataError: it is none that can be kept.
        """
        event = _event(annotator, sent)
        number = sent.get("item")
        if type(number) is not int or not 0 <= number < len(self._items):
            raise DataError("no such sample", value=number)
        item = self._items[number]
        event = replace(event, item=item.id)
        check(event, item, self._form, self._about["ranking"])
        if (
            event.round == 2
            and event.kind != UNDONE
            and not self._standing(self._study.events(item.id)).second_round_has(annotator, item.id)
        ):
            raise DataError("the sample is not in the second round", value=number)
        kept = self._study.add(event)
        if kept is None:
            return {"item": None}
        item = self._items[self._numbers[kept.item]]
        return self._shown(self._standing(self._study.events(item.id)), annotator, item, event.round)

    def image(self, name: str) -> tuple[str, bytes] | None:
        """Media type and bytes."""
        return self._study.image(name)

    def _standing(self, events: Sequence[StudyEvent]) -> Standing:
        return Standing(self._items, self._assignments, events, self._form, self._about["ranking"])

    def _role(self, annotator: str, item: StudyItem) -> str | None:
        return next((o.role for o in self._assignments if (o.annotator, o.item) == (annotator, item.id)), None)

    def _shown(self, standing: Standing, annotator: str, item: StudyItem, round_: int) -> dict[str, Any]:
        own = standing.judgement(annotator, item.id, round_)
        mine = {
            key: said[annotator] for key in standing.keys(item.id) if annotator in (said := standing.said(item.id, key))
        }
        shown = {
            "item": self._numbers[item.id],
            "round": round_,
            "dataset": item.dataset,
            "question": item.question,
            "truth": item.truth,
            "also": list(item.also),
            "images": list(item.images),
            "answers": [answer.text for answer in item.answers],
            "labels": labels_json(own.labels if round_ == 1 else mine),
            "places": own.places if round_ == 1 else standing.judgement(annotator, item.id, 1).places,
            "comment": own.comment,
            "done": standing.done(annotator, item.id) if round_ == 1 else not standing.open_keys(item.id),
        }
        if round_ == 2:
            others = [name for name in standing.people(item.id) if name != annotator]
            shown["open"] = [list(key) for key in standing.open_keys(item.id)]
            shown["others"] = [
                {
                    "name": name,
                    "labels": labels_json(
                        {k: said[name] for k in standing.keys(item.id) if name in (said := standing.said(item.id, k))}
                    ),
                    "comments": [
                        text for number in (1, 2) if (text := standing.judgement(name, item.id, number).comment)
                    ],
                }
                for name in others
            ]
        return shown


def _event(annotator: str, sent: Mapping[str, Any]) -> StudyEvent:
    """A click as the page sends it.

    Raises:
        DataError: a field is missing or of another type.
    """
    texts = {name: sent.get(name, "") for name in ("key", "kind", "criterion", "value", "clicked")}
    slot, round_ = sent.get("slot"), sent.get("round")
    if (
        not all(isinstance(text, str) for text in texts.values())
        or not 8 <= len(texts["key"]) <= MAX_KEY
        or len(texts["clicked"]) > MAX_KEY
        or not (slot is None or type(slot) is int)
        or type(round_) is not int
        or texts["kind"] == SEEN
    ):
        raise DataError(UNCLEAR, value=sorted(map(str, sent)))
    try:
        "".join(texts.values()).encode()
    except UnicodeEncodeError:
        raise DataError("text holds half a character (a lone surrogate)") from None
    return StudyEvent(f"{annotator}:{texts.pop('key')}", annotator, "", round_, slot=slot, **texts)


class StudyRoutes:
    """The routes.

    Args:
        server: What they do.
    """

    def __init__(self, server: StudyServer) -> None:
        self._server = server
        self._pages = {path: files(__package__).joinpath("page", name).read_bytes() for path, name in PAGE.items()}

    async def page(self, request: Request) -> Response:
        """One of the page's own files."""
        path = request.url.path
        return Response(self._pages[path], media_type=TYPES[PAGE[path].rpartition(".")[2]], headers=HEADERS)

    async def overview(self, request: Request) -> Response:
        """What the page needs first."""
        name = self._who(request)
        if name is None:
            return _refused(401, NO_LINK)
        return JSONResponse(await run_in_threadpool(self._server.overview, name), headers=HEADERS)

    async def sample(self, request: Request) -> Response:
        """One sample."""
        name = self._who(request)
        if name is None:
            return _refused(401, NO_LINK)
        number, round_ = request.path_params["number"], request.path_params["round"]
        shown = await run_in_threadpool(self._server.sample, name, number, round_)
        return _refused(404, "no such sample") if shown is None else JSONResponse(shown, headers=HEADERS)

    async def image(self, request: Request) -> Response:
        """One image."""
        if self._who(request) is None:
            return _refused(401, NO_LINK)
        found = await run_in_threadpool(self._server.image, request.path_params["hash"])
        if found is None:
            return _refused(404, "no such image")
        return Response(found[1], media_type=found[0], headers=HEADERS)

    async def click(self, request: Request) -> Response:
        """Keep a click."""
        if not _same_origin(request):
            return _refused(403, "the request comes from another site")
        name = self._who(request)
        if name is None:
            return _refused(401, NO_LINK)
        body = await _body(request)
        if body is None:
            return _refused(413, f"a click has at most {MAX_BODY} bytes")
        try:
            sent = json.loads(body)
            if not isinstance(sent, dict):
                raise DataError(UNCLEAR)
            return JSONResponse(await run_in_threadpool(self._server.keep, name, sent), headers=HEADERS)
        except (ValueError, RecursionError):
            return _refused(422, UNCLEAR)
        except DataError as error:
            return _refused(422, error.what)
        except StorageError as error:
            LOG.error("%s", error)
            return _refused(503, error.what)

    def _who(self, request: Request) -> str | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return self._server.annotator(token) if scheme == "Bearer" and token else None


def application(study: StudyFile, hosts: Sequence[str] = LOCAL) -> Starlette:
    """The study as a web application.

    Args:
        study: The file.
        hosts: Names that the server answers to.
    """
    routes = StudyRoutes(StudyServer(study))
    return Starlette(
        routes=[
            *(Route(path, routes.page) for path in PAGE),
            Route("/api/study", routes.overview),
            Route("/api/rounds/{round:int}/{number:int}", routes.sample),
            Route("/api/images/{hash:str}", routes.image),
            Route("/api/events", routes.click, methods=["POST"]),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)],
    )


def links(study: StudyFile, host: str, port: int) -> dict[str, str]:
    """Annotator -> link."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return {name: f"http://{shown}:{port}/#{token}" for name, token in study.tokens().items()}


def serve(study: StudyFile, host: str, port: int, hosts: Sequence[str]) -> None:
    """Serve until stopped.

    Args:
        study: The file.
        host: Address to listen on.
        port: Port.
        hosts: Names that it answers to.

    Raises:
        ConfigError: the port is taken, or the address is none of this machine's.
    """
    import uvicorn

    if not 0 < port < 65_536 or not _free(host, port):
        raise ConfigError(
            "the port cannot be listened on", value=f"{host}:{port}", where="--port", next_step="another one"
        )
    uvicorn.run(
        application(study, hosts), host=host, port=port, access_log=False, server_header=False, log_level="warning"
    )


def _refused(status: int, why: str) -> Response:
    return JSONResponse({"error": why}, status, headers=HEADERS)


def _free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _same_origin(request: Request) -> bool:
    """False where a browser says that another site sends this; what is no browser says neither."""
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    host = request.headers.get("host", "")
    return origin in (None, f"http://{host}", f"https://{host}") and site in (None, "same-origin")


async def _body(request: Request) -> bytes | None:
    """The body; None where it is too long, which is found out without reading all of it."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            return None
    return bytes(body)
