"""How commands are grouped and called: -h, -q and -v everywhere, wherever they stand."""

from __future__ import annotations

import copy
from typing import Any

from typer.core import TyperGroup

SETTINGS = {"help_option_names": ["-h", "--help"]}
EVERYWHERE = ("quiet", "verbose")
"""The options of `rag` that may also stand behind a command."""


class RagGroup(TyperGroup):
    """A group whose commands take the options of `EVERYWHERE` too."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command by its name, None where there is none."""
        command = super().get_command(ctx, cmd_name)
        if command is None or isinstance(command, TyperGroup):
            return command
        there = {param.name for param in command.params}
        for param in ctx.find_root().command.params:
            if param.name in EVERYWHERE and param.name not in there:
                taken = copy.copy(param)
                taken.expose_value = False  # its callback is all that it is for
                command.params.append(taken)
        return command
