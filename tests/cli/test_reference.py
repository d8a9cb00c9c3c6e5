"""rag.toml, docs/settings.md and docs/cli.md are written from the code, and are current."""

import os
import re
import subprocess
import sys

import pytest
from typer.main import get_command

from rag.cli.main import app
from rag.cli.reference import reference
from rag.cli.reference.commands import commands_page
from rag.config import DEFAULT_FILE

CHECKOUT = DEFAULT_FILE.parent


@pytest.mark.parametrize("name", reference())
def test_the_reference_is_current(name):
    stored = (CHECKOUT / name).read_bytes()
    assert stored == reference()[name].encode(), f"{name} is out of date; write it: python -m rag.cli.reference"


def test_it_is_written_into_a_folder_whatever_the_terminal(tmp_path):
    narrow = {**os.environ, "COLUMNS": "40", "TERM": "dumb"}
    command = [sys.executable, "-m", "rag.cli.reference", str(tmp_path)]
    subprocess.run(command, env=narrow, check=True, capture_output=True)
    for name, text in reference().items():
        assert (tmp_path / name).read_bytes() == text.encode()


def documented():
    """The options of each command in docs/cli.md, by the command's whole name."""
    pages = re.split(r"^### `rag (.+?)`$", commands_page(), flags=re.MULTILINE)[1:]
    options = [re.findall(r"^\\| `(-.+?)` ", page, flags=re.MULTILINE) for page in pages[1::2]]
    names = [{name for shown in rows for name in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", shown)} for rows in options]
    return dict(zip(pages[::2], names, strict=True))


def declared(command, name=""):
    """The same of the program itself."""
    if not hasattr(command, "commands"):
        options = [p for p in command.params if p.param_type_name == "option"]
        return {name: {option for p in options for option in (*p.opts, *p.secondary_opts)}}
    found = {}
    for own, inner in command.commands.items():
        found |= declared(inner, f"{name} {own}".strip())
    return found


def test_every_command_is_documented_with_all_its_options():
    assert documented() == declared(get_command(app))
