"""Measure whether training on passages alone helps a retriever: passages and dev questions of one source.

    python -m benchmarks.warm_up CORPUS QUESTIONS SOURCE [--rate 1e-5] [--epochs 1]

Two ways need no questions. Contrastive tension (Carlsson et al. 2021, https://openreview.net/pdf?id=Ov_sMNau-PF): a
passage has to find itself through two copies of the encoder. The inverse cloze task (Lee et al. 2019,
https://doi.org/10.18653/v1/P19-1612): a sentence has to find the passage that it was taken from. Gold is sought among
all passages of the source. Each way is compared with the untrained encoder, question by question.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import mrr_row
from rag.build.parts import make_encoder
from rag.compute.quiet import quiet_libraries
from rag.config import load_settings
from rag.data.corpus import load_corpus
from rag.data.labelled import Example, load_examples
from rag.models.resolve import resolve
from rag.train.by_length import prepare_model
from rag.train.fit import fit
from rag.train.run import Schedule, Watch
from rag.types import Passage

WORDS_A_SENTENCE = 5
KEPT_SHARE = 0.1  # share of the sentences that stay in their passage, as in Lee et al.


def cloze_pairs(passages: Sequence[Passage], rng: random.Random) -> tuple[list[str], list[str]]:
    """(sentences, passages): a sentence of each passage that has several, and the passage, mostly without it."""
    queries, contexts = [], []
    for passage in passages:
        sentences = re.split(r"(?<=[.!?;])\s+", passage.text)
        long = [n for n, sentence in enumerate(sentences) if len(sentence.split()) >= WORDS_A_SENTENCE]
        if len(sentences) < 2 or not long:
            continue
        n = rng.choice(long)
        rest = sentences if rng.random() < KEPT_SHARE else sentences[:n] + sentences[n + 1 :]
        queries.append(sentences[n])
        contexts.append(f"{passage.title}\n{' '.join(rest)}" if passage.title else " ".join(rest))
    return queries, contexts


def reciprocal_ranks(model, prompts, examples: Sequence[Example], passages: Sequence[Passage]) -> list[float]:
    """For each question, 1 / rank of its first gold passage among the ten best, else 0."""

    def encode(texts, prompt):
        return model.encode(texts, prompt=prompt, batch_size=32, normalize_embeddings=True, show_progress_bar=False)

    ids = [passage.id for passage in passages]
    vectors = encode([passage.content for passage in passages], prompts["passage"])
    queries = encode([example.question.rewrite for example in examples], prompts["query"])
    top = np.argsort(-(queries @ vectors.T), axis=1, kind="stable")[:, :10]
    return [
        next((1 / rank for rank, row in enumerate(found, 1) if ids[row] in example.positives), 0.0)
        for example, found in zip(examples, top.tolist(), strict=True)
    ]


def train(way: str, base: Path, prompts, passages: Sequence[Passage], schedule: Schedule, target: Path):
    import torch
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.base.evaluation import BaseEvaluator
    from sentence_transformers.sentence_transformer import losses

    class NoEvaluator(BaseEvaluator):
        def __init__(self):
            super().__init__()
            self.primary_metric = "steps"

        def __call__(self, model, output_path=None, epoch=-1, steps=-1, **kwargs):
            return {"steps": float(steps)}  # so that the last checkpoint is the best

    model = SentenceTransformer(str(base), device="cpu", local_files_only=True)
    longest = model.max_seq_length
    model.max_seq_length = schedule.max_length_tokens
    if way == "contrastive tension":
        loss = losses.ContrastiveTensionLossInBatchNegatives(model, scale=50.0)
        columns, texts = {"passage": prompts["passage"]}, {"passage": [passage.content for passage in passages]}
    else:
        loss = losses.MultipleNegativesRankingLoss(model, scale=50.0)
        queries, contexts = cloze_pairs(passages, random.Random(schedule.seed))
        columns = {"anchor": prompts["query"], "positive": prompts["passage"]}
        texts = {"anchor": queries, "positive": contexts}
    for module in loss.modules():  # the copy that contrastive tension trains beside the model
        if isinstance(module, torch.nn.Dropout):
            module.p = schedule.dropout
        elif isinstance(module, SentenceTransformer):
            module[0].model.get_input_embeddings().weight.requires_grad_(False)
    prepare_model(model, model[0].model, schedule)
    fit(
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
        model,
        Dataset.from_dict(texts),
        loss,
        NoEvaluator(),
        target,
        schedule,
        Watch(evaluations=1),
        label=way,
        prompts=columns,
    )
    model.max_seq_length = longest
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, help="corpus.txt")
    parser.add_argument("questions", type=Path, help="dev questions in the course layout")
    parser.add_argument("source", help="the source to train and measure on")
    parser.add_argument("--rate", type=float, default=1e-5, help="learning rate")
    parser.add_argument("--epochs", type=float, default=1.0, help="passes over the passages")
    parser.add_argument("--set", action="append", default=[], help="section.key=value")
    arguments = parser.parse_args()
    quiet_libraries()
    from sentence_transformers import SentenceTransformer

    settings = load_settings(None, arguments.set)
    corpus = load_corpus(arguments.corpus)
    passages = [passage for passage in corpus if passage.source == arguments.source]
    examples = [
        example
        for example in load_examples(arguments.questions, corpus).examples
        if example.question.source == arguments.source
    ]
    base, prompts = resolve(settings.encoder.model).folder, make_encoder(settings, lazy=True).prompts
    schedule = Schedule(
        epochs=arguments.epochs, batch_size=32, learning_rate=arguments.rate, max_length_tokens=192, dropout=0.0
    )
    untouched = SentenceTransformer(str(base), device="cpu", local_files_only=True)
    before = reciprocal_ranks(untouched, prompts, examples, passages)
    print(json.dumps({"way": "none", **mrr_row(before, before), "passages": len(passages)}), flush=True)
    for way in ("contrastive tension", "inverse cloze"):
        with tempfile.TemporaryDirectory() as folder:
            model = train(way, base, prompts, passages, schedule, Path(folder) / "run")
            after = reciprocal_ranks(model, prompts, examples, passages)
        print(json.dumps({"way": way, **mrr_row(after, before)}), flush=True)


if __name__ == "__main__":
    main()
