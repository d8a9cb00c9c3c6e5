"""Who may read which collections: by page, API, tools, source pages and command line, nothing else leaks."""

import hashlib
import json
import re
import stat
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from rag.build.indexes import ingest_documents, rebuild_index
from rag.cli.main import app as cli
from rag.errors import ConfigError, DataError, RagError
from rag.index import ingest
from rag.serve.grants import Grants
from rag.serve.library import url_below, url_on_disk
from rag.serve.mcp_tools import Asked, library_tools, reading
from rag.serve.readers import Readers
from rag.serve.turns import Options
from rag.serve.users import Users
from rag.types import Passage
from tests.fakes.documents import SETTINGS
from tests.fakes.shared_documents import ParsesHere, serve_documents

SECRET, OPEN, SHARED = "The salary of the captain is secret.", "The harbour opens at six.", "The ferry sails at noon."
WORDS = "salary captain secret harbour ferry"


@pytest.fixture
def served(tmp_path, encoder, monkeypatch):
    """An index of the collections hr, which only Ada may read, and manuals; `shared.txt` lies in both."""
    monkeypatch.setattr(ingest, "ParserProcess", ParsesHere)
    index = tmp_path / "my.index"
    for folder, files in {
        "hr": {"salaries.txt": SECRET, "a shared.txt": SHARED},
        "manuals": {"harbour.txt": OPEN, "z shared.txt": SHARED},
    }.items():
        (tmp_path / folder).mkdir()
        for name, text in files.items():
            (tmp_path / folder / name).write_text(text, "utf-8")
    (tmp_path / "hr" / "broken.pdf").write_bytes(b"%PDF-1.7 broken")
    ingest_documents(SETTINGS, [tmp_path / "hr", tmp_path / "manuals"], index)
    users = Users(tmp_path / "users.json")
    keys = {name: users.add(name, "correct horse") for name in ("ada", "bob")}
    users.grant("ada", ["hr"])
    made = serve_documents(index, tmp_path, encoder, users=users)
    yield SimpleNamespace(
        made=made,
        index=index,
        users=users,
        ada=made.person("ada", keys["ada"]),
        bob=made.person("bob", keys["bob"]),
        nobody=made.person("", ""),
        sha256=hashlib.sha256((tmp_path / "hr" / "salaries.txt").read_bytes()).hexdigest(),
        shared=hashlib.sha256(SHARED.encode()).hexdigest(),
        root=tmp_path,
    )
    made.attachments.close()


def assert_tells_nothing(reply, *more):
    """Whether an answer to Bob says nothing of the collection hr, which he may not read."""
    text = reply if isinstance(reply, str) else getattr(reply, "text", None) or json.dumps(reply)
    for word in ("hr", "salaries", "salary", "captain", "a shared", "broken", *more):
        assert not re.search(rf"\b{re.escape(word)}\b", text, re.I), (word, text)


def test_the_page_lists_what_a_person_may_read_and_counts_nothing_else(served):
    assert served.ada.names() == ["a shared.txt", "harbour.txt", "salaries.txt", "broken.pdf"]
    listed = served.bob.listed()
    assert [row["name"] for row in listed["documents"]] == ["harbour.txt", "z shared.txt"]
    assert (listed["n"], listed["n_left_out"]) == (2, 0)
    assert [(one["name"], one["n"]) for one in listed["collections"]] == [("manuals", 2)]
    assert_tells_nothing(listed)
    for query in ({"query": "salaries"}, {"query": "salary"}, {"collection": "hr"}):
        assert served.bob.listed(**query)["documents"] == []
        assert_tells_nothing(served.bob.listed(**query))
    assert served.nobody.page("GET", "").status_code == 401


def test_the_api_answers_from_what_a_person_may_read(served):
    assert SECRET in served.ada.found(WORDS)
    assert served.bob.found(WORDS)[0] in (OPEN, SHARED)
    assert served.bob.found(WORDS, collections=["manuals"])
    for reply in (
        served.bob.ask(WORDS),
        served.bob.ask(
            WORDS,
            stream=False,
            messages=[
                {"role": "user", "content": "What is the salary?"},
                {"role": "assistant", "content": "The captain's"},
                {"role": "user", "content": "And its secret?"},
            ],
        ),
    ):
        assert_tells_nothing([{"source": each["source"], "title": each["title"]} for each in reply["citations"]])
        assert SECRET not in [each["text"] for each in reply["citations"]]


def test_another_persons_collection_is_refused_as_one_that_is_not_there(served):
    for name in ("hr", "no such"):
        error = served.bob.ask(WORDS, collections=[name])["error"]
        assert error["code"] == "collection_not_found"
        assert error["message"] == f"there is no collection '{name}'; there are 'manuals'"
        error = served.bob.ask(WORDS, model=f"rag/{name}")["error"]
        assert error["code"] == "model_not_found"
        assert error["message"] == f"there is no model 'rag/{name}'; there is 'rag'"
    assert served.ada.found(WORDS, collections=["hr"])
    models = [model["id"] for model in served.ada.client.get("/v1/models").json()["data"]]
    assert models == ["rag", "rag/hr", "rag/manuals"]
    assert [model["id"] for model in served.bob.client.get("/v1/models").json()["data"]] == ["rag"]
    assert served.bob.client.get("/v1/models/rag/hr").status_code == 404


def test_files_of_the_api_are_those_that_a_person_may_read(served):
    listed = served.bob.client.get("/v1/files").json()
    assert sorted(file["filename"] for file in listed["data"]) == ["harbour.txt", "z shared.txt"]
    assert_tells_nothing(listed)
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/content")):
        reply = served.bob.client.request(method, f"/v1/files/file-{served.sha256[:24]}{path}")
        assert reply.status_code == 404
        assert served.ada.client.get(f"/v1/files/file-{served.sha256[:24]}").status_code == 200
    assert served.bob.client.get(f"/v1/files?after=file-{served.sha256[:24]}").status_code == 400


def test_a_document_in_two_collections_shows_each_person_the_place_that_is_theirs(served):
    shared = f"/v1/files/file-{served.shared[:24]}"
    assert served.ada.client.get(shared).json()["collections"] == ["hr", "manuals"]
    file = served.bob.client.get(shared).json()
    assert (file["path"], file["collections"]) == ("manuals/z shared.txt", ["manuals"])
    (citation,) = [each for each in served.bob.ask("ferry")["citations"] if each["text"] == SHARED]
    assert citation["source"] == "manuals/z shared.txt"
    page = served.bob.client.get(f"/source/{served.shared[:24]}@0")
    assert "manuals/z shared.txt" in page.text
    assert_tells_nothing(page.text.partition("</style>")[2])
    # Bob removes what he knows of; what he does not know of stays.
    assert served.bob.page("DELETE", f"/{served.shared[:24]}").status_code == 200
    assert served.bob.names() == ["harbour.txt"]
    assert served.ada.client.get(shared).json()["collections"] == ["hr"]
    assert served.bob.client.get(f"/source/{served.shared[:24]}@0").status_code == 404


def test_what_is_there_already_in_another_persons_collection_is_new(served):
    salaries = (served.root / "hr" / "salaries.txt").read_bytes()
    reply = served.bob.client.post("/v1/files", files={"file": ("mine.txt", salaries)}, data={"collection": "mine"})
    file = reply.json()
    assert (file["filename"], file["collections"], file["notes"]) == ("mine.txt", ["mine"], [])
    assert [row["name"] for row in served.bob.listed(collection="mine")["documents"]] == ["mine.txt"]
    assert served.bob.client.delete(f"/v1/files/{file['id']}").json()["notes"] == []
    assert SECRET in served.ada.found(WORDS)


@pytest.mark.parametrize("name", ["hr", "HR", " hr "])
def test_nothing_is_added_to_a_collection_of_other_people(served, name):
    reply = served.bob.send({"x.txt": b"Something new."}, collection=name)
    assert reply.status_code == 403
    assert_tells_nothing(reply)
    added = served.bob.client.post("/v1/files", files={"file": ("x.txt", b"new")}, data={"collection": name})
    assert added.status_code == 403
    page = served.bob.page("POST", "/addresses", json={"address": "https://example.org/", "collection": name})
    assert page.status_code == 403
    assert not served.made.uploads.exists()
    assert served.ada.send({"x.txt": b"Something new."}, collection=name).status_code == 200
    assert served.made.intake.wait_until_idle(60)
    assert "x.txt" in served.ada.names(collection="hr")
    assert "x.txt" not in served.bob.names()


def test_source_pages_open_what_a_person_may_read(served):
    address = f"/source/{served.sha256[:24]}@0"
    assert SECRET in served.ada.client.get(address).text
    reply = served.bob.client.get(address)
    assert reply.status_code == 404
    assert_tells_nothing(reply.text.partition("</style>")[2])
    # Nor by way of a conversation's own files, which are looked through first.
    assert served.bob.client.get(f"/conversation/{'0' * 32}{address}").status_code == 404


def test_files_of_a_conversation_are_its_persons_alone(served):
    key = served.ada.send({"own.txt": b"Only for Ada."}, to="conversation").json()["attached"]
    assert served.made.intake.wait_until_idle(60)
    history = served.made.parts.history
    conversation = history.begin("ada", "", "What is in my file?", attached=key).conversation
    (row,) = served.ada.listed(conversation=conversation)["own"]
    address = f"/{row['href'].partition('#')[0]}"
    assert "Only for Ada." in served.ada.client.get(address).text
    assert served.bob.client.get(address).status_code == 404
    for query in ({"attached": key}, {"conversation": conversation}):
        assert served.bob.listed(**query).get("own", []) == []
        assert served.bob.send({"x.txt": b"x"}, to="conversation", **query).status_code in (403, 404)
        reply = served.bob.page("DELETE", f"/{row['id']}", params={"own": 1, **query})
        assert reply.status_code in (403, 404)
    assert [each["name"] for each in served.ada.listed(conversation=conversation)["own"]] == ["own.txt"]


def test_what_others_add_is_not_told(served):
    served.ada.send({"plans.txt": b"Plans for the winter."}, collection="hr")
    assert served.made.intake.wait_until_idle(60)
    (item,) = served.ada.listed()["adding"]
    assert served.bob.listed()["adding"] == []
    assert served.bob.page("DELETE", f"/adding/{item['item']}").status_code == 404


def test_tools_of_assistants_read_what_the_person_may_read(served):
    library = served.made.library

    def called(who, name, **given):
        tools = {
            tool.name: tool for tool in library_tools(library, lambda asked: None, lambda asked: url_below("http://x"))
        }
        return tools[name].run(given, Asked(who=who))

    def described(who):
        tools = library_tools(library, lambda asked: None, lambda asked: url_below("http://x"))
        return " ".join(tool.declared(who).description for tool in tools)

    assert SECRET in str(called("ada", "search", query=WORDS))
    assert_tells_nothing(called("bob", "search", query=WORDS))
    assert SECRET not in str(called("bob", "ask_documents", question=WORDS)["citations"])
    assert "'hr'" in described("ada")
    assert "'hr'" not in described("bob")
    for name, given in (("search", {"query": "x"}), ("ask_documents", {"question": "x"})):
        with pytest.raises(RagError, match=r"there is no collection 'hr'; choose among manuals$"):
            called("bob", name, **given, collections=["hr"])
    passage = f"{served.sha256[:24]}@0"
    assert called("ada", "fetch", id=passage)["text"]
    with pytest.raises(RagError, match="no passage has the id"):
        called("bob", "fetch", id=passage)
    reads = reading(library, lambda asked: None, lambda asked: url_below("http://x"))
    with pytest.raises(RagError, match="no passage has the id"):
        reads(f"rag://passage/{passage}", Asked(who="bob"))
    url = url_on_disk(lambda: library.collections("bob"))(library._readers.passage("bob", shared_passage(served)))
    assert url == (served.root / "manuals" / "z shared.txt").as_uri().replace(" ", "%20")


def shared_passage(served):
    return served.made.shelf.retrievers.index.get().corpus.by_id(f"{served.shared[:24]}@0")


def test_a_person_who_is_removed_or_unknown_reads_nothing(served):
    readers = served.made.readers
    assert readers.names("eve") == ()
    assert dict(readers.collections("")) == {}
    served.users.remove("bob")
    assert readers.names("bob") == ()
    assert served.bob.page("GET", "").status_code == 401
    assert "error" in served.bob.ask(WORDS)
    served.users.path.unlink()
    assert readers.names("ada") == ()


def test_a_grant_counts_at_once_and_a_closed_collection_stays_closed(served):
    served.users.grant("bob", ["hr"])
    assert SECRET in served.bob.found(WORDS)
    served.users.revoke("bob", ["hr"])
    served.users.revoke("ada", ["hr"])
    assert SECRET not in served.bob.found(WORDS) + served.ada.found(WORDS)
    served.users.grant("*", ["hr"])
    assert SECRET in served.bob.found(WORDS)
    served.users.revoke("*", ["hr", "manuals"])
    assert "may read" in served.bob.ask(WORDS)["error"]["message"]
    served.users.grant("ada", ["manuals"])
    served.users.remove("ada")
    assert served.made.readers.names("bob") == ()


def test_a_folder_of_the_same_name_elsewhere_opens_nothing(served):
    """Names of folders grow when others of the same name come: hr becomes <root>/hr and 2024/hr."""
    other = served.root / "2024" / "hr"
    other.mkdir(parents=True)
    (other / "old.txt").write_text("The old salary of the captain.", "utf-8")
    served.made.shelf.change(lambda: ingest_documents(SETTINGS, [other], served.index), served.made.chat)
    names = [name for name in served.made.shelf.collections() if name != "manuals"]
    assert sorted(name.rpartition("/")[2] for name in names) == ["hr", "hr"]
    assert "hr" not in names
    assert served.made.readers.names("bob") == ("manuals",)
    assert served.made.readers.names("ada") == ("manuals",)  # a grant is for the name as it is
    assert_tells_nothing(served.bob.listed(), "2024")


@pytest.mark.parametrize(
    ("closed", "name", "is_closed"),
    [
        ("hr", "hr", True),
        ("hr", "HR", True),
        ("hr", "2024/hr", True),
        ("2024/hr", "hr", True),
        ("hr", "hr2", False),
        ("hr", "xhr", False),
        ("hr", "hr/2024", False),
        ("Fa\u0308hren", "F\u00e4hren", True),
        ("a/b", "c/b", False),
    ],
)
def test_a_name_closes_what_it_may_mean(closed, name, is_closed):
    assert Grants(frozenset({closed})).is_closed(name) is is_closed


def test_people_of_an_older_file_read_everything_until_something_is_closed(served):
    content = json.loads(served.users.path.read_text("utf-8"))
    old = {name: {key: content[name][key] for key in ("password", "key_sha256")} for name in ("ada", "bob")}
    served.users.path.write_text(json.dumps(old), "utf-8")
    assert served.made.readers.names("bob") is None
    assert SECRET in served.bob.found(WORDS)


@pytest.mark.parametrize(
    "content",
    [
        '{"*": {"closed": "hr"}}',
        '{"*": []}',
        '{"*": {}}',
        '{"ada": {"password": "x", "key_sha256": "y", "collections": "hr"}}',
    ],
)
def test_grants_that_are_damaged_let_nobody_in(tmp_path, content):
    users = Users(tmp_path / "users.json")
    users.path.write_text(content, "utf-8")
    assert not users.knows("ada")
    assert Readers(users, lambda: {"hr": []}).names("ada") == ()
    with pytest.raises(ConfigError, match="damaged"):
        users.names()


def test_nobody_is_called_everybody(served):
    assert not served.users.knows("*")
    assert served.users.of_key("") is None
    assert served.users.names() == ["ada", "bob"]
    with pytest.raises(ConfigError, match="no user name"):
        served.users.add("*", "correct horse")


def test_the_users_file_stays_private_and_a_new_password_keeps_what_was_granted(served):
    assert stat.S_IMODE(served.users.path.stat().st_mode) == 0o600
    served.users.add("ada", "battery staple")
    assert served.users.grants().may_read("ada", "hr")
    served.users.remove("ada")
    served.users.add("ada", "battery staple")  # somebody else by the same name
    assert not served.users.grants().may_read("ada", "hr")


def test_options_search_no_collection_that_a_person_may_not_read():
    assert Options(may_read=("a",)).searched == ("a",)
    assert Options(collections=("a",), may_read=("a", "b")).searched == ("a",)
    assert Options(collections=("a",)).searched == ("a",)
    assert Options().searched is None
    with pytest.raises(DataError, match=r"there is no collection 'b'; choose among a$"):
        Options(collections=("a", "b"), may_read=("a",)).searched  # noqa: B018


def test_an_index_of_a_corpus_file_has_no_collections_to_close(tmp_path):
    users = Users(tmp_path / "users.json")
    users.add("ada", "correct horse")
    users.revoke("*", ["hr"])
    readers, passage = Readers(users), Passage("a@0", "text")
    assert readers.names("ada") is None
    assert readers.passage("ada", passage) is passage
    assert readers.passage("eve", passage) is None


def test_a_name_that_no_collection_has_is_found(served):
    served.users.grant("ada", ["hanbook"])
    assert served.made.readers.unknown() == ["hanbook"]


def run(*words):
    return CliRunner().invoke(cli, [str(word) for word in words])


def test_commands_grant_revoke_and_list(served):
    file, index = served.users.path, served.index
    assert run("user", "grant", "bob", "hr", "manuals", file, "-i", index).output.splitlines() == [
        "hr: ada, bob",
        "manuals: bob",
    ]
    assert run("user", "collections", file, "-i", index).output.splitlines() == ["hr: ada, bob", "manuals: bob"]
    assert run("user", "revoke", "bob", "manuals", file).output.splitlines() == ["manuals: nobody"]
    assert run("user", "grant", "*", "manuals", file).output.splitlines() == ["manuals: everybody"]
    mistyped = run("user", "grant", "bob", "manual", file, "-i", index)
    assert mistyped.exit_code != 0
    assert isinstance(mistyped.exception, DataError)
    assert "choose among hr, manuals" in str(mistyped.exception)
    assert isinstance(run("user", "grant", "eve", "hr", file).exception, ConfigError)
    assert "rag user revoke '*' manuals" in str(run("user", "revoke", "bob", "manuals", file).exception)


def test_the_command_line_searches_collections_and_what_a_person_may_read(served, monkeypatch):
    monkeypatch.setattr("rag.build.serving.Serving.load_encoder", lambda self, lazy=False: None)
    search = ("search", WORDS, "-i", served.index, "--set", "retriever.kind=bm25", "--json")

    def found(*more):
        result = run(*search, *more)
        assert result.exit_code == 0, result.exception
        return [hit["source"] for hit in json.loads(result.stdout)]

    auth = ("--auth", served.users.path)
    assert any("salaries" in source for source in found())
    assert sorted(found("--collection", "manuals")) == ["manuals/harbour.txt", "manuals/z shared.txt"]
    assert sorted(found("--as", "bob", *auth)) == ["manuals/harbour.txt", "manuals/z shared.txt"]
    assert found("--as", "ada", *auth) == found()
    refused = run(*search, "--as", "bob", *auth, "--collection", "hr").exception
    assert str(refused) == "there is no collection 'hr'; choose among manuals"
    assert isinstance(run(*search, "--as", "eve", *auth).exception, ConfigError)
    assert run(*search, "--as", "bob").exit_code == 2


def test_ingest_names_a_collection_and_keeps_it(served, encoder):
    ingest_documents(
        SETTINGS, [served.root / "manuals"], served.index, names={str(served.root / "manuals"): "Handbook"}
    )
    served.made.shelf.change(lambda: ingest_documents(SETTINGS, [], served.index), served.made.chat)
    assert list(served.made.shelf.collections()) == ["hr", "Handbook"]
    assert served.bob.client.get(f"/v1/files/file-{served.shared[:24]}").json()["path"] == "Handbook/z shared.txt"
    rebuild_index(SETTINGS, served.index)
    served.made.shelf.change(lambda: ingest_documents(SETTINGS, [], served.index), served.made.chat)
    assert list(served.made.shelf.collections()) == ["hr", "Handbook"]
    served.users.grant("ada", ["Handbook"])
    assert served.made.readers.names("bob") == ()
