"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
Engine = Annotated[str, typer.Option(help="auto, openvino, onnxruntime or torch.")]
Threads = Annotated[int | None, typer.Option(help="Threads; all cores by default.")]
Data = Annotated[str | None, typer.Option(help="Folder, .jsonl, .parquet, hub dataset or built-in name.")]
