"""What a query is after, by its form; and figures deep down a ranking, left out where it ends before."""

import pytest

from rag.cli.metric_lines import metrics_lines
from rag.data.passages import Corpus
from rag.evaluate.evaluation import evaluate
from rag.evaluate.intent import CLAIM, KEYWORDS, QUESTION, TOPIC, intent_of
from rag.types import Passage


@pytest.mark.parametrize(
    ("query", "intent"),
    [
        ("When does the ferry leave?", QUESTION),
        ("when does the ferry leave", QUESTION),
        ("is the ferry blue", QUESTION),
        ("The ferry, when?", QUESTION),
        ("Name the town.", QUESTION),
        ("Which ferry is it? (ferries.example)", QUESTION),
        ("ferries.example/search?q=ferry north pier", KEYWORDS),
        ("Wann fährt die Fähre", QUESTION),
        ("渡轮几点出发？", QUESTION),
        ("渡轮什么时候出发", QUESTION),
        ("متى تغادر العبارة؟", QUESTION),
        ("ferry timetable north pier", KEYWORDS),
        ("pump P-40", KEYWORDS),
        ("Fähre Fahrplan Nordkai", KEYWORDS),
        ("北京 渡轮 时刻表 价格", KEYWORDS),
        ("…", KEYWORDS),
        ("photosynthesis", TOPIC),
        ("solar energy", TOPIC),
        ("history of the ferry", TOPIC),
        ("Tell me about ferries in Norway", TOPIC),
        ("Erkläre die Fähre", TOPIC),
        ("光合作用", TOPIC),
        ("The ferry has left at noon since the pier was built.", CLAIM),
        ("the ferry has left at noon since the pier was built", CLAIM),
        ("渡轮自码头建成以来一直在中午出发。", CLAIM),
    ],
)
def test_the_form_of_a_query_tells_its_intent(query, intent):
    assert intent_of(query) == intent


def row(qid, query, n_retrieved, n_reranked):
    hits = [[f"p{n:03}", -float(n)] for n in range(n_retrieved)]
    return {
        "qid": qid,
        "query": query,
        "retrieved": hits,
        "reranked": hits[:n_reranked],
        "contexts": [],
        "seconds": {"retrieve": 0.1},
    }


def test_deep_figures_are_given_where_a_ranking_reaches_so_deep_and_left_out_with_a_word_elsewhere():
    rows = [row("q", "When does it leave?", 60, 20), row("k", "ferry timetable pier", 60, 20)]
    qrels = {"q": {"p000": 1, "p049": 1}, "k": {"p019": 1}}
    metrics, _ = evaluate(rows, qrels)
    assert metrics["depths"] == {"retrieve": 60, "rerank": 20}
    assert metrics["deep"]["retrieve"]["recall@50"] == 1
    assert metrics["deep"]["rerank"]["recall@50"] is None
    assert metrics["deep"]["rerank"]["ndcg@20"] == metrics["deep"]["retrieve"]["ndcg@20"]
    groups = metrics["slices"]["intent"]
    assert set(groups) == {"question", "keywords"}
    assert groups["keywords"]["stages"]["retrieve"]["mrr@10"] == 0
    assert groups["keywords"]["deep"]["retrieve"]["ndcg@20"] == pytest.approx(0.2277, abs=1e-4)
    shown = "\n".join(metrics_lines(metrics))
    assert "rerank: recall@50 left out, its rankings hold 20 passages" in shown
    assert "retrieve: " not in shown
    assert "keywords           1  retrieve" in shown


def test_a_ranking_of_the_whole_corpus_is_deep_enough():
    corpus = Corpus([Passage(f"p{n:03}", "text") for n in range(12)])
    metrics, _ = evaluate([row("q", "why?", 12, 5)], {"q": {"p011": 1}}, corpus=corpus)
    assert metrics["deep"] == {
        "retrieve": {"ndcg@20": pytest.approx(0.2702, abs=1e-4), "recall@50": 1},
        "rerank": {"ndcg@20": None, "recall@50": None},
    }
