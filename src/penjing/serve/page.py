"""The page at `/`: plain files of ours, nothing from elsewhere."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter
from fastapi.responses import Response

from penjing.serve.desk import Desk

KINDS = {
    "index.html": "text/html; charset=utf-8",
    "page.css": "text/css; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "words.js": "text/javascript; charset=utf-8",
    "recorder.js": "text/javascript; charset=utf-8",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


def routes(desk: Desk) -> APIRouter:
    """The page and its parts, by fixed names."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def index() -> Response:
        """The page."""
        return _file("index.html")

    for name in KINDS:
        router.add_api_route(f"/page/{name}", lambda name=name: _file(name), methods=["GET"])
    return router


def _file(name: str) -> Response:
    content = (files("penjing.serve") / "page_files" / name).read_bytes()
    return Response(content, media_type=KINDS[name], headers=HEADERS)
