"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]
Engine = Annotated[str, typer.Option(help="auto, openvino, onnxruntime or torch.")]
Threads = Annotated[int | None, typer.Option(help="Threads; all cores by default.")]
Temperature = Annotated[float, typer.Option(help="0: the likeliest token; higher: more chance.")]
TopP = Annotated[float, typer.Option(help="Share of likely tokens that are drawn from.")]
Seed = Annotated[int | None, typer.Option(help="Draw the same text again.")]
Stop = Annotated[list[str] | None, typer.Option(help="End before this text; repeatable.")]
MaxTokens = Annotated[int, typer.Option(min=1, help="Most tokens to write.")]
Data = Annotated[str | None, typer.Option(help="Folder, .jsonl, .parquet, hub dataset or built-in name.")]
