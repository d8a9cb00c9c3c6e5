"""Batches in shards, whose workers are this process: joined, gone on with in either way, refused."""

import json

import pytest

from rag.build.serving import serving_over
from rag.data.questions import load_questions
from rag.errors import ConfigError, DataError, RunMismatchError
from rag.resume import read_jsonl
from rag.runs import spread
from rag.runs.spread import SHARDS, predict
from rag.runs.stored import COST_FILE, PREDICTIONS, RERANKED, RETRIEVED, RUN_FILE
from tests.fakes.spread import HereCluster


@pytest.fixture
def cluster(monkeypatch):
    made = HereCluster()
    monkeypatch.setattr(spread, "cluster_of", lambda settings: made)
    return made


def sharing(settings, size=3):
    compute = settings.compute.model_copy(update={"kind": "ray", "questions_per_shard": size})
    return settings.model_copy(update={"compute": compute})


def ask(settings, folder, run, **options):
    queries = folder / "dev.txt"
    asked = {"generate": False, **options}
    return predict(serving_over(settings, folder / "index"), queries, load_questions(queries), folder / run, **asked)


def rows(run, name=PREDICTIONS):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in read_jsonl(run / name)]


def test_the_joined_run_is_the_one_of_one_process(data, cluster, tiny_generator_folder):
    settings, folder = data
    generator = {"kind": "transformers", "model": str(tiny_generator_folder), "max_new_tokens": 4}
    settings = settings.model_copy(update={"generator": settings.generator.model_copy(update=generator)})
    ask(settings, folder, "local", generate=True)
    ask(sharing(settings), folder, "shared", generate=True)
    local, shared = folder / "local", folder / "shared"
    assert cluster.done == [2, 1, 0]
    assert sorted(path.name for path in shared.iterdir()) == sorted(path.name for path in local.iterdir())
    assert (shared / RUN_FILE).read_bytes() == (local / RUN_FILE).read_bytes()
    for name in ("retrieved.jsonl", "reranked.jsonl", "excerpts.jsonl", "generated.jsonl", PREDICTIONS):
        assert rows(shared, name) == rows(local, name)
    costs = [json.loads((run / COST_FILE).read_text())["stages"] for run in (shared, local)]
    assert costs[0].keys() == costs[1].keys()
    assert costs[0]["rerank"]["pairs_scored"] == costs[1]["rerank"]["pairs_scored"]


def test_a_killed_batch_goes_on_with_the_shards_that_are_left(data, cluster):
    settings, folder = data
    ask(settings, folder, "local")
    cluster.stop_after = 1
    with pytest.raises(KeyboardInterrupt):
        ask(sharing(settings), folder, "shared")
    assert not (folder / "shared" / PREDICTIONS).exists()
    cluster.stop_after = None
    # It keeps its shards, whatever their size would be now.
    ask(sharing(settings, size=5), folder, "shared")
    assert cluster.done == [2, 1, 0]  # of the two that were left, the second first
    assert rows(folder / "shared") == rows(folder / "local")
    assert not (folder / "shared" / SHARDS).exists()
    # Whole: no cluster is asked.
    cluster.stop_after = 0
    ask(sharing(settings), folder, "shared")


def test_a_batch_begun_in_shards_goes_on_in_one_process(data, cluster):
    settings, folder = data
    ask(settings, folder, "local")
    cluster.stop_after = 1
    with pytest.raises(KeyboardInterrupt):
        ask(sharing(settings), folder, "shared")
    kept = rows(folder / "shared" / SHARDS / "00002")
    ask(settings, folder, "shared")
    by_question = {row["qid"]: row for row in rows(folder / "shared")}
    assert by_question == {row["qid"]: row for row in rows(folder / "local")}
    assert rows(folder / "shared")[: len(kept)] == kept
    assert not (folder / "shared" / SHARDS).exists()


def test_a_batch_begun_in_one_process_goes_on_in_shards(data, cluster):
    settings, folder = data
    ask(settings, folder, "local")
    ask(settings, folder, "shared")
    run = folder / "shared"
    (run / PREDICTIONS).unlink()
    lines = (run / RERANKED).read_bytes().splitlines(keepends=True)
    (run / RERANKED).write_bytes(b"".join(lines[:4]))
    seconds = [row["seconds"] for row in read_jsonl(run / RETRIEVED)]
    ask(sharing(settings), folder, "shared")
    assert [row["seconds"] for row in read_jsonl(run / RETRIEVED)] == seconds
    assert rows(run) == rows(folder / "local")


def test_runs_and_judgements_are_used_in_shards_as_in_one_process(data, cluster):
    settings, folder = data
    questions = load_questions(folder / "dev.txt")
    ask(settings, folder, "first")
    last = rows(folder / "first")[0]["retrieved"][-1][0]
    oracle = {questions[0].id: {last: 1}}
    ask(settings, folder, "local", oracle=oracle)
    ask(sharing(settings), folder, "shared", oracle=oracle, reuse=[folder / "first"])
    assert rows(folder / "shared") == rows(folder / "local")
    assert rows(folder / "shared")[0]["reranked"][0][0] == last
    assert (folder / "shared" / RUN_FILE).read_bytes() == (folder / "local" / RUN_FILE).read_bytes()
    with pytest.raises(DataError, match="name a passage of this index for none"):
        ask(sharing(settings), folder, "none", oracle={questions[0].id: {"elsewhere": 1}})
    seconds = [row["seconds"] for row in read_jsonl(folder / "first" / RETRIEVED)]
    assert [row["seconds"] for row in read_jsonl(folder / "shared" / RETRIEVED)] == seconds


def test_other_settings_are_refused_and_so_is_a_worker_with_another_model(data, cluster, monkeypatch):
    settings, folder = data
    ask(sharing(settings), folder, "shared")
    other = settings.model_copy(update={"retriever": settings.retriever.model_copy(update={"depth": 60})})
    with pytest.raises(RunMismatchError, match=r"settings\.retriever\.depth"):
        ask(sharing(other), folder, "shared")
    monkeypatch.setattr(spread, "_for_workers", lambda settings: other)
    with pytest.raises(RunMismatchError, match=r"on the node .* other answers would be given"):
        ask(sharing(settings), folder, "another")


def test_without_ray_the_command_that_installs_it_is_told(data, monkeypatch):
    settings, folder = data
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"compute\.kind ray needs the package ray; install it: pip install .*scale"):
        ask(sharing(settings), folder, "shared")
    from rag.build.parts import make_encoder

    with pytest.raises(ConfigError, match="needs the package ray"):
        make_encoder(sharing(settings), lazy=True)
