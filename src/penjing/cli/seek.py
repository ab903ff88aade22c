"""`penjing search`: an index made and asked."""

from __future__ import annotations

from typing import Annotated

import typer

from penjing.cli.options import Debug, Engine, Json, Threads
from penjing.cli.output import progress, say, say_json
from penjing.errors import DataError, did_you_mean

app = typer.Typer(help="Search pictures, sounds and texts by words, a picture or a voice.", no_args_is_help=True)

SHOWN_FAULTS = 5
NAMES = {"image": "pictures", "audio": "sounds", "text": "texts"}


@app.command("index")
def make_index(  # noqa: PLR0913, PLR0917 - the options of the contract
    artifact: Annotated[str, typer.Argument(help="Artifact of a dual encoder, a text encoder or the seedling.")],
    places: Annotated[list[str], typer.Argument(help="Folders and files of pictures, sounds and texts.")],
    index: Annotated[str, typer.Option("--index", help="Folder of the index; made, or brought up to date.")],
    recall: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Smallest form that finds this share of what exact search finds."),
    ] = None,
    at: Annotated[int, typer.Option(min=1, max=100, help="How many of the nearest are counted for that.")] = 10,
    form: Annotated[str | None, typer.Option(help="Keep vectors in this form, whatever it finds.")] = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Forget what is in the index and read all anew.")] = False,
    forget: Annotated[
        bool, typer.Option("--forget", help="Remove files from the index that are missing; without it they stay.")
    ] = False,
    engine: Engine = "auto",
    threads: Threads = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Index folders: what is new or has changed is read, what was moved is known again, what is missing stays."""
    import penjing
    from penjing.apps import search
    from penjing.index.choice import Wanted
    from penjing.runtimes.engine import available_cores

    wanted = Wanted(recall, at, form=form, threads=threads or available_cores())
    runner = penjing.load(artifact, engine=engine, threads=threads, warm_up=False)
    with progress() as tell:
        model = search.Embedding(runner, artifact)
        found = search.index(model, places, index, wanted, anew=rebuild, forget=forget, tell=tell)
    if json:
        say_json(found.as_json())
        return
    for path, reason in [*found.faults.items()][:SHOWN_FAULTS]:
        say(f"left out: {reason if path in reason else f'{path}: {reason}'}")
    if len(found.faults) > SHOWN_FAULTS:
        say(f"left out: {len(found.faults) - SHOWN_FAULTS} more, see --json")
    for note in found.notes:
        say(note)
    items = ", ".join(f"{NAMES[kind]}: {count}" for kind, count in found.items.items()) or "nothing"
    counts = {"read": found.read, "unchanged": found.unchanged, "moved": found.moved, "missing": found.missing,
              "removed": found.removed}  # fmt: skip
    told = ", ".join(f"{name}: {count}" for name, count in counts.items() if count or name in ("read", "unchanged"))
    print(f"{index} has {items} (files {told})")
    if found.form:
        one = found.form
        print(f"{one.form}: {one.bytes_per_item:.0f} bytes an item, {one.p50_ms:.2f} ms a query, "
              f"{one.recall:.1%} of the nearest {one.at} of exact search, measured on {one.items} items")  # fmt: skip


@app.command()
def query(  # noqa: PLR0913, PLR0917 - the options of the contract
    index: Annotated[str, typer.Argument(help="Folder of an index.")],
    asked: Annotated[str, typer.Argument(help="Words, a picture or a sound file.")],
    count: Annotated[int, typer.Option("-k", "--count", min=1, help="Items to show.")] = 10,
    path: Annotated[str | None, typer.Option(help="Only paths that match a pattern, as in '*/2024/*.jpg'.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only image, audio or text.")] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="Only items whose metadata say so, as in label=cat; repeatable.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also show items that are merely nearest, below what counts as found.")
    ] = False,
    artifact: Annotated[str | None, typer.Option(help="The artifact of the index, if it has moved.")] = None,
    engine: Engine = "auto",
    threads: Threads = None,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Find what is nearest to words, a picture or a sound."""
    import penjing
    from penjing.apps import search

    if kind is not None and kind not in NAMES:
        raise DataError(f"no kind called {kind!r}", hint=did_you_mean(kind, [*NAMES]))
    given = search.as_query(asked)
    only = search.Filter(path, kind, dict(_pair(one) for one in where or []))
    artifact = artifact or search.artifact_of(index)
    runner = penjing.load(artifact, engine=engine, threads=threads, warm_up=False)
    searcher = search.Searcher(index, search.Embedding(runner, artifact))
    nearest = searcher.find(given, count, only)
    hits = nearest if everything else [hit for hit in nearest if hit.relevant is not False]
    note = searcher.language_note(given)
    if json:
        say_json({"query": asked, "hits": [hit.as_json() for hit in hits], "below_threshold": len(nearest) - len(hits),
                  "thresholds": dict(searcher.thresholds), "note": note or ""})  # fmt: skip
        return
    if note is not None:
        say(note)
    if nearest and not hits:
        best = nearest[0]
        threshold = searcher.thresholds[best.kind]
        say(f"nothing found: the nearest scores {best.score:.3f}, what is found at least {threshold:.3f} (see --all)")
    if not nearest:
        say("nothing found: no item is as the filters ask" if path or kind or where else "nothing found: it is empty")
    for hit in hits:
        said = f"  {hit.title or ' '.join(hit.text.split())[:80]}" if hit.kind == "text" else ""
        print(f"{hit.score:6.3f}  {hit.path}{' (missing)' if hit.missing else ''}{said}")


def _pair(text: str) -> tuple[str, str]:
    key, is_pair, value = text.partition("=")
    if not is_pair or not key:
        raise DataError(f"--where {text!r} says nothing", hint="write a column and its value, as in label=cat")
    return key, value
