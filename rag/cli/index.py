"""Commands that make and check an index: ingest, index; rollback, doctor, audit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag.cli.chosen import index_of
from rag.cli.options import (
    MANAGE,
    USE,
    VARIABLE,
    ConfigOption,
    IndexArgument,
    JsonOption,
    KnownIndexArgument,
    KnownIndexOption,
    SetOption,
    example,
    settings_of,
)
from rag.terminal import show, show_json

if TYPE_CHECKING:
    from rag.config import Settings

app, manage = typer.Typer(), typer.Typer()


@app.command(rich_help_panel=USE, epilog=example("rag index corpus.txt -o my.index"))
def index(
    output: Annotated[Path, typer.Option("-o", "--output", help="The index folder to write.")],
    corpus: Annotated[
        str | None,
        typer.Argument(
            help="Passages: a file, a folder that holds one, a table (CSV, Parquet, saved data set), a data set of the "
            "hub as owner/name:config:split, or 'embedded' for the sample. Columns: rows.csv:id=nr,text=body."
        ),
    ] = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Encode the passages of the index again.")] = False,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Index a corpus of passages. A killed build continues; an index that is already right is left as it is.

    --rebuild, without a corpus, encodes the passages of an index again with the encoder that serves now. Use it after
    a model was promoted, or after settings of the index have changed.
    """
    if (corpus is None) != rebuild:
        raise typer.BadParameter("name a corpus, or use --rebuild to encode the passages of the index again")
    from rag.build.indexes import make_index, rebuild_index
    from rag.cli.lines import manifest_lines
    from rag.index.calibration import uncalibrated_lines
    from rag.index.known import note_index

    settings = settings_of(config, set_)
    manifest = make_index(settings, corpus, output) if corpus is not None else rebuild_index(settings, output)
    note_index(output, made=True)
    if as_json:
        import dataclasses

        show_json({**dataclasses.asdict(manifest), "fingerprint": manifest.fingerprint})
    else:
        show(*manifest_lines(manifest, output), *uncalibrated_lines(output))


@app.command("ingest", rich_help_panel=USE, epilog=example("rag ingest notes/ -i my.index"))
def ingest_(
    index: KnownIndexOption = None,
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            help="Files, folders and addresses of web pages; without any, those ingested before are checked for "
            "changes."
        ),
    ] = None,
    forget: Annotated[
        list[str] | None, typer.Option(help="A file, folder or address to leave out from now on; may be repeated.")
    ] = None,
    depth: Annotated[
        int | None, typer.Option(min=0, help="Follow links from the addresses named, this many; 0 by default.")
    ] = None,
    collection: Annotated[
        str | None, typer.Option(help="The collection of what is named here; by default that of its folder's name.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on following changes until stopped by Ctrl-C.")] = False,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add documents to an index and follow their changes. Only what is new or changed is encoded.

    Reads text (.txt .rst .adoc .org .tex .log), Markdown, HTML, PDF, DOCX, PPTX, XLSX, CSV, TSV, EPUB and JSON lines.
    Exit status 3 means that a file was left out, or a web page could not be looked at; each is listed with its reason.

    An address stands for one page, with --depth for the pages that it links to on the same host, and that of a
    sitemap.xml for the pages of the sitemap.
    """
    index = _to_ingest(index, paths or [])
    settings = settings_of(config, set_)
    if collection is not None:
        from rag.index.uploads import check_collection

        if watch or not paths:
            raise typer.BadParameter("--collection is for what is named in the same command, without --watch")
        check_collection(collection)
    if watch:
        _watch(settings, paths or [], index, forget or [], depth, as_json=as_json)
        return
    from rag.build.indexes import ingest_documents
    from rag.cli.lines import ingested_json
    from rag.documents.ingested_lines import ingested_lines
    from rag.index.calibration import uncalibrated_lines
    from rag.index.known import note_index

    names = dict.fromkeys(paths or [], collection) if collection is not None else None
    result = ingest_documents(settings, paths or [], index, forget=forget or [], depth=depth, names=names)
    if as_json:
        show_json(ingested_json(result))
    else:
        uncalibrated = uncalibrated_lines(index) if result.documents else []
        show(*ingested_lines(result, index), *uncalibrated)
    note_index(index, made=True)
    if result.left_out or result.not_updated:
        raise typer.Exit(3)


def _watch(
    settings: Settings, paths: list[str], index: Path, forget: list[str], depth: int | None, *, as_json: bool
) -> None:
    """Print a line for each update until stopped."""
    import time

    from rag.build.indexes import watch_documents
    from rag.cli.lines import ingested_json
    from rag.cli.stopping import stopped_by_signals
    from rag.documents.ingested_lines import update_line
    from rag.index.known import note_index
    from rag.index.watch import Update
    from rag.progress import say

    def on_update(update: Update) -> None:
        clock = time.strftime("%H:%M:%S")
        if update.result is None:
            say(f"{clock} {index}: {update.problem}")
        elif as_json:
            show_json(ingested_json(update.result), indent=None)
        else:
            show(update_line(update.result, index, clock))
        if update.result is not None:
            note_index(index, made=True)

    with stopped_by_signals() as stop:
        watch_documents(settings, paths, index, on_update=on_update, stop=stop, forget=forget, depth=depth)


def _to_ingest(index: Path | None, paths: list[str]) -> Path:
    """The index to add to. Where documents are named, an index is too: they should not land in some other one."""
    if index is None and paths and not os.environ.get(VARIABLE):
        raise typer.BadParameter(f"name the index to add to, by -i or {VARIABLE}; a new one: -i my.index")
    return index_of(index)


@manage.command(rich_help_panel=MANAGE, epilog=example("rag rollback my.index"))
def rollback(index: IndexArgument) -> None:
    """Go back to the state of an index before its last change. A second call undoes the first."""
    from rag.cli.lines import manifest_lines
    from rag.index.folder import roll_back

    show(*manifest_lines(roll_back(index), index))


@manage.command(rich_help_panel=MANAGE, epilog=example("rag doctor my.index"))
def doctor(
    index: KnownIndexArgument = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check an index: is it complete, and does it fit its model and files? Exit status 1 means that it is not sound."""
    index = index_of(index)
    settings = settings_of(config, set_)
    from rag.build.indexes import examine_index
    from rag.index.doctor import finding_lines

    findings = examine_index(settings, index)
    if as_json:
        import dataclasses

        show_json([dataclasses.asdict(finding) for finding in findings])
    else:
        show(*finding_lines(findings, index))
    if any(finding.severity != "waste" for finding in findings):
        raise typer.Exit(1)


@manage.command(rich_help_panel=MANAGE, epilog=example("rag audit my.index"))
def audit(index: KnownIndexArgument = None, as_json: JsonOption = False) -> None:
    """Find passages that could mislead: orders to the model, hidden characters, meaningless text, hubs."""
    index = index_of(index)
    from rag.index.audit import audit, suspicion_lines

    suspicions = audit(index)
    if as_json:
        import dataclasses

        show_json([dataclasses.asdict(suspicion) for suspicion in suspicions])
    else:
        show(*suspicion_lines(suspicions, index))
