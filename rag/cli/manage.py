"""Commands about all indexes: list, status, rm."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from rag.cli.options import MANAGE, ConfigOption, JsonOption, SetOption, example, settings_of
from rag.terminal import one_line, show, show_json

app = typer.Typer()


@app.command("list", rich_help_panel=MANAGE, epilog=example("rag list"))
def list_(as_json: JsonOption = False) -> None:
    """List the indexes that are known: documents, passages, date, encoder and size. * marks the one that is meant."""
    from rag.build.overview import overview_of
    from rag.cli.overview_lines import index_json, list_lines
    from rag.index.known import chosen_index, known_indexes

    overviews = [overview_of(known) for known in known_indexes()]
    chosen = chosen_index()
    meant = chosen.folder.resolve() if chosen else None
    if as_json:
        show_json([index_json(one, is_meant=one.folder == meant) for one in overviews])
    else:
        show(*list_lines(overviews, meant))


@app.command(rich_help_panel=MANAGE, epilog=example("rag status"))
def status(
    index: Annotated[
        Path | None, typer.Argument(help="The index folder; by default that of RAG_INDEX, or the one made last.")
    ] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what is indexed, which models serve, whether a chat runs, the disk used, and what to do next."""
    settings = settings_of(config, set_)
    from rag.build.overview import disk_used, models_of, next_steps, overview_of
    from rag.cli.overview_lines import status_json, status_lines
    from rag.index.known import Chosen, chosen_index, known_index
    from rag.serve.nearby_client import is_running
    from rag.serve.nearby_note import notes_of

    chosen = chosen_index() if index is None else Chosen(index, "as named")
    overview = None if chosen is None else overview_of(known_index(chosen.folder))
    found = {
        "models": models_of(settings),
        "chats": [note for note in notes_of() if is_running(note)],
        "disk": disk_used(),
        "next": next_steps(chosen.folder if chosen else None, overview.fault if overview else ""),
    }
    if as_json:
        show_json(status_json(chosen, overview, found))
    else:
        show(*status_lines(chosen, overview, found))
    if overview is not None and overview.fault:
        raise typer.Exit(1)


@app.command(rich_help_panel=MANAGE, epilog=example("rag rm my.index"))
def rm(
    index: Annotated[Path, typer.Argument(help="The index folder.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")] = False,
) -> None:
    """Remove an index, after asking. Your documents stay, and so does a folder that is not an index."""
    from rag.errors import RagError
    from rag.index.delete import check_deletable, delete_index
    from rag.index.known import forget_index
    from rag.serve.nearby_client import is_running
    from rag.serve.nearby_note import notes_of

    check_deletable(index)
    if running := [note for note in notes_of(index) if is_running(note)]:
        raise RagError(f"a chat runs over {index}, at {running[0].address}; end it first (Ctrl+C where it runs)")
    if not yes:
        if not sys.stdin.isatty():
            raise RagError(f"nobody can be asked here, so {index} stays; remove it without asking: --yes")
        typer.confirm(one_line(f"Remove the index {index}? It can only be made again from its documents."), abort=True)
    left = delete_index(index)
    forget_index(index)
    show(f"{index} is removed" if not left else f"the index in {index} is removed; what else was there stays")
    if (uploads := index.resolve().with_name(index.resolve().name + ".uploads")).is_dir():
        show(f"files that were added on the chat's page stay in {uploads}")
