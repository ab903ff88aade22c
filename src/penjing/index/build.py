"""From files to an index: read by several threads, embedded by one model, put in bit by bit."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from penjing.data.knowledge import passages_in, titled
from penjing.errors import DataError
from penjing.index.catalog import Item
from penjing.index.fields import fields_of
from penjing.index.files import Found, content_hash
from penjing.index.store import Store
from penjing.values import FloatArray, Tell

Given = TypeVar("Given")
Made = TypeVar("Made")

TOGETHER = 16
"""Items that go through the model at once."""
KEPT_EVERY = 64
"""Files after which what was done is kept."""
NEVER = -1
"""When a file was changed that was not read: whenever it is seen again, it is another."""
AHEAD = 4
"""Files that are read ahead, for each thread."""


class Embedder(Protocol):
    """A model that embeds. `read` may be called by several threads at once."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """What it embeds: image, audio, text."""

    def read(self, item: Any, modality: str) -> Any:
        """An item as the model takes it."""

    def embed_read(self, read: Sequence[Any], modality: str) -> FloatArray:
        """Items that were read -> (items, width) unit vectors."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A file, its items, and each of them as the model takes it; or why there are none."""

    file: Found
    items: tuple[Item, ...] = ()
    read: tuple[Any, ...] = ()
    fault: str | None = None


def put_all(store: Store, files: Sequence[Found], embedder: Embedder, threads: int, tell: Tell) -> None:
    """Read, embed and put in files; what cannot be read is put in with the reason."""
    done = 0
    with ThreadPoolExecutor(threads) as pool:
        opened = read_ahead(pool, lambda file: opened_file(file, embedder), files, AHEAD * threads)
        while batch := [*itertools.islice(opened, KEPT_EVERY)]:
            store.put([(one.file, one.items, one.fault) for one in batch], embedded(batch, embedder))
            done += len(batch)
            tell("index", done, len(files))


def opened_file(file: Found, embedder: Embedder) -> Opened:
    """Read a file, in whatever thread this is. One that cannot be opened is tried again the next time."""
    try:
        with Path(file.path).open("rb"):
            pass  # rights, disks and too many open files are no faults of its content
        file = replace(file, content=content_hash(file.path))
        items = items_of(file)
        read = [embedder.read(_given(item), file.kind) for item in items]
    except (DataError, FileNotFoundError) as error:  # a name that cannot be written down leads nowhere
        return Opened(file, fault=str(error))
    except OSError as error:
        return Opened(
            replace(file, modified_ns=NEVER, content=None), fault=f"{file.path} cannot be opened: {error.strerror}"
        )
    return Opened(file, tuple(items), tuple(read))


def items_of(file: Found) -> list[Item]:
    """What of a file can be found: a picture or a sound itself, the passages of a text."""
    path = Path(file.path)
    if file.kind != "text":
        return [Item(file.path, file.kind, fields=fields_of(path))]
    passages = [*passages_in(path, path.parent)]
    if not passages:
        raise DataError("it holds no text")
    return [Item(file.path, file.kind, one.title, one.text, fields_of(path)) for one in passages]


def _given(item: Item) -> Any:
    if item.kind != "text":
        return Path(item.path)
    return titled(item.title, item.text)


def embedded(batch: Sequence[Opened], embedder: Embedder) -> FloatArray:
    """Vectors (items, width) of all items of some files, in order; items of one kind go through the model together."""
    flat = [(one.file.kind, read) for one in batch for read in one.read]
    found: list[FloatArray | None] = [None] * len(flat)
    for kind in dict.fromkeys(kind for kind, _ in flat):
        places = [place for place, (other, _) in enumerate(flat) if other == kind]
        for first in range(0, len(places), TOGETHER):
            some = places[first : first + TOGETHER]
            for place, vector in zip(some, embedder.embed_read([flat[place][1] for place in some], kind), strict=True):
                found[place] = vector
    return np.stack([one for one in found if one is not None]) if flat else np.zeros((0, 0), np.float32)


def read_ahead(
    pool: ThreadPoolExecutor, make: Callable[[Given], Made], given: Iterable[Given], ahead: int
) -> Iterator[Made]:
    """What is made of things, in order, while the pool makes so many further ones."""
    waiting: deque[Future[Made]] = deque()
    rest = iter(given)
    for one in itertools.islice(rest, ahead):
        waiting.append(pool.submit(make, one))
    while waiting:
        made = waiting.popleft().result()
        waiting.extend(pool.submit(make, one) for one in itertools.islice(rest, 1))
        yield made
