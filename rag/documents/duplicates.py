"""Documents that are nearly the same text."""

from __future__ import annotations

import itertools
import re
import zlib
from collections import deque
from collections.abc import Container, Iterator, Sequence

from rag.documents.records import DocumentRecord
from rag.scripts import spaced_out

# What signatures of different documents must share to be compared; indexes keep signatures.
PERMUTATIONS = 64
SHINGLE_WORDS = 5
SCHEME = "affine32"
SHINGLES_AT_ONCE = 10_000
_WORD = re.compile(r"\S+")


def signature_of(text: str) -> tuple[int, ...]:
    """MinHash (Broder 1997, https://doi.org/10.1109/SEQUEN.1997.666900) of a text's word 5-grams, by datasketch.

    Letters of scripts without spaces are words of their own.
    """
    from datasketch import MinHash

    made = MinHash(num_perm=PERMUTATIONS, scheme=SCHEME, hashfunc=zlib.crc32)
    shingles = _shingles(spaced_out(text.lower()))
    # All at once would take much memory for a long text. One that comes again changes no minimum.
    while some := set(itertools.islice(shingles, SHINGLES_AT_ONCE)):
        made.update_batch([shingle.encode("utf-8", "replace") for shingle in some])
    return tuple(map(int, made.hashvalues))


def _shingles(text: str) -> Iterator[str]:
    """Each `SHINGLE_WORDS` words that follow each other; all words where there are fewer."""
    words = (word[0] for word in _WORD.finditer(text))
    window = deque(itertools.islice(words, SHINGLE_WORDS), SHINGLE_WORDS)
    yield " ".join(window)
    for word in words:
        window.append(word)
        yield " ".join(window)


def near_duplicates(
    documents: Sequence[DocumentRecord], new: Container[str], *, threshold: float = 0.8
) -> list[tuple[str, str, float]]:
    """Pairs of documents, one of them `new`, whose words nearly agree: (hash, hash, estimated Jaccard index)."""
    from datasketch import MinHash, MinHashLSH

    lsh = MinHashLSH(threshold=threshold, num_perm=PERMUTATIONS)
    hashes: dict[str, MinHash] = {}
    pairs = []
    for document in documents:
        made = MinHash(num_perm=PERMUTATIONS, hashvalues=list(document.minhash), scheme=SCHEME)
        hashes[document.sha256] = made
        for other in sorted(lsh.query(made)):
            similarity = made.jaccard(hashes[other])
            if similarity >= threshold and (other in new or document.sha256 in new):
                pairs.append((other, document.sha256, round(float(similarity), 3)))
        lsh.insert(document.sha256, made)
    return pairs
