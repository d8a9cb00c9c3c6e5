"""Commands for who may read what, and what is kept of them: user grant, user revoke, user collections, user erase."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rag.cli.options import example
from rag.terminal import show

app = typer.Typer()

UsersArgument = Annotated[Path, typer.Argument(help="The users file.")]
PersonArgument = Annotated[str, typer.Argument(help="The person's name in the users file; '*' for everybody.")]
CollectionsArgument = Annotated[
    list[str], typer.Argument(help="Names of collections, as rag user collections shows them.")
]
CheckedIndexOption = Annotated[
    Path | None, typer.Option("-i", "--index", help="Check the names against the collections of this index.")
]


@app.command("grant", epilog=example("rag user grant ann handbook plans users.json"))
def grant(
    name: PersonArgument, collections: CollectionsArgument, users: UsersArgument, index: CheckedIndexOption = None
) -> None:
    """Let a person read collections. From then on only the people to whom they were granted read them.

    With '*' everybody reads them again. Collections that were never granted are open to everybody. Changes apply to a
    running chat at once.
    """
    from rag.serve.grants import EVERYBODY
    from rag.serve.users import Users

    _check(index, collections)
    Users(users).grant(name, collections)
    for collection in collections:
        show(f"{collection}: {_who_reads(collection, users)}")
    if name == EVERYBODY:
        return
    if index is None:
        show("the names were not checked; check them with -i INDEX, or look: rag user collections")


@app.command("revoke", epilog=example("rag user revoke ann plans users.json"))
def revoke(name: PersonArgument, collections: CollectionsArgument, users: UsersArgument) -> None:
    """Let a person no longer read collections. They stay closed to everybody else.

    With '*' only the people to whom they were granted read them.
    """
    from rag.serve.users import Users

    Users(users).revoke(name, collections)
    for collection in collections:
        show(f"{collection}: {_who_reads(collection, users)}")


@app.command("collections", epilog=example("rag user collections users.json -i my.index"))
def collections(users: UsersArgument, index: CheckedIndexOption = None) -> None:
    """List collections and who may read them: those of an index, and those that the users file names."""
    from rag.serve.users import Users

    names = list(Users(users).collections())
    if index is not None:
        from rag.cli.within import collections_in

        names = [*collections_in(index), *names]
    for name in dict.fromkeys(names):
        show(f"{name}: {_who_reads(name, users)}")


@app.command("erase", epilog=example("rag user erase ann"))
def erase(
    name: Annotated[str, typer.Argument(help="The person's name; one who was removed from the users file, too.")],
) -> None:
    """Delete a person's conversations, thumbs and attached files for good, over every index.

    They stay in the users file. What rag feedback wrote before names nobody, and stays.
    """
    from rag.models.resolve import rag_home
    from rag.serve.erasing import erase_person

    if not name:
        raise typer.BadParameter("name a person")
    n = erase_person(rag_home(), name)
    show(f"{n:,} {'conversation' if n == 1 else 'conversations'} of {name} deleted for good")


def _check(index: Path | None, names: list[str]) -> None:
    if index is None:
        return
    from rag.cli.within import collections_in
    from rag.serve.grants import plain
    from rag.serve.turns import no_collection

    there = collections_in(index)
    known = {plain(name) for name in there}
    for name in names:
        if plain(name) not in known:
            raise no_collection(name, list(there))


def _who_reads(collection: str, users: Path) -> str:
    """Who reads a collection, in words."""
    from rag.serve.users import Users

    known = Users(users)
    grants = known.grants()
    if not grants.is_closed(collection):
        return "everybody"
    return ", ".join(name for name in known.names() if grants.may_read(name, collection)) or "nobody"
