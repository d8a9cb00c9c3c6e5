"""The questions that a reader can open in the report: answers, ranks, passages, and the prompt as it was sent."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping, Sequence
from typing import Any

from rag.data.passages import Corpus
from rag.evaluate.report.answers import answer_parts
from rag.evaluate.report.runs import ReportedRun
from rag.types import Passage

MAX_QUESTIONS_SHOWN = 2000
PASSAGES_SHOWN = 10


def packed(runs: Sequence[ReportedRun]) -> str:
    """The questions of each run with their passages: gzipped JSON in base64, which the page unpacks in the browser.

    `stores` holds title and text of each passage once, by index: passages of one id can differ between indexes.
    """
    stores: dict[str, dict[str, list[str]]] = {}
    shown = []
    for run in runs:
        name = str(run.identity.get("index") or run.name)
        store = stores.setdefault(name, {})
        questions = [_question(run, qid) for qid in _even_draw(list(run.scores))]
        if run.corpus is not None:
            _add_passages(store, questions, run.corpus)
        shown.append({"name": run.name, "n": len(run.scores), "store": name, "questions": questions})
    text = json.dumps({"runs": shown, "stores": stores}, ensure_ascii=False)
    # An answer may hold half a surrogate pair, which UTF-8 cannot carry: "replace". mtime=0 keeps the bytes the same.
    return base64.b64encode(gzip.compress(text.encode("utf-8", "replace"), mtime=0)).decode()


def _even_draw(qids: Sequence[str]) -> Sequence[str]:
    """All questions, or `MAX_QUESTIONS_SHOWN` of them at even distances."""
    if len(qids) <= MAX_QUESTIONS_SHOWN:
        return qids
    step = len(qids) / MAX_QUESTIONS_SHOWN
    return [qids[int(n * step)] for n in range(MAX_QUESTIONS_SHOWN)]


def _add_passages(store: dict[str, list[str]], questions: Sequence[Mapping[str, Any]], corpus: Corpus) -> None:
    for question in questions:
        for pid, *_ in question["passages"]:
            if pid in corpus:
                passage = corpus.by_id(pid)
                store[pid] = [passage.title, passage.text]


def _question(run: ReportedRun, qid: str) -> dict[str, Any]:
    score = run.scores[qid]
    row = run.rows.get(qid, {})
    # Passage id -> (rank, score) as retrieved, and as reranked.
    before = {pid: (rank, value) for rank, (pid, value) in enumerate(row.get("retrieved", ()), 1)}
    after = {pid: (rank, value) for rank, (pid, value) in enumerate(row.get("reranked", ()), 1)}
    contexts = row.get("contexts", [])
    shown = [pid for pid, (rank, _) in after.items() if rank <= PASSAGES_SHOWN]
    shown += [pid for pid in [*contexts, *score["gold"]] if pid not in shown]
    return {
        "qid": qid,
        "query": row.get("query", ""),
        "source": score["source"],
        "outcome": score["outcome"],
        "cos_sim": score.get("cos_sim"),
        "f1": score.get("f1"),
        "best": score.get("best_score"),
        "reference": score.get("reference"),
        "aliases": score.get("aliases", []),
        "answer": row.get("answer"),
        "marked": answer_parts(row),
        "raw": row.get("raw"),
        "refused_by": row.get("abstained_by"),
        "gold": list(score["gold"]),
        "gold_before": min((before[pid][0] for pid in score["gold"] if pid in before), default=None),
        "gold_after": min((after[pid][0] for pid in score["gold"] if pid in after), default=None),
        "contexts": contexts,
        "citations": row.get("citations") or [],
        # id, rank and score as retrieved, rank and score as reranked
        "passages": [[pid, *before.get(pid, (None, None)), *after.get(pid, (None, None))] for pid in shown],
        "prompt": _prompt(run, row, contexts),
    }


def _prompt(run: ReportedRun, row: Mapping[str, Any], contexts: Sequence[str]) -> list[list[str]]:
    """[role, content] of the messages that the question was asked with; [] where they cannot be shown.

    The marks ⟦id⟧ and ⟦id⟧ᵗ stand for a passage's text and title, which the page fills in. A text that the model did
    not see as it stands in the corpus (sentences were chosen, something was withheld or broken up) is written out.
    """
    if run.prompt is None or run.corpus is None or not contexts:
        return []
    excerpts = row.get("excerpts") or {}
    marked = []
    for pid in contexts:
        if pid not in run.corpus:
            continue
        whole = run.corpus.by_id(pid)
        seen = whole.excerpt(excerpts[pid]) if pid in excerpts else whole
        text = f"⟦{pid}⟧" if run.prompt.tamed(seen.text) == whole.text else seen.text
        title = f"⟦{pid}⟧ᵗ" if seen.title and run.prompt.tamed(seen.title) == seen.title else seen.title
        marked.append(Passage(pid, text, title))
    return [[message["role"], message["content"]] for message in run.prompt.conversation(row["query"], marked)]
