"""Run folders as `rag batch` and `rag evaluate` leave them."""

import json

from rag.data.questions import Question
from rag.evaluate.evaluation import evaluate
from rag.evaluate.files import write_evaluation
from rag.types import CANNOTANSWER

N_QUESTIONS = 6


def make_run(folder, *, gold_at, identity=None, source="quac", evil="", answers=True, parts=False, embed=None):
    """A run folder, predicted and evaluated: in every question the gold passage stands at rank `gold_at`."""
    folder.mkdir()
    rows, references = [], {}
    passages = [f"d{n}@0" for n in range(5)]
    gold = passages[gold_at - 1]
    for n in range(N_QUESTIONS):
        qid, unanswerable = f"q{n}", n == 5
        answer = CANNOTANSWER if unanswerable else f"Clara & {n}{evil}"
        references[qid] = Question(qid, "who?", "who?", CANNOTANSWER if unanswerable else f"Clara {n}", (), source)
        hits = [[pid, -float(rank)] for rank, pid in enumerate(passages)]
        rows.append(
            {
                "qid": qid,
                "query": f"Who built {n}?{evil}",
                "source": source,
                "retrieved": hits,
                **({"parts": {"dense": hits[::-1]}} if parts else {}),
                "reranked": hits,
                "contexts": passages[:3] if answers else [],
                "dropped_contexts": 1,
                "raw": answer + " [1]" if answers else None,
                "answer": answer if answers else None,
                "citations": [passages[0]] if answers else None,
                "abstained": unanswerable if answers else None,
                "abstained_by": None,
                "seconds": {"retrieve": 0.1, "rerank": 0.2},
            }
        )
    (folder / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (folder / "run.json").write_text(json.dumps(identity or {"settings": {"url": "http://127.0.0.1:8000/v1"}}), "utf-8")
    write_evaluation(folder, *evaluate(rows, {f"q{n}": {gold: 1} for n in range(5)}, references, embed))
    return folder
