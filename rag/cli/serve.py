"""Commands for the chat: chat, feedback, user."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rag.cli.options import (
    ConfigOption,
    IndexOption,
    IndexOrSampleOption,
    SetOption,
    index_or_sample,
    settings_of,
)
from rag.errors import IndexMismatchError

PANEL = "Chat"
app = typer.Typer()


@app.command(rich_help_panel=PANEL)
def chat(
    index: IndexOrSampleOption = None,
    host: Annotated[
        str,
        typer.Option(help="The address to listen on: 127.0.0.1 for this machine only, 0.0.0.0 for every network."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.")] = 7860,
    auth: Annotated[
        Path | None,
        typer.Option(help="A users file (see rag user add): the page asks for a password, the API for a key."),
    ] = None,
    mcp: Annotated[bool, typer.Option("--mcp", help="Serve the documents as a tool at /mcp, for assistants.")] = False,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Open the chat in a browser page, with an OpenAI-compatible API beside it.

    Without -i it answers from the sample corpus, Python's own language reference. On another host than this machine
    and without --auth, it keeps no conversations and no thumbs. On another host or with --auth, files can be added
    from the page only if serving.uploads is on.
    """
    settings = settings_of(config, set_)
    from rag.serve.start import serve
    from rag.serve.users import Users

    serve(
        settings, index_or_sample(settings, index), host=host, port=port, users=Users(auth) if auth else None, mcp=mcp
    )


@app.command(rich_help_panel=PANEL)
def feedback(
    index: IndexOption,
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write, in the course layout.")],
) -> None:
    """Write the answers that were marked good or bad in the chat as training questions, for rag mine and rag train.

    A file that this command wrote before is replaced; any other file is left alone.
    """
    from rag.index.folder import serves
    from rag.models.resolve import rag_home
    from rag.serve.export import export_feedback
    from rag.serve.history import History, history_path

    if not serves(index):  # a mistyped one has no answers, and would write an empty file
        raise IndexMismatchError(f"{index} holds no index; name the one that the chat was about")
    n = export_feedback(History(history_path(rag_home(), index)), output)
    print(f"{n:,} judged answers in {output}")


user_app = typer.Typer(no_args_is_help=True, help="People who may use a chat that is served with --auth USERS_FILE.")
app.add_typer(user_app, name="user", rich_help_panel=PANEL)

UsersArgument = Annotated[Path, typer.Argument(help="The users file.")]


@user_app.command("add")
def user_add(
    name: Annotated[str, typer.Argument(help="Letters, digits and . _ @ -")],
    users: UsersArgument,
    password: Annotated[
        str, typer.Option(prompt=True, hide_input=True, confirmation_prompt=True, help="Asked for if not given.")
    ],
) -> None:
    """Add a person, or give one a new password and key. Only an argon2 hash of the password is stored."""
    from rag.serve.users import Users

    key = Users(users).add(name, password)
    print(f"{name} may use a chat served with --auth {users}\nAPI key, shown this once: {key}")


@user_app.command("remove")
def user_remove(
    name: Annotated[str, typer.Argument(help="The person's name in the users file.")], users: UsersArgument
) -> None:
    """Remove a person from the users file."""
    from rag.serve.users import Users

    Users(users).remove(name)
    print(f"{name} may no longer use a chat served with --auth {users}")


@user_app.command("list")
def user_list(users: UsersArgument) -> None:
    """List the people in the users file."""
    from rag.serve.users import Users

    print("\n".join(Users(users).names()))
