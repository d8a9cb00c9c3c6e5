"""From an index about which nobody has asked anything to a compared retriever, by one command, on tiny models."""

import dataclasses
import json

import pytest
from typer.testing import CliRunner

from rag.build import parts
from rag.build import written as writing
from rag.build.indexes import make_index
from rag.build.serving import serving_over
from rag.cli.lines import adapted_lines
from rag.cli.main import app
from rag.config import load_settings
from rag.data.labelled import load_examples
from rag.errors import ConfigError, DataError, RunMismatchError
from rag.evaluate.verdict import PROMOTE
from rag.index.read import open_index
from rag.resume import read_jsonl
from rag.train import adapt as adapting
from rag.train.adapt import Adapted, Adapting, adapt, plan
from rag.train.promote import promote_model
from tests.fakes.tiny import write_corpus
from tests.fakes.training import NOUNS, PASSAGES, quick

FILLER = ", and " + "so on " * 10 + ". Nobody asks " + "so much " * 10 + "."
SMALL = {"sample": 28, "per_passage": 2, "per_question": 3, "depth": 5, "round_trip": 5}


class Asks:
    """Asks two questions about a passage, the second one about nothing that it says; stops at call `fails`."""

    def __init__(self, fails=None):
        self.fails, self.calls = fails, 0

    def generate(self, conversations):
        self.calls += 1
        if self.calls == self.fails:
            raise KeyboardInterrupt
        return [
            "what is it that nobody ever asks about?"
            if conversation[-1]["content"].splitlines()[1].startswith("Nobody asks")
            else f"who built the {conversation[-1]['content'].splitlines()[0]}?"
            for conversation in conversations
        ]


@pytest.fixture
def long(data, monkeypatch):
    """Settings, and a folder with an index of passages long enough to be asked about, and people's questions."""
    settings, folder = quick(data[0]), data[1]
    passages = [dataclasses.replace(p, text=p.text + FILLER, title=NOUNS[n]) for n, p in enumerate(PASSAGES)]
    make_index(settings, write_corpus(folder / "long.txt", passages), folder / "long")
    asked = (folder / "dev.txt").read_text("utf-8")
    for short, passage in zip(PASSAGES, passages, strict=True):
        asked = asked.replace(json.dumps(short.text), json.dumps(passage.text))
    (folder / "dev.txt").write_text(asked, "utf-8")
    monkeypatch.setattr(writing, "generator_identity", lambda settings: "asks")
    monkeypatch.setattr(writing, "CHUNK_PASSAGES", 8)
    return settings, folder


def generator(monkeypatch, fails=None):
    made = Asks(fails)
    monkeypatch.setattr(parts, "make_generator", lambda settings, interactive: made)
    return made


def test_a_killed_adaption_goes_on_and_people_judge(long, monkeypatch):
    settings, folder = long
    serving, out = serving_over(settings, folder / "long"), folder / "out"
    chosen = Adapting(**SMALL, dev=folder / "dev.txt")
    lines = plan(serving, chosen)
    assert "2 questions about each of 28 passages, of 30 that are long enough: 56 questions at most" in lines[0]
    assert "336 pairs at most" in lines[2]
    assert "people's questions: 4 choose the checkpoint, 4 others judge (few" in lines[4]
    assert not out.exists()
    # Killed while mining; before that, the first chunk of questions was written twice at most.
    plain = adapting.mine_negatives
    monkeypatch.setattr(adapting, "mine_negatives", lambda *given, **more: (_ for _ in ()).throw(KeyboardInterrupt))
    first = generator(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        adapt(serving, out, chosen)
    assert first.calls > 0
    kept = (out / "kept.txt").read_bytes()
    monkeypatch.setattr(adapting, "mine_negatives", plain)
    second = generator(monkeypatch)
    monkeypatch.setattr(serving.__class__, "retriever", lambda *given: pytest.fail("the round trip is made again"))
    made = adapt(serving, out, chosen)
    assert second.calls == 0
    assert (out / "kept.txt").read_bytes() == kept
    # One question was written for many passages; it is kept once at most, and the others find their own passage.
    assert 28 <= made.n_written <= 29
    assert 0 < made.n_kept <= made.n_written
    ranks = {row["qid"]: row["rank"] for row in read_jsonl(out / "round-trip.jsonl")}
    assert {row["qid"] for row in read_jsonl(out / "kept.txt")} == {qid for qid, rank in ranks.items() if rank}
    record = json.loads((out / "retriever" / "gate.json").read_text("utf-8"))
    assert made.records == {"retriever": record}
    assert (record["n_dev"], made.is_verdict) == (4, True)
    assert json.loads((out / "retriever" / "training.json").read_text("utf-8"))["recipe"]["tuned_share"] == 0.5
    with pytest.raises(RunMismatchError, match="per_passage"):
        adapt(serving, out, dataclasses.replace(chosen, per_passage=3))


def test_written_questions_compare_and_never_judge(long, monkeypatch):
    settings, folder = long
    generator(monkeypatch)
    serving, out = serving_over(settings, folder / "long"), folder / "out"
    chosen = Adapting(**SMALL)
    assert "no verdict, and nothing can be promoted" in plan(serving, chosen)[-1]
    made = adapt(serving, out, chosen)
    assert (made.is_verdict, made.to_promote) == (False, [])
    assert made.records["retriever"]["n_dev"] > 0
    told = "\n".join(adapted_lines(made, out, folder / "long"))
    assert "held-out questions that the generator wrote" in told
    assert "rag train gate" in told
    assert "PROMOTE" not in told
    assert not (out / "retriever" / "gate.json").exists()
    with pytest.raises(ConfigError, match="no verdict"):
        promote_model(out / "retriever")
    written = load_examples(out / "kept.txt", open_index(folder / "long").corpus)
    assert written.examples
    with pytest.raises(DataError, match="written by a model"):
        plan(serving, dataclasses.replace(chosen, dev=out / "kept.txt"))


def test_what_is_to_be_promoted_is_said(tmp_path):
    figures = {"base": 0.1, "tuned": 0.2, "difference": 0.1, "interval": None, "p_value": 0.01, "n": 9}
    record = {"verdict": PROMOTE, "reasons": [], "metrics": {"mrr@10": figures}, "shuffle_floor": 0.1}
    passed = Adapted(9, 8, {"retriever": record}, True)
    lines = adapted_lines(passed, tmp_path / "out", tmp_path / "my.index")
    assert f"serve it: rag promote {tmp_path / 'out' / 'retriever'}" in lines
    assert f"then encode again: rag index --rebuild -o {tmp_path / 'my.index'}" in lines
    kept = Adapted(9, 8, {"retriever": {**record, "verdict": "KEEP BASE", "reasons": ["worse"]}}, True)
    assert "nothing to promote" in adapted_lines(kept, tmp_path / "out", tmp_path / "my.index")[-1]


def test_the_commands_say_what_they_would_do_and_what_they_did(long, monkeypatch):
    settings, folder = long
    chosen = [f"encoder.model={settings.encoder.model}", f"reranker.model={settings.reranker.model}"]
    options = [
        part for setting in (*chosen, "retriever.kind=bm25", "reader.enabled=false") for part in ("--set", setting)
    ]
    index = str(folder / "long")
    planned = CliRunner().invoke(app, ["adapt", index, "--plan", "--per-passage", "2", *options])
    assert (planned.exit_code, planned.exception) == (0, None)
    assert "60 questions at most" in " ".join(planned.output.split())
    assert not (folder / "long.adapted").exists()
    (folder / "asked.txt").write_text(f"who built the {NOUNS[0]}\n", "utf-8")
    out = str(folder / "labelled.txt")
    done = CliRunner().invoke(
        app, ["label", str(folder / "asked.txt"), "-i", index, "-o", out, "--min-score", "0", *options]
    )
    assert (done.exit_code, done.exception) == (0, None)
    assert "1 of 1 questions are labelled" in " ".join(done.output.split())
    assert (folder / "labelled.negatives.jsonl").is_file()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": "lasttoken"}, "choose distill, margin or mined"),
        ({"recipe": "report"}, "choose distill, margin or mined"),
        ({"depth": 3}, "--per-question 3 and --depth 4, or more"),
        ({"per_question": 2}, "--per-question 3 and --depth 4, or more"),
    ],
)
def test_what_could_not_be_trained_on_is_refused_before_anything_is_written(long, monkeypatch, changes, message):
    settings, folder = long
    serving, made = serving_over(settings, folder / "long"), generator(monkeypatch)
    for refusing in (plan, lambda *given: adapt(given[0], folder / "out", given[1])):
        with pytest.raises(ConfigError, match=message):
            refusing(serving, Adapting(**{**SMALL, **changes}))
    lines = (folder / "dev.txt").read_text("utf-8").splitlines(keepends=True)
    (folder / "one.txt").write_text(lines[0], "utf-8")
    with pytest.raises(DataError, match="two answerable questions"):
        adapt(serving, folder / "out", Adapting(**SMALL, dev=folder / "one.txt"))
    assert made.calls == 0
    assert not (folder / "out").exists()


def test_a_reranker_is_needed_to_label(long):
    settings, folder = long
    off = load_settings(overrides=["reranker.enabled=false", f"encoder.model={settings.encoder.model}"])
    with pytest.raises(ConfigError, match="reranker"):
        plan(serving_over(off, folder / "long"), Adapting())
