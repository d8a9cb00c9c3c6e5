"""A run folder and its references become `metrics.json` and one row of scores per question."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from rag.data.passages import Corpus
from rag.data.questions import Question
from rag.evaluate.answers import (
    citation_scores,
    format_leaks,
    grounded_share,
    invented_numbers,
    is_right,
    length_bin,
    passages_holding,
    question_word,
    reference_token_recall,
    sentences,
    supported_share,
    words_of,
)
from rag.evaluate.files import FORMAT
from rag.evaluate.metrics import exact_match, mean, ranking_scores, relevant_passages, shuffle_floor, token_f1
from rag.evaluate.outcomes import Outcome, classify
from rag.evaluate.summary import abstention_figures, cost_figures, summarize
from rag.types import CANNOTANSWER, Qrels, Run

STAGES = {"retrieve": "retrieved", "rerank": "reranked"}

MRR_BOUNDS = {"shuffled": "floor/mrr@10", "perfect": "perfect/mrr@10"}

PASSAGE_WORDS, REFERENCE_WORDS, RAREST_WORD = (50, 100, 150, 250), (1, 3, 8, 20), (1, 5, 20, 100)
SLICED_BY = ("source", "question_word", "passage_words", "reference_words", "rarest_word")
BINNED = ("passage_words", "reference_words", "rarest_word")

Embed = Callable[[Sequence[str]], np.ndarray]


def evaluate(
    rows: Sequence[dict],
    qrels: Qrels,
    references: Mapping[str, Question] | None = None,
    embed: Embed | None = None,
    *,
    corpus: Corpus | None = None,
    n_contexts: int | None = None,
) -> tuple[dict, list[dict]]:
    """(metrics, per-question scores) of predictions against judgements and, where given, reference answers.

    Ranking metrics average over the judged queries among `references` (the questions that were to be answered; without
    them, among the predictions); a judged query without a prediction scores 0. `embed` maps texts to (n, d) unit
    vectors; CosSim is the cosine of prediction and reference. Figures about passages' words need `corpus`;
    `n_contexts` is how many passages were to reach the prompt (else as many as were cut and shown).
    """
    by_id = {row["qid"]: row for row in rows}
    asked = list(references) if references else list(by_id)
    judged = {qid: qrels[qid] for qid in asked if relevant_passages(qrels.get(qid, {}))}
    scores: dict[str, dict] = {qid: _described(qid, by_id, references or {}, judged, corpus) for qid in asked}
    if corpus is not None:
        _add_rarest_word(scores.values(), corpus, {qid: _asked(qid, by_id, references or {}) for qid in asked})
    stages = _score_ranking(scores, by_id, judged)
    _score_answers(scores, by_id, corpus, embed)
    for qid, score in scores.items():
        _place(score, by_id.get(qid), corpus, n_contexts)
    questions = list(scores.values())
    metrics: dict = {
        "format": FORMAT,
        "n_queries": len(asked),
        "n_judged": len(judged),
        "n_predicted": sum(qid in by_id for qid in asked),
        **summarize(questions, stages),
        "bounds": {name: mean([s[key] for s in questions if key in s]) for name, key in MRR_BOUNDS.items()},
        "outcomes": {outcome.value: sum(s["outcome"] == outcome for s in questions) for outcome in Outcome},
        "abstention": abstention_figures(questions),
        "slices": {
            name: {
                value: summarize([s for s in questions if s.get(name) == value], stages, intervals=False)
                for value in sorted(
                    {s[name] for s in questions if s.get(name)},
                    key=_bin_order if name in BINNED else None,
                )
            }
            for name in SLICED_BY
        },
        "cost": cost_figures(rows),
    }
    return metrics, questions


def _described(
    qid: str, by_id: Mapping[str, dict], references: Mapping[str, Question], judged: Qrels, corpus: Corpus | None
) -> dict:
    """What is known of a question before anything is scored, and what it is grouped by."""
    reference, row = references.get(qid), by_id.get(qid, {})
    score: dict = {
        "qid": qid,
        "source": (reference.source if reference else "") or row.get("source", ""),
        "question_word": question_word(_asked(qid, by_id, references)),
        "gold": relevant_passages(judged.get(qid, {})),
    }
    if reference and reference.answer is not None:
        score |= {"reference": reference.answer, "aliases": list(reference.aliases)}
        if reference.answer != CANNOTANSWER:
            score["reference_words"] = length_bin(len(reference.answer.split()), REFERENCE_WORDS)
    if corpus is not None and (golds := [pid for pid in score["gold"] if pid in corpus]):
        words = min(len(corpus.by_id(pid).text.split()) for pid in golds)
        score["passage_words"] = length_bin(words, PASSAGE_WORDS)
    return score


def _asked(qid: str, by_id: Mapping[str, dict], references: Mapping[str, Question]) -> str:
    """The question as it was asked, or was to be."""
    return by_id.get(qid, {}).get("query") or (references[qid].rewrite if qid in references else "")


def _add_rarest_word(scores: Iterable[dict], corpus: Corpus, texts: Mapping[str, str]) -> None:
    """Add how many passages hold a question's rarest word, of its words that any passage holds."""
    words = {qid: words_of(text) for qid, text in texts.items()}
    frequency = passages_holding(set().union(*words.values()), (passage.content for passage in corpus))
    for score in scores:
        if held := [frequency[word] for word in words[score["qid"]] if word in frequency]:
            score["rarest_word"] = length_bin(min(held), RAREST_WORD)


def _bin_order(name: str) -> tuple[int, str]:
    """Bins of lengths by their first number, anything else by name."""
    digits = "".join(ch for ch in name.removeprefix("up to ").split("–")[0] if ch.isdecimal())
    return (1 << 30 if name.startswith("over ") else int(digits or 0), name)


def _score_ranking(scores: dict[str, dict], by_id: Mapping[str, dict], judged: Qrels) -> list[str]:
    """Add `STAGE/METRIC` to every judged question; returns the stages: the parts of a fusion, then ours."""
    parts = sorted({name for row in by_id.values() for name in row.get("parts", {})})
    runs: dict[str, Run] = {
        part: {qid: dict(by_id[qid].get("parts", {}).get(part, ())) for qid in judged if qid in by_id}
        for part in parts
        if all(part in row.get("parts", {}) for row in by_id.values())
    }
    runs |= {stage: {qid: dict(by_id[qid][field]) for qid in judged if qid in by_id} for stage, field in STAGES.items()}
    for stage, run in runs.items():
        for name, values in ranking_scores(run, judged).items():
            for qid, value in values.items():
                scores[qid][f"{stage}/{name}"] = value
    for qid in judged:
        candidates = [pid for pid, _ in by_id[qid]["reranked"]] if qid in by_id else []
        n_found = sum(pid in scores[qid]["gold"] for pid in candidates)
        scores[qid][MRR_BOUNDS["shuffled"]] = shuffle_floor(len(candidates), n_found)
        scores[qid][MRR_BOUNDS["perfect"]] = float(n_found > 0)
    return list(runs)


def _score_answers(
    scores: dict[str, dict],
    by_id: Mapping[str, dict],
    corpus: Corpus | None,
    embed: Embed | None,
) -> None:
    """Add the figures of answers, refusals and citations to the questions that can have them."""
    by_id = {qid: row for qid, row in by_id.items() if row.get("answer") is not None}
    if not by_id:
        return
    for qid, score in scores.items():
        row = by_id.get(qid)
        if row is not None:
            _score_output(score, row, corpus)
        if "reference" not in score:
            continue
        golds = [score["reference"], *score["aliases"]]
        answer = row["answer"] if row else ""
        score["answerable"] = score["reference"] != CANNOTANSWER
        score["abstained"] = bool(row and row["abstained"])
        score["exact_match"] = exact_match(answer, golds) if row else 0.0
        score["f1"] = token_f1(answer, golds) if row else 0.0
        score["reference_recall"] = reference_token_recall(answer, golds) if row else 0.0
    answered = [qid for qid, score in scores.items() if "reference" in score]
    if embed and answered:
        _score_cosines([scores[qid] for qid in answered], by_id, corpus, embed)


def _score_output(score: dict, row: Mapping, corpus: Corpus | None) -> None:
    """What an output shows by itself: leaks, invented numbers, words that its contexts and citations hold."""
    citations, contexts = row.get("citations") or [], row["contexts"]
    score["best_score"] = row["reranked"][0][1] if row["reranked"] else None
    score["invented_in_output"] = invented_numbers(row["raw"] or "", len(contexts))
    if row["abstained"]:
        return
    score["leaks"] = format_leaks(row["answer"])
    score["n_citations"] = len(citations)
    score["invented_shown"] = sum(pid not in contexts for pid in citations)
    score |= citation_scores(citations, contexts, set(score["gold"]))
    if corpus is not None:
        texts = {pid: corpus.by_id(pid).content for pid in {*contexts, *citations} if pid in corpus}
        score["grounded"] = grounded_share(row["answer"], list(texts.values()))
        score["supported"] = supported_share(row["answer"], [texts[pid] for pid in citations if pid in texts])


def _score_cosines(
    answered: Sequence[dict],
    by_id: Mapping[str, dict],
    corpus: Corpus | None,
    embed: Embed,
) -> None:
    """CosSim of the answer with the reference and with its best alias; the same for what needs no generator."""
    vectors = _Embedded(embed)
    top = {s["qid"]: _top_sentences(by_id.get(s["qid"]), corpus) for s in answered}
    for score in answered:
        row = by_id.get(score["qid"])
        vectors.want([score["reference"], *score["aliases"], *top[score["qid"]], CANNOTANSWER])
        if row is not None:
            vectors.want([row["answer"], row["query"]])
    vectors.embed()
    for score in answered:
        row, reference = by_id.get(score["qid"]), score["reference"]
        # A question without a prediction scores 0, whatever an empty string would embed to.
        score["cos_sim"] = vectors.cosine(row["answer"], reference) if row else 0.0
        golds = [reference, *score["aliases"]]
        score["cos_sim_best_alias"] = max(vectors.cosine(row["answer"], gold) for gold in golds) if row else 0.0
        score["baseline/refuse"] = vectors.cosine(CANNOTANSWER, reference)
        if candidates := top[score["qid"]]:
            best = max(candidates, key=lambda sentence: vectors.cosine(row["query"], sentence))
            score["baseline/sentence"] = vectors.cosine(best, reference)


def _top_sentences(row: Mapping | None, corpus: Corpus | None) -> list[str]:
    if row is None or corpus is None or not row["reranked"] or row["reranked"][0][0] not in corpus:
        return []
    return sentences(corpus.by_id(row["reranked"][0][0]).text)


class _Embedded:
    """Texts gathered first, then embedded once each."""

    def __init__(self, embed: Embed):
        self._embed, self._rows, self._vectors = embed, {}, np.zeros((0, 0))

    def want(self, texts: Iterable[str]) -> None:
        for text in texts:
            self._rows.setdefault(text, len(self._rows))

    def embed(self) -> None:
        self._vectors = np.asarray(self._embed(list(self._rows)))

    def cosine(self, a: str, b: str) -> float:
        return float(self._vectors[self._rows[a]] @ self._vectors[self._rows[b]])


def _place(score: dict, row: Mapping | None, corpus: Corpus | None, n_contexts: int | None) -> None:
    """Add `right`, `gold_in_context` and the question's class."""
    gold = set(score["gold"])
    answered = row is not None and row.get("answer") is not None
    abstained = score.get("abstained", False)
    if "answerable" in score:
        golds = [score["reference"], *score["aliases"]]
        score["right"] = bool(
            abstained != score["answerable"]
            and answered
            and (abstained or is_right(row["answer"], golds, row["query"]))
        )
    wanted = shown = ()
    if row is not None:
        by_score = row.get("abstained_by") == "score"
        size = n_contexts if n_contexts is not None else len(row["contexts"]) + row.get("dropped_contexts", 0)
        wanted = [pid for pid, _ in row["reranked"][:size] if not row.get("excerpts") or pid in row["excerpts"]]
        # What was refused by score, or never asked, would have been shown what it wanted.
        shown = wanted if by_score or not answered else row["contexts"]
    if gold:
        score["gold_in_context"] = bool(gold.intersection(shown))
    score["outcome"] = classify(
        predicted=row is not None,
        answerable=score.get("answerable"),
        answered=answered,
        abstained=abstained,
        right=score.get("right", False),
        judged=bool(gold),
        in_corpus=corpus is None or any(pid in corpus for pid in gold),
        retrieved=bool(row) and bool(gold.intersection(pid for pid, _ in [*row["retrieved"], *row["reranked"]])),
        ranked_in=bool(gold.intersection([*wanted, *shown])),
        in_context=bool(gold.intersection(shown)),
    )
