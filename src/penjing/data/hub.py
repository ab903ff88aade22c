"""Data sets of the Hugging Face hub, read by the library `datasets`. Offline it answers at once."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from penjing.data.paths import is_inside
from penjing.data.records import Record, named
from penjing.data.row import DataSet
from penjing.data.rows import FILE_COLUMNS, check_columns, data_set
from penjing.errors import DataError
from penjing.extras import need

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(:[\w.-]+)?")
"""`owner/name`, or `owner/name:configuration`."""
TIMEOUT_S = 5.0
SPLITS = ("test", "validation", "train")
"""The split that is read: the first of these that the set has."""
MOST_BYTES = 4_000_000_000


def load_from_hub(spec: str, limit: int | None = None) -> DataSet:
    """Read one split of a data set; with a limit only its first rows are downloaded."""
    name, _, configuration = spec.partition(":")
    datasets: Any = need("datasets", "compress")
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}
    if not offline:
        _ask(name)
    try:
        if offline:
            cached = datasets.load_dataset(name, configuration or None)
            split = _best(list(cached))
            opened = cached[split]
        else:
            split = _best(datasets.get_dataset_split_names(name, configuration or None))
            opened = datasets.load_dataset(name, configuration or None, split=split, streaming=limit is not None)
        records = list(_records(datasets, opened, f"{spec} {split}", limit))
    except DataError:
        raise
    except Exception as error:  # `datasets` raises what its many readers raise
        reason = "HF_HUB_OFFLINE is set and it is not in the cache" if offline else _reason(error)
        hint = "unset HF_HUB_OFFLINE, or give a folder" if offline else "try a folder with metadata.jsonl instead"
        raise DataError(f"{spec} cannot be read from the hub: {reason}", hint=hint) from error
    if records:
        check_columns(spec, records)
    return data_set(spec, records)


def rows_of_dataset(dataset: Any) -> DataSet:
    """Rows of a `datasets.Dataset` (or `IterableDataset`) that a program holds.

    Raises:
        DataError: it is something else, several splits, or has no column that is known.
    """
    columns = getattr(dataset, "column_names", None)
    if isinstance(columns, dict):  # a DatasetDict
        raise DataError(
            f"data is a {type(dataset).__name__} of the splits {', '.join(columns)}",
            hint=f"give one of them: data[{next(iter(columns), 'test')!r}]",
        )
    if columns is None or not hasattr(dataset, "cast_column"):
        raise DataError(
            f"data is a {type(dataset).__name__}",
            hint="give a name, a folder, a file or a datasets.Dataset; datasets.Dataset.from_list makes one of rows",
        )
    name = str(getattr(dataset.info, "dataset_name", None) or "dataset")
    records = list(_records(need("datasets", "compress"), dataset, name, None))
    if records:
        check_columns(name, records)
    return data_set(name, records)


def _best(splits: list[str]) -> str:
    return next((known for known in SPLITS if known in splits), splits[0])


def _ask(name: str) -> None:
    """Ask the hub whether it has the set: `datasets` itself retries for half a minute when there is no network."""
    hub: Any = need("huggingface_hub", "compress")
    errors: Any = need("huggingface_hub.errors", "compress")
    try:
        hub.HfApi().dataset_info(name, timeout=TIMEOUT_S)
    except errors.GatedRepoError as error:
        raise DataError(
            f"{name} is gated on the hub", hint="ask for access on its page, then `hf auth login`"
        ) from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        hint = "check the spelling; a private one needs `hf auth login`"
        raise DataError(f"{name}: neither a folder here nor a data set on the hub", hint=hint) from error
    except Exception as error:  # no network, a proxy, a server in trouble
        raise DataError(
            f"{name}: no such folder, and the hub does not answer ({type(error).__name__})",
            hint="give a folder, or set HF_HUB_OFFLINE=1 to take what the cache holds",
        ) from error


def _records(datasets: Any, opened: Any, place: str, limit: int | None) -> Iterator[Record]:
    """Yield the rows with encoded media and named classes."""
    features = opened.features or {}
    names = {column: kind.names for column, kind in features.items() if isinstance(kind, datasets.ClassLabel)}
    for column, kind in features.items():
        if isinstance(kind, datasets.Audio | datasets.Image):
            opened = opened.cast_column(column, type(kind)(decode=False))
    size_bytes = 0
    for number, values in enumerate(opened, 1):
        if limit is not None and number > limit:
            return
        media = (values.get(column) for column in FILE_COLUMNS)
        size_bytes += sum(len(found.get("bytes") or b"") for found in media if isinstance(found, dict))
        if size_bytes > MOST_BYTES:
            raise DataError(f"{place} is larger than {MOST_BYTES // 10**9} GB", hint="give a folder with a part of it")
        yield Record(f"{place}, row {number}", named(_with_cached_files(datasets, values), names))


def _with_cached_files(datasets: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Replace absolute paths that `datasets` gives of what it has downloaded by `Path`s; no other path is one."""
    replaced = dict(values)
    for column in FILE_COLUMNS:
        media = values.get(column)
        name = media.get("path") if isinstance(media, dict) and not media.get("bytes") else None
        if isinstance(name, str) and any(is_inside(Path(name), root) for root in _caches(datasets)):
            replaced[column] = Path(name)
    return replaced


def _caches(datasets: Any) -> Iterator[Path]:
    """Folders that downloads are in."""
    hub: Any = need("huggingface_hub.constants", "compress")
    yield from map(Path, (datasets.config.HF_DATASETS_CACHE, datasets.config.DOWNLOADED_DATASETS_PATH))
    yield Path(hub.HF_HUB_CACHE)


def _reason(error: BaseException) -> str:
    """The first line of what went wrong first: `datasets` wraps errors into errors that say nothing."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
