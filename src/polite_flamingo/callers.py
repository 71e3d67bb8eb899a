"""Who may call a server on this machine: the names it is asked by, and the pages in browsers that ask it.

A name of another machine in ``Host`` is a page's that has had its own name lead here (DNS rebinding); ``Origin`` and
``Sec-Fetch-Site`` are what a browser says of the page that asks. Programs send neither.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

LOCAL = ("127.0.0.1", "localhost", "::1")
SCHEMES = ("http", "https")
Strange = Literal["host", "origin", "site"]


@dataclass(frozen=True, slots=True)
class Callers:
    """Who may call.

    Args:
        names: Host names that the server is asked by, with any port; in small letters.
        origins: Origins of pages that may ask it, beside its own pages; in small letters.
        pages: Host names of such pages, with any scheme and port; in small letters.
    """

    names: Collection[str]
    origins: Collection[str] = ()
    pages: Collection[str] = ()

    def strange(self, headers: Iterable[tuple[bytes, bytes]], *, followed: bool = False) -> Strange | None:
        """What is wrong with a request.

        Args:
            headers: Of the request; names in small letters (ASGI).
            followed: A link to a page was followed, as one may on any site.

        Returns:
            None, or which header is refused: the ``host``, the ``origin``, or the ``site`` that a browser names.
        """
        hosts, origins, sites = (values(headers, name) for name in (b"host", b"origin", b"sec-fetch-site"))
        if len(hosts) != 1 or host_name(f"//{hosts[0]}") not in self.names:
            return "host"
        if not all(self._own(origin.lower(), hosts[0].lower()) for origin in origins):
            return "origin"
        if not origins and not followed and any(site in ("cross-site", "same-site") for site in sites):
            return "site"
        return None

    def _own(self, origin: str, host: str) -> bool:
        scheme, _, place = origin.partition("://")
        itself = scheme in SCHEMES and (place == host or host_name(origin) in self.pages)
        return itself or origin.rstrip("/") in self.origins


def values(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> list[str]:
    """All values of a header."""
    return [value.decode("latin-1") for key, value in headers if key == name]


def host_name(address: str) -> str | None:
    """Host name of an address, in small letters; None where it has none."""
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None
