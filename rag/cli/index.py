"""Commands that make and check an index: index, ingest, rollback, doctor, audit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
        list[Path] | None,
        typer.Argument(help="Files and folders; without any, those ingested before are checked for changes."),
    ] = None,
    forget: Annotated[
        list[Path] | None, typer.Option(help="A file or folder to leave out from now on; may be repeated.")
    ] = None,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Add documents to an index and follow their changes. Only what is new or changed is encoded.

    Reads text (.txt .rst .adoc .org .tex .log), Markdown, HTML, PDF, DOCX, PPTX, XLSX, CSV, TSV, EPUB and JSON lines.
    Exit status 3 means that a file was left out; each is listed with its reason.
    """
    settings = settings_of(config, set_)
    from rag.build.indexes import ingest_documents
    from rag.cli.lines import ingested_json
    from rag.documents.ingested_lines import ingested_lines
    from rag.index.calibration import uncalibrated_lines

    result = ingest_documents(settings, paths or [], index, forget=forget or [])
    if as_json:
        print_json(ingested_json(result))
    else:
        print("\n".join([*ingested_lines(result, index), *uncalibrated_lines(index)]))
    if result.left_out:
        raise typer.Exit(3)


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
