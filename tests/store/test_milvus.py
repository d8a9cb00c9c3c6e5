"""An index in Milvus: killed at any moment, read while it is written, and refused in sentences."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading

import pytest

from rag.build.identity import NOT_IDENTITY
from rag.build.retrievers import Retrievers
from rag.build.stores import use_store
from rag.config import load_settings
from rag.errors import ConfigError, IndexBusyError, IndexMismatchError
from rag.index.folder import roll_back, serving_manifest
from rag.index.read import open_index
from rag.index.write import build_index
from rag.lazy import Lazy
from rag.retrieve.analyzer import Analyzer
from rag.serve.nearby_wire import settings_digest
from rag.store.changing import MilvusStore
from rag.store.client import Client, MilvusError
from rag.store.lease import Lease
from rag.store.note import NOTE, StoreNote, name_in_store, read_note, write_note
from rag.store.words import words_field
from rag.types import Passage
from tests.fakes.stores import SERVER, Encoder, fill, manifest_of, open_milvus, some_passages, vectors_of

CHANGING = {"upsert", "delete", "alter_collection_properties", "create_alias", "alter_alias", "create_collection"}
CHANGING |= {"drop_collection", "flush"}


class Killed(BaseException):
    """The process is gone: nothing that comes after reaches the store."""


KINDS = ["lite", *(["server"] if os.environ.get(SERVER) else [])]


@pytest.fixture(params=KINDS)
def folder(request, tmp_path):
    """The folder of an index in an embedded store, and in the server that RAG_TEST_MILVUS names."""
    made = tmp_path / f"{request.param}.index"
    made.mkdir()
    return made


@pytest.fixture
def killing(monkeypatch):
    """Lets the nth change of a store, counted from 0, and all that follows it, never happen; None: counts them."""
    real = Client.__call__
    state = {"left": None, "n": 0}

    def call(self, method, *args, **named):
        if method in CHANGING:
            state["n"] += 1
            if state["left"] is not None:
                state["left"] -= 1
        if state["left"] is not None and state["left"] < 0:
            raise Killed
        return real(self, method, *args, **named)

    monkeypatch.setattr(Client, "__call__", call)

    def at(n):
        state.update(left=n, n=0)
        return state

    # The lease of a killed process of this machine is free at once.
    monkeypatch.setattr("rag.store.lease._is_gone", lambda owner: True)
    return at


def texts_of(folder):
    store = open_milvus(folder)
    return {p.id: p.text for p in store.scan()} if store.serves else {}


@pytest.mark.parametrize("anew", [False, True], ids=["in place", "anew"])
def test_killed_before_any_of_its_changes_the_old_state_serves_or_the_new(folder, killing, anew):
    first, changed = some_passages(), some_passages()[1:]
    old, new = ({p.id: p.text for p in passages} for passages in (first, changed))
    seen = []
    for n in itertools.count(0, 2):
        killing(None)
        fill(open_milvus(folder), first)
        killing(n)
        try:
            fill(open_milvus(folder), changed, anew=anew)
        except Killed:
            killing(None)
        else:
            break
        seen.append(texts_of(folder))
        assert seen[-1] in (old, new)
        fill(open_milvus(folder), changed, anew=anew)
        assert texts_of(folder) == new
        if open_milvus(folder).client.has_bm25:
            assert open_milvus(folder).lexical(["ferry"], 9)[0][0][0] == "ferry@2"
    assert len(seen) >= 4
    assert seen[0] == old
    assert seen[-1] in (old, new)


SCRIPT = """
import os, signal, sys
from pathlib import Path
from rag.store.client import Client
from tests.fakes.stores import fill, open_milvus, some_passages
real, method, nth = Client.__call__, sys.argv[2], int(sys.argv[3])
def call(self, name, *args, **named):
    global nth
    if name == method:
        nth -= 1
        if nth < 0:
            os.kill(os.getpid(), signal.SIGKILL)
    return real(self, name, *args, **named)
Client.__call__ = call
fill(open_milvus(Path(sys.argv[1])), some_passages()[1:], anew=sys.argv[4] == "anew")
"""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("method", "nth", "anew", "serves"),
    [("flush", 0, False, 6), ("alter_collection_properties", 1, False, 6), ("alter_alias", 0, True, 6)],
    ids=["rows are written", "the property is next", "the alias is next"],
)
def test_a_process_killed_by_signal_9_loses_nothing_that_served(tmp_path, method, nth, anew, serves, kind):
    folder = tmp_path / "a" / f"{kind}.index"
    folder.mkdir(parents=True)
    uri = os.environ[SERVER] if kind == "server" else ""
    write_note(folder, StoreNote(f"rag_killed_{os.getpid()}_{tmp_path.name}", uri, timeout_seconds=300.0))
    begin = f"from tests.fakes.stores import *\nfrom pathlib import Path\nfill(open_milvus(Path({str(folder)!r})))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", begin], check=True, env=environment)
    command = [sys.executable, "-c", SCRIPT, str(folder), method, str(nth), "anew" if anew else "in place"]
    assert subprocess.run(command, env=environment).returncode == -signal.SIGKILL
    assert len(texts_of(folder)) == serves
    fill(open_milvus(folder), some_passages()[1:], anew=anew)  # the owner of the lease is gone
    assert len(texts_of(folder)) == 5
    open_milvus(folder).roll_back()
    assert len(texts_of(folder)) == 6


def test_two_readers_see_one_generation_or_the_other_while_a_writer_changes_it(folder):
    first, second = some_passages(), some_passages()[2:]
    fill(open_milvus(folder), first)
    wanted = [{p.id for p in first}, {p.id for p in second}]
    stop, wrong, looks = threading.Event(), [], []

    def read():
        vector = vectors_of(first)[:1]
        while not stop.is_set():
            store = open_milvus(folder)
            found = {pid for pid, _ in store.dense(vector, 10)[0]}
            scanned = {p.id for p in store.scan()}
            looks.append(1)
            if found != scanned or found not in wanted:
                wrong.append((found, scanned))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for turn in range(4):
        fill(open_milvus(folder), (second, first)[turn % 2], anew=turn == 2)
    stop.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert len(looks) > 4


def corpus_at(path, passages):
    path.write_text("".join(json.dumps({"id": p.id, "text": p.text, "title": p.title}) + "\n" for p in passages))
    return path


def shared(tmp_path):
    """Settings that keep indexes in an embedded store that all tests of the session share."""
    where = [f"store.uri={tmp_path.parent / 'shared.db'}", "store.timeout_seconds=300"]
    return load_settings(None, ["store.kind=milvus", *where])


@pytest.fixture
def index(tmp_path):
    """An index of a corpus file in an embedded store, made as `rag index` makes it."""
    folder = tmp_path / f"made-{tmp_path.name}"
    use_store(shared(tmp_path), folder, making=True)
    build_index(corpus_at(tmp_path / "corpus.txt", some_passages()), folder, Encoder())
    return folder


def retrievers_over(folder, encoder=None):
    return Retrievers(load_settings(), folder, Lazy.of(encoder or Encoder()))


@pytest.mark.parametrize("kind", ["hybrid", "dense", "bm25"])
def test_every_retriever_finds_what_it_finds_over_a_folder(index, tmp_path, kind):
    build_index(tmp_path / "corpus.txt", tmp_path / "local", Encoder())
    questions = ["where does the ferry leave?", "rye bread at the mill", "an owl"]
    ours, theirs = (retrievers_over(f).get(kind).retrieve(questions, 4) for f in (index, tmp_path / "local"))
    for own, other in zip(ours, theirs, strict=True):
        assert [hit.passage for hit in own] == [hit.passage for hit in other]
        assert [hit.score for hit in own] == pytest.approx([hit.score for hit in other], abs=1e-5)
    assert serving_manifest(index)[1].fingerprint == serving_manifest(tmp_path / "local")[1].fingerprint


def test_texts_are_fetched_for_the_fused_passages_alone(index, monkeypatch):
    fetched = []
    real = MilvusStore.passages
    monkeypatch.setattr(MilvusStore, "passages", lambda self, ids: fetched.append(list(ids)) or real(self, ids))
    found, parts = retrievers_over(index).get("hybrid").retrieve_with_parts(["the ferry of the harbour"], 2)
    assert fetched == [[hit.passage.id for hit in found[0]]]
    assert set(parts) == {"dense", "bm25"}


def test_another_encoder_is_refused_with_the_command_that_encodes_again(index):
    retrievers = retrievers_over(index, Encoder("v" * 64))
    with pytest.raises(IndexMismatchError, match=r"built with another encoder \(weights_sha256.*--set encoder.model="):
        retrievers.get("dense")
    assert retrievers.get("bm25").retrieve(["ferry"], 1)[0][0].passage.id == "ferry@2"


def test_an_unchanged_corpus_is_not_encoded_again_and_a_changed_one_only_where_it_changed(index, tmp_path):
    encoder = Encoder()
    before = serving_manifest(index)
    assert build_index(tmp_path / "corpus.txt", index, encoder).fingerprint == before[1].fingerprint
    assert serving_manifest(index)[0] == before[0]
    changed = [*some_passages()[1:]]
    corpus_at(tmp_path / "corpus.txt", [*changed, type(changed[0])("new@1", "A new passage.")])
    manifest = build_index(tmp_path / "corpus.txt", index, encoder)
    assert encoder.embedded == ["A new passage."]
    assert manifest.n_passages == len(open_index(index).corpus) == 6
    assert roll_back(index).fingerprint == before[1].fingerprint
    assert "new@1" not in open_index(index).corpus


def test_an_index_made_by_another_encoder_is_built_anew_and_the_old_one_can_serve_again(index, tmp_path):
    old = serving_manifest(index)[1]
    new = build_index(tmp_path / "corpus.txt", index, Encoder("v" * 64))
    assert new.encoder != old.encoder
    assert roll_back(index).encoder == old.encoder
    assert retrievers_over(index).get("dense").retrieve(["ferry"], 3)[0]


def test_a_killed_build_goes_on_by_the_passages_that_are_there(tmp_path, killing, monkeypatch):
    monkeypatch.setattr("rag.index.stored.PASSAGES_AT_ONCE", 2)
    folder, corpus = tmp_path / "on", corpus_at(tmp_path / "c.txt", some_passages())
    use_store(shared(tmp_path), folder, making=True)
    killing(None)
    first = Encoder()
    real = MilvusStore.write

    def write(self, passages, *more):
        if len(first.embedded) > 4:
            raise Killed
        real(self, passages, *more)

    monkeypatch.setattr(MilvusStore, "write", write)
    with pytest.raises(Killed):
        build_index(corpus, folder, first)
    monkeypatch.setattr(MilvusStore, "write", real)
    second = Encoder()
    assert build_index(corpus, folder, second).n_passages == 6
    assert len(second.embedded) == 2


def test_a_lease_is_renewed_while_passages_are_encoded_and_can_be_lost(index, tmp_path, monkeypatch):
    monkeypatch.setattr("rag.store.lease.RENEWED_AFTER_SECONDS", 0.0)
    store, ends = open_index(index).store, []

    class Slow(Encoder):
        def encode_passages(self, texts, label="", advance=lambda n: None):
            for _ in texts:
                advance(1)
                ends.append(Lease(store.client, f"{store.note.name}_control")._read()["until"])
            return super().encode_passages(texts)

    corpus_at(tmp_path / "corpus.txt", [Passage(f"n@{i}", f"New text {i}.") for i in range(3)])
    build_index(tmp_path / "corpus.txt", index, Slow())
    assert sorted(set(ends)) == ends  # each later than the one before
    monkeypatch.setattr("rag.store.lease._is_gone", lambda owner: True)
    other = open_index(index).store
    is_lost = pytest.raises(IndexBusyError, match="taken over")
    with store.changing(manifest_of(some_passages())), other.writing(), is_lost:
        store.write(some_passages(), vectors_of(some_passages()))


def test_what_a_kill_left_is_dropped_and_the_collections_of_other_indexes_stay(folder):
    store = open_milvus(folder)
    fill(store)
    name, other = store.note.name, f"{store.note.name}_x_0123456789ab"
    for left in (f"{name}_0123456789ab", other):
        store._passages(left).make(16, "FLAT")
    fill(open_milvus(folder), some_passages()[1:])
    assert not store.client.has(f"{name}_0123456789ab")
    assert store.client.has(other)
    assert store.client.has(store.opened.collection)


def test_a_collection_that_an_alias_names_is_not_dropped(folder):
    store = open_milvus(folder)
    fill(store)
    with pytest.raises(IndexMismatchError, match="is not dropped"):
        store._drop(store.opened.collection)
    store.client("create_alias", store.opened.collection, f"{store.note.name}_other")
    fill(open_milvus(folder), some_passages()[1:], anew=True)
    with pytest.raises(IndexMismatchError, match="_other names"):
        fill(open_milvus(folder), some_passages()[2:], anew=True)
    assert len(texts_of(folder)) == 4


def test_a_count_other_than_the_manifests_is_found_when_it_is_opened(index):
    store = open_index(index).store
    store.client("delete", store.opened.collection, filter='id == "owl@1"')
    with pytest.raises(IndexMismatchError, match=r"holds 5 passages, its manifest says 6; rebuild it: rag index --re"):
        open_index(index)


def test_a_store_of_another_format_is_refused(index):
    store = open_index(index).store
    state = json.loads(store.client("describe_collection", store.opened.collection)["properties"]["rag.state"])
    store.client(
        "alter_collection_properties",
        store.opened.collection,
        properties={"rag.state": json.dumps({**state, "format": 99})},
    )
    with pytest.raises(IndexMismatchError, match="store format 99, this version reads 1"):
        open_index(index)


def test_a_server_that_is_down_is_a_sentence_with_the_command_that_starts_it(tmp_path):
    write_note(tmp_path, StoreNote(name="rag_x", uri="http://127.0.0.1:9", timeout_seconds=1.0))
    with pytest.raises(IndexMismatchError, match=r"127.0.0.1:9 does not answer.*start it: docker compose -f deploy"):
        open_index(tmp_path)


class _Refused(Exception):
    code = 1800

    def __init__(self, message):
        super().__init__(message)
        self.message = message


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (
            "auth check failure, please check password",
            "refuses the token in MY_TOKEN; set it: export MY_TOKEN=",
        ),
        ("<_MultiThreadedRendezvous: DEADLINE_EXCEEDED>", "does not answer"),
        ("unknown tokenizer type", "refuses: unknown tokenizer type"),
    ],
)
def test_what_the_server_refuses_is_a_sentence(folder, monkeypatch, said, sentence):
    monkeypatch.setenv("MY_TOKEN", "root:wrong")
    open_milvus(folder)
    client = open_milvus(folder).client
    client.note = StoreNote(name="x", uri="http://h:1", token_variable="MY_TOKEN")
    assert sentence in str(client._sentence(_Refused(said)))


class _Unauthenticated(Exception):
    """As gRPC says it without a token."""

    def code(self):
        return "StatusCode.UNAUTHENTICATED"

    def details(self):
        return "missing in header"


@pytest.mark.parametrize(("token", "does"), [("", "asks for"), ("root:wrong", "refuses")])
def test_a_token_that_is_refused_when_the_client_connects_is_told_as_one(folder, monkeypatch, token, does):
    monkeypatch.setenv("MY_TOKEN", token)
    client = open_milvus(folder).client
    error = _Refused("Fail connecting to server on h:1, illegal connection params or server unavailable")
    error.__cause__ = _Unauthenticated()
    error.__cause__.__cause__ = error  # as pymilvus does
    client.note = StoreNote(name="x", uri="http://h:1", token_variable="MY_TOKEN")
    assert f"{does} the token in MY_TOKEN; set it: export MY_TOKEN=" in str(client._sentence(error))
    error.__cause__ = None
    assert "does not answer" in str(client._sentence(error))


def test_an_embedded_store_that_another_process_has_open_says_so(tmp_path):
    write_note(tmp_path, StoreNote(name="rag_x"))
    hold = (
        "import sys\nfrom pathlib import Path\nfrom rag.index.stored import open_store\n"
        f"open_store(Path({str(tmp_path)!r}), creates=True)\nprint('open', flush=True)\nsys.stdin.read()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    other = subprocess.Popen([sys.executable, "-c", hold], stdin=-1, stdout=-1, env=environment)
    try:
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(IndexBusyError, match=r"open in another process.*use a server"):
            open_index(tmp_path)
    finally:
        other.communicate(b"")


@pytest.mark.parametrize("kind", ["hybrid", "bm25"])
def test_a_server_without_bm25_is_told_at_the_start_for_lexical_search_alone(index, monkeypatch, kind):
    monkeypatch.setattr(Client, "version", (2, 3))
    with pytest.raises(IndexMismatchError, match=r"Milvus 2\.3 at .* counts no words; .*retriever.kind=dense"):
        retrievers_over(index).get(kind)
    assert retrievers_over(index).get("dense").retrieve(["ferry"], 3)[0]


def test_an_index_made_by_a_server_without_bm25_grows_under_a_later_one_and_says_how_to_get_it(
    tmp_path, monkeypatch, capsys
):
    corpus, folder = corpus_at(tmp_path / "c.txt", some_passages()), tmp_path / f"old-{tmp_path.name}"
    use_store(shared(tmp_path), folder, making=True)
    with monkeypatch.context() as patch:
        patch.setattr(Client, "version", (2, 3))
        build_index(corpus, folder, Encoder())
    assert "Milvus 2.3 at" in capsys.readouterr().err
    corpus_at(corpus, some_passages()[1:])
    build_index(corpus, folder, Encoder())
    assert len(open_index(folder).corpus) == 5
    with pytest.raises(IndexMismatchError, match=r"made by a Milvus that counts no words.*rebuild it: rag index"):
        retrievers_over(folder).get("bm25")


def test_an_embedded_store_searches_exactly(tmp_path):
    settings = load_settings(None, ["store.kind=milvus", "store.index=HNSW"])
    with pytest.raises(ConfigError, match="searches exactly"):
        use_store(settings, tmp_path / "x", making=True)
    assert not (tmp_path / "x" / NOTE).exists()


def test_a_uri_is_an_address_or_a_file_that_ends_in_db():
    for uri in ("", "stores/my.db", "https://milvus.example.org:443"):
        assert load_settings(None, [f"store.uri='{uri}'"]).store.uri == uri
    with pytest.raises(ConfigError, match=r"store.uri.*ends in .db"):
        load_settings(None, ["store.uri=localhost"])


def test_where_passages_are_kept_shapes_no_answer():
    assert "store" in NOT_IDENTITY
    plain, other = load_settings(), load_settings(None, ["store.kind=milvus"])
    assert settings_digest(plain) == settings_digest(other)


def test_an_index_of_a_folder_stays_in_its_folder(tmp_path):
    corpus = corpus_at(tmp_path / "c.txt", some_passages())
    build_index(corpus, tmp_path / "local", Encoder())
    with pytest.raises(ConfigError, match="name a new folder"):
        use_store(load_settings(None, ["store.kind=milvus"]), tmp_path / "local", making=True)


def test_an_index_in_a_store_stays_there_and_goes_by_its_own_name(index, tmp_path):
    noted = (index / NOTE).read_bytes()
    elsewhere = load_settings(None, ["store.kind=milvus", f"store.uri={tmp_path / 'other.db'}"])
    with pytest.raises(ConfigError, match=r"keeps its passages at .*shared.db, where they stay; name a new folder"):
        use_store(elsewhere, index, making=True)
    assert (index / NOTE).read_bytes() == noted
    moved = shutil.copytree(index, tmp_path / "moved")
    for settings in (shared(tmp_path), load_settings(None, ["store.kind=milvus", "store.timeout_seconds=60"])):
        use_store(settings, moved)
        assert (read_note(moved).name, read_note(moved).uri) == (read_note(index).name, read_note(index).uri)
    assert read_note(moved).timeout_seconds == 60
    assert len(open_index(moved).corpus) == len(some_passages())


def test_an_index_that_the_store_lacks_is_named_and_leaves_no_note(tmp_path):
    with pytest.raises(IndexMismatchError, match=r"holds no collection for .*; make one: rag index"):
        use_store(shared(tmp_path), tmp_path / "unknown")
    assert not (tmp_path / "unknown").exists()


def test_the_note_tells_the_store_and_no_secret_and_names_keep_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("RAG_MILVUS_TOKEN", "root:secret")
    note = StoreNote(name=name_in_store(tmp_path / "my.index"), uri="http://host:19530")
    write_note(tmp_path, note)
    assert read_note(tmp_path) == note
    assert "secret" not in (tmp_path / NOTE).read_text()
    names = {name_in_store(tmp_path / name) for name in ("my.index", "my_index", "my-index")}
    assert len(names) == 3
    assert all(name.isidentifier() for name in names)
    (tmp_path / NOTE).write_text("{}")
    with pytest.raises(IndexMismatchError, match="kind of store that is not known"):
        read_note(tmp_path)


def test_words_reach_milvus_in_letters_that_its_tokenizer_leaves_whole():
    field = words_field(Analyzer(), "C++ naïve cafés 0x12 and harbours, harbour")
    words = field.split(" ")
    assert all(word.isascii() and word.isalnum() and word == word.lower() for word in words)
    assert words.count("harbour") == 2
    assert words_field(Analyzer(), "c++") in words
    assert words_field(Analyzer(), "naïve") in words


def test_a_passage_longer_than_milvus_keeps_is_named(folder):
    long = type(some_passages()[0])("long@1", "x" * 70_000)
    store, manifest = open_milvus(folder), manifest_of([long])
    with pytest.raises(Exception, match="'long@1' is longer than Milvus keeps"), store.changing(manifest):
        store.write([long], vectors_of([long]))


def test_neither_milvus_nor_ray_is_imported_by_default():
    code = (
        "import sys\nimport rag.cli.main, rag.build.serving, rag.build.indexes, rag.index.faiss_store\n"
        "import rag.runs.spread, rag.retrieve.spread, rag.compute.cluster\n"
        "assert not {'pymilvus', 'milvus_lite', 'grpc', 'ray'} & set(sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def test_a_refusal_of_milvus_keeps_its_number():
    assert MilvusError("what", code=100).code == 100
