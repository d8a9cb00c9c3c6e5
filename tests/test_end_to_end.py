"""The whole product on the real weights, through the command: index, search, ask, batch, evaluate, report."""

import contextlib
import io
import json
import os
import subprocess
import sys

import pytest

from rag.cli.main import main
from rag.types import CANNOTANSWER

pytestmark = pytest.mark.real

QUESTIONS = [
    ("q1", "What does the nonlocal statement do?", "makes identifiers refer to previously bound variables"),
    ("q2", "Which statement raises an exception?", "raise"),
    ("q3", "What keyword introduces a generator expression's iteration?", "for"),
    ("q4", "How tall is the Eiffel Tower in metres?", CANNOTANSWER),
]


def rag(*arguments, check=True):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "rag", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert not check or result.returncode == 0, result.stderr[-3000:]
    return result


def rag_here(*arguments, check=True):
    """The same without another start of Python, whose imports take longer than most commands."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(sys, "argv", ["rag", *map(str, arguments)])
        try:
            main()
        except SystemExit as end:
            status = end.code or 0
    assert not check or status == 0, err.getvalue()[-3000:]
    return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("real") / "index"
    rag("index", "embedded", "-o", folder)
    return folder


def test_the_index_is_built_once(index):
    manifest = json.loads(rag_here("index", "embedded", "-o", index, "--json").stdout)
    assert manifest["n_passages"] > 500
    assert manifest["encoder"]["query_prompt"] == "query: "


def test_search_finds_the_topic(index):
    hits = json.loads(rag_here("search", "What does the nonlocal statement do?", "-i", index, "-k", 5, "--json").stdout)
    assert len(hits) == 5
    assert any(hit["id"].startswith("nonlocal@") for hit in hits)


def test_ask_gives_a_cited_answer(index):
    response = json.loads(rag("ask", "What does the nonlocal statement do?", "-i", index, "--json").stdout)
    assert not response["abstained"]
    assert response["answer"]
    assert set(response["citations"]) <= {context["id"] for context in response["contexts"]}
    assert response["contexts"][0]["id"].startswith("nonlocal@")


def test_questions_are_written_for_documents_that_have_none(index, tmp_path):
    target = tmp_path / "written.txt"
    options = ["--sample", 10, "--set", "generator.kind=ctranslate2"]
    told = rag_here("questions", "-i", index, "-o", target, *options).stdout
    rows = [json.loads(line) for line in target.read_text("utf-8").splitlines()]
    assert len(rows) >= 5  # of 10 passages
    assert f"{len(rows)} questions for 10 passages" in told
    assert all(row["question"].endswith("?") and row["retrieval_labels"] == [1] for row in rows)
    ids = json.loads(rag_here("search", rows[0]["question"], "-i", index, "-k", 50, "--json").stdout)
    assert rows[0]["qid"].removeprefix("written_") in {hit["id"] for hit in ids}


@pytest.mark.vllm
def test_batch_evaluate_and_report(index, tmp_path):
    questions = tmp_path / "questions.txt"
    rows = [{"qid": q, "question": text, "answer": {"text": answer}, "source": "made"} for q, text, answer in QUESTIONS]
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "qrels.txt").write_text(json.dumps({"q1": {"nonlocal@0": 1}, "q2": {"raise@0": 1}}))
    run = tmp_path / "run"
    chosen = [
        "--set",
        "abstain.rerank_threshold=-6.0",
        "--set",
        "reader.answer_margin=inf",
    ]  # the generator answers all
    rag("batch", questions, "-i", index, "-o", run, *chosen)
    lines = (run / "predictions.jsonl").read_text().splitlines()
    assert [json.loads(line)["qid"] for line in lines] == ["q1", "q2", "q3", "q4"]
    assert json.loads(lines[3])["abstained_by"] == "score"

    rag_here("batch", questions, "-i", index, "-o", run, *chosen)
    assert (run / "predictions.jsonl").read_text().splitlines() == lines
    refused = rag_here("batch", questions, "-i", index, "-o", run, "--set", "prompt.contexts=1", check=False)
    assert refused.returncode == 1
    assert "settings.prompt.contexts: 3 there, 1 now" in refused.stderr
    assert "Traceback" not in refused.stderr

    rag_here("evaluate", run, "--qrels", tmp_path / "qrels.txt", "--queries", questions)
    metrics = json.loads((run / "metrics.json").read_text())
    assert (metrics["n_queries"], metrics["n_judged"]) == (4, 2)
    assert list(metrics["stages"]) == ["bm25", "dense", "retrieve", "rerank"]
    assert metrics["stages"]["rerank"]["mrr@10"] > 0.4
    assert sum(metrics["outcomes"].values()) == 4
    assert metrics["cost"]["tokens"]["answer"] > 0
    assert metrics["answer"]["invented_shown"] == 0
    assert metrics["answer"]["abstain_recall"] == 1.0
    assert -1 <= metrics["answer"]["cos_sim"] <= 1
    rag_here("report", run, "-o", tmp_path / "report.html")
    assert "Where questions are lost" in (tmp_path / "report.html").read_text()
    assert "| run | stage |" in (tmp_path / "report.md").read_text()


def test_a_mistake_is_one_sentence(tmp_path):
    result = rag("ask", "why", "-i", tmp_path / "nowhere", check=False)
    assert result.returncode == 1
    assert result.stderr.startswith("rag: ")
    assert "Traceback" not in result.stderr


def test_help_needs_no_model_library():
    code = "import sys\nfrom rag.cli.main import main\nsys.argv = ['rag', '--help']\n"
    code += "try: main()\nexcept SystemExit: pass\n"
    code += "print(sorted({'torch', 'transformers', 'gradio', 'vllm', 'faiss'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip().endswith("[]")
