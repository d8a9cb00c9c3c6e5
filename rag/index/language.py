"""The language of an index: which it gets, and when that changes.

- A new index: the one that the settings name (`index.language`), else the one that most passages are written in.
- An index that is made again or brought up to date: it keeps its language, named or found, while at least a third of
  the passages are in what was found before. When most of the corpus has become something else, the new language is
  taken, and said. Naming one changes it at any time.
- An index from before languages were found is English, whatever its passages are, and its words are found as they were
  then. It stays so while its passages are the same and English; when it is made again, it becomes like a new one.

A change makes BM25 anew; vectors are used again. The manifest keeps the language; what was found stands beside it where
another was named.
"""

from __future__ import annotations

from collections.abc import Sequence

from rag.data.passages import Corpus
from rag.data.stored import is_of
from rag.index.manifest import Manifest
from rag.languages import ENGLISH, detect_language
from rag.progress import say
from rag.retrieve.analyzer import VERSION

SHAPE = {"k1": 1.5, "b": 0.75}


def bm25_of(corpus: Corpus, own: Manifest | None, named: str | None, *, from_scratch: bool = False) -> dict:
    """What the manifest says of BM25: its shape, the language, and the version of the analyzer.

    `own` is the manifest of the index as it is; `named` the language that the settings name, None to find it;
    `from_scratch` makes even an unchanged index like a new one.
    """
    is_old = own is not None and is_from_before(own)
    before = "" if own is None or is_old else own.bm25.get("found", own.language)
    found = detect_language(Contents(corpus), before=before)
    language = named or (own.language if own is not None and before == found else found)
    if own is not None and is_old and not from_scratch and language == ENGLISH:
        if is_of(corpus, own.corpus_sha256):
            return own.bm25
    elif named is None and language != (ENGLISH if own is None else own.language):
        say(f"the passages are taken for {language_name(language)}; if they are not: --set index.language=NAME")
    beside = {} if language == found else {"found": found}
    return {**SHAPE, "language": language, "analyzer": VERSION, **beside}


class Contents(Sequence[str]):
    """The contents of a corpus; each is read when it is asked for."""

    def __init__(self, corpus: Corpus):
        self._corpus = corpus

    def __len__(self) -> int:
        return len(self._corpus)

    def __getitem__(self, row):
        found = self._corpus[row]
        return [passage.content for passage in found] if isinstance(row, slice) else found.content


def is_from_before(manifest: Manifest) -> bool:
    """Whether an index was made before languages were found."""
    return "analyzer" not in manifest.bm25


def language_name(language: str) -> str:
    """The language as a sentence names it."""
    return language.capitalize() if language != "none" else "no language that is known"
