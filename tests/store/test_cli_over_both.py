"""Commands over an index in Milvus do what they do over one in a folder."""

import json

import pytest
from typer.testing import CliRunner

from rag.cli.main import app
from rag.index.folder import serving_manifest
from rag.index.read import open_index
from rag.resume import read_jsonl
from rag.runs.stored import PREDICTIONS
from tests.fakes.training import NOUNS


def run(*words, code=0):
    """What a command prints."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, (words, result.output, result.exception)
    return result.stdout


@pytest.fixture
def config(data, tiny_generator_folder, tmp_path):
    """Settings files for a folder and for Milvus, with tiny models; and the folder of the course's files."""
    settings, folder = data
    found = {}
    for kind in ("faiss", "milvus"):
        found[kind] = tmp_path / f"{kind}.toml"
        found[kind].write_text(
            f'[encoder]\nmodel = "{settings.encoder.model}"\n[reranker]\nmodel = "{settings.reranker.model}"\n'
            f'[reader]\nenabled = false\n[generator]\nkind = "transformers"\nmodel = "{tiny_generator_folder}"\n'
            f'max_new_tokens = 4\n[documents]\nchunk_tokens = 40\n[store]\nkind = "{kind}"\n'
            + (f'uri = "{tmp_path.parent / "shared.db"}"\ntimeout_seconds = 300\n' if kind == "milvus" else ""),
            "utf-8",
        )
    return found, folder


def over_a_corpus(kind, settings, data, index, home):
    """What is printed and written by the commands over a corpus file, as far as it does not tell times and places."""
    config = ["--config", settings]
    run("index", data / "corpus.txt", "-o", index, *config)
    question = f"who built the {NOUNS[3]}"
    found = json.loads(run("search", question, "-i", index, "-k", 3, "--json", *config))
    asked = json.loads(run("ask", question, "-i", index, "--json", "--no-chat", *config))
    runs = home / f"run-{kind}"
    run("batch", data / "dev.txt", "-i", index, "-o", runs, *config)
    qrels = data / "qrels.json"
    qrels.write_text(json.dumps({f"q{n}": {f"d{n}@0": 1} for n in range(22, 30)}), "utf-8")
    run("evaluate", runs, "--qrels", qrels, "-i", index, *config)
    mined = home / f"{kind}.jsonl"
    run("mine", data / "train.txt", "-i", index, "-o", mined, *config)
    run("doctor", index, *config)
    run("audit", index)
    run("status", index, "--json", *config)
    assert str(index) in run("list", "--json")
    return {
        "found": [row["id"] for row in found],
        "answer": asked["answer"],
        "predictions": [
            {key: value for key, value in row.items() if key in ("qid", "answer", "retrieved")}
            for row in read_jsonl(runs / PREDICTIONS)
        ],
        "mined": list(read_jsonl(mined)),
    }


def test_over_a_corpus_file(config, tmp_path):
    settings, data = config
    made = {kind: over_a_corpus(kind, settings[kind], data, tmp_path / f"{kind}.index", tmp_path) for kind in settings}
    for name in ("found", "answer", "mined"):
        assert made["milvus"][name] == made["faiss"][name], name
    for ours, theirs in zip(made["milvus"]["predictions"], made["faiss"]["predictions"], strict=True):
        assert ours["answer"] == theirs["answer"]
        assert [pid for pid, _ in ours["retrieved"]] == [pid for pid, _ in theirs["retrieved"]]
    run("rm", tmp_path / "milvus.index", "--yes")
    assert not (tmp_path / "milvus.index").exists()


def test_over_documents(config, tmp_path):
    settings, _ = config
    notes = tmp_path / "notes"
    notes.mkdir()
    for n in range(4):
        (notes / f"{n}.txt").write_text(f"Rule {n} is about the {NOUNS[n]}.", "utf-8")
    for kind, file in settings.items():
        index, config = tmp_path / f"documents-{kind}", ["--config", file]
        (notes / "0.txt").write_text("Rule 0 is about the harbour.", "utf-8")
        run("ingest", notes, "-i", index, *config)
        before = serving_manifest(index)[1].fingerprint
        (notes / "0.txt").write_text("Rule 0 is about the island.", "utf-8")
        run("ingest", "-i", index, *config)
        assert "about the island" in run("search", "the island", "-i", index, *config)
        run("rollback", index)
        assert serving_manifest(index)[1].fingerprint == before
        run("rollback", index)
        run("index", "--rebuild", "-o", index, *config)
        run("doctor", index, *config)
        assert len(open_index(index).corpus) == 4
        run("rm", index, "--yes")
