"""`rag ask` is answered by a running chat over the same index, and by nobody else's server."""

import dataclasses
import json
import os
import socket
import stat
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from rag import __version__
from rag.config import load_settings
from rag.data.passages import Corpus
from rag.errors import IndexMismatchError
from rag.generate.builtin import get_prompt
from rag.lazy import Lazy
from rag.pipeline import Pipeline
from rag.retrieve.bm25 import BM25Retriever
from rag.serve import nearby_server
from rag.serve.chat import Chat
from rag.serve.nearby_client import Gone, ask_nearby, is_running
from rag.serve.nearby_note import ChatNote, leave_note, notes_of
from rag.serve.nearby_server import Nearby, open_door
from rag.serve.nearby_wire import response_of, response_record
from rag.types import Query, ReadSpan, Support
from tests.fakes.pipelines import ByWords, Echo

QUESTION = "who designed the amber line"


class Served:
    """A chat with a door, over an index folder of nothing."""

    def __init__(self, folder, passages, monkeypatch):
        self.settings, self.folder, self.fingerprint = load_settings(), folder, "f"
        parts = (Lazy.of(BM25Retriever(Corpus(passages))), Lazy.of(ByWords()), Lazy.of(Echo()))
        self.pipeline = Pipeline(*parts, get_prompt("cited-v1"))
        chat = Chat({"hybrid": parts[0]}, *parts[1:], self.pipeline.prompt, lambda strictness: None)
        monkeypatch.setattr(
            nearby_server, "serving_manifest", lambda at: (at, SimpleNamespace(fingerprint=self.fingerprint))
        )
        serving = SimpleNamespace(settings=self.settings, index_folder=folder)
        self.close = open_door(Nearby(serving, self.settings, chat, lambda: "f"), "http://127.0.0.1:1/")

    def ask(self, settings=None):
        return list(ask_nearby(self.folder, settings or self.settings, QUESTION))


@pytest.fixture
def served(tmp_path, passages, monkeypatch):
    monkeypatch.setenv("RAG_HOME", str(tmp_path / "home"))
    (tmp_path / "index").mkdir()
    made = Served(tmp_path / "index", passages, monkeypatch)
    yield made
    made.close()


def without_seconds(response):
    record = response_record(response)
    raw = record["answer"]["raw"].strip()  # this generator ends a stream with a space
    return {**record, "answer": {**record["answer"], "raw": raw}, "timings": None, "query": None}


def test_the_answer_is_the_one_that_would_be_given_without_the_chat(served):
    *_, last = served.ask()
    (here,) = served.pipeline.run([Query("ask", QUESTION)])
    assert last.response.answer.citations == ("doc_0@0",)
    assert without_seconds(last.response) == without_seconds(here)


def test_a_response_is_the_same_on_the_other_side(served):
    (response,) = served.pipeline.run([Query("ask", QUESTION)])
    fields = {"spans": {"a": ReadSpan(0, 2, 1.0, 0.5)}, "support": Support(("a",), 1.0), "excerpts": {"a": ((0, 2),)}}
    fields["reranked"] = tuple(dataclasses.replace(hit, logit=hit.score - 1) for hit in response.reranked)
    for name, value in fields.items():
        object.__setattr__(response, name, value)
    assert response_of(json.loads(json.dumps(response_record(response)))) == response


def test_the_note_is_for_its_owner_alone_and_goes_with_the_chat(served, tmp_path):
    (path,) = (tmp_path / "home" / "known" / "chats").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [is_running(note) for note in notes_of(served.folder)] == [True]
    served.close()
    assert notes_of() == []
    with pytest.raises(Gone):
        served.ask()


def test_other_settings_another_index_or_a_changed_one_are_not_answered(served, tmp_path, monkeypatch):
    with pytest.raises(Gone):
        served.ask(load_settings(overrides=["prompt.contexts=1"]))
    with pytest.raises(Gone):
        list(ask_nearby(tmp_path, served.settings, QUESTION))
    assert served.ask(load_settings(overrides=["serving.questions_per_minute=3"]))  # shapes no answer
    served.fingerprint = "changed"
    with pytest.raises(Gone):
        served.ask()

    def damaged(at):
        raise IndexMismatchError("damaged")

    monkeypatch.setattr(nearby_server, "serving_manifest", damaged)
    with pytest.raises(Gone):
        served.ask()


def test_a_promoted_model_is_not_answered_for(served, monkeypatch):
    monkeypatch.setattr(nearby_server, "what_serves", lambda name: "promoted")
    with pytest.raises(Gone):
        served.ask()


def other_server(answer):
    """A server of somebody else on a port; what it was told, line by line."""
    told = []
    listener = socket.create_server(("127.0.0.1", 0))

    def work():
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as lines:
            connection.sendall(json.dumps({"nonce": "n"}).encode() + b"\n")
            for line in lines:
                told.append(line)
                connection.sendall(json.dumps(answer).encode() + b"\n")

    threading.Thread(target=work, daemon=True).start()
    return listener, told


def note_at(port, folder, **changed):
    given = {"secret": "s" * 64, "process": os.getpid(), "version": __version__, "started": 1.0, **changed}
    return ChatNote(str(Path(folder).resolve()), "http://127.0.0.1:1/", port, **given)


@pytest.mark.parametrize("answer", [{"proof": "0" * 64}, {"proof": 7}, {}, [1], {"proof": "é"}])
def test_nobody_elses_server_is_told_the_question(tmp_path, monkeypatch, answer):
    monkeypatch.setenv("RAG_HOME", str(tmp_path))
    listener, told = other_server(answer)
    with listener:
        assert leave_note(note_at(listener.getsockname()[1], tmp_path)) is not None
        with pytest.raises(Gone):
            list(ask_nearby(tmp_path, load_settings(), QUESTION))
    assert len(told) == 1
    assert QUESTION.encode() not in told[0]
    assert b"ssss" not in told[0]


def test_whoever_does_not_know_the_secret_is_not_answered(served):
    (note,) = notes_of(served.folder)
    with socket.create_connection(("127.0.0.1", note.port)) as connection, connection.makefile("rb") as lines:
        nonce = json.loads(lines.readline())["nonce"]
        request = {"nonce": "n", "proof": nonce, "question": QUESTION}
        connection.sendall(json.dumps(request).encode() + b"\n")
        assert lines.readline() == b""
    assert served.ask()  # and the door is still open


def test_a_note_that_others_can_read_or_of_a_process_that_is_gone_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv("RAG_HOME", str(tmp_path))
    path = leave_note(note_at(1, tmp_path))
    assert len(notes_of(tmp_path)) == 1
    path.chmod(0o644)
    assert notes_of(tmp_path) == []
    path.chmod(0o600)
    assert len(notes_of(tmp_path)) == 1
    path.write_text("[", "utf-8")
    assert notes_of(tmp_path) == []
    gone = leave_note(note_at(1, tmp_path, process=2**22 + 1))
    assert notes_of(tmp_path) == []
    assert not gone.exists()


def test_a_chat_of_another_version_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("RAG_HOME", str(tmp_path))
    listener, told = other_server({})
    with listener:
        leave_note(note_at(listener.getsockname()[1], tmp_path, version="0.0"))
        with pytest.raises(Gone):
            list(ask_nearby(tmp_path, load_settings(), QUESTION))
    assert told == []
