"""Every regular expression of the package, how each is used, and the inputs that are worst for it.

An expression is found as a value of a module, a class or a table, or as a literal inside a function. Its worst inputs
are made from its own parts: each character that it knows, each beginning of a match, each repeated group.
"""

from __future__ import annotations

import ast
import builtins
import functools
import importlib
import itertools
import mmap
import pkgutil
import random
import re
import re._constants as codes  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import rag
from benchmarks.attack.limited import first_unfinished

ROOT = Path(rag.__file__).parent
METHODS = ("search", "match", "fullmatch", "finditer", "findall", "split", "sub", "subn")
ANY_METHOD = ("finditer", "fullmatch")
"""Where it is not known how an expression is used, it is searched for and matched against the whole."""

GENERATED = ("rag.__main__",)
BLANKS_AND_SIGNS = " \n\t\r\u00a0aZ1é中。.,:;!?<>\"'’-|[](){}/\\=#*_&%@~"
MOST_PUMPS = 120


@dataclass(frozen=True, slots=True)
class Expression:
    """`methods` are those by which the package calls it; `name` says where it stands."""

    name: str
    pattern: re.Pattern
    methods: tuple[str, ...]


def modules() -> Iterator[ModuleType]:
    """Every module of the package that can be imported here."""
    for found in pkgutil.walk_packages([str(ROOT)], "rag."):
        if found.name in GENERATED:
            continue
        try:
            yield importlib.import_module(found.name)
        except ImportError:  # vLLM and the like, which are not installed everywhere
            continue


def expressions() -> list[Expression]:
    """All of them, each once, by name."""
    found: dict[tuple[str, int], Expression] = {}
    all_modules = list(modules())
    usage = _usage(all_modules)
    for module in all_modules:
        for path, pattern in _patterns_in(vars(module), module.__name__):
            key = (repr(pattern.pattern), pattern.flags)
            of_module, _, name = path.rpartition(".")
            methods = usage[of_module, name] if of_module == module.__name__ else set()
            _put(found, key, Expression(path, pattern, MATCHED.get(path) or tuple(sorted(methods)) or ANY_METHOD))
    for module in all_modules:
        for expression in _literals(module):
            key = (repr(expression.pattern.pattern), expression.pattern.flags)
            if key not in found or expression.methods != ANY_METHOD:  # what is compiled is found above by its name
                _put(found, key, expression)
    return sorted(found.values(), key=lambda expression: expression.name)


def _put(found: dict[tuple[str, int], Expression], key: tuple[str, int], expression: Expression) -> None:
    known = found.get(key, expression)
    methods = tuple(sorted({*known.methods, *expression.methods}))
    found[key] = Expression(known.name, known.pattern, methods)


def _patterns_in(values: dict[str, Any], path: str, depth: int = 0) -> Iterator[tuple[str, re.Pattern]]:
    """(path, pattern) of every compiled pattern in these values, in tables and classes of the package, too."""
    for name, value in list(values.items()):
        here = f"{path}.{name}"
        if isinstance(value, re.Pattern):
            yield here, value
        elif depth > 3 or str(name).startswith("__"):
            continue
        elif isinstance(value, dict):
            yield from _patterns_in({f"{key!s}|": item for key, item in value.items()}, here, depth + 1)
        elif isinstance(value, list | tuple | set | frozenset):
            yield from _patterns_in({f"{n}|": item for n, item in enumerate(value)}, here, depth + 1)
        elif isinstance(value, type) and value.__module__.startswith("rag."):
            yield from _patterns_in(dict(vars(value)), here, depth + 1)
        elif type(value).__module__.startswith("rag.") and not isinstance(value, ModuleType):
            slots = {slot: getattr(value, slot) for slot in getattr(value, "__slots__", ()) if hasattr(value, slot)}
            yield from _patterns_in({**slots, **getattr(value, "__dict__", {})}, here, depth + 1)


def _usage(all_modules: Iterable[ModuleType]) -> dict[tuple[str, str], set[str]]:
    """(module, name of a pattern) -> the methods that are called on it; handed on as a value, it is searched for."""
    usage: dict[tuple[str, str], set[str]] = defaultdict(set)
    for module in all_modules:
        tree = _tree(module)
        if tree is None:
            continue
        origin = {
            alias.asname or alias.name: (node.module or "", alias.name)
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        called: set[int] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                called.add(id(node.value))
                if node.attr in METHODS:
                    usage[origin.get(node.value.id, (module.__name__, node.value.id))].add(node.attr)
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and id(node) not in called:
                usage[origin.get(node.id, (module.__name__, node.id))].add("finditer")
    return usage


def _tree(module: ModuleType) -> ast.Module | None:
    path = getattr(module, "__file__", None)
    return ast.parse(Path(path).read_text(encoding="utf-8")) if path else None


def _literals(module: ModuleType) -> Iterator[Expression]:
    """The expressions that are written where they are used: `re.sub(r"…", …)`, in a function or not."""
    tree = _tree(module)
    for node in ast.walk(tree) if tree else ():
        call = node.func if isinstance(node, ast.Call) else None
        if not (isinstance(call, ast.Attribute) and isinstance(call.value, ast.Name) and call.value.id == "re"):
            continue
        if call.attr not in (*METHODS, "compile"):
            continue
        pattern = _compiled(node, module)  # type: ignore[arg-type]
        if pattern is not None:
            methods = (call.attr,) if call.attr != "compile" else ANY_METHOD
            path = f"{module.__name__}:{node.lineno}"
            yield Expression(path, pattern, MATCHED.get(path, methods))


class _Known(dict):
    """The names of a module; a name that only a function knows stands for a character that nothing else takes."""

    def __missing__(self, name: str) -> str:
        if hasattr(builtins, name):
            raise KeyError(name)
        return "\ue000"


def _compiled(node: ast.Call, module: ModuleType) -> re.Pattern | None:
    flags = 0
    position = {"compile": 1, "sub": 4, "subn": 4, "split": 3}.get(node.func.attr, 2)  # type: ignore[attr-defined]
    given = [keyword.value for keyword in node.keywords if keyword.arg == "flags"] or node.args[position : position + 1]
    try:
        names = _Known(vars(module))
        for flag in given:
            flags |= eval(compile(ast.Expression(flag), "flags", "eval"), {}, names)
        written = eval(compile(ast.Expression(node.args[0]), "pattern", "eval"), {}, names)
        return re.compile(written, flags) if isinstance(written, str | bytes) else None
    except Exception:  # a part of it that only the function knows and that is no text
        return None


# ------------------------------------------------------------------ worst inputs


def worst_inputs(pattern: re.Pattern, length: int) -> Iterator[str | bytes]:
    """Texts of about `length` characters on which an expression may take long, made from its own parts."""
    is_text = isinstance(pattern.pattern, str)
    for before, pump, behind in _pumps(pattern):
        text = _made(before, pump, behind, length)
        yield text if is_text else text.encode("latin-1", "replace")


def _made(before: str, pump: str, behind: str, length: int) -> str:
    return before + pump * max((length - len(before) - len(behind)) // len(pump), 1) + behind


@functools.lru_cache(maxsize=512)
def _pumps(pattern: re.Pattern) -> tuple[tuple[str, str, str], ...]:
    """(what stands before, what is repeated, what stands behind) of each input."""
    written = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    tree = parser.parse(written, pattern.flags & ~re.UNICODE if isinstance(pattern.pattern, bytes) else pattern.flags)
    atoms: set[str] = set()
    beginnings, bodies = {""}, set()
    _walk(tree, "", atoms, beginnings, bodies)
    atoms -= {""}
    chosen = _some(sorted(atoms), 24)
    starts = _some(sorted(beginnings, key=lambda text: (len(text), text)), 24)
    groups = _some(sorted(bodies - {""}), 24)
    random_atoms = random.Random(0)
    mixed = ["".join(random_atoms.choices(chosen or ["a"], k=997)) for _ in range(2)]
    pumps: dict[tuple[str, str, str], None] = {}
    for pump in dict.fromkeys([*BLANKS_AND_SIGNS, *chosen, *groups, *(start for start in starts if start), *mixed]):
        for behind in ("", "\n!", "\u2603"):
            pumps["", pump, behind] = None
    for pump in dict.fromkeys([*BLANKS_AND_SIGNS[:7], *groups, *chosen]):
        for start in starts[1:]:
            pumps[start, pump, ""] = None
    for one, other in itertools.permutations(_some(chosen, 9), 2):
        pumps["", one + other, ""] = None
    for start in starts[1:]:
        for blank in " \na":
            pumps["", start + blank * 30, ""] = None
    every = list(pumps)
    plain = [pump for pump in every if not pump[0]]
    return tuple(dict.fromkeys([*plain[:MOST_PUMPS], *_some(every, MOST_PUMPS)]))


def _some(items: list, at_most: int) -> list:
    """The items, or as many of them, evenly spread."""
    if len(items) <= at_most:
        return items
    return [items[n * len(items) // at_most] for n in range(at_most)]


def _walk(tree: Any, before: str, atoms: set[str], beginnings: set[str], bodies: set[str]) -> str:
    """Gather the parts of an expression; returns a text that matches it, behind `before`."""
    for op, argument in tree:
        if op is codes.BRANCH:
            texts = [_walk(branch, before, atoms, beginnings, bodies) for branch in argument[1]]
            before = texts[0]
        elif op in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
            low, high, body = argument
            text = _walk(body, before, atoms, beginnings, bodies)[len(before) :]
            if high > 3:
                bodies.add(text)
            beginnings.add(before + text)
            before += text * max(low, 1) if low < 50 else text * 50
        elif op is codes.SUBPATTERN:
            before = _walk(argument[3], before, atoms, beginnings, bodies)
        elif op is codes.ATOMIC_GROUP:
            before = _walk(argument, before, atoms, beginnings, bodies)
        elif op in (codes.ASSERT, codes.ASSERT_NOT):
            _walk(argument[1], before, atoms, beginnings, bodies)
        elif op is codes.GROUPREF_EXISTS:
            before = _walk(argument[1], before, atoms, beginnings, bodies)
        else:
            texts = _characters(op, argument)
            atoms.update(texts)
            before += texts[0] if texts else ""
        beginnings.add(before)
    return before


def _characters(op: Any, argument: Any) -> list[str]:
    """Characters that one place of an expression takes, the most telling first."""
    if op is codes.LITERAL:
        return [chr(argument)]
    if op is codes.NOT_LITERAL:
        return [next(ch for ch in "a !" if ord(ch) != argument)]
    if op is codes.ANY:
        return ["a", " "]
    if op is not codes.IN:
        return []
    if argument[0][0] is codes.NEGATE:
        return [ch for ch in "a 1.-<|\n" if not _is_in(ch, argument[1:])][:3] or ["\u2603"]
    found: list[str] = []
    for kind, value in argument:
        if kind is codes.LITERAL:
            found.append(chr(value))
        elif kind is codes.RANGE:
            found.append(chr(value[0]))
        elif kind is codes.CATEGORY:
            found += _OF_CATEGORY.get(value, "a")
    return list(dict.fromkeys([*found[:3], *_some(found, 6)]))


_OF_CATEGORY = {
    codes.CATEGORY_SPACE: " \n",
    codes.CATEGORY_NOT_SPACE: "a.",
    codes.CATEGORY_DIGIT: "1",
    codes.CATEGORY_NOT_DIGIT: "a ",
    codes.CATEGORY_WORD: "a1",
    codes.CATEGORY_NOT_WORD: " .",
}


def _is_in(ch: str, items: Any) -> bool:
    for kind, value in items:
        if kind is codes.LITERAL and ord(ch) == value:
            return True
        if kind is codes.RANGE and value[0] <= ord(ch) <= value[1]:
            return True
        if kind is codes.CATEGORY and ch in _OF_CATEGORY.get(value, ""):
            return True
    return False


# ------------------------------------------------------------------ are they linear?

BOUNDED = {
    "rag.documents.decode._DECLARED.0|": 4_096,  # the head of a page
    "rag.documents.decode._DECLARED.1|": 4_096,
    "rag.generate.refusals._REFUSES": 300,  # MAX_CLAUSE_CHARACTERS
    "rag.generate.refusals._EXPLAINS": 300,
    # MAX_CHARACTERS of a question
    **dict.fromkeys(
        (
            f"rag.generate.references.{name}"
            for name in ("IT_STANDS_FOR_NOTHING", "NAMED_BEFORE", "POINTING", "POINTS_BACK", "PERSONAL", "THERE_IS")
        ),
        2_000,
    ),
    "rag.generate.references.THAT_REFERS": 2_000,
    "rag.generate.engines.server_fields._LOCATION": 20_000,  # MAX_CHARACTERS_READ
    "rag.generate.engines.server_fields._NO_SYSTEM": 20_000,
    "rag.generate.instructions._ASKS": 4_000,  # MAX_SENTENCE_CHARACTERS
}
"""Expressions that the package gives so many characters at most."""

MATCHED = {
    # The reader of cells matches them where a quote opens, and remembers up to where none closes.
    "rag.documents.formats.rows.cells._CLOSED": ("match",),
    "rag.documents.formats.rows.cells._CLOSED_BACKSLASH": ("match",),
    "rag.documents.formats.rows.cells:34": ("match",),  # `_sound`, where a line begins
    # A title is matched as a whole.
    **dict.fromkeys(
        (f"rag.documents.titles.{name}" for name in ("_MADE_OF_BYTES", "_ADDRESS", "_PATH", "_FILE_NAME", "_NUMBERED")),
        ("fullmatch",),
    ),
}
"""How expressions are used that are handed on as values."""

SHORT = 4_000
"""Every input is tried at this length first; only the slowest are tried at full length."""

SECONDS = 30
"""Processor time for the inputs of one expression: milliseconds are needed where its time is linear."""


def checked(every: Iterable[Expression], length: int, *, seconds: int = SECONDS) -> dict[str, str]:
    """Name -> the method by which an expression did not get through its inputs, and which; {} where all are linear.

    They are tried in a child process, whose processor time the system limits: no clock is read to judge.
    """
    tried = mmap.mmap(-1, 1_024)  # the child writes into it, before each input
    work: dict[str, Callable[[], object]] = {}
    for expression in every:
        at_most = min(length, BOUNDED.get(expression.name, length))
        for method in expression.methods:
            name = f"{expression.name} {method}"
            work[name] = functools.partial(_try_all, expression.pattern, method, at_most, tried)
    slow: dict[str, str] = {}
    names = list(work)
    while names:
        found = first_unfinished({name: work[name] for name in names}, seconds)
        if found is None:
            break
        name, _, method = found.rpartition(" ")
        slow[name] = f"{method}: {tried[:].rstrip(bytes(1)).decode('utf-8', 'replace')}"
        names = names[names.index(found) + 1 :]
    return slow


def _try_all(pattern: re.Pattern, method: str, length: int, tried: mmap.mmap) -> None:
    """All inputs at a short length; the slowest at full length. Notes before each what is tried."""
    pumps = _pumps(pattern)
    seconds: list[float] = []
    for pump, text in zip(pumps, worst_inputs(pattern, min(SHORT, length)), strict=True):
        _note(pump, tried)
        started = time.perf_counter()
        _use(pattern, method, text)
        seconds.append(time.perf_counter() - started)
    ranked = sorted(range(len(pumps)), key=seconds.__getitem__, reverse=True)
    for n, at_length in ((ranked[0], length), *((n, length // 10) for n in ranked[1:4])):
        _note(pumps[n], tried)
        text = _made(*pumps[n], at_length)
        _use(pattern, method, text if isinstance(pattern.pattern, str) else text.encode("latin-1", "replace"))


def _note(pump: tuple[str, str, str], tried: mmap.mmap) -> None:
    tried[:] = _shown(pump).encode()[: len(tried)].ljust(len(tried), bytes(1))


def _shown(pump: tuple[str, str, str]) -> str:
    before, repeated, behind = (part if len(part) < 60 else part[:60] + "…" for part in pump)
    return f"{before!r} then {repeated!r} again and again then {behind!r}"


def _use(pattern: re.Pattern, method: str, text: Any) -> None:
    if method in ("finditer", "findall"):
        deque(pattern.finditer(text), maxlen=0)
    elif method in ("sub", "subn"):
        pattern.sub(text[:0], text)
    else:
        getattr(pattern, method)(text)
