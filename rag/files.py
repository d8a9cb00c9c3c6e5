"""Files written so that a reader, or a kill, finds the old content or the new, never half of it."""

from __future__ import annotations

import json
import os
from pathlib import Path


def write_whole(path: Path, content: str | bytes) -> None:
    """Write beside `path` and rename; text is UTF-8."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    os.replace(temporary, path)


def write_json(path: Path, value: object) -> None:
    """`write_whole` of indented JSON."""
    write_whole(path, json.dumps(value, indent=2) + "\n")
