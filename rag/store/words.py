"""A text's own words as one field of Milvus, which counts them and must not change them."""

from __future__ import annotations

import functools
import hashlib
import re

from rag.retrieve.analyzer import Analyzer

_PLAIN = re.compile(r"(?!0x)[a-z0-9]+")


def words_field(analyzer: Analyzer, text: str) -> str:
    """The words of a text, each with spaces around it and in letters that every tokenizer of Milvus leaves whole."""
    return " ".join(map(_letters, analyzer.words(text)))


@functools.lru_cache(65_536)
def _letters(word: str) -> str:
    """The word itself, or a hash of it where it is of other characters than a to z and digits."""
    if _PLAIN.fullmatch(word):
        return word
    return "0x" + hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
