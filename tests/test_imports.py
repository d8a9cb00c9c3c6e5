"""Who may import whom: the layers of the design, read from the source."""

import ast
from pathlib import Path

import pytest

import rag

ROOT = Path(rag.__file__).parent

LEAVES = {"errors", "files", "inference", "progress"}
COMPONENT = {"types", "sentences", "data", "examples", "telemetry", "training", *LEAVES}

# A module or package of rag/ -> what of rag/ it may import besides itself. A dotted name allows that module alone.
ALLOWED: dict[str, set[str]] = {
    "types": set(),
    "errors": set(),
    "files": {"errors"},
    "sentences": {"types"},
    "progress": {"errors"},
    "inference": {"errors", "progress"},
    "config": {"types", "errors"},
    "data": {"types", "errors"},
    "examples": {"data", "types", "errors"},
    "telemetry": {"files", "progress"},
    "training": {"telemetry", *LEAVES},
    "models": LEAVES,
    "retrieve": COMPONENT,
    "rerank": COMPONENT,
    "generate": COMPONENT,
    "documents": {"types", "errors", "files"},
    "pipeline": {"types", "errors", "generate.prompts", "generate.answer", "generate.excerpts", "generate.known"},
    "batch": {"pipeline", "generate.known", "rerank.known", "data", "types", "errors", "files", "progress"},
    "evaluate": {"types", "data", "errors", "files", "training"},
    "sources": {"data", "documents", "errors", "present", "retrieve.store", "types"},
    "chat": {"pipeline", "documents.collection", "generate", "types", "errors", "present", "retrieve.store"},
    "present": {"pipeline", "generate", "types", "errors", "retrieve.store", "documents"},
    "ingest": {
        *("build", "config", "data", "documents", "errors", "inference", "progress", "types"),
        *("retrieve.encoder", "retrieve.store"),
    },
    "attachments": {
        *("build", "config", "errors", "ingest", "pipeline", "present", "sources", "types"),
        *("retrieve.encoder", "retrieve.store"),
    },
    "build": {
        *("config", "data", "types", *LEAVES, "models", "retrieve", "rerank", "generate"),
        *("pipeline", "batch", "chat", "evaluate", "documents.collection"),
    },
    "gating": {
        *("build", "config", "examples", "types", "errors", "files", "progress", "training"),
        *("models", "retrieve.store", "evaluate"),
    },
    "tune": {
        *("build", "config", "data", "examples", "gating", "types", *LEAVES, "telemetry", "training"),
        *("models", "retrieve", "rerank", "generate.questions"),
    },
    "users": {"errors", "files"},
    "api": {"chat", "errors", "present", "types", "users"},
    "mcp_server": {"errors", "users"},
    "audit": {"data", "errors", "generate.instructions", "present", "retrieve.index", "retrieve.store"},
    "history": {"chat", "errors", "files", "present", "types"},
    "doctor": {"build", "config", "data", "documents", "errors", "files", "retrieve"},
    "__main__": {"cli"},
    "cli": {
        "audit",
        "build",
        "doctor",
        "gating",
        "history",
        "models.resolve",
        "ingest",
        "retrieve.store",
        "tune",
        "users",
        "retrieve.negatives",
        "models.promoted",
        "batch",
        "config",
        "data",
        "errors",
        "evaluate",
        "present",
        "types",
    },
}
# Of the index store, those who show results may know what an index says about itself.
ALLOWED_NAMES = {("chat", "retrieve.store"): {"Manifest"}, ("present", "retrieve.store"): {"Manifest"}}

SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").rstrip("."): path
    for path in sorted(ROOT.rglob("*.py"))
}


def imports(source: str) -> list[tuple[int, str, str | None]]:
    """(line, module below rag, name taken from it) of every import of ours, those inside functions too."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, a.name[4:], None) for a in node.names if a.name == "rag" or a.name[:4] == "rag."]
        elif isinstance(node, ast.ImportFrom) and node.level:
            found.append((node.lineno, "." * node.level + (node.module or ""), None))
        elif isinstance(node, ast.ImportFrom) and node.module == "rag":
            found += [(node.lineno, a.name if a.name in SOURCES else "", a.name) for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module.startswith("rag."):
            module = node.module[4:]
            for alias in node.names:
                is_module = f"{module}.{alias.name}" in SOURCES
                found.append((node.lineno, f"{module}.{alias.name}" if is_module else module, alias.name))
    return found


def faults(module: str, source: str) -> list[str]:
    """What the source of `module` imports and should not."""
    layer = module.split(".")[0]
    allowed = ALLOWED[layer]
    wrong = []
    for line, imported, name in imports(source):
        top = imported.split(".")[0]
        if imported == "" and name == "__version__":
            continue
        if imported.startswith("."):
            wrong.append(f"{module}, line {line}: write the import in full, not {imported}")
        elif top != layer and not {top, imported} & allowed:
            wrong.append(f"{module}, line {line}: imports {imported or 'rag'}, which {layer} may not")
        elif (names := ALLOWED_NAMES.get((layer, imported))) and name not in names:
            wrong.append(f"{module}, line {line}: takes {name} from {imported}; only {', '.join(names)}")
    return wrong


@pytest.mark.parametrize("module", sorted(SOURCES.keys() - {""}))
def test_a_module_imports_only_what_stands_below_it(module):
    assert faults(module, SOURCES[module].read_text("utf-8")) == []


def test_the_package_itself_imports_nothing():
    assert imports(SOURCES[""].read_text("utf-8")) == []


def test_every_module_has_its_place_in_the_layers():
    assert {module.split(".")[0] for module in SOURCES} - {""} == ALLOWED.keys()


def test_the_layers_form_no_circle():
    tops = {layer: {name.split(".")[0] for name in allowed} for layer, allowed in ALLOWED.items()}
    placed: set[str] = set()
    while len(placed) < len(tops):
        free = {layer for layer, needs in tops.items() if layer not in placed and needs <= placed}
        assert free, f"a circle among {sorted(tops.keys() - placed)}"
        placed |= free


def test_components_never_import_each_other():
    components = {"retrieve", "rerank", "generate"}
    for component in components:
        assert not ALLOWED[component] & components


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("retrieve.dense", "from rag.rerank.cross_encoder import CrossEncoderReranker"),
        ("retrieve.dense", "def f():\n    import rag.generate.prompts"),
        ("generate.answer", "from rag import retrieve"),
        ("types", "from rag.errors import RagError"),
        ("evaluate.metrics", "from rag.pipeline import Pipeline"),
        ("evaluate.metrics", "from .. import pipeline"),
        ("pipeline", "from rag.generate import server"),
        ("pipeline", "from rag.generate.server import ServerGenerator"),
        ("present", "from rag.retrieve.store import open_index"),
        ("data", "import rag"),
        ("batch", "from rag import build"),
    ],
)
def test_a_forbidden_import_is_found(module, source):
    assert len(faults(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("retrieve.dense", "from rag.retrieve.encoder import Encoder\nfrom rag.data import Corpus\nimport numpy"),
        ("pipeline", "from rag.generate.prompts import Prompt\nfrom rag.generate import answer"),
        ("present", "from rag.retrieve.store import Manifest"),
        ("build", "from rag import __version__, batch"),
        ("types", "import ragged\nfrom ragged.types import x"),
    ],
)
def test_an_allowed_import_passes(module, source):
    assert faults(module, source) == []
