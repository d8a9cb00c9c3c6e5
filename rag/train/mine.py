"""Mining negatives with the models of the settings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from rag.build.serving import Serving
from rag.config import RetrieverKind
from rag.data.labelled import asked, load_examples
from rag.data.splits import refuse_test_file
from rag.errors import ConfigError
from rag.index.read import OpenIndex, open_index
from rag.rerank.keep_order import KeepOrder
from rag.train.files import sample_examples
from rag.train.negatives import MiningSettings, PairScorer, mine
from rag.train.run import digest

Scorer = Literal["encoder", "reranker", "none"]


def mine_negatives(
    serving: Serving,
    train: str | Path,
    target: str | Path,
    mining: MiningSettings,
    *,
    qrels: str | Path | None = None,
    retrievers: Sequence[str] = ("hybrid",),
    scorer: Scorer = "reranker",
    sample: int | None = None,
    unanswerable: bool = True,
) -> dict:
    """Mine hard negatives for the questions of a training file; returns the report.

    `sample` takes that many of the questions (`sample_examples`), `unanswerable` also those that no passage answers.
    Raises ConfigError for options that do not fit, DataError for a test file.
    """
    if scorer not in get_args(Scorer):
        raise ConfigError(f"the scorer {scorer!r} is unknown; choose one of {', '.join(get_args(Scorer))}")
    if unknown := sorted(set(retrievers) - set(get_args(RetrieverKind))):
        raise ConfigError(f"no retriever is called {unknown[0]!r}; choose one of {', '.join(get_args(RetrieverKind))}")
    if scorer == "none" and mining.margin is not None:
        raise ConfigError("--scorer none has no scores to measure a margin by; choose a scorer, or leave --margin out")
    refuse_test_file(train, qrels)
    index = open_index(serving.index_folder)
    given = load_examples(train, index.corpus, qrels)
    examples = sample_examples([*given.examples, *given.unanswerable] if unanswerable else given.examples, sample)
    available = serving.retrievers()
    score, scorer_sha256 = pair_scorer(serving, index, scorer)
    identity = {
        "index": index.manifest.fingerprint,
        **serving.query_identity(),
        "retrievers": list(retrievers),
        "scorer": scorer,
        "scorer_sha256": scorer_sha256,
        "questions": digest(asked(examples)),
    }
    chosen = {kind: available.get(kind) for kind in retrievers}
    return mine(examples, index.corpus, chosen, score, mining, target, identity=identity)


def pair_scorer(serving: Serving, index: OpenIndex, scorer: Scorer) -> tuple[PairScorer | None, str]:
    """(what scores pairs, a hash of its weights): the cross-encoder's probabilities, or cosines of the index's vectors.

    None and an empty hash where nothing scores.
    """
    if scorer == "none":
        return None, ""
    if scorer == "reranker":
        reranker = serving.load_reranker()
        if isinstance(reranker, KeepOrder):
            raise ConfigError("--scorer reranker needs reranker.enabled = true")

        def probability(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
            logits = reranker.score([(query, index.corpus.by_id(pid).content) for query, pid in pairs])
            return 1 / (1 + np.exp(-np.asarray(logits)))

        return probability, reranker.weights_sha256
    encoder = serving.load_encoder()
    index.check_encoder(encoder.fingerprint)
    vectors = index.vectors()
    row_of = {passage_id: row for row, passage_id in enumerate(index.corpus.ids())}

    def cosine(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        queries = list(dict.fromkeys(query for query, _ in pairs))
        number = {query: n for n, query in enumerate(queries)}
        embedded = encoder.encode_queries(queries)
        found = vectors.vectors([row_of[pid] for _, pid in pairs])
        return np.einsum("nd,nd->n", embedded[[number[query] for query, _ in pairs]], found)

    return cosine, encoder.fingerprint.weights_sha256
