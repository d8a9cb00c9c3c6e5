"""Commands for the chat: chat, user."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rag.cli.chosen import index_or_sample
from rag.cli.groups import RagGroup
from rag.cli.options import MANAGE, USE, ConfigOption, IndexOrSampleOption, LlmOption, SetOption, example, settings_of
from rag.cli.users import app as grants
from rag.terminal import shell_word, show

LAST_PORT = 65_535
app, manage = typer.Typer(), typer.Typer()


def _port(port: int) -> int:
    if not 1 <= port <= LAST_PORT:
        raise typer.BadParameter(f"{port} is no port; choose one from 1 to {LAST_PORT}, for example 7861")
    return port


@app.command(rich_help_panel=USE, epilog=example("rag chat -i my.index --port 7861"))
def chat(
    index: IndexOrSampleOption = None,
    host: Annotated[
        str,
        typer.Option(help="The address to listen on: 127.0.0.1 for this machine only, 0.0.0.0 for every network."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.", callback=_port)] = 7860,
    auth: Annotated[
        Path | None,
        typer.Option(help="A users file (see rag user add): the page asks for a password, the API for a key."),
    ] = None,
    mcp: Annotated[bool, typer.Option("--mcp", help="Serve the documents as a tool at /mcp, for assistants.")] = False,
    llm: LlmOption = None,
    config: ConfigOption = None,
    set_: SetOption = None,
) -> None:
    """Open the chat in a browser page, with an OpenAI-compatible API beside it.

    Without -i it answers from the index of RAG_INDEX or the one made last; where there is none, from the sample corpus,
    the Python language reference. While it runs, rag ask over the same index uses its models.

    On another host than this machine and without --auth, it keeps no conversations and no thumbs. On another host or
    with --auth, files can be added from the page only if serving.uploads is on.
    """
    from rag.serve.address import check_address

    check_address(host, port)  # before the sample is fetched, or anything loaded
    settings = settings_of(config, set_, llm)
    folder = index_or_sample(settings, index)
    from rag.cli.stopping import end_at_once, end_now, stopped_by_signals
    from rag.serve.start import serve
    from rag.serve.users import Users

    try:
        with stopped_by_signals("the chat is ending; once more ends it at once") as stop:
            serve(settings, folder, host=host, port=port, users=Users(auth) if auth else None, mcp=mcp, until=stop)
        if stop.is_set():
            end_now()
    except KeyboardInterrupt:
        end_at_once()


user_app = typer.Typer(
    cls=RagGroup, no_args_is_help=True, help="People who may use a chat that is served with --auth USERS_FILE."
)
manage.add_typer(user_app, name="user", rich_help_panel=MANAGE)

user_app.registered_commands += grants.registered_commands

UsersArgument = Annotated[Path, typer.Argument(help="The users file.")]


@user_app.command("add", epilog=example("rag user add ann users.json"))
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
    show(f"{name} may use a chat served with --auth {users}", f"API key, shown this once: {key}")


@user_app.command("remove", epilog=example("rag user remove ann users.json"))
def user_remove(
    name: Annotated[str, typer.Argument(help="The person's name in the users file.")], users: UsersArgument
) -> None:
    """Remove a person from the users file."""
    from rag.serve.users import Users

    Users(users).remove(name)
    show(f"{name} may no longer use a chat served with --auth {users}")
    show(f"their conversations stay; delete them: rag user erase {shell_word(name)}")


@user_app.command("list", epilog=example("rag user list users.json"))
def user_list(users: UsersArgument) -> None:
    """List the people in the users file."""
    from rag.serve.users import Users

    show(*Users(users).names())
