"""Questions to begin with: written while nobody waits, kept, and shown to whom they may be shown."""

import json
import threading
from functools import partial

from rag.data.passages import Corpus
from rag.documents.records import HASH_CHARACTERS
from rag.progress import Waiting
from rag.serve.readers import Readers
from rag.serve.suggestions import SHOWN, WRITTEN, Suggestions
from rag.serve.users import Users
from rag.types import Passage, Place
from tests.fakes.pages import make_chat
from tests.fakes.pipelines import Echo
from tests.fakes.writers import eventually

PROSE = (
    "The harbour of Stenfeld was deepened twice, and since then the larger ships of the river company call there in "
    "every week of the summer."
)


def passages(n, document="doc{}"):
    return [
        Passage(f"{document.format(k)}@0", f"Number {k}. {PROSE}", f"Title {k}", place=Place(0, 10, None))
        for k in range(n)
    ]


class Asks(Echo):
    """Writes a question about the passage that it is shown."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def stream(self, conversation):
        title = conversation[-1]["content"].split("\n")[0]
        self.asked.append(title)
        yield "What is it "
        yield f"that {title} tells us? And more"


def suggestions(tmp_path, corpus, chat=None, readers=None, **more):
    chat = chat or make_chat(Asks())
    return Suggestions(chat, lambda: Corpus(corpus), readers or Readers(), tmp_path / "kept" / "questions.json", **more)


def written(found, person=""):
    found(person)
    assert eventually(found.are_final)
    return found(person)


def test_the_generator_writes_some_about_passages_of_different_documents(tmp_path):
    found = suggestions(tmp_path, passages(20))
    shown = written(found)
    assert len(shown) == SHOWN
    assert len(set(shown)) == SHOWN
    assert all(question.startswith("What is it that Title ") and question.endswith("tells us?") for question in shown)
    kept = json.loads((tmp_path / "kept" / "questions.json").read_text("utf-8"))["questions"]
    assert len(kept) == WRITTEN


def test_what_is_kept_is_not_written_again_unless_its_passages_are_gone(tmp_path):
    shown = written(suggestions(tmp_path, passages(20)))
    again = Asks()
    assert written(suggestions(tmp_path, passages(20), make_chat(again))) == shown
    assert again.asked == []
    others = written(suggestions(tmp_path, passages(20, "other{}"), make_chat(again)))
    assert again.asked
    assert len(others) == SHOWN


def test_a_damaged_file_is_written_anew(tmp_path):
    (tmp_path / "kept").mkdir()
    for content in ("{", '{"questions": 1}', '{"questions": [1]}', '{"questions": [{"question": 1}]}'):
        (tmp_path / "kept" / "questions.json").write_text(content, "utf-8")
        assert len(written(suggestions(tmp_path, passages(20)))) == SHOWN


def test_nothing_is_written_before_the_chat_is_ready_and_none_where_some_are_given(tmp_path):
    chat = make_chat(Asks())
    chat.ready = False
    assert suggestions(tmp_path, passages(20), chat)("") == []
    assert chat.generator.get().asked == []
    given = suggestions(tmp_path, passages(20), make_chat(chat.generator.get()), given=["Why?"])
    assert (given(""), given.are_final(), chat.generator.get().asked) == (["Why?"], True, [])


def test_whoever_asks_comes_first(tmp_path):
    """A question that somebody asks takes the generator at once; writing begins again once they have their answer."""
    writes, left = threading.Event(), threading.Event()

    class Watched(Asks):
        def stream(self, conversation):
            self.asked.append(conversation[-1]["content"].split("\n")[0])
            yield "What is it "
            if len(self.asked) == 1:
                writes.set()
                assert eventually(lambda: chat.n_waiting)
            try:
                yield f"that {self.asked[-1]} tells us?"
            except GeneratorExit:
                left.set()
                raise

    chat = make_chat(Watched())
    found = suggestions(tmp_path, passages(1), chat)
    assert found("") == ["What is “Title 0” about?"]
    assert writes.wait(20)
    with chat._registered(Waiting()):
        assert left.wait(20)
        assert not found.are_final()
    assert eventually(found.are_final)
    assert found("") == ["What is it that Title 0 tells us?"]
    assert len(chat.generator.get().asked) == 2


def test_the_questions_of_the_index_are_shown_and_none_are_written(tmp_path):
    corpus, chat = passages(20), make_chat(Asks())
    beside = [(f"What tells number {n}?", "Another?") for n in range(20)]
    found = suggestions(tmp_path, corpus, chat, beside=lambda: beside)
    shown = found("")
    assert found.are_final()
    assert len(shown) == SHOWN
    assert set(shown) <= {own[0] for own in beside}
    assert chat.generator.get().asked == []
    # Documents came while they were read, or too few passages have any: the generator writes.
    for too_few in ([], beside[:7], [(), *[("What?",)] * 2, *[()] * 17]):
        found = suggestions(tmp_path, corpus, beside=partial(list, too_few))
        assert all("tells us?" in each for each in written(found))


def test_titles_stand_in_until_then(tmp_path):
    class Fails(Asks):
        def stream(self, conversation):
            yield "No."

    rows = [
        {"sha256": "aa" * 32, "title": title, "paths": (), "path": "a"}
        for title in ("The Amber Line", "a.pdf", "The Amber Line", "3.1.4 (2)", "Long " * 20)
    ]
    found = suggestions(tmp_path, passages(3), make_chat(Fails()), Readers(None, lambda: {"docs": rows}))
    assert found("") == ["What is “The Amber Line” about?"]
    assert eventually(found.are_final)
    assert found("") == ["What is “The Amber Line” about?"]


def test_nobody_sees_a_question_about_what_they_may_not_read(tmp_path):
    users = Users(tmp_path / "users.json")
    for name in ("ada", "bob"):
        users.add(name, "correct horse")
    users.grant("bob", ["secret"])
    rows = {
        name: [{"sha256": f"{name:x<64}", "title": "", "paths": ({"root": "/d", "path": f"{name}.txt"},)}]
        for name in ("open", "secret")
    }
    corpus = [
        Passage(f"{rows[name][0]['sha256'][:HASH_CHARACTERS]}@0", PROSE, f"the {name} one", place=Place(0, 10, None))
        for name in rows
    ]
    found = suggestions(tmp_path, corpus, readers=Readers(users, lambda: rows))
    assert sorted(written(found, "bob")) == [
        "What is it that the open one tells us?",
        "What is it that the secret one tells us?",
    ]
    assert found("ada") == ["What is it that the open one tells us?"]


def test_over_a_corpus_file_the_titles_of_its_passages_stand_in(tmp_path):
    corpus = [Passage("a@0", "Short.", "Amber Line"), Passage("b@0", "Short.", "Rye")]
    assert written(suggestions(tmp_path, corpus)) == ["What is “Amber Line” about?"]
