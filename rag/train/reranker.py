"""Fine-tuning the cross-encoder on one's own questions, with sentence-transformers' trainer.

Recipes:

    report-1, report-2   the reference report's two runs: binary cross-entropy on single pairs, evidences labelled 0 as
                         negatives filled up with random ones
    lambda               LambdaLoss (Wang et al. 2018, https://doi.org/10.1145/3269206.3271784) on whole groups
    listnet              ListNet (Cao et al. 2007, https://doi.org/10.1145/1273496.1273513)
    ranknet              RankNet (Burges et al. 2005, https://doi.org/10.1145/1102351.1102363)
    hybrid               pairwise on the model's own top 5, listwise on the rest, separations capped by tanh; a learning
                         rate each for embeddings, encoder and head
    distill              ListNet towards gold labels mixed with the base model's own probabilities, to stay close to it
    abstain              ListNet with one candidate more, "none of these", whose logit is 0; learns from unanswerable
                         questions too, so that the best score of a question says whether to refuse it

A group is a question, one gold passage and negatives: for all but `report-*` from what the serving retriever ranks
high, which is what the reranker will have to tell apart.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from rag.compute.hardware import default_device, fastest_precision
from rag.compute.quiet import quiet_transformers
from rag.data.labelled import Example, random_passages, share_of
from rag.data.passages import Corpus
from rag.errors import ConfigError, ModelError
from rag.files import weights_sha256
from rag.train.by_length import prepare
from rag.train.checkpoints import save_whole
from rag.train.fit import fit
from rag.train.run import Schedule, Watch, check_same_training, digest, note_training

LEARNS_TO_REFUSE = ("none_of_these", "bce")
TAKES_LABELS_OF_0_AND_1 = ("none_of_these", "hybrid")

ALL_PAIRS = -1
"""A batch's pairs in one forward pass, so that pairs of like length can run together; parts would save no memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankerRecipe(Schedule):
    """Everything that shapes a training run.

    `negatives` per question; in place of `random_share` of mined ones, on average, there are random ones. The
    checkpoint kept is the best by `select`: MRR@10 of reranked candidates, or the loss on dev questions made into pairs
    as the training questions are. `embedding_learning_rate` and `head_learning_rate` are the encoder's where they are
    None. With `unanswerable`, questions that no passage answers are trained on too: groups of negatives only. Where a
    cross-encoder scored the mined negatives, the best scored ones can be taken (`hardest_first`, else any), and
    questions be left out whose gold passages all lie `skip_easy` logits above them: there is little left to learn from
    those.
    """

    name: str
    loss: Literal["bce", "lambda", "listnet", "ranknet", "hybrid", "none_of_these"] = "lambda"
    negatives: int = 7
    negatives_from: Literal["mined", "evidences", "random"] = "mined"
    random_share: float = 0.15
    positive_weight: float = 1.0
    soft_share: float = 0.0
    hardest_first: bool = False
    skip_easy: float | None = None
    select: Literal["mrr", "loss"] = "mrr"
    unanswerable: bool = False
    embedding_learning_rate: float | None = None
    head_learning_rate: float | None = None
    batch_size: int = 16
    epochs: float = 1.0

    def unread(self) -> set[str]:
        """The settings that change nothing, with this loss and these negatives."""
        names = set() if self.loss == "bce" else {"positive_weight"}
        return names if self.negatives_from == "mined" else names | {"random_share"}


RECIPES = {
    recipe.name: recipe
    for recipe in (
        RerankerRecipe(
            name="report-1",
            loss="bce",
            negatives=4,
            negatives_from="evidences",
            learning_rate=2e-5,
            epochs=2,
            max_length_tokens=512,
            dropout=0.1,
            freeze_embeddings=False,
        ),
        RerankerRecipe(
            name="report-2",
            loss="bce",
            negatives=4,
            negatives_from="evidences",
            learning_rate=5e-6,
            epochs=1,
            max_length_tokens=512,
            dropout=0.1,
            freeze_embeddings=False,
        ),
        RerankerRecipe(
            name="hybrid",
            loss="hybrid",
            learning_rate=5e-5,
            embedding_learning_rate=5e-6,
            head_learning_rate=2e-4,
            adam_beta2=0.97,
            dropout=0.1,
            freeze_embeddings=False,
        ),
        RerankerRecipe(name="lambda"),
        RerankerRecipe(name="listnet", loss="listnet"),
        RerankerRecipe(name="ranknet", loss="ranknet"),
        RerankerRecipe(name="distill", loss="listnet", soft_share=0.5),
        RerankerRecipe(name="abstain", loss="none_of_these", unanswerable=True),
    )
}


@dataclass(frozen=True, slots=True)
class DevCandidates:
    """Dev questions with what the serving retriever found for them; the gold passage is never put in by hand."""

    queries: Sequence[str]
    candidates: Sequence[Sequence[str]]
    """Passage texts per query, as retrieved."""
    relevant: Sequence[Sequence[bool]]
    n_gold: Sequence[int]
    """Gold passages per query, found or not."""
    unanswerable: Sequence[tuple[str, Sequence[str]]] = ()
    """Unanswerable dev questions with the passages found for them."""
    ids: Sequence[str] = ()
    """Of the questions that choose the checkpoint, or chose the one to start from, and so do not judge it."""


@dataclass(frozen=True, slots=True)
class Group:
    """A question with passage ids and their labels, from 0 to 1."""

    query: str
    ids: tuple[str, ...]
    labels: tuple[float, ...]


def make_groups(
    examples: Sequence[Example],
    corpus: Corpus,
    recipe: RerankerRecipe,
    mined: Mapping[str, Sequence[str]] | None,
) -> list[Group]:
    """One group per gold passage, labelled 1 and 0. `mined` are the ids of negatives per question id,
    where the recipe takes the hardest first in their order.

    An unanswerable question has one group, all 0, which begins with the passages judged not to answer it.
    """
    if any(not example.positives for example in examples) and recipe.loss not in LEARNS_TO_REFUSE:
        raise ConfigError(
            f"the loss {recipe.loss!r} learns nothing from unanswerable questions; set training.unanswerable = false, "
            f"or choose {' or '.join(LEARNS_TO_REFUSE)}"
        )
    if not recipe.negatives:
        raise ConfigError("a reranker learns by comparing; set training.negatives to 1 or more")
    if recipe.loss in TAKES_LABELS_OF_0_AND_1 and recipe.soft_share:
        raise ConfigError(f"the loss {recipe.loss!r} takes no soft labels; set training.soft_share = 0")
    if recipe.negatives_from == "mined" and mined is None:
        raise ConfigError(
            f"the recipe {recipe.name!r} takes mined negatives: rag mine TRAIN -i INDEX -o FILE, --negatives FILE"
        )
    rng = random.Random(recipe.seed)
    groups = []
    for example in examples:
        if recipe.negatives_from == "evidences":
            hard = list(example.negatives)
        elif recipe.negatives_from == "random":
            hard = []
        else:
            hard = [pid for pid in mined.get(example.question.id, ()) if pid not in example.positives]
            if not recipe.hardest_first:
                rng.shuffle(hard)
            if not example.positives:
                hard = list(dict.fromkeys([*example.negatives, *hard]))
            hard = hard[: recipe.negatives - share_of(recipe.negatives, recipe.random_share, rng)]
        negatives = hard[: recipe.negatives]
        negatives += random_passages(recipe.negatives - len(negatives), corpus, example, rng, negatives)
        for positive in example.positives:
            ids = (positive, *negatives)
            groups.append(Group(example.question.rewrite, ids, (1.0, *[0.0] * len(negatives))))
        if not example.positives:
            groups.append(Group(example.question.rewrite, tuple(negatives), (0.0,) * len(negatives)))
    return groups


def train_reranker(
    base: str | Path,
    groups: Sequence[Group],
    corpus: Corpus,
    recipe: RerankerRecipe,
    target: str | Path,
    *,
    dev: DevCandidates,
    dev_groups: Sequence[Group] = (),
    watch: Watch = Watch(),
) -> Path:
    """Fine-tune the checkpoint `base` into `target/model`, the best on dev; returns that folder.

    `dev_groups` are what selecting by loss is measured on.

    A run that was killed goes on from its last checkpoint; a target made with another recipe, base or data is refused
    (RunMismatchError).
    """
    from sentence_transformers import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments

    def made_of(group: Group) -> list:
        return [group.query, [corpus.by_id(pid).content for pid in group.ids], group.labels]

    target = Path(target)
    identity = {
        "recipe": asdict(recipe),
        "base": weights_sha256(Path(base)),
        "n": len(groups),
        "data": digest(made_of(group) for group in groups),
        "dev": digest(
            [dev.queries, dev.candidates, dev.relevant, dev.n_gold, dev.unanswerable]
            + [made_of(group) for group in dev_groups]
        ),
        "watched": sorted(set(dev.ids)),
    }
    check_same_training(target, identity)
    finished = target / "model"
    if finished.is_dir():
        return finished
    quiet_transformers()
    model = CrossEncoder(str(base), device=default_device(), local_files_only=True)
    longest = model.max_seq_length
    model.max_seq_length = min(recipe.max_length_tokens, longest or recipe.max_length_tokens)
    prepare(model, model.model, recipe)
    if model.num_labels != 1:
        raise ModelError(f"{base} has {model.num_labels} labels; a reranker has one")
    loss, by_loss, rates = _loss(model, recipe), {}, _learning_rates(model, recipe)
    if recipe.select == "loss":
        by_loss = {"eval_dataset": _dataset(dev_groups, corpus, recipe), "metric": "loss"}
    note_training(target, identity)
    fit(
        CrossEncoderTrainer,
        CrossEncoderTrainingArguments,
        model,
        _dataset(groups, corpus, recipe),
        loss,
        dev_evaluator(dev),
        target,
        recipe,
        watch,
        label=f"Training ({recipe.name})",
        separation=TrainingSeparation(model, loss),
        learning_rate_mapping=rates,
        **by_loss,
    )
    model.max_seq_length = longest
    save_whole(model, finished)
    return finished


def _learning_rates(model, recipe: RerankerRecipe) -> dict[str, float]:
    """Patterns of parameter names with a learning rate of their own; ConfigError where the model has none such."""
    rates = {
        r"\.embeddings\.": recipe.embedding_learning_rate,
        r"\.(classifier|pooler|score)\.": recipe.head_learning_rate,
    }
    rates = {pattern: rate for pattern, rate in rates.items() if rate is not None}
    for pattern in rates:
        if not any(re.search(pattern, f".{name}") for name, _ in model.named_parameters()):
            raise ConfigError(f"the recipe {recipe.name!r} has a learning rate for {pattern}, which this model lacks")
    return rates


def _dataset(groups: Sequence[Group], corpus: Corpus, recipe: RerankerRecipe):
    from datasets import Dataset

    def text(pid: str) -> str:
        return corpus.by_id(pid).content

    if recipe.loss == "bce":
        # The groups of a question with several gold passages have their negatives in common: once is enough.
        pairs = [(g.query, text(pid), label) for g in groups for pid, label in zip(g.ids, g.labels, strict=True)]
        pairs = list(dict.fromkeys(pairs))
        random.Random(recipe.seed).shuffle(pairs)
        queries, passages, labels = zip(*pairs, strict=True)
        return Dataset.from_dict({"query": queries, "passage": passages, "label": labels})
    return Dataset.from_dict(
        {
            "query": [group.query for group in groups],
            "passages": [[text(pid) for pid in group.ids] for group in groups],
            "labels": [_targets(group.labels, recipe.loss) for group in groups],
        }
    )


def _targets(labels: Sequence[float], loss: str) -> list[float]:
    """Labels as the loss takes them. ListNet takes a softmax of them: the logarithm gives the distribution back."""
    if loss != "listnet":
        return list(labels)
    share = np.asarray(labels, float) / max(sum(labels), 1e-9)
    return np.log(np.clip(share, 1e-6, None)).tolist()


def soften(group: Group, logits: Sequence[float], recipe: RerankerRecipe) -> Group:
    """The group with `soft_share` of the model's own judgement, from its `logits`, in the labels.

    For ListNet that is the softmax over the group, else each pair's own probability.
    """
    values, share = np.asarray(logits, float), recipe.soft_share
    if recipe.loss == "listnet":
        own = np.exp(values - values.max())
        own, labels = own / own.sum(), np.asarray(group.labels) / max(sum(group.labels), 1e-9)
    else:
        own, labels = 1 / (1 + np.exp(-values)), np.asarray(group.labels)
    return replace(group, labels=tuple(((1 - share) * labels + share * own).tolist()))


def _loss(model, recipe: RerankerRecipe):
    import torch
    from sentence_transformers.cross_encoder import losses

    from rag.train.reranker_losses import HybridLoss, NoneOfTheseLoss

    match recipe.loss:
        case "bce":
            return losses.BinaryCrossEntropyLoss(model, pos_weight=torch.tensor(recipe.positive_weight))
        case "lambda":
            return losses.LambdaLoss(model, mini_batch_size=ALL_PAIRS)
        case "listnet":
            return losses.ListNetLoss(model, mini_batch_size=ALL_PAIRS)
        case "ranknet":
            return losses.RankNetLoss(model, mini_batch_size=ALL_PAIRS)
        case "hybrid":
            return HybridLoss(model)
        case "none_of_these":
            return NoneOfTheseLoss(model)


class TrainingSeparation:
    """Called: the mean of (gold's logit - the best of its group's others) over training steps since the last call.

    Of single pairs: (the mean of gold's - the mean of the others') of a batch. It listens to the forward passes of
    `model` within `loss`, whichever loss that is; None where nothing was told apart.
    """

    def __init__(self, model, loss):
        self._logits, self._found = [], []
        model.register_forward_hook(self._keep)
        loss.register_forward_hook(self._measure)

    def __call__(self) -> float | None:
        found, self._found = self._found, []
        return float(np.mean(found)) if found else None

    def _keep(self, model, inputs, outputs) -> None:
        if model.training:
            self._logits.append(outputs["scores"].detach().float().view(-1).cpu())

    def _measure(self, loss, inputs, output) -> None:
        if not self._logits:
            return
        logits, self._logits, labels = np.concatenate([part.numpy() for part in self._logits]), [], inputs[1]
        if isinstance(labels, list):  # groups, each with its gold passage first
            ends = np.cumsum([len(own) for own in labels])
            groups = zip(np.split(logits, ends[:-1]), labels, strict=True)
            self._found += [
                float(own[0] - own[1:].max())
                for own, given in groups
                if len(given) > 1 and (given[0] > given[1:]).all()
            ]
        elif (gold := (labels.view(-1) > 0.5).cpu().numpy()).any() and not gold.all():
            self._found.append(float(logits[gold].mean() - logits[~gold].mean()))


def dev_evaluator(dev: DevCandidates):
    """An evaluator for the trainer: `dev_mrr@10`, `dev_recall@10`, `dev_separation`, `dev_spread` of dev questions'
    reranked candidates; the last is the standard deviation of a question's logits, the mean over questions.

    With unanswerable questions also `dev_refusal_auc`: the chance that an answerable one has the higher best score.
    """
    import torch
    from scipy.stats import mannwhitneyu
    from sentence_transformers.base.evaluation import BaseEvaluator

    asked = [*zip(dev.queries, dev.candidates, strict=True), *dev.unanswerable]
    pairs = [(query, text) for query, texts in asked for text in texts]

    class DevEvaluator(BaseEvaluator):
        def __init__(self):
            super().__init__()
            self.primary_metric = "dev_mrr@10"

        def __call__(self, model, output_path=None, epoch=-1, steps=-1, **kwargs):
            device = model.device.type
            with torch.autocast(device, dtype=torch.bfloat16, enabled=fastest_precision(device) == "bf16"):
                scores = model.predict(
                    pairs,
                    batch_size=32,
                    activation_fn=torch.nn.Identity(),
                    show_progress_bar=False,
                    convert_to_tensor=True,
                )
            values = iter(scores.float().cpu().tolist())
            every = [[next(values) for _ in texts] for _, texts in asked]
            grouped = every[: len(dev.queries)]
            best = [max(own, default=float("-inf")) for own in every]
            refusals = {}
            if dev.unanswerable:
                first, second = best[: len(grouped)], best[len(grouped) :]
                refusals["dev_refusal_auc"] = mannwhitneyu(first, second).statistic / (len(first) * len(second))
            return {
                "dev_mrr@10": mrr_at_10(grouped, dev.relevant),
                "dev_recall@10": recall_at_10(grouped, dev.relevant, dev.n_gold),
                "dev_separation": separation(grouped, dev.relevant),
                "dev_spread": float(np.mean([np.std(values) for values in grouped if values] or [0.0])),
                **refusals,
            }

    return DevEvaluator()


def mrr_at_10(scores: Sequence[Sequence[float]], relevant: Sequence[Sequence[bool]]) -> float:
    """The mean over questions of 1 / rank of the first relevant candidate in the ten best.

    Of a tie the relevant one comes last, and 0 where a score is no number: a model that scores all alike must not live
    on the order it was handed.
    """
    ranked = [_flags_ranked(values, flags) for values, flags in zip(scores, relevant, strict=True)]
    found = [next((1 / rank for rank, flag in enumerate(flags, 1) if flag), 0.0) for flags in ranked]
    return float(np.mean(found)) if found else 0.0


def recall_at_10(scores: Sequence[Sequence[float]], relevant: Sequence[Sequence[bool]], n_gold: Sequence[int]) -> float:
    """The mean over questions of the share of their gold passages in the ten best; ties as in the MRR."""
    shares = [sum(_flags_ranked(values, flags)) / n for values, flags, n in zip(scores, relevant, n_gold, strict=True)]
    return float(np.mean(shares)) if shares else 0.0


def _flags_ranked(values: Sequence[float], flags: Sequence[bool]) -> list[bool]:
    if not np.isfinite(values).all():
        return []
    return [flag for _, flag in sorted(zip((-value for value in values), flags, strict=True))][:10]


def separation(scores: Sequence[Sequence[float]], relevant: Sequence[Sequence[bool]]) -> float:
    """The mean over questions of (highest relevant - highest irrelevant logit); 0 where no question has both."""
    margins = []
    for values, flags in zip(scores, relevant, strict=True):
        good = [value for value, flag in zip(values, flags, strict=True) if flag]
        bad = [value for value, flag in zip(values, flags, strict=True) if not flag]
        if good and bad:
            margins.append(max(good) - max(bad))
    return float(np.mean(margins)) if margins else 0.0
