"""Bytes become text."""

from __future__ import annotations

import re


def decode(data: bytes) -> str:
    """The text of a file's bytes, cleaned: UTF-8, UTF-16 with its mark, else what charset-normalizer takes it for."""
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if data.startswith(mark):
            return clean(data.decode(encoding, "replace"))
    try:
        return clean(data.decode("utf-8"))
    except UnicodeDecodeError:
        from charset_normalizer import from_bytes

        best = from_bytes(data[: 2**18]).best()
        return clean(data.decode(best.encoding if best else "latin-1", "replace"))


def clean(text: str) -> str:
    """The text with Unix line ends, without control characters and surrogates. Places count in the result."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n").replace("\v", "\n")
    return re.sub(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff\ufeff]", "", text)
