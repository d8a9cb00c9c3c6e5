"""Commands that make and check an index: index, ingest, rollback, doctor, audit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rag.cli.options import (
    ConfigOption,
    IndexArgument,
    IndexOption,
    JsonOption,
    SetOption,
    print_json,
    settings_of,
)

if TYPE_CHECKING:
    from rag.config import Settings

PANEL = "Documents and index"
app = typer.Typer()


@app.command(rich_help_panel=PANEL)
def index(
    output: Annotated[Path, typer.Option("-o", "--output", help="The index folder to write.")],
    corpus: Annotated[
        str | None,
        typer.Argument(help="A corpus file, a folder that holds one, or 'embedded' for the sample corpus."),
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

    settings = settings_of(config, set_)
    manifest = make_index(settings, corpus, output) if corpus is not None else rebuild_index(settings, output)
    if as_json:
        import dataclasses

        print_json({**dataclasses.asdict(manifest), "fingerprint": manifest.fingerprint})
    else:
        print("\n".join([*manifest_lines(manifest, output), *uncalibrated_lines(output)]))


@app.command("ingest", rich_help_panel=PANEL)
def ingest_(
    index: IndexOption,
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
    settings = settings_of(config, set_)
    if watch:
        _watch(settings, paths or [], index, forget or [], depth, as_json=as_json)
        return
    from rag.build.indexes import ingest_documents
    from rag.cli.lines import ingested_json
    from rag.documents.ingested_lines import ingested_lines
    from rag.index.calibration import uncalibrated_lines

    result = ingest_documents(settings, paths or [], index, forget=forget or [], depth=depth)
    if as_json:
        print_json(ingested_json(result))
    else:
        uncalibrated = uncalibrated_lines(index) if result.documents else []
        print("\n".join([*ingested_lines(result, index), *uncalibrated]))
    if result.left_out or result.not_updated:
        raise typer.Exit(3)


def _watch(
    settings: Settings, paths: list[str], index: Path, forget: list[str], depth: int | None, *, as_json: bool
) -> None:
    """Print a line for each update until stopped."""
    import json
    import time

    from rag.build.indexes import watch_documents
    from rag.cli.lines import ingested_json
    from rag.cli.stopping import stopped_by_signals
    from rag.documents.ingested_lines import update_line
    from rag.index.watch import Update
    from rag.progress import say

    def show(update: Update) -> None:
        clock = time.strftime("%H:%M:%S")
        if update.result is None:
            say(f"{clock} {index}: {update.problem}")
        elif as_json:
            print(json.dumps(ingested_json(update.result)), flush=True)
        else:
            print(update_line(update.result, index, clock), flush=True)

    with stopped_by_signals() as stop:
        watch_documents(settings, paths, index, on_update=show, stop=stop, forget=forget, depth=depth)


@app.command(rich_help_panel=PANEL)
def rollback(index: IndexArgument) -> None:
    """Go back to the state of an index before its last change. A second call undoes the first."""
    from rag.cli.lines import manifest_lines
    from rag.index.folder import roll_back

    print("\n".join(manifest_lines(roll_back(index), index)))


@app.command(rich_help_panel=PANEL)
def doctor(
    index: IndexArgument,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check an index: is it complete, and does it fit its model and files? Exit status 1 means that it is not sound."""
    settings = settings_of(config, set_)
    from rag.build.indexes import examine_index
    from rag.index.doctor import finding_lines

    findings = examine_index(settings, index)
    if as_json:
        import dataclasses

        print_json([dataclasses.asdict(finding) for finding in findings])
    else:
        print("\n".join(finding_lines(findings, index)))
    if any(finding.severity != "waste" for finding in findings):
        raise typer.Exit(1)


@app.command(rich_help_panel=PANEL)
def audit(index: IndexArgument, as_json: JsonOption = False) -> None:
    """Find passages that could mislead: orders to the model, hidden characters, meaningless text, hubs."""
    from rag.index.audit import audit, suspicion_lines

    suspicions = audit(index)
    if as_json:
        import dataclasses

        print_json([dataclasses.asdict(suspicion) for suspicion in suspicions])
    else:
        print("\n".join(suspicion_lines(suspicions, index)))
