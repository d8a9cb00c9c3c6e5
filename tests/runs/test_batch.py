"""Batches that are torn, killed, resumed, refused and reused; every component is a fake that stands in memory.

Run as a program (`python tests/test_batch.py FOLDER`), this file is the slow batch that a test kills.
"""

import gc
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path

import pytest
from filelock import FileLock

from rag.data.passages import Corpus
from rag.data.questions import Question
from rag.errors import DataError, RunMismatchError
from rag.generate.prompts import Prompt
from rag.lazy import Lazy
from rag.pipeline import Depths, Pipeline
from rag.rerank.keep_order import KeepOrder
from rag.resume import read_jsonl
from rag.retrieve.hybrid import HybridRetriever
from rag.runs import batch
from rag.runs.batch import questions_sha256, run_batch
from rag.runs.stored import EXCERPTS, GENERATED, PREDICTIONS, RERANKED, RETRIEVED, RUN_FILE
from rag.types import CANNOTANSWER, Hit, Passage, ranked

STAGES = (RETRIEVED, RERANKED, GENERATED, PREDICTIONS)
CORPUS = Corpus([Passage(f"d{n}@0", f"the text of passage {n}, été\u2028{n}") for n in range(8)])
QUESTIONS = [
    Question(f"q{n}", f"and {n}?", f"what about number {n}, été?", source="quac" if n % 2 else "doqa")
    for n in range(11)
]
PROMPT = Prompt("test", "{% for p in passages %}[{{ p.number }}] {{ p.text }}\n{% endfor %}{{ question }}")
IDENTITY = {
    "index": "index-1",
    "encoder": "encoder-1",
    "reranker": "reranker-1",
    "generator": "generator-1",
    "prompt_sha256": PROMPT.sha256(),
    "rerank_threshold": None,
    "settings": {"retriever": {"depth": 5}, "reranker": {"depth": 4}, "generator": {"seed": 0}},
}


def order(text, passages, salt):
    """Passages in an order that depends on nothing but the text."""
    shuffled = sorted(passages, key=lambda p: p.id)
    random.Random(f"{salt} {text!r}").shuffle(shuffled)
    return shuffled


class FakeRetriever:
    def __init__(self, log=None, seconds=0.0):
        self.log, self.seconds = log if log is not None else [], seconds

    def retrieve(self, queries, k):
        time.sleep(self.seconds * len(queries))
        self.log += [("retrieve", query) for query in queries]
        return [ranked([Hit(p, 1 / (n + 3)) for n, p in enumerate(order(q, CORPUS, "r")[:k])]) for q in queries]

    def close(self):
        self.log.append("close retriever")


class FakeReranker:
    def __init__(self, log=None, seconds=0.0):
        self.log, self.seconds = log if log is not None else [], seconds

    def rerank(self, queries, candidates):
        time.sleep(self.seconds * len(queries))
        self.log += [("rerank", query) for query in queries]
        return [
            ranked([Hit(p, 4 - n - len(q) / 7) for n, p in enumerate(order(q, [h.passage for h in hits], "x"))])
            for q, hits in zip(queries, candidates, strict=True)
        ]

    def close(self):
        self.log.append("close reranker")


class FakeGenerator:
    context_window_tokens = 1000

    def __init__(self, log=None, seconds=0.0):
        self.log, self.seconds = log if log is not None else [], seconds

    def count_tokens(self, conversation):
        return len(conversation[-1]["content"].split())

    def generate(self, conversations):
        time.sleep(self.seconds * len(conversations))
        questions = [conversation[-1]["content"].split("\n")[-1] for conversation in conversations]
        self.log += [("generate", question) for question in questions]
        return ["" if "4" in q else CANNOTANSWER if "7" in q else f"It is été\u2028{q[18:20]}. [2]" for q in questions]

    def stream(self, conversation):
        yield self.generate([conversation])[0]

    def close(self):
        self.log.append("close generator")


def make_pipeline(log=None, *, seconds=0.0, reranker=None, threshold=None, sentence_margin=None):
    return Pipeline(
        Lazy.of(FakeRetriever(log, seconds)),
        Lazy.of(reranker or FakeReranker(log, seconds)),
        Lazy.of(FakeGenerator(log, seconds)),
        PROMPT,
        depths=Depths(5, 4, 2),
        rerank_threshold=threshold,
        sentence_margin=sentence_margin,
    )


@pytest.fixture(autouse=True, scope="module")
def what_earlier_tests_loaded_is_no_garbage():
    """A run collects garbage after each stage, which takes half a second beside everything that tests import."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def predict(
    folder, *, log=None, questions=QUESTIONS, identity=IDENTITY, threshold=None, sentence_margin=None, **options
):
    pipeline = make_pipeline(log, threshold=threshold, sentence_margin=sentence_margin)
    return run_batch(pipeline, questions, CORPUS, folder, identity, **options)


def changed(**settings):
    """IDENTITY with other settings, as in reranker__depth=9."""
    identity = json.loads(json.dumps(IDENTITY))
    for key, value in settings.items():
        section, _, name = key.partition("__")
        if name:
            identity["settings"].setdefault(section, {})[name] = value
        else:
            identity[key] = value
    return identity


def without_seconds(folder, stage):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in read_jsonl(folder / stage)]


def assert_same_run(folder, whole, *, stages=STAGES):
    for stage in stages:
        assert without_seconds(folder, stage) == without_seconds(whole, stage), stage
        assert (folder / stage).read_bytes().endswith(b"\n")
        assert len((folder / stage).read_bytes().split(b"\n")) - 1 == len(read_jsonl(folder / stage)), stage


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    for name in ("STAGE_CHUNK", "RERANK_CHUNK", "ANSWER_CHUNK"):
        monkeypatch.setattr(batch, name, 3)


@pytest.fixture
def whole(tmp_path):
    """A run that nothing interrupted."""
    return predict(tmp_path / "whole").parent


def test_every_question_is_predicted_once_in_order(tmp_path):
    path = predict(tmp_path / "run")
    assert path == tmp_path / "run" / PREDICTIONS
    for stage in STAGES:
        assert [row["qid"] for row in read_jsonl(tmp_path / "run" / stage)] == [q.id for q in QUESTIONS], stage


def test_a_prediction_holds_every_stage_and_the_parsed_answer(whole):
    row = read_jsonl(whole / PREDICTIONS)[1]
    question = QUESTIONS[1]
    retrieved = FakeRetriever().retrieve([question.rewrite], 5)[0]
    reranked = FakeReranker().rerank([question.rewrite], [retrieved[:4]])[0]
    assert row["qid"] == "q1"
    assert (row["query"], row["source"]) == (question.rewrite, "quac")
    assert row["retrieved"] == [[h.passage.id, round(h.score, 9)] for h in retrieved]
    assert row["reranked"] == [[h.passage.id, round(h.score, 9)] for h in reranked]
    assert row["contexts"] == [h.passage.id for h in reranked[:2]]
    assert row["raw"] == "It is été\u20281,. [2]"
    assert row["answer"] == "It is été\u20281,."
    assert row["citations"] == [reranked[1].passage.id]
    assert row["marks"] == [[len("It is été\u20281,."), [reranked[1].passage.id]]]
    assert (row["abstained"], row["abstained_by"], row["dropped_contexts"]) == (False, None, 0)
    assert row["seconds"].keys() == {"retrieve", "rerank", "generate"}


def test_tokens_in_and_out_are_counted(whole):
    rows = {row["qid"]: row for row in read_jsonl(whole / PREDICTIONS)}
    response = make_pipeline().run([QUESTIONS[1].query])[0]
    assert rows["q1"]["tokens"] == response.tokens
    assert rows["q1"]["tokens"]["answer"] == len(["It", "is", "été", "1,.", "[2]"])
    assert rows["q1"]["tokens"]["prompt"] > 5
    assert rows["q4"]["tokens"]["answer"] == 0


def test_what_each_retriever_of_a_fusion_found_is_kept(tmp_path):
    fusion = HybridRetriever({"one": FakeRetriever(), "two": FakeRetriever()})
    pipeline = make_pipeline()
    pipeline.retriever = Lazy.of(fusion)
    run_batch(pipeline, QUESTIONS, CORPUS, tmp_path / "run", IDENTITY)
    row = read_jsonl(tmp_path / "run" / PREDICTIONS)[1]
    alone = FakeRetriever().retrieve([QUESTIONS[1].rewrite], 5)[0]
    pairs = [[hit.passage.id, round(hit.score, 9)] for hit in alone]
    assert row["parts"] == {"one": pairs, "two": pairs}
    assert [pid for pid, _ in row["retrieved"]] == [pid for pid, _ in pairs]


def test_the_cost_of_every_start_adds_up_and_provenance_is_of_what_computed(tmp_path):
    predict(tmp_path / "run", questions=QUESTIONS, provenance={"versions": {"torch": "1"}})
    first = json.loads((tmp_path / "run" / "cost.json").read_text("utf-8"))["stages"]
    assert first.keys() == {"retrieve", "rerank", "generate"}
    assert all(stage["peak_memory_gib"] > 0 for stage in first.values())
    predict(tmp_path / "run", questions=QUESTIONS, provenance={"versions": {"torch": "2"}})
    second = json.loads((tmp_path / "run" / "cost.json").read_text("utf-8"))["stages"]
    assert all(second[stage]["seconds"] >= first[stage]["seconds"] for stage in first)
    assert json.loads((tmp_path / "run" / "provenance.json").read_text("utf-8")) == {"versions": {"torch": "1"}}
    (tmp_path / "run" / PREDICTIONS).unlink()
    predict(tmp_path / "run", questions=QUESTIONS, provenance={"versions": {"torch": "3"}})
    assert json.loads((tmp_path / "run" / "provenance.json").read_text("utf-8")) == {"versions": {"torch": "3"}}


def test_a_batch_predicts_what_the_pipeline_answers(whole):
    responses = make_pipeline().run([question.query for question in QUESTIONS])
    rows = read_jsonl(whole / PREDICTIONS)
    assert [row["answer"] for row in rows] == [r.answer.text for r in responses]
    assert [row["citations"] for row in rows] == [list(r.answer.citations) for r in responses]
    assert [row["contexts"] for row in rows] == [[h.passage.id for h in r.contexts] for r in responses]
    assert [row["abstained"] for row in rows] == [r.answer.abstained for r in responses]
    assert {row["qid"]: row["abstained_by"] for row in rows if row["abstained"]} == {"q4": "model", "q7": "model"}


def test_refusals_by_score_are_told_from_those_of_the_model_and_never_reach_it(tmp_path):
    scores = {q.id: FakeReranker().rerank([q.rewrite], [[Hit(CORPUS[0], 1)]])[0][0].score for q in QUESTIONS}
    threshold = max(scores.values()) - 0.01
    log = []
    predict(tmp_path / "run", log=log, threshold=threshold)
    rows = read_jsonl(tmp_path / "run" / PREDICTIONS)
    refused = {row["qid"] for row in rows if row["abstained_by"] == "score"}
    assert refused == {qid for qid, score in scores.items() if score < threshold} != set()
    assert all(
        row["answer"] == CANNOTANSWER and row["raw"] == "" and not row["contexts"]
        for row in rows
        if row["qid"] in refused
    )
    assert sum(event[0] == "generate" for event in log) == len(QUESTIONS) - len(refused)


def test_a_window_that_holds_too_little_shortens_and_refuses_and_is_told(tmp_path):
    """What the generator saw is in the predictions, also where they are written by a later start."""

    class Small(FakeGenerator):
        context_window_tokens = 12  # a mark, five words of seven, an ellipsis and five words of question

    pipeline = make_pipeline()
    pipeline.generator = Lazy.of(Small())
    questions = [*QUESTIONS[:2], Question("long", "why", "why " * 40)]
    path = run_batch(pipeline, questions, CORPUS, tmp_path / "run", IDENTITY)
    first, _, refused = rows = read_jsonl(path)
    best = first["reranked"][0][0]
    assert (first["contexts"], first["dropped_contexts"]) == ([best], 1)
    ((start, end),) = first["excerpts"][best]
    assert CORPUS.by_id(best).text[start:end] == f"the text of passage {best[1]},"
    assert (refused["abstained_by"], refused["contexts"], refused["dropped_contexts"]) == ("window", [], 2)
    assert refused["answer"] == CANNOTANSWER
    path.unlink()
    run_batch(make_pipeline(), questions, CORPUS, tmp_path / "run", IDENTITY)
    assert [{**row, "seconds": 0} for row in read_jsonl(path)] == [{**row, "seconds": 0} for row in rows]


def test_a_run_without_generation_has_no_answers(tmp_path):
    log = []
    predict(tmp_path / "run", log=log, generate=False)
    assert not any(event[0] == "generate" for event in log)
    assert not (tmp_path / "run" / GENERATED).exists()
    rows = read_jsonl(tmp_path / "run" / PREDICTIONS)
    assert [row["qid"] for row in rows] == [q.id for q in QUESTIONS]
    assert all(row["answer"] is row["raw"] is row["citations"] is row["abstained"] is None for row in rows)
    assert all(len(row["reranked"]) == 4 for row in rows)


def test_a_finished_run_asks_no_component_again(whole):
    log = []
    before = {stage: (whole / stage).read_bytes() for stage in (*STAGES, RUN_FILE)}
    predict(whole, log=log)
    assert log == []
    assert {stage: (whole / stage).read_bytes() for stage in before} == before


def cuts(data, rng):
    """Lengths that end at the front, inside lines, inside a letter of two bytes, and just around line ends."""
    ends = [n + 1 for n, byte in enumerate(data) if byte == ord("\n")]
    letter = data.find("é".encode())
    around = [ends[0] - 1, ends[0], ends[0] + 1, ends[4] - 1, ends[4], ends[-1] - 1]
    return sorted({0, 1, *around, *rng.sample(range(len(data)), 4), *([letter + 1] if letter >= 0 else [])})


@pytest.mark.parametrize("stage", STAGES)
def test_a_torn_stage_is_resumed_with_no_line_twice_and_none_lost(tmp_path, whole, stage):
    data = (whole / stage).read_bytes()
    for cut in cuts(data, random.Random(0)):
        folder = tmp_path / f"torn-{cut}"
        shutil.copytree(whole, folder)
        for later in STAGES[STAGES.index(stage) + 1 :]:
            (folder / later).unlink()
        os.truncate(folder / stage, cut)
        log = []
        predict(folder, log=log)
        assert_same_run(folder, whole)
        assert (folder / stage).read_bytes().startswith(data[:cut][: data[:cut].rfind(b"\n") + 1])
        verb = {RETRIEVED: "retrieve", RERANKED: "rerank", GENERATED: "generate"}.get(stage)
        if verb:
            missing = QUESTIONS[data[:cut].count(b"\n") :]
            assert [event[1] for event in log if event[0] == verb] == [question.rewrite for question in missing]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("tail", [b"\0" * 700, b"\0" * 50 + b"\n", b'{"qid": "q5", "retri\n'])
def test_rubbish_behind_the_last_whole_line_is_cut_off(tmp_path, whole, stage, tail):
    data = (whole / stage).read_bytes()
    kept = b"\n".join(data.split(b"\n")[:5]) + b"\n"
    (whole / stage).write_bytes(kept + tail)
    predict(whole)
    assert b"\0" not in (whole / stage).read_bytes()
    predict(tmp_path / "again")
    assert_same_run(whole, tmp_path / "again")


def test_a_component_that_fails_leaves_what_was_done(tmp_path, whole):
    pipeline = make_pipeline()
    generator = pipeline.generator.get()
    generate = generator.generate

    def fail_at_the_third_chunk(conversations):
        if sum(event[0] == "generate" for event in generator.log) >= 6:
            raise MemoryError
        return generate(conversations)

    generator.generate = fail_at_the_third_chunk
    with pytest.raises(MemoryError):
        run_batch(pipeline, QUESTIONS, CORPUS, tmp_path / "run", IDENTITY)
    assert len(read_jsonl(tmp_path / "run" / GENERATED)) == 6
    predict(tmp_path / "run")
    assert_same_run(tmp_path / "run", whole)


def size(folder):
    return sum((folder / stage).stat().st_size for stage in STAGES if (folder / stage).is_file())


def start(folder):
    root = Path(batch.__file__).parent.parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root)}
    return subprocess.Popen([sys.executable, __file__, str(folder)], env=environment, stderr=subprocess.PIPE)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no kill -9")
def test_a_run_killed_again_and_again_ends_as_if_it_never_was(tmp_path, whole):
    folder, rng, killed = tmp_path / "killed", random.Random(1), 0
    slow_stages = size(whole) - (whole / PREDICTIONS).stat().st_size
    for wanted in sorted(rng.sample(range(1, slow_stages), 5)):
        process = start(folder)
        while process.poll() is None and size(folder) < wanted:
            time.sleep(0.002)
        time.sleep(rng.random() * 0.03)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.communicate()
    assert killed >= 3
    assert size(folder) < size(whole)
    process = start(folder)
    _, errors = process.communicate()
    assert process.returncode == 0, errors.decode()
    assert_same_run(folder, whole)


def test_a_folder_that_another_process_writes_is_refused(tmp_path):
    (tmp_path / "run").mkdir()
    with (
        FileLock(tmp_path / "run" / ".lock"),
        pytest.raises(RunMismatchError, match=r"another process is writing .*; wait until it has finished"),
    ):
        predict(tmp_path / "run")
    predict(tmp_path / "run")


def test_other_settings_are_refused_with_the_difference(whole):
    before = (whole / PREDICTIONS).read_bytes()
    with pytest.raises(RunMismatchError) as caught:
        predict(whole, identity=changed(reranker__depth=9, encoder="encoder-2"))
    message = str(caught.value)
    assert str(whole) in message
    assert "settings.reranker.depth: 4 there, 9 now" in message
    assert "encoder: 'encoder-1' there, 'encoder-2' now" in message
    assert "retriever" not in message
    assert "choose another -o" in message
    assert (whole / PREDICTIONS).read_bytes() == before


def test_a_setting_that_is_new_is_a_difference(whole):
    with pytest.raises(RunMismatchError, match=r"settings\.prompt\.contexts: None there, 3 now"):
        predict(whole, identity=changed(prompt__contexts=3))


def test_a_run_that_recorded_settings_of_training_goes_on(tmp_path):
    log = []
    older = changed(training__epochs=1.0, training__seed=None)  # as version 0.1.0 wrote them
    predict(tmp_path / "run", identity=older)
    before = (tmp_path / "run" / PREDICTIONS).read_bytes()
    (tmp_path / "run" / PREDICTIONS).write_bytes(before[: len(before) // 2])
    predict(tmp_path / "run", log=log)
    assert (tmp_path / "run" / PREDICTIONS).read_bytes() == before
    assert not events(log)
    with pytest.raises(RunMismatchError, match="generator: "):
        predict(tmp_path / "run", identity=changed(generator="another"))


def test_other_questions_are_refused(whole):
    with pytest.raises(RunMismatchError, match=r"n: 11 there, 10 now; questions: .* there, .* now"):
        predict(whole, questions=QUESTIONS[:-1])
    rewritten = [*QUESTIONS[:-1], Question("q10", "and 10?", "what else?")]
    with pytest.raises(RunMismatchError, match="questions: "):
        predict(whole, questions=rewritten)
    with pytest.raises(RunMismatchError, match="generate: True there, False now"):
        predict(whole, generate=False)


def test_predictions_of_unknown_origin_are_refused(whole):
    (whole / RUN_FILE).unlink()
    with pytest.raises(RunMismatchError, match=r"holds predictions but no run\.json; choose another folder"):
        predict(whole)


def test_the_run_file_says_what_made_the_run(whole):
    identity = json.loads((whole / RUN_FILE).read_text("utf-8"))
    assert identity.items() >= IDENTITY.items()
    assert (identity["n"], identity["generate"]) == (11, True)
    assert identity["questions"] == questions_sha256(QUESTIONS)


def forget_prompts(folder):
    """As older runs are: what was asked is not recorded, so that no answer is known."""
    rows = [{**row, "prompt_sha256": ""} for row in read_jsonl(folder / GENERATED)]
    (folder / GENERATED).write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def events(log):
    return {event[0] for event in log if isinstance(event, tuple)}


@pytest.mark.parametrize(
    ("other", "recomputed"),
    [
        ({}, set()),
        ({"version": "9"}, set()),
        ({"prompt_sha256": "other"}, {"generate"}),
        ({"rerank_threshold": -3.0}, set()),
        ({"generator": "other"}, {"generate"}),
        ({"generator__seed": 1}, {"generate"}),
        ({"prompt__contexts": 1}, {"generate"}),
        ({"reranker": "other"}, {"rerank", "generate"}),
        ({"reranker__precision": "int8"}, {"rerank", "generate"}),
        ({"reranker__depth": 3}, {"generate"}),
        ({"retriever__depth": 3}, {"retrieve", "generate"}),
        ({"index": "other"}, {"retrieve", "rerank", "generate"}),
        ({"index__factory": "other"}, {"retrieve", "generate"}),
    ],
)
def test_reuse_takes_over_the_stages_that_were_made_in_the_same_way(tmp_path, whole, other, recomputed):
    shutil.copytree(whole, tmp_path / "reused")
    forget_prompts(tmp_path / "reused")
    log = []
    predict(tmp_path / "run", log=log, identity=changed(**other), reuse=[tmp_path / "reused"])
    assert events(log) == recomputed
    assert_same_run(tmp_path / "run", whole if "generate" in recomputed else tmp_path / "reused")
    assert json.loads((tmp_path / "run" / RUN_FILE).read_text("utf-8")).items() >= changed(**other).items()


@pytest.mark.parametrize(
    ("theirs", "ours", "recomputed"),
    [(-3.0, -3.0, set()), (-3.0, -2.0, set()), (-3.0, -4.0, {"generate"}), (-3.0, None, {"generate"})],
)
def test_reuse_takes_answers_only_from_a_run_that_refused_no_more(tmp_path, theirs, ours, recomputed):
    log = []
    predict(tmp_path / "lax", identity=changed(rerank_threshold=theirs))
    forget_prompts(tmp_path / "lax")
    predict(tmp_path / "run", log=log, identity=changed(rerank_threshold=ours), reuse=[tmp_path / "lax"])
    assert events(log) == recomputed


def test_reuse_takes_nothing_from_other_questions_of_the_same_names(tmp_path, whole):
    others = [Question(q.id, q.text, f"something else about {n}?") for n, q in enumerate(QUESTIONS)]
    log = []
    predict(tmp_path / "run", log=log, questions=others, reuse=[whole])
    assert events(log) == {"retrieve", "rerank", "generate"}
    predict(tmp_path / "fresh", questions=others)
    assert_same_run(tmp_path / "run", tmp_path / "fresh")


def test_reuse_of_an_unfinished_run_takes_its_whole_lines(tmp_path, whole):
    os.truncate(whole / RERANKED, (whole / RERANKED).stat().st_size - 20)
    (whole / GENERATED).unlink()
    (whole / PREDICTIONS).unlink()
    log = []
    predict(tmp_path / "run", log=log, reuse=[whole])
    assert [event for event in log if event[0] in ("retrieve", "rerank")] == [("rerank", QUESTIONS[-1].rewrite)]
    predict(tmp_path / "fresh")
    assert_same_run(tmp_path / "run", tmp_path / "fresh")


def test_reuse_takes_no_stage_whose_forerunner_is_missing(tmp_path, whole):
    (whole / RETRIEVED).unlink()
    forget_prompts(whole)
    log = []
    predict(tmp_path / "run", log=log, identity=changed(index="other"), reuse=[whole])
    assert events(log) == {"retrieve", "rerank", "generate"}


def test_reuse_of_a_retrieval_run_answers_on_top_of_it(tmp_path, whole):
    predict(tmp_path / "bare", generate=False)
    log = []
    predict(tmp_path / "run", log=log, reuse=[tmp_path / "bare"])
    assert events(log) == {"generate"}
    assert_same_run(tmp_path / "run", whole)


def test_reuse_scores_only_the_pairs_that_no_other_run_holds(tmp_path, whole):
    predict(tmp_path / "half", questions=QUESTIONS[:5], generate=False)
    log = []
    predict(tmp_path / "run", log=log, generate=False, reuse=[tmp_path / "half"])
    assert [event for event in log if event[0] == "rerank"] == [("rerank", q.rewrite) for q in QUESTIONS[5:]]
    assert (tmp_path / "run" / RERANKED).read_text("utf-8").count("\n") == len(QUESTIONS)
    log = []
    predict(tmp_path / "again", log=log, generate=False, reuse=[tmp_path / "run", tmp_path / "half"])
    assert events(log) == set()


def test_equal_prompts_are_answered_once(tmp_path):
    predict(tmp_path / "three", identity=changed(prompt__contexts=3))
    log = []
    rows = read_jsonl(tmp_path / "three" / GENERATED)
    assert len({row["prompt_sha256"] for row in rows}) == len(QUESTIONS)
    (tmp_path / "three" / GENERATED).write_text("".join(json.dumps(row) + "\n" for row in rows[:7]), "utf-8")
    predict(tmp_path / "two", log=log, reuse=[tmp_path / "three"], identity=changed(prompt__contexts=2))
    assert [event[1] for event in log if event[0] == "generate"] == [q.rewrite for q in QUESTIONS[7:]]
    assert [row["raw"] for row in read_jsonl(tmp_path / "two" / GENERATED)] == [row["raw"] for row in rows]
    for setting in ({"generator": "generator-2"}, {"generator__seed": 1}):
        log = []
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        predict(folder, log=log, reuse=[tmp_path / "three"], identity=changed(**setting))
        assert sum(event[0] == "generate" for event in log) == len(QUESTIONS)


EXCERPTING = {"sentence_margin": 0.5, "identity": changed(prompt__sentence_margin=0.5)}


def test_chosen_sentences_are_a_stage_of_their_own(tmp_path):
    whole = predict(tmp_path / "whole", **EXCERPTING).parent
    rows = {row["qid"]: row for row in read_jsonl(whole / EXCERPTS)}
    assert list(rows) == [question.id for question in QUESTIONS]
    for row in read_jsonl(whole / PREDICTIONS):
        assert len(row["contexts"]) == 1  # of two: the other has no sentence near the best
        assert row["excerpts"] == rows[row["qid"]]["excerpts"]
        assert list(row["excerpts"]) == row["contexts"]
        assert row["seconds"]["excerpt"] >= 0
    shutil.copytree(whole, tmp_path / "torn")
    os.truncate(tmp_path / "torn" / EXCERPTS, (whole / EXCERPTS).stat().st_size - 20)
    for later in (GENERATED, PREDICTIONS):
        (tmp_path / "torn" / later).unlink()
    predict(tmp_path / "torn", **EXCERPTING)
    assert_same_run(tmp_path / "torn", whole, stages=(*STAGES, EXCERPTS))
    predict(tmp_path / "bare", generate=False, **EXCERPTING)
    assert not (tmp_path / "bare" / EXCERPTS).exists()


def test_chosen_sentences_are_reused_where_they_were_chosen_in_the_same_way(tmp_path):
    predict(tmp_path / "whole", **EXCERPTING)
    log = []
    other = {**EXCERPTING, "identity": changed(prompt__sentence_margin=0.5, generator="another")}
    predict(tmp_path / "generator", log=log, reuse=[tmp_path / "whole"], **other)
    assert events(log) == {"generate"}
    assert_same_run(tmp_path / "generator", tmp_path / "whole", stages=(*STAGES, EXCERPTS))
    for n, (margin, value) in enumerate(((None, 0), (2.0, 2.0))):
        log = []
        identity = changed(prompt__sentence_margin=value)
        predict(tmp_path / f"{n}", log=log, reuse=[tmp_path / "whole"], identity=identity, sentence_margin=margin)
        assert events(log) == ({"generate"} if margin is None else {"rerank", "generate"})
    log = []
    predict(tmp_path / "back", log=log, reuse=[tmp_path / "0"], **EXCERPTING)
    assert events(log) == {"rerank", "generate"}


def test_an_oracle_puts_gold_first_and_shares_no_scores(tmp_path, whole):
    (row,) = [row for row in read_jsonl(whole / PREDICTIONS) if row["qid"] == "q1"]
    found, low = row["reranked"][0][1], row["reranked"][-1][0]
    (missed, *_) = sorted({p.id for p in CORPUS} - {pid for pid, _ in row["retrieved"]})
    log, qrels = [], {"q1": {low: 1, missed: 2, "absent@0": 1, row["reranked"][1][0]: 0}}
    predict(tmp_path / "oracle", log=log, oracle=qrels, reuse=[whole])
    assert events(log) == {"generate"}
    rows = {row["qid"]: row for row in read_jsonl(tmp_path / "oracle" / PREDICTIONS)}
    assert rows["q1"]["reranked"][:2] == [[pid, found + 1] for pid in sorted([low, missed])]
    assert rows["q1"]["reranked"][2:] == [pair for pair in row["reranked"] if pair[0] != low]
    assert rows["q1"]["contexts"] == sorted([low, missed])
    assert rows["q2"]["reranked"] == read_jsonl(whole / PREDICTIONS)[2]["reranked"]
    log = []
    predict(tmp_path / "plain", log=log, reuse=[tmp_path / "oracle"], identity=changed(reranker__depth=3))
    assert "rerank" in events(log)
    for other in ({"q1": {low: 1}}, None):
        with pytest.raises(RunMismatchError, match="oracle"):
            predict(tmp_path / "oracle", oracle=other)
    with pytest.raises(DataError, match="for none of these questions"):
        predict(tmp_path / "none", oracle={"another": {low: 1}})
    assert not (tmp_path / "none").exists()


def test_reuse_of_no_run_folder_is_refused(tmp_path):
    with pytest.raises(RunMismatchError, match="is no run folder"):
        predict(tmp_path / "run", reuse=[tmp_path / "absent"])


def test_each_component_is_released_before_the_next_is_loaded(tmp_path):
    log = []

    def lazy(name, make):
        def load():
            log.append(f"load {name}")
            return make(log)

        return Lazy(load)

    pipeline = Pipeline(
        lazy("retriever", FakeRetriever), lazy("reranker", FakeReranker), lazy("generator", FakeGenerator), PROMPT
    )
    run_batch(pipeline, QUESTIONS, CORPUS, tmp_path / "run", IDENTITY)
    assert [event for event in log if isinstance(event, str)] == [
        f"{verb} {name}" for name in ("retriever", "reranker", "generator") for verb in ("load", "close")
    ]


def test_a_finished_stage_loads_no_component(whole):
    def refuse():
        raise AssertionError("loaded although its stage was done")

    (whole / PREDICTIONS).unlink()
    before = without_seconds(whole, GENERATED)
    run_batch(Pipeline(Lazy(refuse), Lazy(refuse), Lazy(refuse), PROMPT), QUESTIONS, CORPUS, whole, IDENTITY)
    assert without_seconds(whole, GENERATED) == before
    assert len(read_jsonl(whole / PREDICTIONS)) == len(QUESTIONS)


def test_a_released_component_leaves_the_memory_and_is_loaded_anew():
    lazy = Lazy(FakeRetriever)
    first = weakref.ref(lazy.get())
    assert lazy.get() is first()
    lazy.release()
    gc.collect()
    assert first() is None
    assert isinstance(lazy.get(), FakeRetriever)


def test_keeping_the_order_is_a_reranker_too(tmp_path):
    pipeline = make_pipeline(reranker=KeepOrder())
    run_batch(pipeline, QUESTIONS, CORPUS, tmp_path / "run", IDENTITY)
    assert all(row["reranked"] == row["retrieved"][:4] for row in read_jsonl(tmp_path / "run" / PREDICTIONS))


def test_half_a_surrogate_pair_in_an_id_or_a_question_survives(tmp_path):
    """JSON files can carry them, and UTF-8 cannot."""
    odd = [Question("q\ud83d", "why \udc00?", "why \udc00?"), *QUESTIONS[:2]]
    predict(tmp_path / "run", questions=odd)
    assert [(row["qid"], row["query"]) for row in read_jsonl(tmp_path / "run" / PREDICTIONS)] == [
        (q.id, q.rewrite) for q in odd
    ]
    log = []
    predict(tmp_path / "run", questions=odd, log=log)
    assert log == []


def test_no_question_is_no_prediction(tmp_path):
    assert read_jsonl(predict(tmp_path / "run", questions=[])) == []


if __name__ == "__main__":
    for name in ("STAGE_CHUNK", "RERANK_CHUNK", "ANSWER_CHUNK"):
        setattr(batch, name, 1)
    run_batch(make_pipeline(seconds=0.02), QUESTIONS, CORPUS, sys.argv[1], IDENTITY)
