"""Documents that are nearly the same text."""

from __future__ import annotations

import zlib
from collections.abc import Container, Sequence

from rag.documents.records import DocumentRecord
from rag.scripts import spaced_out

# What signatures of different documents must share to be compared; indexes keep signatures.
PERMUTATIONS = 64
SHINGLE_WORDS = 5
SCHEME = "affine32"
SHINGLES_AT_ONCE = 10_000


def signature_of(text: str) -> tuple[int, ...]:
    """MinHash (Broder 1997, https://doi.org/10.1109/SEQUEN.1997.666900) of a text's word 5-grams, by datasketch.

    Letters of scripts without spaces are words of their own.
    """
    from datasketch import MinHash

    tokens = spaced_out(text.lower()).split()
    shingles = {" ".join(tokens[n : n + SHINGLE_WORDS]) for n in range(max(len(tokens) - SHINGLE_WORDS + 1, 1))}
    made = MinHash(num_perm=PERMUTATIONS, scheme=SCHEME, hashfunc=zlib.crc32)
    ordered = sorted(shingles)
    for start in range(0, len(ordered), SHINGLES_AT_ONCE):  # all at once would take much memory for a long text
        made.update_batch([shingle.encode("utf-8", "replace") for shingle in ordered[start : start + SHINGLES_AT_ONCE]])
    return tuple(map(int, made.hashvalues))


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
