"""The command for assistants that start it themselves: mcp."""

from __future__ import annotations

import typer

from rag.cli.chosen import index_or_sample
from rag.cli.options import USE, ConfigOption, IndexOrSampleOption, LlmOption, SetOption, example, settings_of
from rag.cli.within import AsOption, AuthOption, CollectionOption, collections_of

app = typer.Typer()


@app.command(rich_help_panel=USE, epilog=example("rag mcp -i my.index"))
def mcp(
    index: IndexOrSampleOption = None,
    collection: CollectionOption = None,
    person: AsOption = None,
    auth: AuthOption = None,
    llm: LlmOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Serve the documents as tools to an assistant that starts this command: MCP over stdin and stdout.

    The tools are ask_documents, search and fetch. For assistants that connect over HTTP there is rag chat --mcp.
    """
    from rag.serve.pipes import claim_pipes

    # Before anything can print: stdout is the protocol's.
    pipes = claim_pipes()
    settings = settings_of(config, set_, llm)
    from rag.serve.mcp_start import serve_tools

    folder = index_or_sample(settings, index)
    collections_of(folder, collection, person, auth)  # before anything loads
    serve_tools(settings, folder, pipes, only=collection, users=auth, person=person or "")
