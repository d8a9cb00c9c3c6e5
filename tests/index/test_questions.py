"""Questions beside passages: written once, embedded, counted by BM25, kept through updates, and never shown."""

import json

import numpy as np
import pytest

from rag.errors import ConfigError, IndexMismatchError
from rag.index.audit import audit
from rag.index.doctor import examine
from rag.index.folder import roll_back
from rag.index.manifest import QUESTIONED_VERSION
from rag.index.questions import Asking
from rag.index.read import open_index
from rag.index.write import build_generation, build_index
from rag.lazy import Lazy
from rag.retrieve.dense import DenseRetriever
from rag.retrieve.windows import QUESTION_SHARE
from rag.types import Passage
from tests.fakes.documents import WordEncoder
from tests.fakes.tiny import write_corpus

FILLER = " and so on, in many further words, as far as anybody who reads it may like to go on reading about it"
PASSAGES = [
    Passage(
        f"d{n}@0",
        f"Machine {n} stands in hall {n}{FILLER}. Later it leaves{FILLER}. Then it rests{FILLER}.",
        f"Machine {n}",
    )
    for n in range(30)
]
SHORT = Passage("s@0", "Contents", "Short")


class Asks:
    """Writes two questions about the title of a passage; stops at the passage that `fails` names."""

    def __init__(self, fails=None, words="costs"):
        self.fails, self.words, self.asked, self.closed = fails, words, [], 0

    def generate(self, conversations):
        shown = [conversation[-1]["content"].split("\n") for conversation in conversations]
        titles = [title for title, _ in shown]
        if self.fails in titles:
            raise KeyboardInterrupt
        self.asked += titles
        return [f"Whatever {self.words} {title}, and what of {text.split()[0]} in it?" for title, text in shown]

    def close(self):
        self.closed += 1


def build(folder, passages, generator=None, n=None, **more):
    file = write_corpus(folder / "corpus.txt", passages)
    asking = Asking(n, Lazy(lambda: generator or pytest.fail("nothing is left to ask")))
    return build_index(file, folder / "index", more.pop("encoder", WordEncoder()), asking=asking, **more)


def dense(folder):
    opened = open_index(folder / "index")
    return DenseRetriever(WordEncoder(), opened.vectors(), opened.corpus, windows=opened.windows())


def state(folder):
    opened = open_index(folder / "index")
    n = len(opened.corpus) + len(opened.windows())
    return (
        opened.manifest.fingerprint,
        opened.windows().tolist(),
        np.round(opened.vectors().vectors(range(n)), 5).tolist(),
        opened.questions().questions,
        [[(hit.passage.id, hit.score) for hit in hits] for hits in opened.bm25().retrieve(["whatever costs 3"], 9)],
    )


def test_a_passage_is_found_by_its_questions_and_shown_without_them(tmp_path):
    generator = Asks()
    manifest = build(tmp_path, [*PASSAGES, SHORT], generator, 2)
    assert (manifest.questions, manifest.format_version) == (2, QUESTIONED_VERSION)
    assert sorted(generator.asked) == sorted(2 * [passage.title for passage in PASSAGES])
    assert generator.closed == 1
    opened = open_index(tmp_path / "index")
    assert opened.questions().questions[30] == ()
    own = opened.questions().questions[3]
    assert own == tuple(f"Whatever costs Machine 3, and what of {word} in it?" for word in ("Machine", "Later"))
    assert opened.windows().tolist() == [row for row in range(30) for _ in range(2)]
    (hits,) = dense(tmp_path).retrieve([own[1]], 31)
    assert len({hit.passage.id for hit in hits}) == 31
    encoder = WordEncoder()
    (question,), _ = encoder.encode_passages([own[1]])
    rows, _ = encoder.encode_passages([PASSAGES[3].content, *own])
    mixed = [rows[0], *(QUESTION_SHARE * row + (1 - QUESTION_SHARE) * rows[0] for row in rows[1:])]
    (score,) = [hit.score for hit in hits if hit.passage.id == PASSAGES[3].id]
    assert score == pytest.approx(max(float(row @ question) for row in mixed), abs=1e-5)
    assert score > float(rows[0] @ question)
    (hits,) = opened.bm25().retrieve(["costs"], 40)  # a word of the questions alone
    assert len(hits) == 30
    assert "costs" not in hits[0].passage.content


def test_questions_make_another_index_and_none_leave_it_as_it_was(tmp_path):
    plain = build(tmp_path, PASSAGES)
    assert "questions" not in json.loads((next((tmp_path / "index").glob("gen*")) / "manifest.json").read_text("utf-8"))
    asked = build(tmp_path, PASSAGES, Asks(), 2)
    other = build(tmp_path, PASSAGES, Asks(words="heats"), 3)  # those that are there come first
    assert len({plain.fingerprint, asked.fingerprint, other.fingerprint}) == 3
    assert [len(own) for own in open_index(tmp_path / "index").questions().questions] == [3] * 30
    assert "heats" in open_index(tmp_path / "index").questions().questions[0][2]
    assert build(tmp_path, PASSAGES, n=2).fingerprint == asked.fingerprint
    assert build(tmp_path, PASSAGES, n=0).fingerprint == plain.fingerprint
    assert len(open_index(tmp_path / "index").windows()) == 0
    roll_back(tmp_path / "index")
    assert open_index(tmp_path / "index").manifest.questions == 2


@pytest.mark.parametrize("window_sentences", [0, 1])
def test_an_index_that_follows_its_corpus_equals_a_new_one(tmp_path, window_sentences):
    passages = [*PASSAGES[:6], Passage("w@0", f"One is odd{FILLER}. Two is even{FILLER}. Three is odd.", "Numbers")]
    build(tmp_path, passages, Asks(), 2, window_sentences=window_sentences)
    changed = [PASSAGES[9], *passages[2:], Passage("again@0", PASSAGES[2].text, PASSAGES[2].title)]
    generator, encoder = Asks(), WordEncoder()
    build(tmp_path, changed, generator, encoder=encoder)  # None keeps two questions
    assert generator.asked == 2 * [PASSAGES[9].title]
    fresh = open_index(tmp_path / "index").questions().questions[0]
    assert sorted(text for text in encoder.embedded if "costs" in text) == sorted(fresh)
    (tmp_path / "new").mkdir()
    build(tmp_path / "new", changed, Asks(), 2, window_sentences=window_sentences)
    assert state(tmp_path) == state(tmp_path / "new")
    build(tmp_path, changed)  # nothing has changed: nothing is asked


@pytest.mark.parametrize("is_link", [False, True])
def test_what_stands_in_the_place_of_the_build_is_removed(tmp_path, is_link):
    build(tmp_path, PASSAGES[:3])
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "note.txt").write_text("mine", "utf-8")
    place = tmp_path / "index" / "building"
    if is_link:
        place.symlink_to(outside)
    else:
        place.write_text("no folder", "utf-8")
    assert build(tmp_path, PASSAGES[:3], Asks(), 1).questions == 1
    assert not place.exists()
    assert [path.name for path in outside.iterdir()] == ["note.txt"]


def test_a_killed_build_asks_about_the_rest_only(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, PASSAGES, Asks(fails="Machine 20"), 2)
    file = tmp_path / "index" / "building" / "questions.jsonl"
    assert len(file.read_bytes().splitlines()) == 16
    with file.open("ab") as stream:
        stream.write(b'{"passage": "torn')

    class Killed(WordEncoder):
        def encode_passages(self, texts, label="", advance=lambda n: None):
            raise KeyboardInterrupt

    rest = Asks()
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, PASSAGES, rest, 2, encoder=Killed())
    assert len(rest.asked) == 2 * 14
    build(tmp_path, PASSAGES, n=2)  # what was written before the second kill is there
    (tmp_path / "new").mkdir()
    build(tmp_path / "new", PASSAGES, Asks(), 2)
    assert state(tmp_path) == state(tmp_path / "new")
    assert not (tmp_path / "index" / "building").exists()


def test_what_the_generator_could_not_ask_is_not_asked_again(tmp_path):
    class Silent(Asks):
        def generate(self, conversations):
            super().generate(conversations)
            return ["No question."] * len(conversations)

    silent = Silent()
    build(tmp_path, PASSAGES[:4], silent, 2)
    assert len(silent.asked) == 8
    assert len(open_index(tmp_path / "index").windows()) == 0
    build(tmp_path, PASSAGES[:5], Asks(), 2)
    assert [len(own) for own in open_index(tmp_path / "index").questions().questions] == [0, 0, 0, 0, 2]


def test_without_a_generator_missing_questions_are_refused(tmp_path):
    file = write_corpus(tmp_path / "corpus.txt", PASSAGES[:3])
    with pytest.raises(ConfigError, match=r"3 passages have no questions.*index\.questions=0"):
        build_index(file, tmp_path / "index", WordEncoder(), asking=Asking(2))
    assert not list((tmp_path / "index").glob("generation-*"))


def test_doctor_and_audit_know_an_index_with_questions(tmp_path):
    build(tmp_path, PASSAGES, Asks(), 2)
    index, encoder = tmp_path / "index", Lazy.of(WordEncoder())
    assert examine(index, encoder) == []
    assert not any(found.kind.startswith("near") for found in audit(index))
    part = next(index.glob("generation-*")) / "questions.jsonl"
    whole = part.read_bytes()
    part.write_bytes(whole.replace(b"costs", b"heats"))
    findings = examine(index, encoder)
    assert [finding.severity for finding in findings] == ["broken"]
    assert "questions.jsonl is missing or damaged" in findings[0].what
    with pytest.raises(IndexMismatchError, match=r"questions\.jsonl"):
        open_index(index).questions()
    again = Asks()  # they are written anew
    build(tmp_path, PASSAGES, again)
    assert len(again.asked) == 60
    assert next(index.glob("generation-*/questions.jsonl")).read_bytes() == whole
    assert examine(index, encoder) == []


def test_encoding_again_keeps_the_questions(tmp_path):
    build(tmp_path, PASSAGES, Asks(), 2)
    opened = open_index(tmp_path / "index")
    before = opened.questions()
    build_generation(opened.corpus, tmp_path / "index", WordEncoder("v" * 64), from_scratch=True)
    after = open_index(tmp_path / "index")
    assert after.questions() == before
    assert len(after.vectors()) == 90


def test_a_large_index_with_questions_is_made_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("rag.index.update.LEAST_PASSAGES", 2)
    build(tmp_path, PASSAGES, Asks(), 1)
    build(tmp_path, PASSAGES[1:], Asks())
    assert not list((tmp_path / "index").glob("generation-*/segments.json"))
    build(tmp_path, PASSAGES[2:], n=0)
    build(tmp_path, PASSAGES[3:])
    assert list((tmp_path / "index").glob("generation-*/segments.json"))
