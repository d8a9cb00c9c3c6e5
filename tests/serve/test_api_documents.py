"""Documents over the API: listed, added, read and deleted, and the chat answers from what is there now."""

import hashlib
import io
import threading
from pathlib import Path
from types import SimpleNamespace

import openai
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from rag.build.indexes import add_files, ingest_documents, make_index
from rag.build.retrievers import Retrievers
from rag.build.serving import serving_over
from rag.config import load_settings
from rag.documents.parse import parse_file
from rag.generate.builtin import get_prompt
from rag.index import ingest
from rag.index.folder import writer_lock
from rag.index.ingest import uploads_folder
from rag.lazy import Lazy
from rag.pipeline import Depths
from rag.rerank.keep_order import KeepOrder
from rag.serve.api import make_router
from rag.serve.api_documents import document_files
from rag.serve.api_uploads import safe_name
from rag.serve.chat import Chat
from rag.serve.shelf import Shelf
from rag.serve.turns import Options
from rag.serve.users import RateLimit, Users
from tests.fakes.documents import SETTINGS
from tests.fakes.pipelines import Echo

FERRY = b"The ferry to the island sails at noon."
DOGS = b"Dogs travel free of charge."


class ParsesHere:
    """Parses in this process, which takes no time to start."""

    def __init__(self, **limits):
        self.parse = parse_file

    def close(self):
        pass


@pytest.fixture(autouse=True)
def parses_here(monkeypatch):
    monkeypatch.setattr(ingest, "ParserProcess", ParsesHere)


@pytest.fixture
def served(tmp_path, encoder):
    """(the folder that is followed, its index, a way to get a client)."""
    folder, index = tmp_path / "manuals", tmp_path / "index"
    (folder / "deep").mkdir(parents=True)
    (folder / "harbour.txt").write_text("The harbour opens at six.", "utf-8")
    (folder / "deep" / "notes.md").write_text("# Notes\n\nThe harbour closes at ten.", "utf-8")
    ingest_documents(SETTINGS, [folder], index)
    return SimpleNamespace(
        folder=folder,
        index=index,
        uploads=uploads_folder(index),
        client=lambda **options: client_over(index, encoder, **options),
    )


def client_over(index, encoder, *, users=None, may_upload=True, settings=SETTINGS):
    shelf = Shelf(
        index,
        open_retrievers=lambda loaded: Retrievers(settings, index, loaded or Lazy(lambda: encoder)),
        add_files=lambda paths: add_files(settings, paths, index, uploads_folder(index)),
        attachments=None,
    )
    chat = Chat(
        shelf.retrievers.each(), Lazy.of(KeepOrder()), Lazy.of(Echo()), get_prompt("cited-v1"), lambda strictness: None
    )
    chat.narrow = shelf.narrowed
    serving = serving_over(settings, index)
    documents = document_files(serving, shelf, chat, may_upload=may_upload)
    options = Options("bm25", Depths(10, 10, 3))
    app = FastAPI()
    limit = RateLimit(0)
    router = make_router(chat, options, users=users, limit=limit, collections=shelf.collections, documents=documents)
    app.include_router(router)
    return TestClient(app)


def add(client, data, name="ferry.txt", **fields):
    return client.post("/v1/files", files={"file": (name, data)}, data={"purpose": "assistants", **fields})


def names(client, query=""):
    return [file["filename"] for file in client.get(f"/v1/files{query}").json()["data"]]


def found(client, question="ferry", **fields):
    body = {"messages": [{"role": "user", "content": question}], **fields}
    reply = client.post("/v1/chat/completions", json=body).json()
    return reply if "error" in reply else [citation["text"] for citation in reply["citations"]]


def error_of(reply, status):
    assert reply.status_code == status, reply.text
    error = reply.json()["error"]
    assert sorted(error) == ["code", "message", "param", "type"]
    return error


def test_documents_are_listed_one_after_another(served):
    client = served.client()
    listed = client.get("/v1/files").json()
    assert sorted(file["filename"] for file in listed["data"]) == ["harbour.txt", "notes.md"]
    assert (listed["object"], listed["has_more"]) == ("list", False)
    file = next(file for file in listed["data"] if file["filename"] == "notes.md")
    data = (served.folder / "deep" / "notes.md").read_bytes()
    assert file["id"] == "file-" + hashlib.sha256(data).hexdigest()[:24]
    assert (file["bytes"], file["kind"], file["path"]) == (len(data), "markdown", "manuals/deep/notes.md")
    assert (file["collections"], file["passages"], file["status"]) == (["manuals"], 1, "processed")
    assert client.get(f"/v1/files/{file['id']}").json() == file
    there = openai.OpenAI(base_url="http://testserver/v1", api_key="x", max_retries=0, http_client=client)
    assert len(list(there.files.list(limit=1))) == 2  # the client asks for the second page by itself
    assert [file.id for file in there.files.list(order="asc")] == [file["id"] for file in listed["data"]][::-1]
    assert names(client, "?purpose=fine-tune") == []
    for query in ("limit=0", "limit=10001", "limit=x", "limit=-1", "order=up", "after=file-1"):
        assert error_of(client.get(f"/v1/files?{query}"), 400)["param"] == query.split("=")[0]


def test_the_chat_answers_from_a_new_document_at_once_and_no_more_from_a_deleted_one(served):
    client = served.client()
    assert FERRY.decode() not in found(client)
    file = add(client, FERRY).json()
    assert (file["object"], file["filename"], file["collections"]) == ("file", "ferry.txt", ["index.uploads"])
    assert found(client) == [FERRY.decode()]
    assert found(client, collections=["index.uploads"]) == [FERRY.decode()]
    assert (served.uploads / "ferry.txt").read_bytes() == FERRY
    assert client.delete(f"/v1/files/{file['id']}").json() == {
        "id": file["id"],
        "object": "file",
        "deleted": True,
        "notes": [],
    }
    assert FERRY.decode() not in found(client)
    assert list(served.uploads.iterdir()) == []
    error_of(client.get(f"/v1/files/{file['id']}"), 404)
    error_of(client.delete(f"/v1/files/{file['id']}"), 404)
    # It can be added again, by the same name.
    assert add(client, FERRY).json()["id"] == file["id"]
    assert found(client) == [FERRY.decode()]


def test_openai_client_adds_reads_and_deletes(served):
    client = served.client()
    there = openai.OpenAI(base_url="http://testserver/v1", api_key="x", max_retries=0, http_client=client)
    made = there.files.create(
        file=("ferry.txt", io.BytesIO(FERRY)),
        purpose="user_data",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert made.filename == "ferry.txt"
    assert "expires_after" in made.model_extra["notes"][0]
    assert there.files.retrieve(made.id).bytes == len(FERRY)
    assert there.files.content(made.id).read() == FERRY
    assert there.files.delete(made.id).deleted is True
    with pytest.raises(openai.NotFoundError):
        there.files.retrieve(made.id)


def test_a_document_of_a_followed_folder_is_left_out_and_its_file_stays(served, encoder):
    client = served.client()
    at = served.folder / "harbour.txt"
    file_id = "file-" + hashlib.sha256(at.read_bytes()).hexdigest()[:24]
    (note,) = client.delete(f"/v1/files/{file_id}").json()["notes"]
    assert note.startswith("manuals/harbour.txt itself stays where it is")
    assert at.is_file()
    assert names(client) == ["notes.md"]
    ingest_documents(SETTINGS, [], served.index)  # it does not come back by itself
    assert names(served.client()) == ["notes.md"]
    ingest_documents(SETTINGS, [at], served.index)
    assert sorted(names(served.client())) == ["harbour.txt", "notes.md"]


def test_the_same_bytes_in_a_folder_and_in_the_uploads_go_together(served):
    client = served.client()
    file = add(client, FERRY).json()
    (served.folder / "copy.txt").write_bytes(FERRY)
    ingest_documents(SETTINGS, [], served.index)
    client = served.client()
    assert len(client.delete(f"/v1/files/{file['id']}").json()["notes"]) == 1
    assert (served.folder / "copy.txt").is_file()
    assert not (served.uploads / "ferry.txt").exists()
    assert "ferry.txt" not in names(client)


def test_the_last_document_can_be_deleted_and_another_added(served):
    client = served.client()
    for file in client.get("/v1/files").json()["data"]:
        assert client.delete(f"/v1/files/{file['id']}").status_code == 200
    assert client.get("/v1/files").json()["data"] == []
    assert "holds no documents" in found(client)["error"]["message"]
    add(client, FERRY)
    assert found(client) == [FERRY.decode()]


def test_what_is_there_already_is_not_added_again(served):
    client = served.client()
    reply = add(client, (served.folder / "harbour.txt").read_bytes(), "other.txt")
    assert reply.json()["filename"] == "harbour.txt"
    assert "there already, as manuals/harbour.txt" in reply.json()["notes"][0]
    assert not served.uploads.exists()
    first = add(client, FERRY).json()
    assert add(client, FERRY).json()["id"] == first["id"]
    second = add(client, DOGS).json()  # the same name, other bytes
    assert second["filename"] == "ferry (1).txt"
    assert len(names(client)) == 4


NAMES = {
    "../../../etc/cron.d/x.txt": "x.txt",
    "/etc/passwd.txt": "passwd.txt",
    "..\\..\\windows\\x.txt": "x.txt",
    "C:\\a\\b.txt": "b.txt",
    "..": "upload",
    ".": "upload",
    "": "upload",
    ".htaccess.txt": "htaccess.txt",
    "~$report.txt": "report.txt",
    "a\x00b\nc.txt": "a_b_c.txt",
    "a\u202etxt.md": "a_txt.md",
    "notes/": "upload",
    "ü 渡.txt": "ü 渡.txt",
}


@pytest.mark.parametrize("name", NAMES, ids=repr)
def test_a_name_leads_nowhere_else(name):
    assert safe_name(name) == NAMES[name]


def test_a_long_name_fits_into_a_folder_and_keeps_its_ending(tmp_path):
    for name in ("x" * 5000 + ".txt", "渡" * 5000 + ".txt", "a." + "b" * 5000):
        (tmp_path / safe_name(name)).write_bytes(b"")
    assert safe_name("x" * 5000 + ".txt").endswith(".txt")


@pytest.mark.parametrize(
    "name", ["../../evil.txt", "..\\evil.txt", "/tmp/evil.txt", ".evil.txt", "渡" * 300 + ".txt", "e\nvil.txt"]
)
def test_files_are_stored_in_the_folder_of_uploads_alone(served, tmp_path, name):
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(served.index)}
    assert add(served.client(), FERRY, name).status_code == 200
    new = {path for path in tmp_path.rglob("*") if not path.is_relative_to(served.index)} - before
    assert {path.parent for path in new} == {tmp_path, served.uploads}


@pytest.mark.parametrize(
    ("data", "name", "code"),
    [
        (b"", "empty.txt", "unreadable_file"),
        (b"\x00\x01\x02" * 100, "binary.txt", "unreadable_file"),
        (b"%PDF-1.7 broken", "broken.pdf", "unreadable_file"),
        (b"PK\x03\x04broken", "broken.docx", "unreadable_file"),
        (b"MZ", "virus.exe", "unsupported_file"),
        (b"GIF89a", "x.gif", "unsupported_file"),
    ],
)
def test_what_cannot_be_read_is_said_and_leaves_nothing(served, data, name, code):
    client = served.client()
    error = error_of(add(client, data, name), 400)
    assert (error["code"], error["param"]) == (code, "file")
    assert name in error["message"]
    assert not served.uploads.exists() or list(served.uploads.iterdir()) == []
    assert len(names(client)) == 2


def test_a_form_that_is_none_is_refused(served):
    client = served.client()
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    assert error_of(client.post("/v1/files", json={"file": "x"}), 415)["code"] == "unsupported_media_type"
    assert error_of(client.post("/v1/files", data={"file": "text"}), 415)
    assert error_of(client.post("/v1/files", files={"other": ("a.txt", FERRY)}), 400)["param"] == "file"
    assert error_of(client.post("/v1/files", content=b"--x--\r\n", headers=form), 400)["param"] == "file"
    assert error_of(client.post("/v1/files", content=b"junk", headers=form), 400)
    assert error_of(client.post("/v1/files", content=b"x", headers={"Content-Type": "multipart/form-data"}), 400)
    two = [("file", ("a.txt", FERRY)), ("file", ("b.txt", DOGS))]
    assert error_of(client.post("/v1/files", files=two), 400)["code"]
    for purpose in ("fine-tune", "batch", "vision", "evals", "x" * 500):
        assert error_of(add(client, FERRY, purpose=purpose), 400)["param"] == "purpose"
    assert client.post("/v1/files", files={"file": ("ferry.txt", FERRY)}).status_code == 200
    assert len(names(client)) == 3


def test_a_file_that_is_too_large_is_refused_before_it_is_kept(served):
    small = load_settings(None, ["documents.chunk_tokens=40", "documents.max_file_mib=0.001"])
    client = served.client(settings=small)
    for size in (2**11, 2**20):  # by its own size; and by that of the request
        assert error_of(add(client, b"x " * (size // 2)), 413)["code"] == "file_too_large"
    assert not served.uploads.exists()

    def endless():
        for _ in range(1000):
            yield b"x" * 1024

    form = {"Content-Type": "multipart/form-data; boundary=x"}
    assert error_of(client.post("/v1/files", content=endless(), headers=form), 413)


def test_where_no_documents_may_be_added_they_can_only_be_listed(served):
    client = served.client(may_upload=False)
    (file, *_) = client.get("/v1/files").json()["data"]
    assert client.get(f"/v1/files/{file['id']}").status_code == 200
    replies = [
        add(client, FERRY),
        client.delete(f"/v1/files/{file['id']}"),
        client.get(f"/v1/files/{file['id']}/content"),
    ]
    for reply in replies:
        assert "serving.uploads=on" in error_of(reply, 403)["message"]
    assert len(names(client)) == 2
    assert not served.uploads.exists()


def test_an_index_of_a_corpus_file_takes_no_documents(served, tmp_path, encoder):
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"id": "a@0", "text": "The harbour opens at six.", "title": "Harbour"}\n', "utf-8")
    make_index(SETTINGS, corpus, tmp_path / "corpus.index")
    client = client_over(tmp_path / "corpus.index", encoder)
    assert client.get("/v1/files").json() == {
        "object": "list",
        "data": [],
        "has_more": False,
        "first_id": None,
        "last_id": None,
    }
    assert "corpus file" in error_of(add(client, FERRY), 403)["message"]
    assert found(client, "harbour") == ["The harbour opens at six."]


def test_with_users_a_key_is_needed_for_every_route(served, tmp_path):
    users = Users(tmp_path / "users.json")
    key = users.add("ada", "correct horse")
    client = served.client(users=users)
    for method, path in (
        ("GET", ""),
        ("POST", ""),
        ("GET", "/file-1"),
        ("DELETE", "/file-1"),
        ("GET", "/file-1/content"),
    ):
        error_of(client.request(method, f"/v1/files{path}"), 401)
    client.headers["Authorization"] = f"bearer {key}"
    assert add(client, FERRY).status_code == 200


@pytest.mark.parametrize(
    "wrong", ["file-", "file-..", "x", "file-" + "0" * 24, "file-" + "g" * 24, "..%2F..%2Fetc", "%00", "x" * 900]
)
def test_an_id_that_is_none_reaches_nothing(served, wrong):
    client = served.client()
    for method, path in (("GET", wrong), ("DELETE", wrong), ("GET", f"{wrong}/content")):
        error_of(client.request(method, f"/v1/files/{path}"), 404)
    assert len(names(client)) == 2


def test_while_another_process_writes_the_index_the_client_is_told_to_come_back(served):
    client = served.client()
    (file, *_) = client.get("/v1/files").json()["data"]
    add(client, DOGS, "dogs.txt")
    dogs = "file-" + hashlib.sha256(DOGS).hexdigest()[:24]
    with writer_lock(served.index):
        for reply in (add(client, FERRY), client.delete(f"/v1/files/{file['id']}"), client.delete(f"/v1/files/{dogs}")):
            assert error_of(reply, 409)["code"] == "index_busy"
            assert int(reply.headers["Retry-After"]) > 0
    assert [path.name for path in served.uploads.iterdir()] == ["dogs.txt"]
    assert len(names(client)) == 3
    assert add(client, FERRY).status_code == 200
    assert client.delete(f"/v1/files/{dogs}").status_code == 200


def test_files_that_are_added_at_once_are_all_there(served):
    client = served.client()
    replies = []
    texts = [f"Rule {n} of the harbour says {n}." for n in range(4)]
    threads = [threading.Thread(target=lambda t=t: replies.append(add(client, t.encode(), "rule.txt"))) for t in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [reply.status_code for reply in replies] == [200] * 4
    assert sorted(path.name for path in served.uploads.iterdir()) == [
        "rule (1).txt",
        "rule (2).txt",
        "rule (3).txt",
        "rule.txt",
    ]
    assert len(names(client)) == 6


def test_the_bytes_of_a_file_that_has_changed_are_not_given(served):
    client = served.client()
    file = add(client, FERRY).json()
    assert client.get(f"/v1/files/{file['id']}/content").content == FERRY
    secret = served.folder.parent / "secret"
    secret.write_text("secret", "utf-8")
    copy = Path(served.uploads / "ferry.txt")
    copy.unlink()
    copy.symlink_to(secret)
    error_of(client.get(f"/v1/files/{file['id']}/content"), 404)
