"""Settings and files become training questions, mined negatives and tuned models, which meet the gate."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import numpy as np

from rag import build
from rag.config import RetrieverKind, Settings
from rag.data import Corpus, sample_questions
from rag.errors import ConfigError, DataError
from rag.examples import (
    Example,
    asked,
    document,
    load_examples,
    overlaps,
    refuse_test_file,
    refuse_written,
    split_by_document,
)
from rag.files import write_json
from rag.gating import (
    check_reranks,
    gate_reranker,
    gate_retriever,
    parted,
    question_ids,
    serving_candidates,
    verdict_of,
    watched_ids,
)
from rag.generate.questions import MAX_NEW_TOKENS, Written, write_questions
from rag.models.promoted import serving
from rag.models.resolve import resolve
from rag.progress import say
from rag.retrieve.negatives import Mined, MiningSettings, PairScorer, load_mined, mine, mined_by
from rag.retrieve.store import OpenIndex, open_index
from rag.retrieve.train import RECIPES, make_dev_pool, train_retriever
from rag.training import Watch, digest, is_first_process

Scorer = Literal["encoder", "reranker", "none"]


def write_training_questions(
    settings: Settings, index_folder: str | Path, target: str | Path, *, sample: int | None = None
) -> Written:
    """Let the generator write a question for each passage of an index, or `sample` of them, into a training file."""
    index = open_index(index_folder)
    own = settings.model_copy(
        update={"generator": settings.generator.model_copy(update={"max_new_tokens": MAX_NEW_TOKENS})}
    )
    identity = {"index": index.manifest.fingerprint, "generator": build.generator_identity(own)}
    start = functools.partial(build.make_generator, own, interactive=False)
    return write_questions(index.corpus, start, target, sample=sample, identity=identity)


def mine_negatives(
    settings: Settings,
    train: str | Path,
    index_folder: str | Path,
    target: str | Path,
    mining: MiningSettings,
    *,
    qrels: str | Path | None = None,
    retrievers: Sequence[str] = ("hybrid",),
    scorer: Scorer = "reranker",
    sample: int | None = None,
    unanswerable: bool = True,
) -> dict:
    """Mine hard negatives for the questions of a training file, also for unanswerable ones; returns the report."""
    if scorer not in get_args(Scorer):
        raise ConfigError(f"the scorer {scorer!r} is unknown; choose one of {', '.join(get_args(Scorer))}")
    if unknown := sorted(set(retrievers) - set(get_args(RetrieverKind))):
        raise ConfigError(f"no retriever is called {unknown[0]!r}; choose one of {', '.join(get_args(RetrieverKind))}")
    if scorer == "none" and mining.margin is not None:
        raise ConfigError("--scorer none has no scores to measure a margin by; choose a scorer, or leave --margin out")
    refuse_test_file(train, qrels)
    index = open_index(index_folder)
    given = load_examples(train, index.corpus, qrels)
    examples = _sampled([*given.examples, *given.unanswerable] if unanswerable else given.examples, sample)
    available = build.Retrievers(settings, index_folder)
    score, scorer_sha256 = _pair_scorer(settings, index, scorer)
    identity = {
        "index": index.manifest.fingerprint,
        "retrievers": list(retrievers),
        "scorer": scorer,
        "scorer_sha256": scorer_sha256,
        "questions": digest(asked(examples)),
    }
    chosen = {kind: available.get(kind) for kind in retrievers}
    return mine(examples, index.corpus, chosen, score, mining, target, identity=identity)


def _sampled(examples: Sequence[Example], sample: int | None) -> list[Example]:
    """`sample` of the answerable questions, each source in its share, and the same share of the unanswerable ones."""
    if sample is None:
        return list(examples)
    answerable = [example.question for example in examples if example.positives]
    others = [example.question for example in examples if not example.positives]
    n_others = round(len(others) * min(sample / max(len(answerable), 1), 1.0))
    drawn = [*sample_questions(answerable, sample), *sample_questions(others, n_others)]
    wanted = {question.id for question in drawn}
    return [example for example in examples if example.question.id in wanted]


def _watched(
    held_out: Sequence[Example], n: int, without: Sequence[str] = (), before: Set[str] = frozenset()
) -> tuple[list[Example], list[Example]]:
    """(dev questions watched while training, those left for the gate): no checkpoint is proved by what chose it.

    `n` of the answerable ones are watched, and the same share of the unanswerable ones; none of the sources that are
    left out of training, and of the others at most half, so that the gate judges what was trained for, too. Those that
    chose the model to start from, `before`, are watched again.
    """
    of_trained = [example for example in held_out if example.question.source not in without]
    n_answerable = sum(bool(example.positives) for example in of_trained)
    if n_answerable < 2:
        among = "of sources that are trained on" if without else "or more"
        raise DataError(
            f"dev needs two answerable questions {among}: some to watch the training by, others for the gate"
        )
    drawn = _sampled(of_trained, min(n, n_answerable // 2))
    ids = {example.question.id for example in drawn} | before
    watched = [example for example in held_out if example.question.id in ids]
    if not any(example.positives for example in held_out if example.question.id not in ids):
        raise DataError("every dev question has chosen a checkpoint on the way to this model: name others with --dev")
    return watched, [example for example in held_out if example.question.id not in ids]


def _recipe(recipes: Mapping, name: str, settings: Settings):
    """The recipe with what the settings change; raises ConfigError for what it does not know."""
    if name not in recipes:
        raise ConfigError(f"no recipe is called {name!r}; choose one of {', '.join(recipes)}")
    overrides = settings.training.overrides()
    known = {field.name for field in dataclasses.fields(recipes[name])}
    if odd := sorted(overrides.keys() - known):
        raise ConfigError(f"the recipe {name!r} has no setting training.{odd[0]}")
    for setting, hint in get_type_hints(type(recipes[name])).items():
        if get_origin(hint) is Literal and overrides.get(setting, get_args(hint)[0]) not in get_args(hint):
            raise ConfigError(f"training.{setting} of the recipe {name!r} is one of {', '.join(get_args(hint))}")
    recipe = dataclasses.replace(recipes[name], **overrides)
    if idle := sorted(overrides.keys() & recipe.unread()):
        raise ConfigError(f"training.{idle[0]} changes nothing in the recipe {name!r} as it is set; leave it out")
    return recipe


def _pair_scorer(settings: Settings, index: OpenIndex, scorer: Scorer) -> tuple[PairScorer | None, str]:
    """Cosines by the index's own vectors, or the probability that the cross-encoder gives."""
    if scorer == "none":
        return None, ""
    if scorer == "reranker":
        reranker = build.make_reranker(settings)
        if not hasattr(reranker, "score"):
            raise ConfigError("--scorer reranker needs reranker.enabled = true")

        def probability(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
            logits = reranker.score([(query, index.corpus.by_id(pid).content) for query, pid in pairs])
            return 1 / (1 + np.exp(-np.asarray(logits)))

        return probability, reranker.weights_sha256
    encoder = build.make_encoder(settings)
    index.check_encoder(encoder.fingerprint)
    vectors, row_of = index.vectors(), _rows(index.corpus)

    def cosine(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        queries = list(dict.fromkeys(query for query, _ in pairs))
        number = {query: n for n, query in enumerate(queries)}
        embedded = encoder.encode_queries(queries)
        found = vectors.vectors([row_of[pid] for _, pid in pairs])
        return np.einsum("nd,nd->n", embedded[[number[query] for query, _ in pairs]], found)

    return cosine, encoder.fingerprint.weights_sha256


def _rows(corpus: Corpus) -> dict[str, int]:
    return {passage.id: row for row, passage in enumerate(corpus)}


@dataclass(frozen=True, slots=True)
class TrainingFiles:
    """What a model is trained and chosen on.

    `sample` keeps that many training questions, each source in its share, of those that `negatives` were mined for;
    `without` leaves whole sources out of training and not of dev, to see what tuning does to questions of a kind that
    it has not met.
    """

    train: str | Path
    dev: str | Path | None = None
    qrels: str | Path | None = None
    negatives: str | Path | None = None
    sample: int | None = None
    without: tuple[str, ...] = ()

    def splits(self, corpus: Corpus, *, with_unanswerable: bool = False) -> tuple[list[Example], list[Example]]:
        """(train, dev) examples; tells what is left out and what overlaps. Without `dev` documents are held out.

        With unanswerable questions both hold examples without positives.
        """
        refuse_test_file(self.train, self.dev, self.qrels)
        given = load_examples(self.train, corpus, self.qrels)
        say(given.summary(str(self.train), with_unanswerable=with_unanswerable))
        unanswerable = given.unanswerable if with_unanswerable else ()
        if self.dev is None:
            training, held_out = split_by_document(given.examples)
            documents = {document(pid) for example in held_out for pid in example.positives}
            for example in unanswerable:
                is_dev = any(document(pid) in documents for pid in example.negatives)
                (held_out if is_dev else training).append(example)
            say(f"dev: {len(held_out):,} questions split off by document")
            return self._chosen(training, corpus), held_out
        is_folder = Path(self.dev).is_dir()
        chosen = load_examples(self.dev, corpus, None if is_folder else self.qrels, split="dev")
        say(chosen.summary(str(self.dev), with_unanswerable=with_unanswerable))
        for overlap in overlaps({"train": given.gold, "dev": chosen.gold}):
            say(f"warning: {overlap}")
        training = [*given.examples, *unanswerable]
        held_out = [*chosen.examples, *(chosen.unanswerable if with_unanswerable else ())]
        same = {example.question.id for example in training} & {example.question.id for example in held_out}
        if same:
            raise DataError(f"{len(same):,} questions, such as {min(same)!r}, stand in {self.train} and in {self.dev}")
        return self._chosen(training, corpus), held_out

    def _chosen(self, examples: Sequence[Example], corpus: Corpus) -> list[Example]:
        sources = {example.question.source for example in examples}
        if unknown := sorted(set(self.without) - sources):
            known = ", ".join(sorted(sources - {""})) or "none is named"
            raise DataError(f"no question of {self.train} is of the source {unknown[0]!r}; its sources: {known}")
        left = [example for example in examples if example.question.source not in self.without]
        if not left:
            raise DataError(f"{self.train} holds no question of another source than {', '.join(self.without)}")
        if self.sample is not None and self.negatives is not None:  # another sample's negatives would fit few of them
            mined = load_mined(self.negatives, corpus)
            left = [example for example in left if example.question.id in mined] or left
        return _sampled(left, self.sample)

    def mined(self, corpus: Corpus, training: Sequence[Example]) -> dict[str, Mined] | None:
        """Mined negatives by question id, where a file of them is named; DataError for those of other questions."""
        if self.negatives is None:
            return None
        mined = load_mined(self.negatives, corpus)
        asked_of = {example.question.id: example.question.rewrite for example in training}
        if other := next((qid for qid, query in asked_of.items() if qid in mined and mined[qid].query != query), None):
            raise DataError(
                f"{self.negatives} was mined for another question {other!r} than {self.train} holds; mine for this file"
            )
        return mined


def tune_retriever(
    settings: Settings,
    files: TrainingFiles,
    index_folder: str | Path,
    target: str | Path,
    recipe_name: str,
    *,
    base: str | None = None,
    with_gate: bool = True,
) -> dict | None:
    """Train the retriever and let it meet the serving one on dev; returns the gate's record, None without the gate.

    `base` names the model to start from, by default the serving one.
    """
    recipe = _recipe(RECIPES, recipe_name, settings)
    index = open_index(index_folder)
    training, held_out = files.splits(index.corpus)
    if with_gate:
        refuse_written(held_out)
    if recipe.loss != "contrastive" and files.negatives is not None and mined_by(files.negatives) != "reranker":
        raise ConfigError(
            f"the recipe {recipe.name!r} learns from the cross-encoder's scores; mine with them: rag mine TRAIN "
            "-i INDEX -o FILE --scorer reranker"
        )
    encoder = build.make_encoder(settings)
    index.check_encoder(encoder.fingerprint)
    retrievers = build.Retrievers(settings, index_folder)
    start = resolve(base or serving(settings.encoder.model), source=settings.models.source).folder
    chose = watched_ids(start)
    watched, judged = _watched(held_out, settings.training.dev_questions, files.without, chose)
    candidates = [
        [hit.passage.id for hit in hits]
        for hits in retrievers.get("dense").retrieve(
            [example.question.rewrite for example in watched], settings.training.dev_candidates
        )
    ]
    model = train_retriever(
        start,
        encoder.prompts,
        training,
        index.corpus,
        recipe,
        target,
        dev=dataclasses.replace(make_dev_pool(watched, index.corpus, candidates), ids=[*chose, *question_ids(watched)]),
        mined=files.mined(index.corpus, training) if recipe.negatives_from == "mined" else None,
        guide=_guide(encoder, index),
        guide_sha256=encoder.fingerprint.weights_sha256,
        watch=Watch(evaluations=settings.training.evaluations, report_to=settings.training.report_to),
    )
    if not (is_first_process() and with_gate):
        return None
    del retrievers
    return gate_retriever(settings, index_folder, target, model, judged)


def _guide(encoder, index: OpenIndex) -> Callable:
    from rag.retrieve.losses import Guide

    def make(queries: Sequence[str]) -> Guide:
        vectors = index.vectors()
        return Guide(encoder.encode_queries(queries, label="Guide"), vectors.vectors(range(len(index.corpus))))

    return make


def tune_reranker(
    settings: Settings,
    files: TrainingFiles,
    index_folder: str | Path,
    target: str | Path,
    recipe_name: str,
    *,
    reuse: Sequence[str | Path] = (),
    with_gate: bool = True,
) -> dict | None:
    """Train the reranker and let it meet its base on dev; returns the gate's record, None without the gate.

    `reuse` are other runs' folders, from whose gate the base's scores are taken where they are of the same candidates.
    """
    from rag.rerank.train import RECIPES as RERANKER_RECIPES
    from rag.rerank.train import DevCandidates, make_groups, train_reranker

    recipe = _recipe(RERANKER_RECIPES, recipe_name, settings)
    check_reranks(settings)
    if recipe.select == "loss" and recipe.negatives_from == "mined":
        raise ConfigError(
            "training.select = loss needs dev pairs made as the training pairs are, and dev questions have no mined "
            "negatives; choose select = mrr"
        )
    known = [verdict_of(run) for run in reuse]
    index = open_index(index_folder)
    training, held_out = files.splits(index.corpus, with_unanswerable=recipe.unanswerable)
    if with_gate:
        refuse_written(held_out)
    mined = files.mined(index.corpus, training) if recipe.negatives_from == "mined" else None
    if mined is not None and (without := sum(e.question.id not in mined for e in training)):
        say(f"warning: {without:,} of {len(training):,} questions have none but random negatives ({files.negatives})")
    if recipe.hardest_first or recipe.skip_easy is not None:
        training, mined = _hard(training, mined, files.negatives, recipe)
    hard = None if mined is None else {qid: [pid for pid, _ in one.negatives] for qid, one in mined.items()}
    groups = make_groups(training, index.corpus, recipe, hard)
    start = resolve(serving(settings.reranker.model), source=settings.models.source).folder
    if recipe.soft_share:
        groups = _softened(settings, groups, index.corpus, recipe, target)
    chose = watched_ids(start)
    watched, judged = _watched(held_out, settings.training.dev_questions, files.without, chose)
    found = list(zip(held_out, serving_candidates(settings, index_folder, held_out), strict=True))
    at_gate = set(question_ids(judged))
    shown = [(one, hits[: settings.training.dev_candidates]) for one, hits in found if one.question.id not in at_gate]
    shown, shown_unanswerable = parted(shown)
    dev_groups = []
    if recipe.select == "loss":
        dev_groups = make_groups([example for example, _ in [*shown, *shown_unanswerable]], index.corpus, recipe, None)
        if recipe.soft_share:
            dev_groups = _softened(settings, dev_groups, index.corpus, recipe, target)
    model = train_reranker(
        start,
        groups,
        index.corpus,
        recipe,
        target,
        dev=DevCandidates(
            [example.question.rewrite for example, _ in shown],
            [[hit.passage.content for hit in hits] for _, hits in shown],
            [[hit.passage.id in example.positives for hit in hits] for example, hits in shown],
            [len(example.positives) for example, _ in shown],
            [(example.question.rewrite, [hit.passage.content for hit in hits]) for example, hits in shown_unanswerable],
            [*chose, *question_ids(watched)],
        ),
        dev_groups=dev_groups,
        watch=Watch(evaluations=settings.training.evaluations, report_to=settings.training.report_to),
    )
    if not (is_first_process() and with_gate):
        return None
    met = [one for one in found if one[0].question.id in at_gate]
    return gate_reranker(settings, index, target, model, met, known)


def _hard(
    training: Sequence[Example], mined: Mapping[str, Mined] | None, negatives: str | Path, recipe
) -> tuple[list[Example], dict[str, Mined]]:
    """What the cross-encoder that mined finds hard: such questions, and of each the negatives by falling score."""
    if mined is None:
        raise ConfigError(f"the recipe {recipe.name!r} takes no mined negatives, of which the hardest could come first")
    if mined_by(negatives) != "reranker":
        raise ConfigError(
            "training.hardest_first and skip_easy go by the cross-encoder's scores; mine with them: rag mine TRAIN "
            "-i INDEX -o FILE --scorer reranker"
        )
    ordered = {
        qid: dataclasses.replace(one, negatives=tuple(sorted(one.negatives, key=_by_falling_score)))
        for qid, one in mined.items()
    }
    if recipe.skip_easy is None:
        return list(training), ordered
    left = [
        example
        for example in training
        if (one := mined.get(example.question.id)) is None or not one.is_easy(recipe.skip_easy)
    ]
    say(f"{len(training) - len(left):,} of {len(training):,} questions are easy and left out")
    if not left:
        raise ConfigError("every question is easy and nothing is left to train on; raise training.skip_easy")
    return left, ordered


def _by_falling_score(negative: tuple[str, float | None]) -> float:
    """Of a mined negative; random ones, which nothing scored, come last."""
    return float("inf") if negative[1] is None else -negative[1]


def _softened(settings: Settings, groups, corpus: Corpus, recipe, target: str | Path) -> list:
    """Labels mixed with what the serving reranker says of the same pairs; what it says is kept in the run's folder."""
    from rag.rerank.train import soften

    reranker = build.make_reranker(settings)
    pairs = [(group.query, corpus.by_id(pid).content) for group in groups for pid in group.ids]
    path = Path(target) / f"own-scores-{digest([reranker.weights_sha256, *pairs])}.json"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, [float(value) for value in reranker.score(pairs, label="Scoring")])
    logits = np.asarray(json.loads(path.read_text(encoding="utf-8")))
    ends = np.cumsum([len(group.ids) for group in groups])
    return [soften(group, own, recipe) for group, own in zip(groups, np.split(logits, ends[:-1]), strict=True)]
