"""Calibrating without labelled questions: what is asked, withheld and stored; kills, and weak generators."""

import json
import re

import pytest
from typer.testing import CliRunner

from rag.build import parts
from rag.build import written as writing
from rag.build.indexes import make_index
from rag.build.serving import serving_over
from rag.cli.main import app
from rag.config import load_settings
from rag.errors import ConfigError, DataError, RunMismatchError
from rag.evidence import EvidenceThreshold
from rag.index.calibration import CALIBRATION_FILE, uncalibrated_lines
from rag.index.doctor import examine
from rag.lazy import Lazy
from rag.resume import read_jsonl
from rag.runs import calibrate_written, written
from rag.runs.calibrate_written import make_written_calibration
from rag.types import CANNOTANSWER, Hit, Passage, ranked
from tests.fakes.tiny import write_corpus

LIMITS = {"min_precision": 0.5, "max_wrong_refusals": 0.15}
N = 12
FILLER = "and many further words make it long enough to be asked about by somebody who has never seen it"


def lamp(n):
    return Passage(f"d{n}@0", f"The keeper of Lamp{n} in Hale{n} is Voss{n} {FILLER}", f"Lamp{n} in Hale{n}", "lamps")


PASSAGES = [lamp(n) for n in range(N)] + [
    Passage(f"d{n}@1", f"Lamp{n} in Hale{n} was painted", "Paint") for n in range(N)
]
COPIES = [Passage(f"copy{n}@0", f"Voss{n} keeps a lamp in a town", "Keepers") for n in range(N)]


class Asks:
    """Asks who keeps a lamp, and reads the keeper off the passage; stops at its `dies`-th conversation.

    `answer` says what it makes of the right answer.
    """

    context_window_tokens = 10_000

    def __init__(self, answer=str, dies=None):
        self.answer, self.dies, self.calls, self.started, self.closed = answer, dies, [], 0, 0

    def make(self, settings, interactive):
        self.started += 1
        return self

    def close(self):
        self.closed += 1

    def count_tokens(self, conversation):
        return sum(len(message["content"].split()) for message in conversation)

    def generate(self, conversations):
        said = [self._says(conversation[-1]["content"]) for conversation in conversations]
        if self.dies is not None and len(self.calls) + len(said) > self.dies:
            raise KeyboardInterrupt
        self.calls += said
        return said

    def _says(self, content):
        if "Who keeps" in content:
            return self.answer(content.split(" is ")[1].split()[0])
        return f"Who keeps {content.splitlines()[0]}?"


class Knows:
    """A reranker that knows whether all names of a question stand in a passage."""

    def rerank(self, queries, candidates):
        return [
            ranked([Hit(hit.passage, self._score(query, hit.passage)) for hit in hits])
            for query, hits in zip(queries, candidates, strict=True)
        ]

    def _score(self, query, passage):
        return 5.0 if set(re.findall(r"(?:Lamp|Hale)\d+", query)) <= set(passage.text.split()) else -5.0


@pytest.fixture
def serving(encoder, tmp_path, monkeypatch):
    """What serves over the lamps: BM25, the reranker that knows, and a generator."""
    monkeypatch.setenv("RAG_HOME", str(tmp_path / "home"))
    weights = tmp_path / "reranker"
    weights.mkdir()
    (weights / "config.json").write_text("{}", "utf-8")
    (weights / "model.safetensors").write_bytes(b"weights")
    monkeypatch.setattr("rag.build.serving.reranker_of", lambda settings, model: Knows())
    for module in (writing, written, calibrate_written):
        monkeypatch.setattr(module, "generator_identity", lambda settings: "asks")
    settings = load_settings(None, [f"reranker.model={weights}", "retriever.kind=bm25", "reader.enabled=false"])

    def make(generator, passages=(*PASSAGES, *COPIES)):
        monkeypatch.setattr(parts, "make_generator", generator.make)
        make_index(settings, write_corpus(tmp_path / "lamps.txt", passages), tmp_path / "lamps")
        return serving_over(settings, tmp_path / "lamps")

    return make


def stored(serving):
    return json.loads((serving.index_folder / CALIBRATION_FILE).read_text("utf-8"))


def run_of(serving, name):
    (folder,) = serving.index_folder.glob("calibration-run-*")
    return {row["qid"]: row for row in read_jsonl(folder / name / "predictions.jsonl")}


def test_a_new_index_is_calibrated_without_a_labelled_question(serving):
    made = serving(Asks())
    assert any("rag calibrate --written -i" in line for line in uncalibrated_lines(made.index_folder))
    lines = make_written_calibration(made, None, None, **LIMITS)
    record = stored(made)
    assert record["questions"] == "written"
    assert record["made"] == {"as_written": N, "withheld": N, "near_twins": N}
    assert (record["n"], record["n_unanswerable"], record["unanswerable_share"]) == (3 * N, 2 * N, 0.2)
    assert record["auc"] == 1.0
    threshold = serving_over(made.settings, made.index_folder).rerank_threshold
    assert threshold == record["threshold"]
    assert -5.0 < threshold <= 5.0
    assert f"{N} written questions are answered from their passages" in lines[0]
    assert any("as if 20% of the questions were unanswerable" in line for line in lines)
    assert uncalibrated_lines(made.index_folder) == []


def test_no_model_is_fitted_but_the_one_that_came_with_the_reader_is_used(serving, monkeypatch):
    model = {"features": ["rerank"], "mean": [1.0], "scale": [2.0], "weights": [3.0], "bias": 4.0}
    monkeypatch.setattr(calibrate_written, "calibration_beside", lambda *given: {"evidence": model})
    made = serving(Asks())
    lines = make_written_calibration(made, None, None, **LIMITS)
    record = stored(made)
    assert {key: record["evidence"][key] for key in model} == model
    threshold = serving_over(made.settings, made.index_folder).rerank_threshold
    assert isinstance(threshold, EvidenceThreshold)
    assert threshold.value == record["evidence"]["threshold"]
    # 4 + 3 * (5 - 1) / 2 = 10 for those answered, 4 + 3 * (-5 - 1) / 2 = -5 for the others.
    assert -5.0 < threshold.value <= 10.0
    assert threshold.model.score({"rerank": 5.0}) == 10.0
    assert any(line.startswith("refused by all evidence") for line in lines)
    assert "compared" not in record


def test_a_withheld_question_finds_neither_its_document_nor_the_answers_words(serving):
    made = serving(Asks())
    make_written_calibration(made, None, None, **LIMITS)
    asked, refused = run_of(made, "asked"), run_of(made, "refused")
    for n in range(N):
        found = {pid for pid, _ in asked[f"written_d{n}@0"]["reranked"]}
        assert {f"d{n}@0", f"d{n}@1"} <= found
        left = {pid for pid, _ in refused[f"written_d{n}@0 withheld"]["reranked"]}
        assert left
        assert not left & {f"d{n}@0", f"d{n}@1", f"copy{n}@0"}
        assert refused[f"written_d{n}@0 withheld"]["query"] == asked[f"written_d{n}@0"]["query"]


def test_a_near_twin_is_asked_of_nothing_and_searched_as_usual(serving):
    made = serving(Asks())
    make_written_calibration(made, None, None, **LIMITS)
    asked, refused = run_of(made, "asked"), run_of(made, "refused")
    twins = {qid: row["query"] for qid, row in refused.items() if qid.endswith(" near-twin")}
    assert len(twins) == N
    assert not set(twins.values()) & {row["query"] for row in asked.values()}
    assert any("d3@0" in [pid for pid, _ in row["reranked"]] for qid, row in refused.items() if qid in twins)


def test_a_near_twin_that_a_passage_answers_does_not_count(serving):
    # Every keeper keeps every lamp: a near-twin finds the answer beside what was put in.
    everywhere = " ".join(f"Lamp{n} Hale{n}" for n in range(N))
    made = serving(Asks(), [Passage(f"d{n}@0", f"{lamp(n).text} {everywhere}", lamp(n).title) for n in range(N)])
    make_written_calibration(made, None, None, **LIMITS)
    assert stored(made)["made"] == {"as_written": N, "withheld": N, "near_twins": 0}


def test_a_question_with_one_name_has_no_near_twin_because_others_answer_that(serving):
    made = serving(Asks(), [Passage(f"d{n}@0", lamp(n).text, f"the Lamp{n}") for n in range(N)])
    make_written_calibration(made, None, None, **LIMITS)
    assert run_of(made, "asked")["written_d3@0"]["query"] == "Who keeps the Lamp3?"
    assert stored(made)["made"] == {"as_written": N, "withheld": N, "near_twins": 0}


def test_the_document_of_all_passages_is_withheld_as_far_as_it_answers(serving):
    one = [Passage(f"all@{n}", passage.text, passage.title) for n, passage in enumerate(PASSAGES)]
    made = serving(Asks(), one)
    make_written_calibration(made, None, None, **LIMITS)
    refused = run_of(made, "refused")
    for n in range(N):
        left = {pid for pid, _ in refused[f"written_all@{n} withheld"]["reranked"]}
        assert f"all@{n}" not in left
        assert f"all@{N + n}" in left  # the painted lamp is not its keeper
    assert stored(made)["made"]["withheld"] == N


@pytest.mark.parametrize("dies", [7, N + 5])
def test_a_killed_calibration_goes_on(serving, monkeypatch, dies):
    monkeypatch.setattr(calibrate_written, "CHUNK_PASSAGES", 4)
    monkeypatch.setattr(written, "CHUNK_ANSWERS", 4)
    whole, first, rest = Asks(), Asks(dies=dies), Asks()
    made = serving(whole)
    make_written_calibration(made, None, None, **LIMITS)
    expected = stored(made)
    made = serving(first)
    for path in made.index_folder.glob("calibration*"):
        path.unlink() if path.is_file() else [child.unlink() for child in path.rglob("*") if child.is_file()]
    with pytest.raises(KeyboardInterrupt):
        make_written_calibration(made, None, None, **LIMITS)
    assert 0 < len(first.calls) < len(whole.calls)
    made = serving(rest)
    make_written_calibration(made, None, None, **LIMITS)
    assert rest.calls == whole.calls[len(first.calls) :]
    assert {**stored(made), "created": None, "sha256": None} == {**expected, "created": None, "sha256": None}
    make_written_calibration(made, None, None, **LIMITS)
    assert rest.started == 1
    assert (whole.closed, rest.closed) == (1, 1)


def test_questions_written_once_serve_again(serving, tmp_path):
    generator = Asks()
    made = serving(generator)
    writing.write_training_questions(made, tmp_path / "own.txt")
    generator.calls.clear()
    make_written_calibration(made, tmp_path / "own.txt", tmp_path / "run", sample=9, **LIMITS)
    assert len(generator.calls) == 9
    assert all(said.startswith("Voss") for said in generator.calls)
    record = stored(made)
    assert (record["queries"], record["questions"]) == (str(tmp_path / "own.txt"), "written")
    assert record["made"]["as_written"] == 9
    assert (tmp_path / "run" / "asked" / "predictions.jsonl").is_file()
    assert not list(made.index_folder.glob("calibration-*"))


def test_of_other_kinds_only_what_finds_its_passage_is_kept(serving, tmp_path):
    class Writes(Asks):
        def generate(self, conversations):
            numbers = [re.search(r"Voss(\d+)", conversation[-1]["content"])[1] for conversation in conversations]
            return ["painted Lamp11" if n == "3" else f"Lamp{n} Hale{n} keeper Voss{n}" for n in numbers]

    made = serving(Writes())
    for round_trip, n in ((0, N), (1, N - 1)):
        file = tmp_path / f"{round_trip}.txt"
        writing.write_found_questions(made, file, round_trip, kinds=["keywords"])
        rows = read_jsonl(file)
        assert len(rows) == n
        assert ("written_keywords_d3@0" in {row["qid"] for row in rows}) == (round_trip == 0)
    assert len(read_jsonl(tmp_path / "1.all.txt")) == N
    # Started again with the same it is left as it is; with another it is refused, and not written over.
    before = (tmp_path / "1.txt").read_bytes()
    writing.write_found_questions(made, tmp_path / "1.txt", 1, kinds=["keywords"])
    for file, round_trip in (("0.txt", 1), ("1.txt", 0), ("1.txt", 2)):
        with pytest.raises(RunMismatchError, match="was made otherwise"):
            writing.write_found_questions(made, tmp_path / file, round_trip, kinds=["keywords"])
    assert (tmp_path / "1.txt").read_bytes() == before
    with pytest.raises(ConfigError, match="no kind of text is called 'poem'; choose one of question, claim, keywords"):
        writing.write_training_questions(made, tmp_path / "no.txt", kinds=["poem"])


def test_known_answers_need_no_generator(serving, tmp_path):
    made = serving(Asks())
    row = {"question": "Who keeps Lamp3 in Hale3?", "evidences": [lamp(3).text], "retrieval_labels": [1]}
    rows = [{**row, "qid": "q", "answer": {"text": "Voss3"}}, {**row, "qid": "same", "answer": {"text": "Voss3"}}]
    (tmp_path / "own.txt").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    generator = Asks(dies=0)
    made = serving(generator)
    make_written_calibration(made, tmp_path / "own.txt", None, **LIMITS)
    assert generator.started == 0
    assert stored(made)["made"] == {"as_written": 1, "withheld": 1, "near_twins": 0}  # one question asked twice


def test_what_its_own_passage_does_not_answer_is_left_out(serving):
    made = serving(Asks(answer=lambda right: right if int(right[4:]) % 2 else "Halloran"))
    make_written_calibration(made, None, None, **LIMITS)
    assert stored(made)["made"]["as_written"] == N // 2
    assert set(run_of(made, "asked")) == {f"written_d{n}@0" for n in range(1, N, 2)}


def test_a_generator_that_cannot_ask_or_answer_is_told(serving):
    with pytest.raises(DataError, match=r"answered none of 12 questions .* --set generator.model=MODEL"):
        make_written_calibration(serving(Asks(answer=lambda right: CANNOTANSWER)), None, None, **LIMITS)
    mute = Asks()
    mute._says = lambda content: "A lamp."
    with pytest.raises(DataError, match="wrote no usable question"):
        make_written_calibration(serving(mute), None, None, sample=5, **LIMITS)


def test_without_a_reranker_nothing_is_written(serving):
    generator = Asks()
    made = serving(generator)
    off = made.settings.reranker.model_copy(update={"enabled": False})
    made = serving_over(made.settings.model_copy(update={"reranker": off}), made.index_folder)
    with pytest.raises(ConfigError, match=r"leave reranker\.enabled"):
        make_written_calibration(made, None, None, **LIMITS)
    assert generator.started == 0


def test_after_a_change_of_the_index_the_same_calibration_is_named_again(serving, encoder):
    made = serving(Asks())
    make_written_calibration(made, None, None, **LIMITS)
    made = serving(Asks(), PASSAGES)
    findings = {finding.what: finding.mend for finding in examine(made.index_folder, Lazy.of(encoder))}
    what = "its calibration from written questions was made before it changed, and is not applied"
    assert findings[what] == f"rag calibrate --written -i {made.index_folder}"


@pytest.mark.parametrize(
    ("options", "message"), [([], "--written"), (["--written", "--limit", "5"], "--sample")], ids=["none", "limit"]
)
def test_the_command_says_what_it_needs(tmp_path, options, message):
    result = CliRunner().invoke(app, ["calibrate", "-i", str(tmp_path), *options], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert message in result.output
