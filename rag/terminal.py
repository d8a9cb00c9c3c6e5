"""The one way out to the terminal: text that others wrote is shown, and never obeyed.

Names of files, passages, addresses and messages of libraries can hold characters that a terminal takes for orders: they
colour, overwrite or reorder what stands there, set its title, or put something into the clipboard. Results leave
through `show` and `show_json`, remarks through `tell`; `guarded` catches what libraries write.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shlex
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TextIO, cast

# Prose needs these between its letters (soft hyphens, joiners, marks of direction, variants): a line does without them.
_WITHOUT_WIDTH = "\u00ad\u200b-\u200f\u061c\u2060\ufeff\U000e0100-\U000e01ef"
# Control characters, line and paragraph separators, halves of surrogate pairs, and characters of the category Cf. Those
# of Cf that are printed, such as the Arabic number signs, are left out.
_ORDERS = (
    "\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\u180e\u202a-\u202e\u2061-\u206f\ufff0-\ufffb"
    "\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff"
)
_HIDDEN = re.compile(f"[{_WITHOUT_WIDTH}]")
_UNSAFE = re.compile(f"[{_ORDERS}]")
_UNSAFE_IN_LINES = re.compile(f"(?![\n\t])[{_ORDERS}]")
_UNSAFE_IN_JSON = re.compile(f"(?!\n)[{_ORDERS}{_WITHOUT_WIDTH}]")
# What libraries draw their help and their bars with: colours, and the moves that a bar begins with.
_DRAWN = re.compile(r"(^\r|^(?:\x1b\[A)+$|\x1b\[[0-9;]{0,40}m)")
_FRAMES = ("Traceback", "  File ", "\nDuring", "\nThe above", "  + Exception Group")
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}
TAB_WIDTH = 4
STYLES = {"strong": "1", "faint": "2", "good": "32", "warning": "33", "bad": "31"}
"""Colours and weights by what they mean, as SGR codes of ECMA-48."""
QUIET, USUAL, VERBOSE = -1, 0, 1
_loudness = USUAL
_drawn = threading.Event()
"""Set while stderr ends with a line that is drawn over and over (`redraw`)."""


@dataclass(frozen=True, slots=True)
class Styled:
    """A line in pieces of (text, style); a style is a key of `STYLES`, or "" for none."""

    pieces: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return "".join(text for text, _ in self.pieces)


def styled(text: str, style: str, rest: str = "") -> Styled:
    """A line that begins in a style and goes on without."""
    return Styled(((text, style), (rest, "")))


def one_line(text: str) -> str:
    """The text as one line that a terminal shows as it is: what would be an order stands there as an escape.

    A byte of a file name that is no text becomes `\\xff`. Characters without width that prose needs are left out.
    """
    return _UNSAFE.sub(_escaped, _HIDDEN.sub("", text))


def shown_lines(text: str) -> list[str]:
    """The lines of a text, each as `one_line`; tabs become spaces."""
    return [one_line(line.expandtabs(TAB_WIDTH)) for line in text.splitlines()]


def harmless(text: str) -> str:
    """The text of a file that people may read in a terminal: orders as escapes, its lines and its prose as they are."""
    return _UNSAFE_IN_LINES.sub(_escaped, text)


def json_text(value: object, *, indent: int | None = 2) -> str:
    """The value as JSON that holds its texts exactly; what a terminal would obey, or hide, is written as an escape."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return _UNSAFE_IN_JSON.sub(lambda found: json.dumps(found[0])[1:-1], text)


def shell_word(text: str) -> str:
    """The text as one word of a command line that can be read and pasted, whatever a file is called.

    Where it holds what `one_line` cleans, it has the form `$'…'` of bash and zsh.
    """
    if one_line(text) == text:
        return shlex.quote(text)
    parts = (f"\\{ch}" if ch in "\\'" else ch if one_line(ch) == ch else _bytes_of(ch) for ch in text)
    return f"$'{''.join(parts)}'"


def set_loudness(loudness: int) -> None:
    """What `tell` says from now on: QUIET errors alone, USUAL notes too, VERBOSE details too."""
    global _loudness
    _loudness = loudness


def loudness() -> int:
    """QUIET, USUAL or VERBOSE."""
    return _loudness


def is_coloured(stream: TextIO | None) -> bool:
    """Whether styles are written to a stream: a terminal that knows them, and nobody said no (https://no-color.org)."""
    if stream is None or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def show(*lines: str | Styled) -> None:
    """Lines of a result, to stdout, each as `one_line`; with their styles where stdout is a terminal."""
    _undraw()
    in_colour = any(isinstance(line, Styled) for line in lines) and is_coloured(sys.stdout)
    _write(sys.stdout, "".join(f"{_line(line, in_colour)}\n" for line in lines))


def show_piece(text: str) -> None:
    """A piece of a text that grows, to stdout, without an end of line of its own."""
    _undraw()
    _write(sys.stdout, "\n".join(one_line(line.expandtabs(TAB_WIDTH)) for line in text.split("\n")))


def redraw(text: str) -> None:
    """Draw a line on stderr in the place of the one that was drawn before; "" leaves an empty line."""
    _write(unguarded(sys.stderr), f"\r\x1b[2K{one_line(text)}")
    (_drawn.set if text else _drawn.clear)()


def _undraw() -> None:
    if _drawn.is_set():
        redraw("")


def _line(line: str | Styled, in_colour: bool) -> str:
    if isinstance(line, str) or not in_colour:
        return one_line(str(line))
    codes = [(one_line(text), STYLES.get(style, "")) for text, style in line.pieces]
    return "".join(f"\x1b[{code}m{text}\x1b[0m" if code and text else text for text, code in codes)


def show_json(value: object, *, indent: int | None = 2) -> None:
    """A result as JSON, to stdout; without `indent` in one line."""
    _undraw()
    text = json_text(value, indent=indent)
    _write(sys.stdout, (text if _fits(text, sys.stdout) else json.dumps(value, indent=indent)) + "\n")


def tell(text: str | Styled, *, level: int = USUAL) -> None:
    """One line for the person at the terminal, to stderr, as `one_line`. `level` QUIET is told in any case."""
    if level > _loudness:
        return
    _undraw()
    _write(sys.stderr, f"{_line(text, is_coloured(sys.stderr))}\n")


def unguarded(stream: TextIO) -> TextIO:
    """The stream below `guarded`, for what moves the cursor itself."""
    return stream.inner if isinstance(stream, _Guard) else stream


def plain_logger(name: str) -> logging.Logger:
    """A logger whose messages are one line each, and whose tracebacks hold no orders."""
    logger = logging.getLogger(name)
    if not any(isinstance(each, _PlainFilter) for each in logger.filters):
        logger.addFilter(_PlainFilter())
    return logger


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """Clean whatever else reaches stdout and stderr: logs, warnings and tracebacks of libraries.

    An exception that leaves the block is told, and ends the process with status 1, as it would elsewhere.

    Colours are let through where the stream is a terminal: the help of commands is drawn with them. So are the moves of
    the cursor that a bar begins with.
    """
    out, err = sys.stdout, sys.stderr
    factory, form = logging.getLogRecordFactory(), warnings.formatwarning
    hook, thread_hook = sys.excepthook, threading.excepthook
    sys.stdout, sys.stderr = (cast(TextIO, stream and _Guard(stream)) for stream in (out, err))
    logging.setLogRecordFactory(_PlainRecord)
    warnings.formatwarning = _plain_warning
    sys.excepthook = lambda kind, error, trace: tell_traceback(error)
    threading.excepthook = lambda args: tell_traceback(args.exc_value)
    try:
        yield
    except Exception as error:
        tell_traceback(error)
        raise SystemExit(1) from error
    finally:
        sys.stdout, sys.stderr = out, err
        logging.setLogRecordFactory(factory)
        warnings.formatwarning = form
        sys.excepthook, threading.excepthook = hook, thread_hook


class _Guard:
    """A stream of text that cleans what is written to it; everything else is the stream's own."""

    def __init__(self, inner: TextIO):
        self.inner = inner
        forced = any(os.environ.get(name) for name in ("FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS"))
        self._is_drawn = forced or inner.isatty()

    def write(self, text: str) -> int:
        parts = _DRAWN.split(text) if self._is_drawn else [text]
        parts[::2] = [_UNSAFE_IN_LINES.sub(_escaped, _HIDDEN.sub("", part)) for part in parts[::2]]
        self.inner.write(_fitting("".join(parts), self.inner))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


class _PlainRecord(logging.LogRecord):
    """A record of a log whose message is one line: a name with a line end begins no record of its own."""

    def getMessage(self) -> str:
        return one_line(super().getMessage().rstrip("\n"))

    def __init__(self, *args: object, **named: object):
        super().__init__(*args, **named)  # type: ignore[arg-type]
        _clean_traceback(self)


class _PlainFilter(logging.Filter):
    """What `_PlainRecord` does, for the records of one logger."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = one_line(record.getMessage()), ()
        _clean_traceback(record)
        return True


def _clean_traceback(record: logging.LogRecord) -> None:
    if record.exc_info and record.exc_info[1] is not None:
        record.exc_text = _plain_traceback(record.exc_info[1])


def _plain_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    return one_line(f"{filename}:{lineno}: {category.__name__}: {message}") + "\n"


def tell_traceback(error: BaseException | None) -> None:
    """The traceback of an error, to stderr, without orders to the terminal."""
    if error is not None:
        _write(sys.stderr, _plain_traceback(error) + "\n")


def _plain_traceback(error: BaseException) -> str:
    """The traceback of an error; its message, which may quote a document, stands on one line."""
    lines: list[str] = []
    for part in traceback.format_exception(error):
        lines += shown_lines(part) if part.startswith(_FRAMES) else [one_line(part.rstrip("\n"))]
    return "\n".join(lines)


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    if code < 0x100 or 0xDC80 <= code <= 0xDCFF:  # the latter stands for a byte that is no text (PEP 383)
        return f"\\x{code & 0xFF:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _bytes_of(character: str) -> str:
    try:
        encoded = character.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        encoded = character.encode("utf-8", "surrogatepass")
    return "".join(f"\\x{byte:02x}" for byte in encoded)


def _write(stream: TextIO | None, text: str) -> None:
    if stream is not None:
        stream.write(_fitting(text, stream))
        stream.flush()


def _fits(text: str, stream: TextIO | None) -> bool:
    """Whether the encoding of the stream has every character of the text."""
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _fitting(text: str, stream: TextIO) -> str:
    """The text with escapes for the characters that the encoding of the stream lacks."""
    if _fits(text, stream):
        return text
    encoding = stream.encoding
    return text.encode(encoding, "backslashreplace").decode(encoding)
