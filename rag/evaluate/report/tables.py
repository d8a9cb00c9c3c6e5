"""What the report's tables show: their rows and columns, with the labels that a reader sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rag.evaluate.metrics import RANKING_METRICS
from rag.evaluate.outcomes import EXPLANATIONS, GOOD, Outcome
from rag.evaluate.report.runs import ReportedRun
from rag.resume import flatten

# (name, key in a question's scores, definition)
HEADLINE = (
    (
        "Recall@10",
        "retrieve/success@10",
        "Share of the judged questions with a gold passage among the retriever's ten best, before reranking: what the "
        "course task calls Recall@10. The field calls it Success@10 or hit rate; found over relevant stands below.",
    ),
    (
        "MRR@10",
        "rerank/mrr@10",
        "Mean over the judged questions of 1 / rank of the first gold passage, after reranking; 0 below rank ten.",
    ),
    (
        "CosSim",
        "cos_sim",
        "Mean over all questions of the cosine between the embeddings of the parsed answer and of the reference by "
        "all-MiniLM-L6-v2; a refusal is the text CANNOTANSWER.",
    ),
)
RANKING_COLUMNS = tuple(RANKING_METRICS)
STAGE_NAMES = {"retrieve": "retrieved", "rerank": "reranked"}
ANSWER_ROWS = (
    ("cos_sim", "CosSim, all questions"),
    ("cos_sim_answerable", "CosSim, answerable"),
    ("cos_sim_unanswerable", "CosSim, unanswerable"),
    ("cos_sim_best_alias", "CosSim with the best alias"),
    ("cos_sim_gold_in_context", "CosSim, answerable with a gold passage in the context"),
    ("exact_match", "Exact match, answerable"),
    ("f1", "Token F1, answerable"),
    ("reference_recall", "Reference tokens in the answer, answerable"),
    ("right", "Right answers and right refusals"),
    ("grounded", "Answer tokens that occur in the contexts"),
    ("format_leaks", "Answers in which markup or the prompt shows"),
)
CITATION_ROWS = (
    ("cited", "Answers with a citation"),
    ("citation_precision", "Citations that name a gold passage, where one is in the context"),
    ("citation_recall", "Gold passages in the context that are cited"),
    ("citation_supported", "Cited passages that hold every word of the answer"),
)
SUPPORT_GROUPS = {"gold_in_context": "with a gold passage in the context", "all_answers": "all"}
SLICES = {
    "source": "source",
    "intent": "intent",
    "question_word": "question word",
    "passage_words": "words of the gold passage",
    "reference_words": "words of the reference",
    "rarest_word": "passages that hold the question's rarest word",
}


ROLES = ("encoder", "reranker", "reader", "generator")


def head(run: ReportedRun) -> list[tuple[str, str]]:
    """What a run was about, as (name, text): its corpus, models and date, as far as its files say."""
    index, settings = run.provenance.get("index", {}), run.identity.get("settings", {})
    where = run.identity.get("index_path", "")
    n_passages = index.get("n_passages")
    passages = f"{n_passages:,} passages" if isinstance(n_passages, int) else ""
    source = index.get("corpus_path") or ("documents" if index else "")
    of = " of ".join(filter(None, (passages, source)))
    used = run.provenance.get("models", {})
    named = {role: used.get(role, {}).get("name") or _model_named(settings, role) for role in ROLES}
    rows = {
        "Corpus": f"{where} ({of})" if where and of else where or of,
        "Models": ", ".join(f"{role} {name}" for role, name in named.items() if name),
        "Questions": run.identity.get("queries_path", ""),
        "Date": str(run.provenance.get("started", ""))[:10],
    }
    return [(name, text) for name, text in rows.items() if text]


def _model_named(settings: Mapping[str, Any], role: str) -> str:
    """The model that the settings of a run name for a role; "" where they say that none is used."""
    section = settings.get(role)
    if not isinstance(section, Mapping) or not section.get("enabled", True):
        return ""
    return str(section.get("model", ""))


def headline(run: ReportedRun) -> list[dict[str, Any]]:
    """The three headline figures of a run: name, definition, value, interval, and over how many questions."""
    stages = run.metrics["stages"]
    answer = run.metrics["answer"] or {}
    n_judged = run.metrics["n_judged"]
    values = {
        "Recall@10": (stages["retrieve"]["success@10"], stages["retrieve"]["intervals"]["success@10"], n_judged),
        "MRR@10": (stages["rerank"]["mrr@10"], stages["rerank"]["intervals"]["mrr@10"], n_judged),
        "CosSim": (answer.get("cos_sim"), (answer.get("intervals") or {}).get("cos_sim"), answer.get("n", 0)),
    }
    cards = []
    for name, _, definition in HEADLINE:
        value, interval, n = values[name]
        cards.append({"name": name, "definition": definition, "value": value, "interval": interval, "n": n})
    return cards


def outcome_rows(runs: Sequence[ReportedRun]) -> list[tuple[str, str, bool]]:
    """(class, explanation, whether it is a good one) for the classes that any run's questions fall into."""
    return [
        (outcome.value, EXPLANATIONS[outcome], outcome in GOOD)
        for outcome in Outcome
        if any(run.metrics["outcomes"][outcome.value] for run in runs)
    ]


def settings_rows(runs: Sequence[ReportedRun]) -> list[tuple[str, list[str]]]:
    """(setting, its value in each run): the settings in which the runs differ, or all those of a single run."""
    flat = [flatten(run.identity) for run in runs]
    names = sorted({name for each in flat for name in each if name not in ("questions", "prompt_sha256")})
    rows = [(name, [str(each.get(name, "–")) for each in flat]) for name in names]
    return [(name, values) for name, values in rows if len(runs) == 1 or len(set(values)) > 1]
