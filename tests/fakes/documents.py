"""An encoder of words, and settings for short documents."""

import hashlib

import numpy as np

from rag.config import load_settings
from rag.index.read import open_index
from rag.retrieve.encoder import EncoderFingerprint


class WordEncoder:
    """A vector by the hash of a passage, a token a word; remembers what it embedded."""

    def __init__(self, weights="w" * 64):
        self.fingerprint = EncoderFingerprint(weights, "query: ", "passage: ", "mean", 300, 16)
        self.room_tokens = 290
        self.embedded = []

    def count_tokens(self, texts):
        return [len(text.split()) for text in texts]

    def encode_passages(self, texts, label="", advance=lambda n: None):
        advance(len(texts))
        self.embedded += texts
        return self._vectors(texts), 0

    def encode_queries(self, texts, label=""):
        return self._vectors(texts)

    def _vectors(self, texts):
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:4]) for text in texts]
        vectors = np.array([np.random.default_rng(seed).normal(size=16) for seed in seeds], np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


SETTINGS = load_settings(None, ["documents.chunk_tokens=40"])


def texts(index):
    opened = open_index(index)
    vectors = opened.vectors().vectors(range(len(opened.corpus)))
    wanted, _ = WordEncoder().encode_passages([passage.content for passage in opened.corpus])
    assert np.allclose(vectors, wanted, atol=1e-6)
    assert len(opened.bm25().retrieve(["harbour"], 50)[0]) == len(opened.corpus)
    return sorted(passage.text for passage in opened.corpus)
