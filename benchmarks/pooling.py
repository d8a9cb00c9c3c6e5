"""Compare poolings over any encoder: what a right passage's cosine is above the others', and MRR@10 among a pool.

    python -m benchmarks.pooling MODEL… --corpus corpus.txt --dev dev.txt [--train train.txt]

MODEL is an encoder, or a language model. The vector of a text is that of its first token, of its last one, the mean of
all places (those of padding, too, as a batch has them), or the mean of its tokens. Each is measured as the model is,
and with --train after a short training: contrastive, with the other passages of the batch as negatives.

The pool is the gold passages of the sampled questions, and random others. `gap` is the mean cosine of right passages
minus that of all others; `separation` that of the best right one minus that of the best other, by question. With
--layers only the highest layers of a language model learn, and what is below them is computed once.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import mrr_row
from rag.compute.quiet import quiet_libraries
from rag.data.corpus import load_corpus
from rag.data.labelled import Example, load_examples
from rag.data.passages import Corpus
from rag.evaluate.metrics import reciprocal_rank
from rag.models.modules import MODULES
from rag.models.resolve import resolve
from rag.retrieve.checkpoint import read_checkpoint
from rag.train.dev_evaluation import pool_figures
from rag.train.lasttoken import force_eos, is_causal_lm

POOLINGS = ("first", "last", "mean", "masked mean")
BATCH = 16
TEMPERATURE = 0.05
Texts = list[torch.Tensor]
"""What goes into a model, one tensor for each text: token ids (t,), or what lower layers made of them (t, d)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="names or folders")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--dev", type=Path, required=True)
    parser.add_argument("--train", type=Path)
    parser.add_argument("--questions", type=int, default=150, help="dev questions (150)")
    parser.add_argument("--passages", type=int, default=400, help="passages in the pool (400)")
    parser.add_argument("--tokens", type=int, default=96, help="the longest text in tokens (96)")
    parser.add_argument("--steps", type=int, default=20, help="steps of the short training (20)")
    parser.add_argument("--learning-rate", type=float, default=2e-5)
    parser.add_argument("--layers", type=int, help="layers of a language model that learn; by default all")
    chosen = parser.parse_args()
    quiet_libraries()
    corpus = load_corpus(chosen.corpus)
    dev = _sample(load_examples(chosen.dev, corpus).examples, chosen.questions)
    pool = _pool(dev, corpus, chosen.passages)
    n_rows = chosen.steps * BATCH
    train = _sample(load_examples(chosen.train, corpus).examples, n_rows) if chosen.train else []
    for name in chosen.models:
        _compare(name, dev, pool, train, corpus, chosen)


def _sample(examples: Sequence[Example], n: int) -> list[Example]:
    return random.Random(0).sample(list(examples), min(n, len(examples)))


def _pool(dev: Sequence[Example], corpus: Corpus, n: int) -> list[str]:
    """Ids of the gold passages, filled up to `n` with random ones."""
    ids = dict.fromkeys(pid for example in dev for pid in example.positives)
    rows = random.Random(1).sample(range(len(corpus)), len(corpus))
    for row in rows:
        if len(ids) >= n:
            break
        ids[corpus[row].id] = None
    return list(ids)


def _compare(
    name: str,
    dev: Sequence[Example],
    pool: Sequence[str],
    train: Sequence[Example],
    corpus: Corpus,
    chosen: argparse.Namespace,
) -> None:
    body = Body.load(name, chosen.tokens, chosen.layers)
    with torch.no_grad():
        questions = body.prepare([example.question.rewrite for example in dev], "query")
        passages = body.prepare([corpus.by_id(pid).content for pid in pool], "passage")
        asked = body.prepare([example.question.rewrite for example in train], "query")
        answers = body.prepare([corpus.by_id(example.positives[0]).content for example in train], "passage")
    body.cut()
    row_of = {pid: row for row, pid in enumerate(pool)}
    gold = [frozenset(row_of[pid] for pid in example.positives) for example in dev]
    start = {key: value.clone() for key, value in body.model.state_dict().items()}
    ranks: dict[tuple[str, str], list[float]] = {}
    for pooling in POOLINGS:
        body.model.load_state_dict(start)
        for when in ("untuned", "tuned") if train else ("untuned",):
            if when == "tuned":
                _train(body, pooling, asked, answers, chosen.learning_rate)
            with torch.no_grad():
                q, p = (body.vectors(texts, pooling).numpy() for texts in (questions, passages))
            own = ranks[when, pooling] = _ranks(q @ p.T, gold)
            figures = {"gap": _gap(q @ p.T, gold), **pool_figures(q, p, gold)}
            row: dict[str, Any] = {"model": name, "pooling": pooling, "when": when}
            row |= {key: round(float(value), 4) for key, value in figures.items()}
            print(json.dumps(row | mrr_row(own, ranks[when, "first"])), flush=True)


def _gap(cosines: np.ndarray, gold: Sequence[frozenset[int]]) -> float:
    is_gold = np.zeros(cosines.shape, bool)
    for row, ids in enumerate(gold):
        is_gold[row, list(ids)] = True
    return float(cosines[is_gold].mean() - cosines[~is_gold].mean())


def _ranks(cosines: np.ndarray, gold: Sequence[frozenset[int]]) -> list[float]:
    orders = np.argsort(-cosines, axis=1, kind="stable")
    return [
        reciprocal_rank([str(n) for n in order], {str(n): 1 for n in ids}, 10)
        for order, ids in zip(orders, gold, strict=True)
    ]


@dataclass
class Body:
    """A model without its head, and how texts are written for it."""

    model: Any
    tokenizer: Any
    prompts: dict[str, str]
    tokens: int
    layers: int | None

    @classmethod
    def load(cls, name: str, tokens: int, layers: int | None) -> Body:
        from sentence_transformers.base.modules import Transformer

        found = resolve(name)
        offline = {"local_files_only": True}
        transformer = Transformer(
            str(found.folder),
            model_kwargs={**offline, "dtype": torch.float32},
            processor_kwargs=offline,
            config_kwargs=offline,
            modality_config={"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
            module_output_name="token_embeddings",
        )
        is_encoder = (found.folder / MODULES).is_file()
        prompts = read_checkpoint(found.folder).prompts(found.prompts, name) if is_encoder else {}
        is_causal = is_causal_lm(found.folder)
        tokenizer = force_eos(transformer.tokenizer) if is_causal else transformer.tokenizer
        transformer.model.set_attn_implementation("eager")
        return cls(transformer.model.eval(), tokenizer, prompts, tokens, layers if is_causal else None)

    def prepare(self, texts: Sequence[str], role: str) -> Texts:
        """The texts as token ids, or with `layers` as what the layers below those make of them."""
        written = [self.prompts.get(role, "") + text for text in texts]
        ids = [torch.tensor(row) for row in self._ids(written)]
        if self.layers is None:
            return ids
        made: Texts = []
        for batch in _batches(ids):
            padded, mask = _padded(batch)
            with _half():
                states = self.model(input_ids=padded, attention_mask=mask, output_hidden_states=True).hidden_states
            below = states[len(self.model.layers) - self.layers].float()
            made += [row[: len(text)] for row, text in zip(below, batch, strict=True)]
        return made

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        return self.tokenizer(list(texts), truncation=True, max_length=self.tokens)["input_ids"] if texts else []

    def cut(self) -> None:
        """Leave out the layers that `prepare` has run."""
        if self.layers is not None:
            self.model.layers = self.model.layers[len(self.model.layers) - self.layers :]
            self.model.config.num_hidden_layers = self.layers
        self.model.get_input_embeddings().weight.requires_grad_(False)

    def vectors(self, texts: Texts, pooling: str) -> torch.Tensor:
        """(n, d) float32 of unit length."""
        return torch.cat([self.embed(batch, pooling) for batch in _batches(texts)])

    def embed(self, texts: Texts, pooling: str) -> torch.Tensor:
        """The same of one batch, with gradients."""
        padded, mask = _padded(texts)
        given = {"input_ids" if padded.ndim == 2 else "inputs_embeds": padded}
        with _half():
            states = self.model(**given, attention_mask=mask).last_hidden_state.float()
        return torch.nn.functional.normalize(_pooled(states, mask, pooling), dim=1)


def _pooled(states: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """(b, t, d) with a mask (b, t), padded on the right -> (b, d)."""
    match pooling:
        case "first":
            return states[:, 0]
        case "last":
            return states[torch.arange(len(states)), mask.sum(1) - 1]
        case "mean":
            return states.mean(1)
        case _:
            return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


def _half() -> torch.autocast:
    return torch.autocast("cpu", dtype=torch.bfloat16)


def _batches(texts: Texts) -> Iterator[Texts]:
    yield from (texts[start : start + BATCH] for start in range(0, len(texts), BATCH))


def _padded(texts: Texts) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch (b, t) or (b, t, d) with zeros on the right, and its mask."""
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(text), dtype=torch.int64) for text in texts], True)
    return torch.nn.utils.rnn.pad_sequence(texts, batch_first=True), mask


def _train(body: Body, pooling: str, questions: Texts, passages: Texts, learning_rate: float) -> None:
    """One pass over the rows: each question's passage against the others of its batch."""
    learns = [parameter for parameter in body.model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learns, lr=learning_rate)
    for asked, answers in zip(_batches(questions), _batches(passages), strict=True):
        cosines = body.embed(asked, pooling) @ body.embed(answers, pooling).T
        loss = torch.nn.functional.cross_entropy(cosines / TEMPERATURE, torch.arange(len(cosines)))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()


if __name__ == "__main__":
    main()
