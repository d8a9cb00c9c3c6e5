"""Fine-tuning the bi-encoder on one's own questions, with sentence-transformers' trainer.

Recipes:

    report     the reference report's settings: one positive and 4 random negatives, temperature .05, batch 32, 5 epochs
    mined      mined hard negatives, every known positive masked, false negatives filtered by the serving encoder
    distill    the cross-encoder's scores of the mined candidates, by listwise KL divergence, beside a contrastive
               loss, as E5 was fine-tuned (Wang et al. 2022, https://arxiv.org/abs/2212.03533)
    margin     the same scores by MarginMSE (Hofstätter et al. 2020, https://arxiv.org/abs/2010.02666)
    lasttoken  a causal language model as the encoder: EOS forced, last-token pooling, 1 positive and 9 negatives a
               question, every other question's ten passages as negatives too
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from rag.compute.hardware import default_device, fastest_precision
from rag.compute.quiet import quiet_transformers
from rag.data.labelled import Example, random_passages
from rag.data.passages import Corpus
from rag.errors import ConfigError
from rag.files import weights_sha256
from rag.progress import say
from rag.train.by_length import prepare
from rag.train.checkpoints import save_whole
from rag.train.fit import fit
from rag.train.lasttoken import is_causal_lm, lasttoken_encoder
from rag.train.negatives import Mined, logit
from rag.train.run import Schedule, Watch, check_same_training, digest, note_training

if TYPE_CHECKING:
    from rag.train.retriever_losses import Guide


LASTTOKEN_MAX_LENGTH = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrieverRecipe(Schedule):
    """Everything that shapes a training run. `negatives` are explicit ones per question, beside those in the batch.

    A teacher's scores are its probabilities, as mining keeps them; `kl` compares softmax(logits / teacher_temperature)
    with the student's softmax(cosines / temperature) and adds `contrastive_share` of the contrastive loss, `margin_mse`
    compares differences of logits with those of cosines / temperature.
    """

    name: str
    loss: Literal["contrastive", "kl", "margin_mse"] = "contrastive"
    negatives: int = 1
    negatives_from: Literal["mined", "random"] = "mined"
    mask_positives: bool = True
    filter_by_guide: bool = True
    guide_margin: float = 0.0
    temperature: float = 0.02
    teacher_temperature: float = 1.0
    contrastive_share: float = 0.2
    mini_batch_size: int | None = None
    pooling: Literal["own", "lasttoken"] = "own"

    def unread(self) -> set[str]:
        """The settings that change nothing, with this loss."""
        names = set() if self.loss == "kl" else {"contrastive_share", "teacher_temperature"}
        if self.loss == "margin_mse":
            names |= {"mask_positives", "filter_by_guide", "mini_batch_size"}
        is_filtered = self.filter_by_guide and self.loss != "margin_mse"
        return names if is_filtered else names | {"guide_margin"}


RECIPES = {
    recipe.name: recipe
    for recipe in (
        RetrieverRecipe(
            name="report",
            negatives=4,
            negatives_from="random",
            mask_positives=False,
            filter_by_guide=False,
            temperature=0.05,
            epochs=5,
            batch_size=32,
            warmup_steps=1000,
            max_length_tokens=512,
            dropout=0.1,
            freeze_embeddings=False,
        ),
        RetrieverRecipe(name="mined"),
        RetrieverRecipe(name="distill", loss="kl", negatives=3, batch_size=16, epochs=1),
        RetrieverRecipe(name="margin", loss="margin_mse", negatives=3, batch_size=32),
        RetrieverRecipe(
            name="lasttoken",
            pooling="lasttoken",
            negatives=9,
            mask_positives=False,
            filter_by_guide=False,
            batch_size=8,
            epochs=1,
        ),
    )
}


@dataclass(frozen=True, slots=True)
class DevPool:
    """Dev questions and the passages among which their gold is sought while a run is under way."""

    queries: Sequence[str]
    gold: Sequence[frozenset[int]]
    """Of each query: rows of `passages` that answer it."""
    passages: Sequence[str]
    ids: Sequence[str] = ()
    """Of the questions that choose the checkpoint, or chose the one to start from, and so do not judge it."""


def train_retriever(
    base: str | Path,
    prompts: Mapping[str, str],
    examples: Sequence[Example],
    corpus: Corpus,
    recipe: RetrieverRecipe,
    target: str | Path,
    *,
    dev: DevPool,
    mined: Mapping[str, Mined] | None = None,
    guide: Callable[[Sequence[str]], Guide] | None = None,
    guide_sha256: str = "",
    watch: Watch = Watch(),
) -> Path:
    """Fine-tune the checkpoint `base` into `target/model`, the best by dev MRR@10; returns that folder.

    `base` is a sentence-transformers folder, or for last-token pooling a causal language model.

    A run that was killed goes on from its last checkpoint; a target made with another recipe, base or data is refused
    (RunMismatchError). Needs `mined` for recipes that take mined negatives, and where false negatives are filtered a
    `guide` made for the training queries, by an encoder with the weights `guide_sha256`.
    """
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments

    from rag.train.sampler import WholeEpochSampler

    target = Path(target)
    rows = _rows(examples, corpus, recipe, mined)
    identity = {
        "recipe": asdict(recipe),
        "base": weights_sha256(Path(base)),
        "n": len(rows),
        "data": digest([row.query, [corpus[n].content for n in row.columns], row.scores] for row in rows),
        "dev": digest([list(dev.queries), [sorted(gold) for gold in dev.gold], list(dev.passages)]),
        "prompts": dict(prompts),
        "watched": sorted(set(dev.ids)),
        **({"guide": guide_sha256} if recipe.filter_by_guide else {}),
    }
    check_same_training(target, identity)
    finished = target / "model"
    if finished.is_dir():
        return finished
    model = _load(base, recipe, prompts)
    longest = model.max_seq_length
    model.max_seq_length = min(recipe.max_length_tokens, longest)
    prepare(model, model[0].model, recipe)
    loss = _loss(model, rows, recipe, guide)
    note_training(target, identity)
    fit(
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
        model,
        _dataset(rows, corpus, recipe),
        loss,
        dev_evaluator(dev, prompts),
        target,
        recipe,
        watch,
        label=f"Training ({recipe.name})",
        separation=getattr(loss, "separation", None),
        batch_sampler=WholeEpochSampler,
        prompts={"anchor": prompts["query"], **dict.fromkeys(_passage_columns(recipe), prompts["passage"])},
    )
    model.max_seq_length = longest
    model.prompts = {"query": prompts["query"], "passage": prompts["passage"], "document": prompts["passage"]}
    save_whole(model, finished)
    return finished


def _load(base: str | Path, recipe: RetrieverRecipe, prompts: Mapping[str, str]):
    from sentence_transformers import SentenceTransformer

    if is_causal_lm(base) != (recipe.pooling == "lasttoken"):
        wanted = "a causal language model" if recipe.pooling == "lasttoken" else "a sentence-transformers checkpoint"
        raise ConfigError(f"the recipe {recipe.name!r} starts from {wanted}, and {base} is none; choose another --base")
    if recipe.pooling == "lasttoken":
        return lasttoken_encoder(base, prompts, LASTTOKEN_MAX_LENGTH).to(default_device())
    quiet_transformers()
    return SentenceTransformer(str(base), device=default_device(), local_files_only=True)


@dataclass(frozen=True, slots=True)
class _Row:
    query: str
    columns: tuple[int, ...]
    positives: tuple[int, ...]
    scores: tuple[float, ...] = ()


def _rows(
    examples: Sequence[Example], corpus: Corpus, recipe: RetrieverRecipe, mined: Mapping[str, Mined] | None
) -> list[_Row]:
    """One row per gold passage: corpus rows of it and the negatives, and the teacher scores where the loss has them."""
    if recipe.negatives and recipe.negatives_from == "mined" and mined is None:
        raise ConfigError(
            f"the recipe {recipe.name!r} takes mined negatives: rag mine TRAIN -i INDEX -o FILE, --negatives FILE"
        )
    row_of = {passage.id: row for row, passage in enumerate(corpus)}
    rng, scored = random.Random(recipe.seed), recipe.loss != "contrastive"
    rows = []
    for example in examples:
        positives = tuple(row_of[pid] for pid in example.positives)
        scores: dict[int, float] = {}
        if recipe.negatives_from == "mined" and recipe.negatives:
            one = mined.get(example.question.id)
            chosen = [] if one is None else [item for item in one.negatives if item[0] not in example.positives]
            if scored:
                chosen = [(pid, score) for pid, score in chosen if score is not None]
            if len(chosen) < recipe.negatives:
                continue
            if not scored:
                rng.shuffle(chosen)
            negatives = tuple(row_of[pid] for pid, _ in chosen[: recipe.negatives])
            scores = {row_of[pid]: score for pid, score in (*one.positives, *chosen) if score is not None}
        else:
            drawn = random_passages(recipe.negatives, corpus, example, rng)
            if len(drawn) < recipe.negatives:
                continue
            negatives = tuple(row_of[pid] for pid in drawn)
        for positive in positives:
            columns = (positive, *negatives)
            if not scored:
                rows.append(_Row(example.question.rewrite, columns, positives))
            elif positive in scores:
                rows.append(_Row(example.question.rewrite, columns, positives, tuple(scores[row] for row in columns)))
    needed = f"{recipe.negatives} negatives{' with scores, and one of gold' if scored else ''}"
    more = (
        "mine more: rag mine TRAIN -i INDEX -o FILE --per-question N"
        if recipe.negatives_from == "mined"
        else "set training.negatives lower"
    )
    if not rows:
        raise ConfigError(f"no question has what the recipe {recipe.name!r} needs ({needed}); {more}")
    if left_out := sum(len(example.positives) for example in examples) - len(rows):
        say(f"warning: {left_out:,} gold passages are not trained on: their questions lack {needed}; {more}")
    return rows


def _passage_columns(recipe: RetrieverRecipe) -> list[str]:
    return ["positive", *(f"negative_{n}" for n in range(1, recipe.negatives + 1))]


def _dataset(rows: Sequence[_Row], corpus: Corpus, recipe: RetrieverRecipe):
    from datasets import Dataset

    columns: dict[str, list] = {"anchor": [row.query for row in rows]}
    for number, name in enumerate(_passage_columns(recipe)):
        columns[name] = [corpus[row.columns[number]].content for row in rows]
    if recipe.loss != "margin_mse":
        columns["label"] = list(range(len(rows)))
    else:
        logits = [logit(row.scores) * recipe.temperature for row in rows]
        columns["label"] = [(own[0] - own[1:]).tolist() for own in logits]
    return Dataset.from_dict(columns)


def _loss(model, rows: Sequence[_Row], recipe: RetrieverRecipe, guide):
    from rag.train.retriever_losses import DistilledLoss, MarginLoss, MaskedContrastiveLoss, PairTable

    if recipe.loss == "margin_mse":
        return MarginLoss(model)
    found = None
    if recipe.filter_by_guide:
        if guide is None:
            raise ConfigError(f"the recipe {recipe.name!r} filters false negatives by a guide, and none was given")
        found = dataclasses.replace(guide([row.query for row in rows]), margin=recipe.guide_margin)
    # Without masking, a question's own positive is still no negative where the batch holds it twice.
    positives = [row.positives if recipe.mask_positives else row.columns[:1] for row in rows]
    table = PairTable(np.array([row.columns for row in rows]), positives, found)
    how = {"temperature": recipe.temperature, "mini_batch_size": recipe.mini_batch_size}
    if recipe.loss == "contrastive":
        return MaskedContrastiveLoss(model, table, **how)
    return DistilledLoss(
        model,
        table,
        np.array([logit(row.scores) for row in rows]),
        teacher_temperature=recipe.teacher_temperature,
        contrastive_share=recipe.contrastive_share,
        **how,
    )


def dev_evaluator(dev: DevPool, prompts: Mapping[str, str]):
    """An evaluator for the trainer: `pool_metrics` of dev questions, their names beginning with `dev_`."""
    import torch
    from sentence_transformers.base.evaluation import BaseEvaluator

    class DevEvaluator(BaseEvaluator):
        def __init__(self):
            super().__init__()
            self.primary_metric = "dev_mrr@10"

        def __call__(self, model, output_path=None, epoch=-1, steps=-1, **kwargs):
            device = model.device.type
            with torch.autocast(device, dtype=torch.bfloat16, enabled=fastest_precision(device) == "bf16"):
                queries = self._encode(model, dev.queries, prompts["query"])
                passages = self._encode(model, dev.passages, prompts["passage"])
            return {f"dev_{name}": value for name, value in pool_metrics(queries, passages, dev.gold).items()}

        def _encode(self, model, texts, prompt):
            return (
                model.encode(
                    list(texts),
                    prompt=prompt,
                    batch_size=32,
                    normalize_embeddings=True,
                    show_progress_bar=False,
                    convert_to_tensor=True,
                )
                .float()
                .cpu()
                .numpy()
            )

    return DevEvaluator()


def pool_metrics(queries: np.ndarray, passages: np.ndarray, gold: Sequence[frozenset[int]]) -> dict[str, float]:
    """Figures of unit vectors (q, d) against (p, d): Recall@10, MRR@10, `separation`, `spread`.

    `separation` is the mean margin of gold to the best of the rest, `spread` how far a question's cosines are apart
    (their standard deviation, the mean over questions).

    Of a tie gold comes last: an encoder that puts everything in one place must not live on the order it was handed.
    All 0 where a score is no number.
    """
    scores = queries @ passages.T
    if not np.isfinite(scores).all():
        return dict.fromkeys(("recall@10", "mrr@10", "separation", "spread"), 0.0)
    recalls, reciprocal_ranks = [], []
    for own, wanted in zip(scores, gold, strict=True):
        found = np.lexsort((np.isin(np.arange(len(own)), list(wanted)), -own))[:10].tolist()
        recalls.append(sum(row in wanted for row in found) / len(wanted))
        reciprocal_ranks.append(next((1 / rank for rank, row in enumerate(found, 1) if row in wanted), 0.0))
    margins = [
        row[list(wanted)].max() - np.delete(row, list(wanted)).max()
        for row, wanted in zip(scores, gold, strict=True)
        if len(wanted) < len(row)
    ]
    return {
        "recall@10": float(np.mean(recalls)),
        "mrr@10": float(np.mean(reciprocal_ranks)),
        "separation": float(np.mean(margins)) if margins else 0.0,
        "spread": float(scores.std(axis=1).mean()),
    }


def make_dev_pool(examples: Sequence[Example], corpus: Corpus, candidates: Sequence[Sequence[str]]) -> DevPool:
    """Gold passages and candidates (ids, one list per example) of dev questions, put together."""
    ids = dict.fromkeys(pid for example in examples for pid in example.positives)
    ids |= dict.fromkeys(pid for pids in candidates for pid in pids)
    row_of = {pid: row for row, pid in enumerate(ids)}
    return DevPool(
        [example.question.rewrite for example in examples],
        [frozenset(row_of[pid] for pid in example.positives) for example in examples],
        [corpus.by_id(pid).content for pid in ids],
        [example.question.id for example in examples],
    )
