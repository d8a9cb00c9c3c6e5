"""Files as they are, or packed by gzip: told by their first bytes, never by their names."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from rag.errors import DataError

GZ = ".gz"
MIB = 1 << 20
SMALLEST_LIMIT = 100 * MIB
MOST_TIMES = 100
"""What a packed file may unpack to: so many times its size, or the smallest limit. Text packs three to ten times."""
LONGEST_LINE = 256 * MIB
_OTHERS = (
    (re.compile(rb"BZh[1-9]1AY&SY"), "bzip2", "bunzip2"),
    (re.compile(rb"\xfd7zXZ\x00"), "xz", "unxz"),
    (re.compile(rb"\x28\xb5\x2f\xfd"), "zstd", "unzstd"),
    (re.compile(rb"PK\x03\x04"), "zip", "unzip"),
)


def or_packed(path: Path) -> Path:
    """The file of that name; where there is none, the one packed by gzip beside it, if there is that."""
    packed = path.with_name(path.name + GZ)
    return packed if not path.exists() and packed.is_file() else path


def unpacked_suffix(path: Path) -> str:
    """The suffix that the file has without `.gz`, such as `.jsonl`."""
    return Path(path.name.removesuffix(GZ)).suffix


def raw_lines(file: Path) -> Iterator[tuple[int, bytes]]:
    """(line number, bytes with their line end) of a file.

    Raises DataError where it is packed in another way than by gzip, where its packed data is damaged or ends early, and
    where it unpacks to far more than text does.
    """
    with file.open("rb") as stream:
        start = stream.peek(10)[:10]
        if start.startswith(b"\x1f\x8b"):
            yield from _unpacked_lines(file, stream)
            return
        for magic, name, command in _OTHERS:
            if magic.match(start):
                raise DataError(f"{file} is packed by {name}; unpack it with {command}, or pack it with gzip")
        yield from enumerate(stream, 1)


def _unpacked_lines(file: Path, stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    left = max(SMALLEST_LIMIT, MOST_TIMES * file.stat().st_size)
    number = 0
    with gzip.GzipFile(fileobj=stream) as unpacked:
        while True:
            number += 1
            try:
                line = unpacked.readline(min(left, LONGEST_LINE) + 1)
            except EOFError:
                raise DataError(
                    f"{file}, line {number}: the gzip data ends early; fetch or pack the file again"
                ) from None
            except (OSError, zlib.error) as error:
                raise DataError(
                    f"{file}, line {number}: the gzip data is damaged ({error}); fetch or pack the file again"
                ) from error
            if not line:
                return
            left -= len(line)
            if left < 0:
                raise DataError(
                    f"{file}, line {number}: it unpacks to more than {MOST_TIMES} times its size, as no text does; "
                    "unpack it with gunzip if you trust it"
                )
            if len(line) > LONGEST_LINE:
                raise DataError(f"{file}, line {number}: longer than {LONGEST_LINE // MIB} MiB; write one row a line")
            yield number, line
