"""Who may import whom: a room of rag/ imports only rooms to its left, and rooms between two bars never each other."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import rag

ROOT = Path(rag.__file__).parent
RULE = (
    "ground | data compute | models documents evaluate | retrieve rerank read generate | store | pipeline index | "
    "build | serve runs train | cli | app"
)
GROUND = {"types", "errors", "config", "files", "progress", "sentences", "lazy", "resume", "fixes", "evidence", "marks"}
GROUND |= {"languages", "scripts", "terminal", "private", "online"}
FLOOR = {room: number for number, rooms in enumerate(RULE.split(" | ")) for room in rooms.split()}
MODULES = sorted(path.relative_to(ROOT.parent) for path in ROOT.rglob("*.py"))


def room_of(module: str) -> str:
    """The room of a module such as `rag.index.read`: the name behind `rag`, `ground` for what every room may use."""
    name = module.split(".")[1] if "." in module else "app"
    return {"__main__": "app", "__version__": "ground"}.get(name, "ground" if name in GROUND else name)


def faults(own: str, source: str) -> list[str]:
    """What the source of a module in the room `own` imports, at its head or inside functions, and may not."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            found += [(node.lineno, f"rag.{a.name}" if module == "rag" else module) for a in node.names]
    wrong = []
    for line, module in found:
        is_ours = module == "rag" or module.startswith(("rag.", ".", "app"))
        is_named_in_full = module.startswith("rag.")
        is_below = is_named_in_full and (room_of(module) == own or FLOOR[room_of(module)] < FLOOR[own])
        if is_ours and not is_below:
            wrong.append(f"line {line}: {own} may not import {module}")
    return wrong


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_a_room_imports_only_rooms_to_its_left(path):
    own = room_of(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
    assert faults(own, (ROOT.parent / path).read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("own", "source"),
    [
        ("retrieve", "from rag.rerank.cross_encoder import CrossEncoderReranker"),
        ("retrieve", "def f():\n    import rag.generate.prompts"),
        ("generate", "from rag import retrieve"),
        ("ground", "from rag.data.rows import json_rows"),
        ("index", "from rag.build.parts import make_encoder"),
        ("evaluate", "from .. import pipeline"),
        ("serve", "from rag.runs.batch import run_batch"),
        ("cli", "from app import serve"),
        ("data", "import rag"),
    ],
)
def test_a_forbidden_import_is_found(own, source):
    assert len(faults(own, source)) == 1


@pytest.mark.parametrize(
    ("own", "source"),
    [
        ("retrieve", "from rag.retrieve.encoder import Encoder\nfrom rag.data.passages import Corpus\nimport numpy"),
        ("pipeline", "from rag.generate.prompts import Prompt\nfrom rag.generate import answer"),
        ("build", "from rag import __version__"),
        ("ground", "import ragged\nfrom ragged.types import x"),
    ],
)
def test_an_allowed_import_passes(own, source):
    assert faults(own, source) == []
