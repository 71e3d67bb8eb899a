"""What a server takes from its clients, and where it listens. All numbers are ours."""

from __future__ import annotations

from pydantic import Field

from polite_flamingo.batching.engine import QUEUE, SLOTS
from polite_flamingo.settings import Settings

MIB = 1024 * 1024


class ServingLimits(Settings):
    """What a request may be; checked before anything of it is decoded."""

    body: int = Field(20 * MIB, gt=0, description="bytes of a request's body")
    bodies: int = Field(256 * MIB, gt=0, description="bytes of all bodies that are being read; more are answered 429")
    body_seconds: float = Field(30.0, gt=0, description="within which a body must have come")
    header_seconds: float = Field(10.0, gt=0, description="within which a connection must have sent a request's head")
    idle_seconds: float = Field(15.0, gt=0, description="that a connection is kept between two requests")
    depth: int = Field(32, gt=0, description="of lists and objects of the JSON within each other")
    values: int = Field(200_000, gt=0, description="commas and brackets of the JSON: small values cost much memory")
    images: int = Field(8, ge=0, description="images of a request")
    image_bytes: int = Field(10 * MIB, gt=0, description="of one image's file")
    pixels: int = Field(25_000_000, gt=0, description="width times height of one image")
    text: int = Field(100_000, gt=0, description="characters of all texts of a request")
    turns: int = Field(64, gt=0, description="messages of a request")
    choices: int = Field(8, gt=0, description="answers to one request (`n`)")
    stops: int = Field(4, gt=0, description="stop texts")


class ServingSettings(Settings):
    """A server."""

    host: str = Field("127.0.0.1", description="address it listens on")
    port: int = Field(8000, ge=0, le=65535, description="0: any that is free")
    names: tuple[str, ...] = Field((), description="names it is called by, of the Host header, beside its address")
    origins: tuple[str, ...] = Field((), description="origins of pages in browsers that may call it")
    slots: int = Field(SLOTS, gt=0, description="requests decoded together, per model")
    queue: int = Field(QUEUE, ge=0, description="requests that wait, per model; more are answered 429")
    seconds: float = Field(120.0, gt=0, description="a request may take, waiting included")
    grace: float = Field(30.0, ge=0, description="seconds that running requests have to end after SIGTERM")
    limits: ServingLimits = ServingLimits()
