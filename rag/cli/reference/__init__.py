"""The reference: rag.toml, docs/settings.md and docs/cli.md, written from the settings and commands themselves."""

from __future__ import annotations

from rag.cli.reference.commands import commands_page
from rag.cli.reference.settings import settings_file, settings_page


def reference() -> dict[str, str]:
    """The text of each file of the reference, by its path in the repository."""
    return {
        "rag.toml": settings_file(),
        "docs/settings.md": settings_page(),
        "docs/cli.md": commands_page(),
    }
