"""Code with the kinds of its words marked by classes, which the page's style sheet colours."""

from __future__ import annotations

import functools
from html import escape
from typing import Any

MAX_CHARACTERS = 2_500
MAX_LINE_CHARACTERS = 400
MAX_LINES = 300
"""Longer code, with longer or more lines, is shown without colours: its lexers look at some characters many times."""

_LANGUAGES = {
    "Bash": ("bash", "sh", "shell", "zsh"),
    "C": ("c", "h"),
    "C++": ("cpp", "c++", "cc", "hpp"),
    "C#": ("csharp", "c#", "cs"),
    "CSS": ("css",),
    "Diff": ("diff", "patch"),
    "Docker": ("docker", "dockerfile"),
    "Go": ("go", "golang"),
    "HTML": ("html", "htm"),
    "INI": ("ini", "cfg"),
    "Java": ("java",),
    "JavaScript": ("javascript", "js", "jsx", "mjs"),
    "JSON": ("json", "jsonc"),
    "Kotlin": ("kotlin", "kt"),
    "Lua": ("lua",),
    "Makefile": ("make", "makefile"),
    "PHP": ("php",),
    "PowerShell": ("powershell", "ps1", "pwsh"),
    "Python": ("python", "py", "python3"),
    "R": ("r",),
    "Ruby": ("ruby", "rb"),
    "Rust": ("rust", "rs"),
    "SQL": ("sql", "sqlite", "postgresql"),
    "Swift": ("swift",),
    "TOML": ("toml",),
    "TypeScript": ("typescript", "ts", "tsx"),
    "XML": ("xml", "svg"),
    "YAML": ("yaml", "yml"),
}
_NAMES = {alias: name for name, aliases in _LANGUAGES.items() for alias in aliases}


def language_of(info: str) -> str:
    """The name of the language that stands behind the opening of a block of code; "" for one that is not known."""
    first = info.strip()[:40].split(maxsplit=1)
    return _NAMES.get(first[0].strip("{}.,:").lower(), "") if first else ""


@functools.lru_cache(maxsize=256)
def code_html(code: str, language: str) -> str:
    """Code as HTML, coloured where the language is one of ours and the code is not too long."""
    lines = code.split("\n")
    is_short = len(code) <= MAX_CHARACTERS and max(map(len, lines)) <= MAX_LINE_CHARACTERS and len(lines) <= MAX_LINES
    if language not in _LANGUAGES or not is_short:
        return escape(code)
    from pygments import lex  # type: ignore[import-untyped]

    parts = []
    for token, value in lex(code, _lexer(language)):
        kind, shown = _kind(token), escape(value)
        parts.append(f'<span class="{kind}">{shown}</span>' if kind and value.strip() else shown)
    return "".join(parts)


@functools.cache
def _lexer(language: str) -> Any:
    from pygments.lexers import get_lexer_by_name  # type: ignore[import-untyped]

    return get_lexer_by_name(_LANGUAGES[language][0], stripnl=False, ensurenl=False)


@functools.cache
def _kind(token: Any) -> str:
    """The class of a kind of token of Pygments; "" for what has no colour of its own."""
    from pygments import token as kind

    kinds = (
        (kind.Comment, "c-comment"),
        (kind.String, "c-string"),
        (kind.Number, "c-number"),
        (kind.Literal, "c-string"),
        (kind.Keyword, "c-keyword"),
        (kind.Operator.Word, "c-keyword"),
        (kind.Name.Function, "c-name"),
        (kind.Name.Class, "c-name"),
        (kind.Name.Tag, "c-keyword"),
        (kind.Name.Attribute, "c-name"),
        (kind.Name.Decorator, "c-name"),
        (kind.Name.Builtin, "c-builtin"),
        (kind.Generic.Deleted, "c-deleted"),
        (kind.Generic.Inserted, "c-inserted"),
    )
    return next((name for parent, name in kinds if token in parent), "")
