"""`penjing serve`: artifacts over HTTP."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from penjing.cli.output import say, say_json
from penjing.errors import DataError

KEY = "PENJING_API_KEY"


def offer(
    goods: Mapping[str, Any], host: str, port: int, origins: Sequence[str] = (), *, as_json: bool = False
) -> None:
    """Open everything (the fields of `Goods`), say where it is, and serve until told to stop."""
    from penjing.extras import need

    for module in ("fastapi", "uvicorn", "prometheus_client", "multipart"):
        need(module, "serve")
    from penjing.serve.limits import Limits
    from penjing.serve.origins import checked_origins
    from penjing.serve.run import LOCAL, bound, serve
    from penjing.serve.shelf import Goods, open_shelf

    wanted = Goods(**goods)
    if not wanted.artifacts and wanted.index is None and wanted.knowledge is None:
        raise DataError("nothing to serve", hint="give artifacts, --index or --knowledge")
    allowed = checked_origins(origins)
    limits, key = Limits(), os.environ.get(KEY) or None
    place = bound(host, port)
    shelf = open_shelf(wanted, limits)
    name = f"[{host}]" if ":" in host else host
    url = f"http://{name}:{place.getsockname()[1]}"
    if as_json:
        say_json({"url": url, "models": [*shelf.models]})
    say(f"serving {', '.join(shelf.models)} on {url}")
    if key is None and host not in LOCAL:
        say(f"anyone who reaches this machine may use it: set {KEY} to ask for a key")
    serve(shelf, place, limits, key, allowed)
