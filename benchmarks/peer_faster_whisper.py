"""faster-whisper int8 as the peer, in its own environment: beam 1, no timestamps, language given, no VAD, 2 threads."""

import json
import sys
import time

from faster_whisper import WhisperModel

model = WhisperModel(sys.argv[1], device="cpu", compute_type="int8", cpu_threads=2)
results = []
for clip in json.loads(sys.argv[2]):
    start = time.perf_counter()
    segments, _ = model.transcribe(
        clip["file"],
        beam_size=1,
        language="en",
        without_timestamps=True,
        condition_on_previous_text=False,
        temperature=0.0,
        vad_filter=False,
    )
    text = " ".join(segment.text for segment in segments)
    results.append({"seconds": time.perf_counter() - start, "text": text})
print(json.dumps({"results": results}))
