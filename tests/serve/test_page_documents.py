"""The page's documents: listed, searched, opened, added in the background, and removed for good."""

import hashlib
import threading
import time

import pytest

from rag.build.indexes import ingest_documents
from rag.index import ingest
from rag.index.folder import writer_lock
from rag.serve import intake as intake_module
from rag.serve import shelf
from rag.serve.adding import folder_of
from tests.fakes.documents import SETTINGS
from tests.fakes.shared_documents import ParsesHere, serve_documents

FERRY, DOGS = b"The ferry to the island sails at noon.", b"Dogs travel free of charge."


@pytest.fixture
def served(tmp_path, encoder, monkeypatch):
    monkeypatch.setattr(ingest, "ParserProcess", ParsesHere)
    monkeypatch.setattr(intake_module, "SECONDS_BETWEEN_TRIES", 0.05)
    monkeypatch.setattr(shelf, "SECONDS_BETWEEN_TRIES", 0.05)
    folder, index = tmp_path / "manuals", tmp_path / "my.index"
    (folder / "deep").mkdir(parents=True)
    (folder / "harbour.txt").write_text("The harbour opens at six.", "utf-8")
    (folder / "deep" / "notes.md").write_text("# Harbour notes\n\nThe harbour closes at ten.", "utf-8")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 broken")
    ingest_documents(SETTINGS, [folder], index)
    made = serve_documents(index, tmp_path, encoder)
    made.folder, made.index = folder, index
    yield made
    made.attachments.close()


def added(served, person):
    assert served.intake.wait_until_idle(60)
    return {row["name"]: (row["state"], row["reason"]) for row in person.listed()["adding"]}


def id_of(data):
    return hashlib.sha256(data).hexdigest()[:24]


def test_documents_are_listed_by_name_with_their_state(served):
    listed = served.person().listed()
    rows = {row["name"]: row for row in listed["documents"]}
    assert list(rows) == ["harbour.txt", "notes.md", "broken.pdf"]
    assert rows["notes.md"]["title"] == "Harbour notes"
    assert (rows["notes.md"]["state"], rows["notes.md"]["collections"], rows["notes.md"]["kind"]) == (
        "ready",
        ["manuals"],
        "markdown",
    )
    assert rows["broken.pdf"]["state"] == "left out"
    assert rows["broken.pdf"]["reason"]
    assert str(served.folder) not in str(listed)  # by its name alone
    assert listed["collections"] == [{"name": "manuals", "label": "manuals", "n": 2, "may_write": True}]
    assert (listed["n"], listed["n_left_out"]) == (3, 1)


def test_a_search_finds_every_word_in_name_title_or_path(served):
    person = served.person()
    assert person.names(query="DEEP notes") == ["notes.md"]
    assert person.names(query="harbour") == ["harbour.txt", "notes.md"]
    assert person.names(query="ferry") == []
    assert person.names(limit=1) == ["harbour.txt"]
    assert person.names(limit=1, offset=1) == ["notes.md"]
    assert person.names(collection="nowhere") == []


def test_a_document_opens(served):
    person = served.person()
    row = person.listed(query="notes")["documents"][0]
    assert "The harbour closes at ten." in person.client.get(f"/{row['href'].partition('#')[0]}").text


def test_files_are_added_in_the_background_and_say_why_not(served):
    person = served.person()
    sent = person.send({"ferry.txt": FERRY, "empty.txt": b"", "picture.png": b"x"}).json()
    assert {row["name"]: row["state"] for row in sent["items"]}["picture.png"] == "left out"
    states = added(served, person)
    assert states["ferry.txt"] == ("ready", "")
    assert states["picture.png"] == ("left out", "files of this kind (.png) are not read")
    assert states["empty.txt"][0] == "left out"
    assert states["empty.txt"][1]
    assert person.found("ferry") == [FERRY.decode()]
    assert sorted(path.name for path in served.uploads.iterdir()) == ["ferry.txt"]
    assert not [path for path in served.parts.room.root.rglob("*") if path.is_file()]
    # What has ended is taken from the list one by one.
    for row in person.listed()["adding"]:
        assert person.page("DELETE", f"/adding/{row['item']}").status_code == 200
    assert person.listed()["adding"] == []
    assert person.page("DELETE", "/adding/x").status_code == 404


def test_a_folder_keeps_its_folders_and_goes_to_a_new_collection(served):
    person = served.person()
    for folder, data in (("boats/old", FERRY), ("boats/new", DOGS)):
        person.send({"readme.txt": data}, collection="Fähren 2024", folder=folder)
    added(served, person)
    rows = [row for row in person.listed()["documents"] if row["collections"] == ["Fähren 2024"]]
    assert sorted(row["path"] for row in rows) == ["boats/new/readme.txt", "boats/old/readme.txt"]
    assert person.found("ferry", collections=["Fähren 2024"]) == [FERRY.decode()]
    assert person.ask("ferry", collections=["Fähren 2024"])["citations"][0]["source"].startswith(
        "Fähren 2024/boats/old"
    )
    assert person.listed()["collections"][-1] | {"label": ""} == {
        "name": "Fähren 2024",
        "label": "",
        "n": 2,
        "may_write": True,
    }
    # An ingest by another command keeps the name; a removed document leaves no empty folder.
    ingest_documents(SETTINGS, [], served.index)
    served.shelf.change(lambda: None, served.chat)
    assert len(person.listed(collection="Fähren 2024")["documents"]) == 2
    for row in rows:
        person.page("DELETE", f"/{row['id']}")
    assert list(served.uploads.rglob("*")) == []


def test_a_collection_of_a_folder_takes_files_too_whatever_the_case(served):
    person = served.person()
    person.send({"ferry.txt": FERRY}, collection="Manuals")
    added(served, person)
    assert [entry["name"] for entry in person.listed()["collections"]] == ["manuals"]
    assert sorted(person.names(collection="manuals")) == ["broken.pdf", "ferry.txt", "harbour.txt", "notes.md"]
    assert sorted(path.name for path in served.folder.iterdir()) == ["broken.pdf", "deep", "harbour.txt"]


@pytest.mark.parametrize("name", ["../up", "a/b", ".hidden", "=x", "x" * 65, "a\x00b", "a\u202eb", "-a", "con."])
def test_a_name_that_leads_elsewhere_is_none(served, tmp_path, name):
    person = served.person()
    before = {path for path in tmp_path.rglob("*") if "room" not in path.parts}
    reply = person.send({"ferry.txt": FERRY}, collection=name)
    assert reply.status_code == 400
    assert "no name for a collection" in reply.json()["detail"]
    assert {path for path in tmp_path.rglob("*") if "room" not in path.parts} == before


FOLDERS = {
    "a/b": "a/b",
    "../../etc": "etc",
    "/abs/./x": "abs/x",
    "=manuals": "manuals",
    "a\\..\\b": "a/b",
    ".git/x": "git/x",
    "a//b/": "a/b",
    "": "",
    "/".join("abcdefghijkl"): "a/b/c/d/e/f/g/h",
}


@pytest.mark.parametrize("sent", FOLDERS, ids=repr)
def test_a_folder_that_was_sent_stays_below_that_of_the_copies(sent):
    assert folder_of(sent) == FOLDERS[sent]


def test_removing_an_added_document_deletes_its_copy_and_it_is_answered_no_more(served):
    person = served.person()
    person.send({"ferry.txt": FERRY})
    added(served, person)
    assert person.found("ferry") == [FERRY.decode()]
    reply = person.page("DELETE", f"/{id_of(FERRY)}").json()
    assert reply == {"id": id_of(FERRY), "name": "ferry.txt", "is_done": True, "note": ""}
    assert FERRY.decode() not in person.found("ferry")
    assert "ferry.txt" not in person.names()
    assert list(served.uploads.iterdir()) == []
    assert person.client.get(f"/source/{id_of(FERRY)}@0").status_code == 404
    ingest_documents(SETTINGS, [], served.index)
    served.shelf.change(lambda: None, served.chat)
    assert "ferry.txt" not in person.names()
    assert person.page("DELETE", f"/{id_of(FERRY)}").status_code == 404
    person.send({"ferry.txt": FERRY})  # it can be added again
    added(served, person)
    assert person.found("ferry") == [FERRY.decode()]


def test_removing_a_document_of_a_folder_leaves_its_file_and_it_does_not_come_back(served):
    person, at = served.person(), served.folder / "harbour.txt"
    note = person.page("DELETE", f"/{id_of(at.read_bytes())}").json()["note"]
    assert note == "The file itself stays where it is; it is left out until it is ingested again."
    assert at.is_file()
    assert "The harbour opens at six." not in person.found("harbour")
    ingest_documents(SETTINGS, [], served.index)
    served.shelf.change(lambda: None, served.chat)
    assert person.names() == ["notes.md", "broken.pdf"]


def test_while_the_index_is_busy_a_removed_document_is_gone_already(served):
    person = served.person()
    sha256 = hashlib.sha256((served.folder / "harbour.txt").read_bytes()).hexdigest()
    assert "The harbour opens at six." in person.found("harbour")
    with writer_lock(served.index):
        work = threading.Thread(target=lambda: person.page("DELETE", f"/{sha256[:24]}"))
        work.start()
        for _ in range(200):
            if "harbour.txt" not in person.names():
                break
            time.sleep(0.02)
        assert "harbour.txt" not in person.names()
        assert "The harbour opens at six." not in person.found("harbour")
        assert person.found("harbour", collections=["manuals"]) == ["The harbour closes at ten."]
        assert person.client.get(f"/source/{sha256[:24]}@0").status_code == 404
        assert person.client.get(f"/v1/files/file-{sha256[:24]}").status_code == 404
    work.join()
    assert "harbour.txt" not in person.names()


def test_what_cannot_be_removed_is_there_as_before(served, monkeypatch):
    person = served.person()

    def fails(sha256, within):
        raise intake_module.RagError("the disk is full")

    monkeypatch.setattr(served.shelf, "_remove", fails)
    reply = person.page("DELETE", f"/{id_of((served.folder / 'harbour.txt').read_bytes())}")
    assert (reply.status_code, reply.json()["detail"]) == (400, "the disk is full")
    assert "harbour.txt" in person.names()
    assert "The harbour opens at six." in person.found("harbour")


def test_the_same_bytes_in_two_places_are_one_document_and_go_together(served):
    person = served.person()
    person.send({"copy.txt": (served.folder / "harbour.txt").read_bytes()}, collection="copies")
    added(served, person)
    row = person.listed(query="harbour")["documents"][0]
    assert (row["name"], row["collections"], row["stays"]) == ("harbour.txt", ["manuals", "copies"], True)
    person.page("DELETE", f"/{row['id']}")
    assert person.listed(query="copy")["documents"] == []
    assert (served.folder / "harbour.txt").is_file()


def test_what_is_there_already_is_not_added_again(served):
    person = served.person()
    person.send({"other.txt": (served.folder / "harbour.txt").read_bytes()})
    assert added(served, person) == {"other.txt": ("ready", "it was there already")}
    assert not served.uploads.exists()


def test_while_another_command_writes_the_index_adding_waits_and_then_goes_on(served):
    person = served.person()
    with writer_lock(served.index):
        person.send({"ferry.txt": FERRY})
        for _ in range(200):
            (row,) = person.page("GET", "/adding").json()["adding"]
            if row["reason"]:
                break
            time.sleep(0.02)
        assert (row["state"], row["reason"]) == ("reading", intake_module.BUSY)
        assert "ferry.txt" not in person.names()
    assert added(served, person)["ferry.txt"][0] == "ready"


def test_what_waits_can_be_stopped(served):
    person = served.person()
    with writer_lock(served.index):
        person.send({"ferry.txt": FERRY})
        for _ in range(200):
            (row,) = person.page("GET", "/adding").json()["adding"]
            if row["state"] == "reading":
                break
            time.sleep(0.02)
        person.send({"dogs.txt": DOGS}, collection="dogs")
        waiting = next(row for row in person.listed()["adding"] if row["name"] == "dogs.txt")
        assert waiting["state"] == "waiting"
        assert person.page("DELETE", f"/adding/{waiting['item']}").status_code == 200
    assert list(added(served, person)) == ["ferry.txt"]
    assert person.found("dogs") != [DOGS.decode()]


def test_files_of_a_conversation_are_its_own(served):
    person = served.person()
    reply = person.send({"ferry.txt": FERRY}, to="conversation").json()
    key = reply["attached"]
    assert added(served, person) == {}  # of no conversation that is shown
    assert person.listed()["own"] == []
    own = person.listed(attached=key)
    assert [(row["name"], row["own"]) for row in own["own"]] == [("ferry.txt", True)]
    assert "ferry.txt" not in [row["name"] for row in own["documents"]]
    assert FERRY.decode() in person.client.get(f"/{own['own'][0]['href'].partition('#')[0]}").text
    again = person.send({"dogs.txt": DOGS}, to="conversation", attached=key).json()
    assert again["attached"] == key
    assert served.intake.wait_until_idle(60)
    assert person.page("DELETE", f"/{id_of(FERRY)}", params={"own": 1, "attached": key}).status_code == 200
    assert [row["name"] for row in person.listed(attached=key)["own"]] == ["dogs.txt"]
    assert FERRY.decode() not in [
        hit.passage.text for hit in served.attachments.retriever(key, "bm25").retrieve(["ferry"], 5)[0]
    ]
    assert person.page("DELETE", f"/{id_of(FERRY)}", params={"own": 1, "attached": key}).status_code == 404
    assert person.listed(attached="../x").get("detail") == "attached is no key of a conversation's files."


def test_where_nothing_may_be_added_documents_are_only_listed(tmp_path, served, encoder):
    (tmp_path / "other").mkdir()
    person = serve_documents(served.index, tmp_path / "other", encoder, may_upload=False).person()
    listed = person.listed()
    assert (listed["may_add_to_all"], listed["may_add_to_conversation"], listed["may_remove"]) == (False, False, False)
    replies = [
        person.send({"ferry.txt": FERRY}),
        person.page("POST", "/addresses", json={"address": "https://example.org/"}),
        person.page("DELETE", f"/{listed['documents'][0]['id']}"),
    ]
    for reply in replies:
        assert reply.status_code == 403
        assert "serving.uploads=on" in reply.json()["detail"]
    assert person.names() == ["harbour.txt", "notes.md", "broken.pdf"]


@pytest.mark.parametrize("address", ["", "ftp://example.org/x", "https://", "file:///etc/passwd", "https://a:b@x.org/"])
def test_what_is_no_address_is_said(served, address):
    reply = served.person().page("POST", "/addresses", json={"address": address})
    assert reply.status_code == 400
    assert "address" in reply.json()["detail"]


def test_a_page_that_cannot_be_taken_says_why_and_is_not_followed(served):
    person = served.person()
    person.page("POST", "/addresses", json={"address": "http://127.0.0.1:9/page"})
    (state,) = added(served, person).values()
    assert state[0] == "left out"
    assert "127.0.0.1" in state[1]
    assert ingest_documents(SETTINGS, [], served.index).left_out.keys() == {str(served.folder / "broken.pdf")}
