"""The `rag` command. It holds no logic: every command reads its arguments and calls one function of the package.

Exit status: 0 success, 1 an error with its reason on stderr, 2 a wrong call, 3 done in part (`rag ingest`), 130
ended by Ctrl-C.
"""

from __future__ import annotations

from typing import Annotated

import typer

from rag.cli import adapt, ask, feedback, index, label, manage, mcp, measure, models, runs, serve, train
from rag.cli.groups import SETTINGS, RagGroup
from rag.cli.stopping import end_if_all_is_said
from rag.errors import RagError
from rag.files import finds_no_room, no_room
from rag.terminal import QUIET, USUAL, VERBOSE, guarded, loudness, set_loudness, show, styled, tell, tell_traceback

app = typer.Typer(
    cls=RagGroup,
    no_args_is_help=True,
    context_settings=SETTINGS,
    pretty_exceptions_enable=False,
    epilog="Example: rag ingest notes/ -i my.index, then rag ask 'When does the ferry leave?'",
)
GROUPS = (
    ask.app,
    index.app,
    serve.app,
    mcp.app,
    runs.app,
    measure.app,
    train.app,
    adapt.app,
    feedback.app,
    label.app,
    models.training,
    manage.app,
    index.manage,
    models.app,
    serve.manage,
)
"""Their order is that of the help: Use, Measure, Train, Manage."""
for group in GROUPS:
    app.add_typer(group)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        from rag import __version__

        show(f"rag {__version__}")
        raise typer.Exit


def _be_quiet(is_wanted: bool) -> bool:
    if is_wanted:
        set_loudness(QUIET)
    return is_wanted


def _be_verbose(is_wanted: bool) -> bool:
    if is_wanted:
        set_loudness(VERBOSE)
    return is_wanted


@app.callback()
def rag(
    quiet: Annotated[
        bool, typer.Option("-q", "--quiet", callback=_be_quiet, help="No notes and no progress, only results.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", callback=_be_verbose, help="More notes; errors with their traceback.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Question answering over your own documents: cited answers, honest refusals, measured quality."""
    if not (quiet or verbose):
        set_loudness(USUAL)


def program() -> None:
    """`main` as a process of its own, which ends with it."""
    try:
        main()
    except SystemExit as ended:
        end_if_all_is_said(ended.code)
        raise


def main() -> None:
    """Run the command. An error that a person can act on is one sentence on stderr, with exit status 1."""
    cause: Exception
    with guarded():
        try:
            app()
        except RagError as error:
            sentence, cause = str(error), error
        except OSError as error:  # no permission, no space left, a folder where a file should be
            sentence, cause = f"{error.filename}: {error.strerror}" if error.filename else str(error), error
            if finds_no_room(error):
                sentence = no_room(
                    str(error.filename or "what was made"), error, "what was there before is still there"
                )
        except Exception as error:
            if type(error).__name__ != "SafetensorError":  # of a package that few commands load
                raise
            sentence, cause = f"weights could not be written or read: {error}", error
        if loudness() == VERBOSE:
            tell_traceback(cause)
        tell(styled("rag:", "bad", f" {sentence}"), level=QUIET)
    raise SystemExit(1)


if __name__ == "__main__":
    program()
