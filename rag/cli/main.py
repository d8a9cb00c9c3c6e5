"""The `rag` command. It holds no logic: every command reads its arguments and calls one function of the package."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from rag.cli import ask, index, measure, models, runs, serve, train
from rag.errors import RagError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
# The order of the groups is that of the help.
for group in (index, ask, serve, runs, measure, train, models):
    app.add_typer(group.app)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        from rag import __version__

        print(f"rag {__version__}")
        raise typer.Exit


@app.callback()
def rag(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Question answering over your own documents: cited answers, honest refusals, measured quality."""


def main() -> None:
    """Run the command. An error that a person can act on is one sentence on stderr, with exit status 1."""
    from safetensors import SafetensorError

    try:
        app()
    except RagError as error:
        sentence = str(error)
    except OSError as error:  # no permission, no space left, a folder where a file should be
        sentence = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    except SafetensorError as error:  # the same for weights
        sentence = f"weights could not be written or read: {error}"
    print(f"rag: {sentence}", file=sys.stderr)
    raise SystemExit(1)


if __name__ == "__main__":
    main()
