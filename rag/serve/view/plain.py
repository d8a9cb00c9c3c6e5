"""The text of a source as Markdown: paragraphs, lists, tables and code as they can be told from its lines."""

from __future__ import annotations

import re
import string
import textwrap
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import PurePosixPath

from rag.serve.view.signs import without_signs

_MARKDOWN = (".md", ".markdown", ".mdx", ".rmd", ".qmd")
_NO_MARKDOWN = (
    ".pdf",
    ".docx",
    ".pptx",
    ".xlsx",
    ".odt",
    ".odp",
    ".ods",
    ".html",
    ".htm",
    ".epub",
    ".csv",
    ".eml",
    ".rtf",
)
_SPEAKS_MARKDOWN = re.compile(r"^(?:#{1,6} \S|```|[-*] \*\*)|\*\*\w|\w\*\*|\]\(https?:", re.M)
_ITEM = re.compile(r"(\s{0,40})(?:([-*+•‣◦▪–])|\(?(\d{1,3})[.)])\s+(?=\S)")
_COLUMNS = re.compile(r"\S {3,40}\S")
_ESCAPED = str.maketrans({ch: f"\\{ch}" for ch in string.punctuation})
_CODE_STARTS = ("$ ", ">>> ", "#!", "//", "/*", "</", "<?", "def ", "import ", "class ", "#include", "return ", "sudo ")
_CODE_ENDS = ("{", "}", ";", "};", ");", "\\")
_CODE_SIGNS = (" = ", "=>", "->", "::", "&&", " --", "==")
_PROSE_ENDS = (".", "!", "?", ":", "…", "。", ",")


def speaks_markdown(source: str, text: str) -> bool:
    """Whether a text is Markdown, by the name of its file, else by its signs."""
    ending = PurePosixPath(source).suffix.lower()
    if ending in _MARKDOWN:
        return True
    return ending not in _NO_MARKDOWN and _SPEAKS_MARKDOWN.search(text) is not None


def as_markdown(text: str) -> str:
    """A plain text, with our signs in it, as Markdown that says the same: none of its own signs means anything."""
    blocks: list[str] = []
    for is_blank, lines in groupby(text.split("\n"), key=lambda line: not line.strip()):
        if not is_blank:
            blocks += _blocks(list(lines))
    return "\n\n".join(blocks)


def escaped(text: str) -> str:
    """A text that means nothing in Markdown."""
    return text.translate(_ESCAPED)


def _blocks(lines: Sequence[str]) -> Iterator[str]:
    """The blocks of lines without a blank one among them."""
    n = 0
    while n < len(lines):
        is_row = _is_row(lines[n])
        if is_row and n + 1 < len(lines) and _is_row(lines[n + 1]):
            end = _first(lines, n, lambda line: not _is_row(line))
            yield _table(lines[n:end])
        elif _is_item(lines[n]):
            end = _first(lines, n, lambda line: _is_row(line))
            yield _list(lines[n:end])
        else:
            end = _first(lines, n + 1, lambda line: _is_item(line) or _is_row(line))
            yield _paragraph(lines[n:end])
        n = end


def _first(lines: Sequence[str], n: int, ends: Callable[[str], bool]) -> int:
    return next((m for m in range(n, len(lines)) if ends(lines[m])), len(lines))


def _is_row(line: str) -> bool:
    return " | " in line or line.lstrip().startswith("| ") or line.count("\t") > 1


def _is_item(line: str) -> bool:
    return _ITEM.match(line) is not None


def _table(lines: Sequence[str]) -> str:
    rows = [_cells(line) for line in lines]
    rows = [row for row in rows if any(cell.strip(" -=:+\\") for cell in row)]
    if not rows:
        return ""
    n_columns = max(map(len, rows))
    written = [f"| {' | '.join([*row, *[''] * (n_columns - len(row))])} |" for row in rows]
    return "\n".join([written[0], f"|{'---|' * n_columns}", *written[1:]])


def _cells(line: str) -> list[str]:
    parts = line.strip().strip("|").split("|" if " | " in line or line.lstrip().startswith("|") else "\t")
    return [escaped(part.strip()) for part in parts]


def _list(lines: Sequence[str]) -> str:
    """Items, nested as they are indented; other lines go on with the item before."""
    written: list[str] = []
    levels: list[int] = []  # the indentation of each open list
    for line in lines:
        match = _ITEM.match(line)
        if match is None:
            written.append(f"{'   ' * len(levels)}{escaped(line.strip())}")
            continue
        indentation = len(match[1])
        while levels and levels[-1] > indentation:
            levels.pop()
        if not levels or (levels[-1] < indentation and len(levels) < 4):
            levels.append(indentation)
        marker = f"{match[3]}." if match[3] else "-"
        written.append(f"{'   ' * (len(levels) - 1)}{marker} {escaped(line[match.end() :].strip())}")
    return "\n".join(written)


def _paragraph(lines: Sequence[str]) -> str:
    bare = [without_signs(line) for line in lines]
    if _is_code(bare) or _is_aligned(bare):
        longest = max((len(run) for line in bare for run in re.findall("`+", line)), default=0)
        fence = "`" * max(3, longest + 1)
        return "\n".join([fence, *textwrap.dedent("\n".join(lines)).split("\n"), fence])
    return "\n".join(escaped(line.strip()) for line in lines)


def _is_code(lines: Sequence[str]) -> bool:
    """Whether lines are code: indented and no sentences, or most with signs that only code has."""
    if any(line.rstrip().endswith(".") and line.count(" ") > 5 for line in lines):
        return False
    if len(lines) > 1 and all(line[:1] in "\t " and (line[:4].isspace() or line[0] == "\t") for line in lines):
        return not all(line.rstrip().endswith(_PROSE_ENDS) for line in lines)
    return 2 * sum(_is_line_of_code(line.strip()) for line in lines) > len(lines)


def _is_line_of_code(line: str) -> bool:
    return (
        line.startswith(_CODE_STARTS) or line.endswith(_CODE_ENDS) or (line.count(" ") < 9 and _has(line, _CODE_SIGNS))
    )


def _has(line: str, signs: Sequence[str]) -> bool:
    return any(sign in line for sign in signs)


def _is_aligned(lines: Sequence[str]) -> bool:
    """Whether most lines stand in columns that blanks make."""
    return len(lines) > 1 and 2 * sum(_COLUMNS.search(line) is not None for line in lines) > len(lines)
