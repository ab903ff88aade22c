"""Which site a request is for and which page it comes from: what keeps pages of other sites out.

A browser sends some requests of any page to any server without asking it first: forms, `multipart/form-data` among
them, pictures and scripts. It names the page's site in `Origin` (RFC 6454) or `Sec-Fetch-Site` (Fetch Metadata), which
no page can forge; programs that are no browsers send neither.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from penjing.errors import DataError
from penjing.serve.refusals import Refusal

ANY = "*"
ORIGIN = re.compile(r"https?://[^/\s?#@]+", re.IGNORECASE)
ONCE = (b"host", b"origin", b"authorization", b"content-length", b"content-type", b"sec-fetch-site")
"""Headers that a request has once: two readers of one request must not choose different ones."""


@dataclass(frozen=True, slots=True)
class Origins:
    """Names that the server answers to (all where there are none), and origins that may use it from a browser."""

    hosts: Sequence[str] = ()
    allowed: Sequence[str] = ()

    def check(self, headers: Mapping[bytes, bytes], *, guarded: bool) -> None:
        """Raise a `Refusal` of 403 for another host, or for a page of another origin.

        Where a browser names no origin, as for a picture, only `guarded` routes are refused: a link leads to the page.
        """
        host = headers.get(b"host", b"").decode("latin1")
        if self.hosts and re.sub(r":\d*$", "", host.lower()) not in self.hosts:
            raise Refusal(403, f"this server is not {host}", code="wrong_host")
        origin = headers.get(b"origin", b"").decode("latin1")
        if ANY in self.allowed:
            return
        if origin:
            if origin not in self.allowed and origin.partition("://")[2].lower() != host.lower():
                raise Refusal(
                    403, f"pages of {origin} may not use this server: see --allow-origin", code="wrong_origin"
                )
        elif guarded and headers.get(b"sec-fetch-site", b"none") in (b"cross-site", b"same-site"):
            raise Refusal(403, "pages of other sites may not use this server: see --allow-origin", code="wrong_origin")


def single_headers(headers: Sequence[tuple[bytes, bytes]], http_version: str) -> dict[bytes, bytes]:
    """Headers by their lower-case names.

    A request with two of those that come once, or without a host (RFC 9112, 3.2), is a `Refusal` of 400.
    """
    names = [name.lower() for name, _ in headers]
    twice = next((name for name in ONCE if names.count(name) > 1), None)
    if twice is not None:
        raise Refusal(400, f"the header {twice.decode()} comes twice", code="invalid")
    if http_version == "1.1" and b"host" not in names:
        raise Refusal(400, "the header host is missing", code="invalid")
    return {name.lower(): value for name, value in headers}


def checked_origins(given: Sequence[str]) -> tuple[str, ...]:
    """Origins as a browser sends them; what cannot be one is a `DataError`."""
    for origin in given:
        if origin != ANY and not ORIGIN.fullmatch(origin):
            raise DataError(f"{origin} is no origin", hint="give scheme, host and port, as https://example.org:8443")
    return tuple(ANY if origin == ANY else origin.lower() for origin in given)
