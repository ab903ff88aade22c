"""`/v1/embeddings` and `/v1/search`: texts, pictures and sounds as vectors, and what is near them."""

from __future__ import annotations

import asyncio
import base64
import io
import itertools
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi import Path as Place
from fastapi.responses import FileResponse, Response, StreamingResponse

from penjing.apps.search import Filter, Hit
from penjing.data.image import read_image
from penjing.errors import DataError
from penjing.serve.budget import Load
from penjing.serve.desk import Desk
from penjing.serve.media import decoded, is_data, picture, samples
from penjing.serve.options import EMBEDDINGS, SEARCH
from penjing.serve.refusals import Refusal, mistaken, wrong_model
from penjing.serve.shelf import Served
from penjing.serve.wire import Embeddings, Search

THUMBNAIL = 384
PARTS_AT_ONCE = 16
"""Vectors that are written as JSON before other requests are served."""


def routes(desk: Desk) -> APIRouter:
    """The routes."""
    router = APIRouter()

    @router.post("/v1/embeddings", response_model=None)
    async def embed(asked: Embeddings, request: Request) -> Response:
        """Vectors of texts, or of pictures and sounds as data URIs."""
        served, load = desk.shelf[asked.model], request.state.load
        EMBEDDINGS.check(asked.undeclared)
        if "embed" not in served.abilities:
            raise wrong_model(asked.model, "embed")
        given = inputs_of(asked.input)
        if not 0 < len(given) <= desk.limits.texts:
            raise Refusal(400, f"{len(given)} inputs; 1 to {desk.limits.texts} are taken", param="input")
        vectors, read_tokens = await _vectors_of(desk, served, given, load)
        if asked.dimensions is not None:
            vectors = [_shortened(vector, asked.dimensions) for vector in vectors]
        parts = _document(vectors, asked, read_tokens)
        if len(vectors) <= PARTS_AT_ONCE:
            return Response("".join(parts), media_type="application/json")
        return StreamingResponse(_between_others(parts), media_type="application/json")

    _search_routes(router, desk)
    return router


def _search_routes(router: APIRouter, desk: Desk) -> None:
    """The routes of an index."""

    @router.post("/v1/search")
    async def search(asked: Search, request: Request) -> dict[str, Any]:
        """What of the index is nearest to a text, a picture or a sound."""
        SEARCH.check(asked.undeclared)
        searcher, served = desk.shelf.searcher, desk.shelf.searched_by
        if searcher is None or served is None:
            raise Refusal(404, "this server has no index: start it with --index", code="no_index")
        if not asked.query.strip():
            raise Refusal(400, "nothing to search for: an empty query", param="query")
        if asked.path is not None and "/" in asked.path:
            raise Refusal(400, "folders are not told: give a pattern of file names, like *.png", param="path")
        modality, read = await desk.aside(lambda: _read(served, asked.query, request.state.load, "query"))
        (vector,) = await served.worker.embed([read], modality)
        only = Filter(None, asked.kind, asked.where, asked.path)  # by whole paths one could guess where files lie
        hits = await desk.aside(lambda: searcher.near(vector, asked.k, only, modality))
        return _results(hits, searcher.language_note(asked.query) if modality == "text" else None)

    @router.get("/v1/search/items/{number}")
    async def item(number: Annotated[int, Place(ge=-(2**63), lt=2**63)]) -> Response:
        """A picture of the index, made small, or a sound of it."""
        searcher = desk.shelf.searcher
        found = None if searcher is None else searcher.item(number)
        if found is None or found.kind == "text" or not Path(found.path).is_file():
            raise Refusal(404, "no such picture or sound", code="no_item")
        if found.kind == "audio":
            return FileResponse(found.path)
        try:
            small = await desk.aside(lambda: _small(Path(found.path)))
        except DataError as error:
            raise Refusal(404, "the picture is gone", code="no_item") from error
        return Response(small, media_type="image/jpeg")


def inputs_of(given: str | list[Any]) -> list[str | list[int]]:
    """The inputs of a request, each a text or the token ids of one."""
    if isinstance(given, str):
        return [given]
    if given and all(isinstance(token_id, int) for token_id in given):
        return [given]
    return given


async def _vectors_of(
    desk: Desk, served: Served, given: Sequence[str | list[int]], load: Load
) -> tuple[list[Any], int]:
    """Vectors of inputs, and the tokens of their texts. A few inputs at a time wait for the model, so that those of
    other requests go between them, and no more of them are in memory as the model takes them.
    """
    vectors: list[Any] = []
    read_tokens = 0
    size = 2 * desk.limits.together
    for first in range(0, len(given), size):
        read = await desk.aside(partial(_read_all, served, given[first : first + size], load))
        read_tokens += sum(served.runner.count_read(text) for modality, text in read if modality == "text")
        vectors += await _embedded(served, read)
    return vectors, read_tokens


def _read_all(served: Served, given: Sequence[str | list[int]], load: Load) -> list[tuple[str, Any]]:
    """What inputs are, and themselves as the model takes them; a picture is let go of before the next is decoded."""
    read = []
    for given_input in given:
        read.append(_read(served, given_input, load))
        load.let_go()
    return read


async def _embedded(served: Served, read: Sequence[tuple[str, Any]]) -> list[Any]:
    """Vectors of what was read, in its order; each modality goes through the model by itself."""
    vectors: list[Any] = [None] * len(read)
    for modality in dict.fromkeys(modality for modality, _ in read):
        indices = [index for index, (other, _) in enumerate(read) if other == modality]
        embedded = await served.worker.embed([read[index][1] for index in indices], modality)
        for index, vector in zip(indices, embedded, strict=True):
            vectors[index] = vector
    return vectors


def _read(served: Served, given: str | list[int], load: Load, param: str = "input") -> tuple[str, Any]:
    """What an input is, and itself as the model takes it."""
    runner, limits = served.runner, load.limits
    try:
        if not isinstance(given, str):
            return "text", _read_tokens(served, given, param)
        if not is_data(given):
            if len(given) > limits.text_letters:
                raise Refusal(413, f"a text has more than {limits.text_letters} letters", code="too_large", param=param)
            if "text" not in runner.modalities:
                raise wrong_model(served.name, "embed texts")
            if not given.strip():
                raise Refusal(400, "an empty text has no vector", param=param)
            load.take("letters", len(given))
            return "text", runner.read(given, "text")
        modality, content = decoded(given, param)
        if modality not in runner.modalities:
            raise wrong_model(served.name, f"embed {modality}s")
        if modality == "image":
            return modality, runner.read(picture(content, load), "image")
        rate_hz = runner.settings["audio"]["sampling_rate"]
        return modality, runner.read(samples(content, rate_hz, load, param), "audio")
    except DataError as error:
        raise mistaken(error, param) from error


def _results(hits: Sequence[Hit], note: str | None) -> dict[str, Any]:
    """Hits that count as found, how many are merely near, and a note about the query."""
    relevant = [hit for hit in hits if hit.relevant is not False]
    below = len(hits) - len(relevant)
    return {"object": "list", "data": [_told(hit) for hit in relevant], "below_threshold": below, "note": note or ""}


def _read_tokens(served: Served, token_ids: list[int], param: str) -> Any:
    """A text of which the token ids are given, of the model's own tokenizer."""
    read_tokens = getattr(served.runner, "read_tokens", None)
    if read_tokens is None:
        raise wrong_model(served.name, "embed token ids: send texts")
    if not token_ids:
        raise Refusal(400, "an empty text has no vector", param=param)
    return read_tokens(token_ids)


def _told(hit: Hit) -> dict[str, Any]:
    """A hit as others may see it: where files lie on this machine is nobody's business."""
    return {key: value for key, value in hit.as_json().items() if key != "path"}


def _shortened(vector: Any, dimensions: int | None) -> Any:
    """The first so many numbers, of length 1 again."""
    if dimensions is None:
        return vector
    if dimensions > len(vector):
        raise Refusal(400, f"the model's vectors have {len(vector)} numbers", param="dimensions")
    return vector[:dimensions] / max(float(np.linalg.norm(vector[:dimensions])), 1e-12)


def _document(vectors: Sequence[Any], asked: Embeddings, read_tokens: int) -> Iterator[str]:
    """The answer as JSON, piece by piece: numbers of thousands of vectors at once would hold up other requests."""
    yield '{"object": "list", "data": ['
    for index, vector in enumerate(vectors):
        document = {"object": "embedding", "index": index, "embedding": _written(vector, asked.encoding_format)}
        yield f"{', ' if index else ''}{json.dumps(document)}"
    usage = {"prompt_tokens": read_tokens, "total_tokens": read_tokens}
    yield f'], "model": {json.dumps(asked.model)}, "usage": {json.dumps(usage)}}}'


async def _between_others(parts: Iterator[str]) -> AsyncIterator[str]:
    """Parts of an answer, some at a time; other requests are served between them."""
    while some := "".join(itertools.islice(parts, PARTS_AT_ONCE)):
        yield some
        await asyncio.sleep(0)


def _written(vector: Any, form: str) -> Any:
    values = np.asarray(vector, "<f4")
    return base64.b64encode(values.tobytes()).decode() if form == "base64" else values.tolist()


def _small(path: Path) -> bytes:
    image = read_image(path)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()
