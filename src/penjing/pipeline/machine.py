"""Where it was measured."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any


def describe_machine(threads: int) -> dict[str, Any]:
    """CPU, cores, memory and system; no host name."""
    import psutil

    return {
        "cpu": cpu_name(),
        "cores": os.cpu_count() or 1,
        "threads": threads,
        "memory_bytes": int(psutil.virtual_memory().total),
        "os": f"{platform.system()} {platform.machine()}",
    }


def cpu_name() -> str:
    """The CPU's own name where the system tells it, with the widest vector instructions that matter for int8."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return platform.processor() or platform.machine()
    lines = dict(line.split(":", 1) for line in path.read_text().splitlines() if ":" in line)
    found = {key.strip(): value.strip() for key, value in lines.items()}
    flags = set(found.get("flags", "").split())
    names = {
        "amx_int8": "AMX",
        "avx512_vnni": "AVX-512 VNNI",
        "avx_vnni": "AVX VNNI",
        "avx512f": "AVX-512",
        "avx2": "AVX2",
    }
    best = next((name for flag, name in names.items() if flag in flags), "")
    return f"{found.get('model name', platform.machine())} ({best})" if best else found.get("model name", "")
