"""Files of an index that were moved, renamed or merely touched: known again by their content, with their vectors."""

from __future__ import annotations

from collections.abc import Sequence

from penjing.index.catalog import Catalog
from penjing.index.files import Found, content_hash
from penjing.values import Tell


def hash_known(catalog: Catalog, tell: Tell) -> None:
    """Hash files of an index that an older penjing made, so that they are known again when they move."""
    paths = catalog.without_content()
    contents: dict[str, str | None] = {}
    for done, path in enumerate(paths, 1):
        contents[path] = content_hash(path)
        tell("hash files", done, len(paths))
    with catalog:
        catalog.set_content(contents)


def keep_moved(catalog: Catalog, changed: Sequence[Found]) -> dict[str, Found]:
    """Give files whose content is known under another path, or from another time, what is known of it.

    A copy is none of them: where the file is still as it was, another with its content is embedded by itself.

    Args:
        catalog: of the index, which knows what is missing by now.
        changed: files that are new or have another size or time.

    Returns:
        The files that need not be read, by the path they were known by.
    """
    movable = catalog.movable(changed)
    sizes = {file.size_bytes for file in movable.values()}
    contents = {file.path: content_hash(file.path) for file in changed if file.size_bytes in sizes}
    free: dict[tuple[str, str], list[str]] = {}
    for path, known in sorted(movable.items()):
        if known.content is not None and contents.get(path) != known.content:
            free.setdefault((known.kind, known.content), []).append(path)
    moves: dict[str, Found] = {}
    for file in changed:
        content = contents.get(file.path)
        own = movable.get(file.path)
        if content is None:
            continue
        if own is not None and own.content == content:
            moves[file.path] = file
        elif candidates := free.get((file.kind, content)):
            moves[candidates.pop(0)] = file
    catalog.move(moves)
    return moves
