"""Pages of other sites: what a browser sends for them unasked is refused, unless they are allowed."""

from __future__ import annotations

import pytest

from penjing.errors import DataError
from penjing.serve.origins import checked_origins
from tiny_colours import Colours

EMBED = {"model": "model", "input": "1 2 3"}
FORM = b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nmodel\r\n--B--\r\n'
OTHERS = ["https://evil.example", "http://127.0.0.1:1", "http://localhost", "null", "http://127.0.0.1.evil.example"]
ROUTES = [
    ("POST", "/v1/embeddings"), ("POST", "/v1/chat/completions"), ("POST", "/v1/audio/transcriptions"),
    ("POST", "/v1/audio/translations"), ("POST", "/v1/search"), ("GET", "/v1/models"), ("GET", "/v1/search/items/1"),
    ("GET", "/health"), ("GET", "/metrics"), ("GET", "/"),
]  # fmt: skip


@pytest.mark.parametrize("origin", OTHERS)
def test_no_route_is_for_pages_of_other_origins(origin, serving):
    running = serving(Colours())
    for method, path in ROUTES:
        found = running.send(method, path, FORM, Origin=origin, Content_Type="multipart/form-data; boundary=B")
        assert (found.status, found.json["error"]["code"]) == (403, "wrong_origin"), path
        assert "access-control-allow-origin" not in found.headers
        assert origin in found.json["error"]["message"]


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_pictures_and_scripts_of_other_pages_name_no_origin_and_are_refused(site, serving):
    running = serving(Colours())
    for method, path in ROUTES[:-1]:
        assert running.send(method, path, Sec_Fetch_Site=site).status == 403, path
    assert running.get("/", Sec_Fetch_Site=site).status == 200  # a link that was followed
    for own in ("none", "same-origin"):
        assert running.get("/v1/models", Sec_Fetch_Site=own).status == 200


def test_its_own_page_and_programs_are_served(serving):
    running = serving(Colours())
    assert running.post("/v1/embeddings", EMBED, Origin=running.url).status == 200
    assert running.post("/v1/embeddings", EMBED).status == 200
    behind_tls = {"Origin": "https://penjing.example", "Host": "penjing.example"}
    assert running.post("/v1/embeddings", EMBED, **behind_tls).status == 200


def test_pages_that_are_allowed_ask_beforehand_and_read_what_is_refused(serving):
    origin = "https://app.example:8443"
    running = serving(Colours(), key="secret", origins=[origin])
    asked = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "authorization,x-stainless-os"}
    found = running.send("OPTIONS", "/v1/embeddings", Origin=origin, **asked)
    assert (found.status, found.headers["access-control-allow-origin"]) == (200, origin)
    assert "authorization" in found.headers["access-control-allow-headers"]
    assert running.send("OPTIONS", "/v1/embeddings", Origin="https://evil.example", **asked).status == 400
    for key, status in (("secret", 200), ("wrong", 401)):
        found = running.post("/v1/embeddings", EMBED, Origin=origin, Authorization=f"Bearer {key}")
        assert (found.status, found.headers["access-control-allow-origin"]) == (status, origin)
    other = running.post("/v1/embeddings", EMBED, Origin="https://evil.example", Authorization="Bearer secret")
    assert (other.status, "access-control-allow-origin" in other.headers) == (403, False)


def test_all_pages_may_be_allowed(serving):
    running = serving(Colours(), origins=["*"])
    found = running.post("/v1/embeddings", EMBED, Origin="https://anything.example")
    assert (found.status, found.headers["access-control-allow-origin"]) == (200, "*")


def test_what_is_no_origin_is_told():
    assert checked_origins(["https://A.example", "*"]) == ("https://a.example", "*")
    for text in ("a.example", "https://a.example/path", "ftp://a.example", ""):
        with pytest.raises(DataError, match="no origin") as caught:
            checked_origins([text])
        assert "https://example.org" in caught.value.hint
