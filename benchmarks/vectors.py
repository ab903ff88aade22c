"""A million vectors in few bytes: vectors.py [COUNT] [peers]

Unit vectors of 512 numbers in clusters of a hundred; each cluster has a centre and 64 directions of its own, which take
half of its items' length. Queries are items to which noise of a tenth of their length was added: 200 that choose the
form, 500 others that judge. Everything is told beside exact search in float32: recall@10, bytes that are stored (all
files, codebooks and numbers of items, too), milliseconds of a query, asked one by one.

`peers` also builds what LanceDB and usearch have for it (pip install lancedb usearch); give a smaller COUNT then.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from timing import BUILD, THREADS, write

WIDTH, CLUSTER, INSIDE, LENGTH, NOISE = 512, 100, 64, 0.5, 0.1
TUNES, JUDGES, AT = 200, 500, 10
FORMS = ("binary", "int2", "pq128", "int3", "pq256", "int4", "binary-int8", "int8")


def drawn(count: int, place: Path) -> np.ndarray[Any, Any]:
    """Vectors (count, 512) float16 in a file, drawn once."""
    if place.is_file():
        return np.load(place, mmap_mode="r")
    dice = np.random.default_rng(0)
    found = np.lib.format.open_memmap(place, "w+", np.float16, (count, WIDTH))
    for first in range(0, count, CLUSTER):
        centre = unit(dice.standard_normal((1, WIDTH), np.float32))
        basis = np.linalg.qr(dice.standard_normal((WIDTH, INSIDE), np.float32))[0].T
        inside = dice.standard_normal((min(CLUSTER, count - first), INSIDE), np.float32) / INSIDE**0.5
        found[first : first + CLUSTER] = unit(centre + LENGTH * inside @ basis)
    return found


def unit(vectors: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def perturbed(vectors: np.ndarray[Any, Any], count: int, seed: int) -> np.ndarray[Any, Any]:
    dice = np.random.default_rng(seed)
    rows = dice.choice(len(vectors), count, replace=False)
    noise = unit(dice.standard_normal((count, WIDTH), np.float32))
    return unit(np.asarray(vectors[rows], np.float32) + NOISE * noise).astype(np.float32)


def judged(name: str, search: Callable[[Any], Any], queries: Any, right: Any, size_bytes: float, seconds: float) -> Any:
    """One line of the table."""
    times, hits = [], []
    for query, best in zip(queries, right, strict=True):
        start = time.perf_counter()
        found = search(query)
        times.append(time.perf_counter() - start)
        hits.append(len({*map(int, found)} & {*best.tolist()}) / AT)
    p50, p95 = (float(1000 * np.quantile(times, share)) for share in (0.5, 0.95))
    line = {"form": name, "recall": float(np.mean(hits)), "bytes": size_bytes, "p50_ms": p50, "p95_ms": p95,
            "build_s": seconds}  # fmt: skip
    print(line, file=sys.stderr)
    return line


def ours(vectors: Any, queries: Any, right: Any, form: str | None) -> Any:
    """The form that penjing chooses, or one that is named."""
    from penjing.index.choice import Queries, Wanted, chosen
    from penjing.values import silent

    start = time.perf_counter()
    tunes = Queries(perturbed(vectors, TUNES, 1), np.full(TUNES, -1))
    made, measured = chosen(vectors, np.arange(len(vectors)), tunes, Wanted(0.95, form=form, threads=THREADS), silent)
    seconds = time.perf_counter() - start
    folder = BUILD / "vectors-stored"
    shutil.rmtree(folder, ignore_errors=True)
    made.write(folder)
    size = sum(path.stat().st_size for path in folder.iterdir()) / len(vectors)
    name = f"{made.spec.name}, {measured.looks_into} of {measured.buckets} buckets"
    return judged(name, lambda query: made.search(query[None], AT)[1][0], queries, right, size, seconds)


def usearch_lines(vectors: Any, queries: Any, right: Any) -> list[Any]:
    from usearch.index import Index

    lines = []
    for kind in ("i8", "f16"):
        start = time.perf_counter()
        index = Index(ndim=WIDTH, metric="cos", dtype=kind)
        index.add(np.arange(len(vectors)), np.asarray(vectors, np.float32), threads=THREADS)
        seconds = time.perf_counter() - start
        size = index.serialized_length / len(vectors)
        lines.append(judged(f"usearch {kind}", lambda query, index=index: index.search(query, AT).keys, queries, right,
                            size, seconds))  # fmt: skip
    return lines


def lance_lines(vectors: Any, queries: Any, right: Any) -> list[Any]:
    import lancedb
    import pyarrow

    folder, lines = BUILD / "lance", []
    for name, options in (("IVF_PQ", {"num_sub_vectors": 256}), ("IVF_RQ", {"num_bits": 4})):
        shutil.rmtree(folder, ignore_errors=True)
        rows = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(np.asarray(vectors, np.float32).ravel()), WIDTH)
        table = lancedb.connect(folder).create_table(
            "t", pyarrow.table({"id": np.arange(len(vectors)), "vector": rows})
        )
        raw = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        start = time.perf_counter()
        try:
            table.create_index(metric="cosine", index_type=name, vector_column_name="vector", **options)
        except Exception as error:  # what this version does not know
            print(f"LanceDB {name}: {error}", file=sys.stderr)
            continue
        seconds = time.perf_counter() - start
        size = (sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) - raw) / len(vectors)

        def find(query: Any, table: Any = table) -> Any:
            return table.search(query).nprobes(20).limit(AT).select(["id"]).to_arrow()["id"].to_pylist()

        lines.append(judged(f"LanceDB {name}, codes alone", find, queries, right, size, seconds))
    return lines


def main(count: int, peers: bool) -> None:
    import faiss

    from penjing.index.choice import Queries, exact

    faiss.omp_set_num_threads(THREADS)
    BUILD.mkdir(parents=True, exist_ok=True)
    vectors = drawn(count, BUILD / f"vectors-{count}.npy")
    queries = perturbed(vectors, JUDGES, 2)
    right = exact(vectors, Queries(queries, np.full(JUDGES, -1)), AT)
    lines = [ours(vectors, queries, right, None)]
    if peers:
        lines += [ours(vectors, queries, right, form) for form in FORMS]
        lines += usearch_lines(vectors, queries, right) + lance_lines(vectors, queries, right)
    write(f"vectors-{count}", {"count": count, "float32_bytes": 4 * WIDTH, "forms": lines})
    for line in lines:
        share = line["bytes"] / 4 / WIDTH
        print(f"{line['form']:34} recall@10 {line['recall']:.3f}  {line['bytes']:7.1f} bytes ({share:.3f})  p50 "
              f"{line['p50_ms']:.2f} ms  p95 {line['p95_ms']:.2f} ms  built in {line['build_s']:.0f} s")  # fmt: skip


if __name__ == "__main__":
    given = [argument for argument in sys.argv[1:] if argument != "peers"]
    main(int(given[0]) if given else 1_000_000, "peers" in sys.argv)
