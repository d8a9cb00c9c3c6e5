"""Commands around the chat: chat, feedback, user."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rag.cli.options import ConfigOption, IndexOption, SetOption, settings_of
from rag.errors import IndexMismatchError

app = typer.Typer()


@app.command()
def chat(
    index: IndexOption,
    host: Annotated[
        str,
        typer.Option(help="The address to listen on: 127.0.0.1 is this machine alone, 0.0.0.0 every network."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.")] = 7860,
    auth: Annotated[
        Path | None,
        typer.Option(help="A users file (rag user add NAME FILE): the page asks for a password, the API for a key."),
    ] = None,
    mcp: Annotated[bool, typer.Option("--mcp", help="Serve the documents as a tool at /mcp, for assistants.")] = False,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Open the chat in a browser page, with an OpenAI-compatible API beside it.

    On another host than this machine, without --auth, no conversations and no thumbs are kept; there, and with --auth,
    no files are taken in from the page unless serving.uploads is on.
    """
    settings = settings_of(config, set_)
    from rag.serve.start import serve
    from rag.serve.users import Users

    serve(settings, index, host=host, port=port, users=Users(auth) if auth else None, mcp=mcp)


@app.command()
def feedback(
    index: IndexOption,
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write, in the course layout.")],
) -> None:
    """Write the answers that were marked good or bad in the chat as training questions for rag mine and rag train.

    A file that was written so before is written anew; any other is left as it is.
    """
    from rag.index.folder import serves
    from rag.models.resolve import rag_home
    from rag.serve.history import History, export_feedback, history_path

    if not serves(index):  # one that is mistyped has no answers, and would write an empty file
        raise IndexMismatchError(f"{index} holds no index; name the one that the chat was about")
    n = export_feedback(History(history_path(rag_home(), index)), output)
    print(f"{n:,} judged answers in {output}")


user_app = typer.Typer(no_args_is_help=True, help="Who may use a chat that is served with --auth USERS_FILE.")


app.add_typer(user_app, name="user")


UsersArgument = Annotated[Path, typer.Argument(help="The users file.")]


@user_app.command("add")
def user_add(
    name: Annotated[str, typer.Argument(help="Letters, digits and . _ @ -")],
    users: UsersArgument,
    password: Annotated[str, typer.Option(prompt=True, hide_input=True, confirmation_prompt=True)],
) -> None:
    """Add a person, or give one a new password and key. The password is asked for, and kept as an argon2 hash."""
    from rag.serve.users import Users

    key = Users(users).add(name, password)
    print(f"{name} may use a chat served with --auth {users}\nAPI key, shown this once: {key}")


@user_app.command("remove")
def user_remove(name: Annotated[str, typer.Argument()], users: UsersArgument) -> None:
    """Take a person off the list."""
    from rag.serve.users import Users

    Users(users).remove(name)
    print(f"{name} may no longer use a chat served with --auth {users}")


@user_app.command("list")
def user_list(users: UsersArgument) -> None:
    """Show who is on the list."""
    from rag.serve.users import Users

    print("\n".join(Users(users).names()))
