"""The commands. Each turns its arguments into one call of the library; what it needs is imported when it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from penjing.cli import seek
from penjing.cli.options import Data, Debug, Engine, Json, MaxTokens, Seed, Stop, Temperature, Threads, TopP
from penjing.cli.output import progress, say, say_json, show
from penjing.cli.results import show_artifact, show_evaluation
from penjing.cli.transcribe import transcribe
from penjing.cli.verify import verify
from penjing.errors import GoalNotMet

app = typer.Typer(
    name="penjing",
    help="Compress multimodal models until they run well on an ordinary CPU.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(seek.app, name="search")
app.command()(verify)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Compress multimodal models until they run well on an ordinary CPU."""
    if version:
        from penjing import __version__

        print(f"penjing {__version__}")
        raise typer.Exit


@app.command()
def inspect(model: str, threads: Threads = None, json: Json = False, debug: Debug = False) -> None:
    """Show towers, parameters, bytes, MACs and measured milliseconds of a model or an artifact."""
    import penjing

    with progress() as tell:
        found = penjing.inspect(model, threads=threads, tell=tell)
    if json:
        say_json(found)
        return
    from rich.console import Console

    from penjing.report.tables import print_inspection

    print_inspection(Console(), found)


@app.command()
def compress(  # noqa: PLR0913, PLR0917 - the options of the contract
    model: Annotated[
        str | None, typer.Argument(help="Model folder or hub id; may stand in the recipe instead.")
    ] = None,
    out: Annotated[str, typer.Option("-o", "--out", help="Folder to write the artifact to.")] = ...,  # type: ignore[assignment]
    recipe: Annotated[str | None, typer.Option(help="Recipe file or built-in recipe.")] = None,
    data: Data = None,
    calibration: Annotated[
        str | None, typer.Option(help="Calibrate on this data instead; all of --data judges.")
    ] = None,
    goal: Annotated[
        list[str] | None, typer.Option(help='What must be reached, as in "wer<=+0.01"; repeatable.')
    ] = None,
    format: Annotated[list[str] | None, typer.Option(help="onnx or checkpoint; repeatable.")] = None,
    engine: Engine = "auto",
    threads: Threads = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a killed run stopped.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an artifact that stands at OUT.")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="Judge test rows as they are and in one engine: no shift, no other engine.")
    ] = False,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Compress a model, measure it, and publish it if it met its goals."""
    import penjing

    with progress() as tell:
        found = penjing.compress(
            model,
            out,
            data=data,
            calibration=calibration,
            recipe=recipe,
            goals=goal or (),
            formats=format or (),
            engine=engine,
            threads=threads,
            seed=seed,
            resume=resume,
            overwrite=overwrite,
            quick=quick,
            tell=tell,
        )
    if not found:  # a process that helped another one to learn
        return
    if json:
        say_json(found)
    else:
        show_artifact(Path(out))


@app.command()
def evaluate(  # noqa: PLR0913, PLR0917 - the options of the contract
    model: Annotated[str, typer.Argument(help="Artifact, index, model folder or hub id.")],
    data: Annotated[str, typer.Option(help="Folder, .jsonl, .parquet, hub dataset or built-in name.")],
    against: Annotated[
        str | None, typer.Option(help="Another model or artifact, measured in turns with the first.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="Task to judge by; the model's own by default.")] = None,
    goal: Annotated[
        list[str] | None, typer.Option(help='What must be reached, as in "recall_at_1>=0.8"; repeatable.')
    ] = None,
    engine: Engine = "auto",
    threads: Threads = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure a model, an artifact or an index on data, and hold it to goals: metric, bytes, milliseconds, memory."""
    import penjing

    try:
        with progress() as tell:
            found = penjing.evaluate(
                model, data, against=against, task=task, goals=goal or (), engine=engine, threads=threads, tell=tell
            )
    except GoalNotMet as missed:
        if not json and missed.document is not None:
            show_evaluation(missed.document)
        raise
    if json:
        say_json(found)
    else:
        show_evaluation(found)


@app.command()
def report(artifact: str, json: Json = False, debug: Debug = False) -> None:
    """Show the report of an artifact, and write its report.html anew."""
    from penjing.artifact.manifest import read_manifest
    from penjing.cli.rewrite import rewrite_page

    manifest = read_manifest(Path(artifact))
    if json:
        say_json(manifest)
        return
    show_artifact(Path(artifact))
    say(f"wrote {rewrite_page(Path(artifact), manifest)}")


app.command()(transcribe)


@app.command()
def ask(  # noqa: PLR0913, PLR0917 - the options of the contract
    artifact: Annotated[str, typer.Argument(help="An artifact that answers questions, or seedling.")],
    asked: Annotated[list[str] | None, typer.Argument(help="A picture, and a question: typed or a sound file.")] = None,
    max_tokens: MaxTokens = 64,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    seed: Seed = None,
    stop: Stop = None,
    engine: Engine = "auto",
    threads: Threads = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Answer a question about a picture, shown as it is written."""
    import penjing
    from penjing.apps import look
    from penjing.runtimes.sampling import Sampling, Style

    found = look.what_is_asked(asked or [])
    style = Style(max_tokens, Sampling(temperature, top_p, seed), tuple(stop or ()))
    runner = penjing.load(artifact, engine=engine, threads=threads, warm_up=False)
    said = look.ask(runner, found, style, None if json else show)
    if json:
        say_json(said.as_json())
    else:
        print()


@app.command()
def caption(  # noqa: PLR0913, PLR0917 - the options of the contract
    artifact: Annotated[str, typer.Argument(help="An artifact that writes captions, or seedling.")],
    files: Annotated[list[str], typer.Argument(help="Pictures: png, jpg, webp, gif.")],
    max_tokens: MaxTokens = 64,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    seed: Seed = None,
    stop: Stop = None,
    engine: Engine = "auto",
    threads: Threads = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Say in a sentence what pictures show, as it is written."""
    import penjing
    from penjing.apps import look
    from penjing.runtimes.sampling import Sampling, Style

    look.check_pictures(files)
    style = Style(max_tokens, Sampling(temperature, top_p, seed), tuple(stop or ()))
    runner = penjing.load(artifact, engine=engine, threads=threads, warm_up=False)
    results = []
    for name in files:
        if not json and len(files) > 1:
            show(f"{name}: ")
        results.append(look.caption(runner, name, style, None if json else show).as_json())
        if not json:
            print()
    if json:
        say_json({"results": results})


@app.command()
def generate(  # noqa: PLR0913, PLR0917 - the options of the contract
    artifact: Annotated[str, typer.Argument(help="An artifact of a language model.")],
    prompt: Annotated[str, typer.Argument(help="Text to write on from.")],
    max_tokens: MaxTokens = 256,
    chat: Annotated[bool, typer.Option("--chat", help="Answer the text, as the model's chat template has it.")] = False,
    system: Annotated[str | None, typer.Option(help="What the model is told before a chat.")] = None,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    seed: Seed = None,
    stop: Stop = None,
    engine: Engine = "auto",
    threads: Threads = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Write on from a text, or answer it, shown as it is written."""
    import penjing
    from penjing.apps.write import Manner, write
    from penjing.runtimes.sampling import Sampling, Style

    manner = Manner(Style(max_tokens, Sampling(temperature, top_p, seed), tuple(stop or ())), chat, system)
    manner.prompt(prompt)
    runner = penjing.load(artifact, engine=engine, threads=threads, warm_up=False)
    found = write(runner, prompt, manner, None if json else show)
    if json:
        say_json(found.as_json())
    else:
        print()


@app.command()
def assist(  # noqa: PLR0913, PLR0917 - the options of the contract
    knowledge: Annotated[
        str, typer.Argument(help="Folder of what is known: .md, .txt, and .csv of questions and answers.")
    ],
    asked: Annotated[
        list[str] | None, typer.Argument(help="A question, a sound, a picture; else standard input, line by line.")
    ] = None,
    embeds: Annotated[str | None, typer.Option(help="Artifact that finds passages by meaning: MiniLM.")] = None,
    writes: Annotated[
        str | None, typer.Option(help="Artifact of a chat model that answers; else passages are quoted.")
    ] = None,
    hears: Annotated[str | None, typer.Option(help="Artifact that transcribes spoken questions.")] = None,
    sees: Annotated[str | None, typer.Option(help="Artifact that compares pictures, or captions them.")] = None,
    questions: Annotated[
        str | None, typer.Option(help="Table of questions with and without an answer, to learn when to hand over.")
    ] = None,
    engine: Engine = "auto",
    threads: Threads = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Answer customers from a folder of knowledge, with sources; hand over to a person where nothing answers."""
    from penjing.cli.desk import Wanted
    from penjing.cli.desk import assist as begin

    begin(knowledge, asked or [], Wanted(embeds, writes, hears, sees, questions, engine, threads, json))


@app.command()
def serve(  # noqa: PLR0913, PLR0917 - the options of the contract
    artifacts: Annotated[list[str] | None, typer.Argument(help="Artifacts, served under their folders' names.")] = None,
    index: Annotated[str | None, typer.Option(help="Folder of an index to search.")] = None,
    knowledge: Annotated[str | None, typer.Option(help="Folder that the model `assistant` answers from.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = 8000,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(help="Origin whose pages may use it in a browser (CORS), as https://example.org; * for all."),
    ] = None,
    engine: Engine = "auto",
    threads: Threads = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Serve artifacts over HTTP as the OpenAI API does, with a page to try them at /.

    Where PENJING_API_KEY is set, requests must bring it. With --json, address and models are a document on stdout.
    """
    from penjing.cli.offer import offer

    goods = {"artifacts": artifacts or [], "index": index, "knowledge": knowledge, "engine": engine, "threads": threads}
    offer(goods, host, port, allow_origin or (), as_json=json)


@app.command()
def demo(
    out: Annotated[str, typer.Option("-o", "--out", help="Folder to write the artifact to.")] = "build/demo/seedling",
    threads: Threads = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Compress the built-in seedling, measure every task before and after, and use the result.

    With --json it prints what `penjing compress --json` prints.
    """
    from penjing.cli.demo import run_demo

    run_demo(out, threads, as_json=json)


@app.command()
def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this recipe.")] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List the built-in recipes, or print one."""
    from penjing.recipe import builtin_recipes, read_recipe

    known = builtin_recipes()
    if name is not None:
        found = read_recipe(name)
        if json:
            say_json(found.as_json())
        else:
            print(known.get(name) or found.as_yaml(), end="")
    elif json:
        say_json({"recipes": {key: read_recipe(key).as_json() for key in known}})
    else:
        for key, text in known.items():
            print(f"{key:14} {text.splitlines()[0].lstrip('# ')}")


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(help="Explain this method.")] = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """List the methods, or explain one."""
    from penjing.cli.explain import explain_method, find_methods, method_json

    known = find_methods(name)
    if json:
        say_json({"methods": {key: method_json(cls) for key, cls in known.items()}})
    elif name is not None:
        print(explain_method(known[name]), end="")
    else:
        for key, cls in known.items():
            print(f"{key:14} {(cls.__doc__ or '').strip().splitlines()[0]}")
