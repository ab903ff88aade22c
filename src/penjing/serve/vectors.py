"""`/v1/embeddings` and `/v1/search`: texts, pictures and sounds as vectors, and what is near them."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter
from fastapi import Path as Place
from fastapi.responses import FileResponse, Response

from penjing.apps.search import Filter, Hit
from penjing.data.image import read_image
from penjing.errors import DataError
from penjing.serve.desk import Desk
from penjing.serve.media import decoded, is_data, picture, samples
from penjing.serve.refusals import Refusal, mistaken, wrong_model
from penjing.serve.shelf import Served
from penjing.serve.wire import Embeddings, Search

THUMBNAIL = 384


def routes(desk: Desk) -> APIRouter:
    """The routes."""
    router = APIRouter()

    @router.post("/v1/embeddings")
    async def embed(asked: Embeddings) -> dict[str, Any]:
        """Vectors of texts, or of pictures and sounds as data URIs."""
        served = desk.shelf[asked.model]
        if "embed" not in served.abilities:
            raise wrong_model(asked.model, "embed")
        given = [asked.input] if isinstance(asked.input, str) else asked.input
        if not 0 < len(given) <= desk.limits.texts:
            raise Refusal(400, f"{len(given)} inputs; 1 to {desk.limits.texts} are taken", param="input")
        read = [await desk.aside(partial(_read, served, one, desk)) for one in given]
        found: list[Any] = [None] * len(read)
        for modality in dict.fromkeys(modality for modality, _ in read):
            places = [place for place, (other, _) in enumerate(read) if other == modality]
            vectors = await served.worker.embed([read[place][1] for place in places], modality)
            for place, vector in zip(places, vectors, strict=True):
                found[place] = _shortened(vector, asked.dimensions)
        data = [{"object": "embedding", "index": place, "embedding": _written(vector, asked.encoding_format)}
                for place, vector in enumerate(found)]  # fmt: skip
        count = sum(served.runner.count_read(one) for modality, one in read if modality == "text")
        return {"object": "list", "data": data, "model": asked.model,
                "usage": {"prompt_tokens": count, "total_tokens": count}}  # fmt: skip

    @router.post("/v1/search")
    async def search(asked: Search) -> dict[str, Any]:
        """What of the index is nearest to a text, a picture or a sound."""
        searcher, served = desk.shelf.searcher, desk.shelf.searched_by
        if searcher is None or served is None:
            raise Refusal(404, "this server has no index: start it with --index", code="no_index")
        if not asked.query.strip():
            raise Refusal(400, "nothing to search for: an empty query", param="query")
        if asked.path is not None and "/" in asked.path:
            raise Refusal(400, "folders are not told: give a pattern of file names, like *.png", param="path")
        modality, read = await desk.aside(lambda: _read(served, asked.query, desk, "query"))
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

    return router


def _read(served: Served, given: str, desk: Desk, param: str = "input") -> tuple[str, Any]:
    """What an input is, and itself as the model takes it."""
    runner, limits = served.runner, desk.limits
    try:
        if not is_data(given):
            if len(given) > limits.text_letters:
                raise Refusal(413, f"a text has more than {limits.text_letters} letters", code="too_large", param=param)
            if "text" not in runner.modalities:
                raise wrong_model(served.name, "embed texts")
            if not given.strip():
                raise Refusal(400, "an empty text has no vector", param=param)
            return "text", runner.read(given, "text")
        modality, content = decoded(given, param)
        if modality not in runner.modalities:
            raise wrong_model(served.name, f"embed {modality}s")
        if modality == "image":
            return modality, runner.read(picture(content, limits), "image")
        rate_hz = runner.settings["audio"]["sampling_rate"]
        return modality, runner.read(samples(content, rate_hz, limits), "audio")
    except DataError as error:
        raise mistaken(error, param) from error


def _results(hits: Sequence[Hit], note: str | None) -> dict[str, Any]:
    """Hits that count as found, how many are merely near, and a note about the query."""
    relevant = [hit for hit in hits if hit.relevant is not False]
    below = len(hits) - len(relevant)
    return {"object": "list", "data": [_told(hit) for hit in relevant], "below_threshold": below, "note": note or ""}


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


def _written(vector: Any, form: str) -> Any:
    values = np.asarray(vector, "<f4")
    return base64.b64encode(values.tobytes()).decode() if form == "base64" else values.tolist()


def _small(path: Path) -> bytes:
    image = read_image(path)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()
