"""The support desk on the built-in questions: assist.py [EMBEDDER]

140 questions as customers write them, half without an answer, written before the code; what decides when to hand over
is learned on one half, everything is told of the other. EMBEDDER is an artifact that embeds texts; without it, words
alone find and decide.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from timing import THREADS, write


def main(embedder: str | None) -> None:
    import penjing
    from penjing.apps.confidence import builtin_folder, learn, read_questions
    from penjing.apps.retrieval import Retriever
    from penjing.data.knowledge import read_knowledge

    model = penjing.load(embedder, threads=THREADS, warm_up=False) if embedder else None
    start = time.perf_counter()
    confidence = learn(model)
    retriever = Retriever(read_knowledge(builtin_folder() / "knowledge"), model)
    opened_s = time.perf_counter() - start
    document: dict[str, object] = {"embedder": embedder, "opened_s": opened_s}
    for part in ("tune", "score"):
        asked = [one for one in read_questions(builtin_folder() / "questions.jsonl") if one.part == part]
        times, right, sure = [], [], []
        for one in asked:
            start = time.perf_counter()
            found = retriever.find(one.question)
            times.append(1000 * (time.perf_counter() - start))
            sure.append(confidence.of(found.signs) >= confidence.threshold)
            right.append(one.passage in [hit.passage.id for hit in found.found])
        answered = np.array([one.passage is not None for one in asked])
        document[part] = {
            "questions": len(asked),
            "in_top_3": float(np.mean(np.array(right)[answered])),
            "handed_over_of_unanswerable": float(1 - np.mean(np.array(sure)[~answered])),
            "handed_over_of_answerable": float(1 - np.mean(np.array(sure)[answered])),
            "p50_ms": float(np.median(times)),
        }
    write("assist", document)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
