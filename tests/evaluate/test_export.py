"""What we export, trec_eval scores as we do."""

import json

import pytest
import pytrec_eval

from rag.errors import DataError, RunMismatchError
from rag.evaluate.export import export_trec
from rag.evaluate.files import read_metrics
from tests.fakes.runs import make_run


def read_columns(path, key, value, read):
    table = {}
    for line in path.read_text("utf-8").splitlines():
        columns = line.split(" ")
        table.setdefault(columns[0], {})[columns[key]] = read(columns[value])
    return table


def test_trec_eval_finds_our_figures_in_the_files(tmp_path):
    run = make_run(tmp_path / "run", gold_at=3, parts=True)
    paths = export_trec(run, tmp_path / "trec")
    assert {path.name for path in paths} == {"retrieve.run", "rerank.run", "dense.run", "qrels"}
    qrels = read_columns(tmp_path / "trec" / "qrels", 2, 3, int)
    for stage in ("retrieve", "rerank", "dense"):
        found = read_columns(tmp_path / "trec" / f"{stage}.run", 2, 4, float)
        theirs = pytrec_eval.RelevanceEvaluator(qrels, {"recip_rank", "ndcg_cut.10"}).evaluate(found)
        ours = read_metrics(run)["stages"][stage]
        assert ours["mrr@10"] == pytest.approx(sum(q["recip_rank"] for q in theirs.values()) / len(theirs))
        assert ours["ndcg@10"] == pytest.approx(sum(q["ndcg_cut_10"] for q in theirs.values()) / len(theirs))
    first = (tmp_path / "trec" / "retrieve.run").read_text("utf-8").splitlines()[0].split(" ")
    assert first == ["q0", "Q0", "d0@0", "1", "-0.0", "rag-retrieve"]


def test_an_id_with_a_space_cannot_be_exported(tmp_path):
    run = make_run(tmp_path / "run", gold_at=1)
    text = (run / "predictions.jsonl").read_text("utf-8")
    (run / "predictions.jsonl").write_text(text.replace(json.dumps("q0"), json.dumps("q 0")), "utf-8")
    with pytest.raises(DataError, match="space"):
        export_trec(run, tmp_path / "trec")


def test_a_run_must_be_evaluated_first(tmp_path):
    run = make_run(tmp_path / "run", gold_at=1)
    (run / "scores.jsonl").unlink()
    with pytest.raises(RunMismatchError, match="rag evaluate"):
        export_trec(run, tmp_path / "trec")
