"""Passages encoded and batches answered on two nodes of Ray, both on this machine; one is lost in the middle.

Run as a program (`python tests/runs/test_ray.py FOLDER …`), this file is the index command that a test kills.
"""

import functools
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

# Read when Ray is imported. Workers would wait for all other processes of a busy machine, by their niceness of 15.
os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}

from rag.build import parts
from rag.build.indexes import ingest_documents
from rag.build.serving import serving_over
from rag.compute.cluster import Cluster, _of_its_own
from rag.config import load_settings
from rag.data.questions import load_questions
from rag.errors import ConfigError, RunMismatchError
from rag.index import encode
from rag.index.read import open_index
from rag.index.write import build_index
from rag.retrieve.encoder import Encoder
from rag.retrieve.spread import SpreadEncoder
from rag.runs import spread
from rag.runs.spread import predict
from rag.runs.stored import PREDICTIONS
from rag.store.note import StoreNote, write_note
from tests.fakes.spread import (
    GatedEncoder,
    HashEncoder,
    doubling,
    gated_encoder,
    gated_shards,
    noted,
    wait_for,
    wait_until,
)

pytestmark = pytest.mark.ray
NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "node_ip_address": "127.0.0.1"}


class TwoNodes:
    """A head of one core, and a second node of one core that can be lost."""

    def __init__(self):
        cluster_utils = pytest.importorskip("ray.cluster_utils", reason="Ray is not installed (the extra scale)")
        self.made = cluster_utils.Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
        self.address, self.head = self.made.address, self.made.head_node.node_id
        self.second = None

    def with_second(self):
        if self.second is None:
            self.second = self.made.add_node(**NODE)

    def lose_second_when(self, gate):
        """Kill the second node, as the system would, once somebody has begun there."""

        def lose():
            wait_for(gate / "begun")
            self.made.remove_node(self.second, allow_graceful=False)
            self.second = None

        thread = threading.Thread(target=lose)
        thread.start()
        return thread


@pytest.fixture(scope="module")
def nodes():
    made = TwoNodes()
    yield made
    made.made.shutdown()


@pytest.fixture
def gate(tmp_path):
    (tmp_path / "gate").mkdir()
    return tmp_path / "gate"


def test_what_a_lost_node_had_in_hand_is_done_by_another_and_nothing_twice(nodes, gate):
    nodes.with_second()
    losing = nodes.lose_second_when(gate)
    make = functools.partial(doubling, str(gate), nodes.head)
    found = list(Cluster(nodes.address, 1).each(make, iter(range(6))))
    losing.join()
    assert sorted((position, int(values[0])) for position, values in found) == [(n, 2 * n) for n in range(6)]
    assert noted(gate) == [str(n) for n in range(6)]


OWN_CLUSTER = """
import functools, sys
import psutil
from rag.compute.cluster import Cluster
from tests.fakes.spread import doubling

listening = set()
for position, values in Cluster("", 1).each(functools.partial(doubling, sys.argv[1], ""), [7]):
    assert (position, int(values[0])) == (0, 14)
    for process in psutil.Process().children(recursive=True):
        listening |= {one.laddr.ip for one in process.net_connections() if one.status == psutil.CONN_LISTEN}
print(*{ip.removeprefix("::ffff:") for ip in listening})
import ray
assert not ray.is_initialized()
"""


def test_a_cluster_of_its_own_listens_on_this_machine_alone_and_ends(gate):
    pytest.importorskip("ray", reason="Ray is not installed (the extra scale)")
    ours = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment = {**ours, "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(gate)}
    command = [sys.executable, "-c", OWN_CLUSTER, str(gate)]
    made = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    assert made.stdout.split() == ["127.0.0.1"]
    assert not (gate / ".ray").exists()  # its token, which later clusters of this machine would ask for


TWO_CLUSTERS = """
import functools, sys
import psutil
from rag.compute.cluster import Cluster
from tests.fakes.spread import doubling

def doubled(address, item):
    ((position, values),) = Cluster(address, 1).each(functools.partial(doubling, sys.argv[1], ""), [item])
    return int(values[0])

assert doubled("", 1) == 2
assert doubled(sys.argv[2], 2) == 4
own = Cluster("", 1).each(functools.partial(doubling, sys.argv[1], ""), [3])
next(own)
here = [one for child in psutil.Process().children(recursive=True) for one in child.net_connections()]
print(*{one.laddr.ip.removeprefix("::ffff:") for one in here if one.status == psutil.CONN_LISTEN})
own.close()
assert doubled(sys.argv[2], 4) == 8
"""


def test_clusters_of_its_own_and_one_that_is_there_are_used_by_turns(nodes, gate):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", TWO_CLUSTERS, str(gate), nodes.address]
    made = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    assert made.stdout.split() == ["127.0.0.1"]
    assert noted(gate) == ["1", "2", "3", "4"]


def test_only_what_is_started_here_is_kept_to_loopback_and_has_a_token(monkeypatch):
    constants = pytest.importorskip("ray._private.ray_constants", reason="Ray is not installed (the extra scale)")
    names = [constants.ENABLE_RAY_CLUSTERS_ENV_VAR, "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"]
    for name in names:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(constants, "ENABLE_RAY_CLUSTER", True)
    from ray._raylet import get_authentication_mode

    before = get_authentication_mode()
    with _of_its_own():
        assert (os.environ[names[0]], constants.ENABLE_RAY_CLUSTER) == ("0", False)
        assert get_authentication_mode() != before
        assert len(os.environ[names[2]]) >= 32
    assert ([name for name in names if name in os.environ], constants.ENABLE_RAY_CLUSTER) == ([], True)
    assert get_authentication_mode() == before


def test_a_cluster_that_does_not_answer_is_told_at_once():
    with pytest.raises(ConfigError, match=r"no Ray cluster answers at 127\.0\.0\.1:1 .*; start one with `ray start"):
        list(Cluster("127.0.0.1:1").each(print, [1]))
    assert list(Cluster("127.0.0.1:1").each(print, [])) == []  # none is needed for nothing


def spread_encoder(address, folder, gate, head):
    make = functools.partial(GatedEncoder, str(folder), gate=str(gate), head=head)
    return SpreadEncoder(folder, cluster=Cluster(address, 1), make=make, lazy=True)


def same_index(one, other):
    one, other = open_index(one), open_index(other)
    assert [p.id for p in one.corpus] == [p.id for p in other.corpus]
    rows = range(len(one.corpus))
    cosines = np.einsum("nd,nd->n", one.vectors().vectors(rows), other.vectors().vectors(rows))
    assert cosines.min() >= 0.99999
    assert one.manifest.fingerprint == other.manifest.fingerprint
    return True


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(encode, "SHARD_PASSAGES", 2)
    monkeypatch.setattr("rag.index.write.SHARD_PASSAGES", 2)
    monkeypatch.setattr("rag.index.stored.PASSAGES_AT_ONCE", 2)


def test_an_index_is_whole_though_a_node_is_lost_while_it_encodes(
    nodes, gate, tmp_path, corpus_file, tiny_encoder_folder, small_shards
):
    build_index(corpus_file, tmp_path / "local", Encoder(tiny_encoder_folder))
    nodes.with_second()
    losing = nodes.lose_second_when(gate)
    build_index(corpus_file, tmp_path / "ray", spread_encoder(nodes.address, tiny_encoder_folder, gate, nodes.head))
    losing.join()
    assert same_index(tmp_path / "local", tmp_path / "ray")
    encoded = [text for block in noted(gate) for text in block.split("\x1e")]
    assert len(noted(gate)) == 4
    assert len(encoded) == len(set(encoded))


def test_an_ingest_is_whole_though_a_node_is_lost_at_first_and_in_an_update(
    nodes, tmp_path, tiny_encoder_folder, small_shards, monkeypatch
):
    notes = tmp_path / "notes"
    notes.mkdir()
    model = [f"encoder.model={tiny_encoder_folder}", "documents.chunk_tokens=40"]
    shares = ["compute.kind=ray", f"compute.address={nodes.address}", "compute.worker_cores=1"]
    for turn, n_changed in enumerate((7, 3)):  # so many blocks of two: four, and two
        for n in range(n_changed):
            (notes / f"{n}.txt").write_text(f"Rule {n} is about the harbour, as of turn {turn}.", "utf-8")
        ingest_documents(load_settings(None, model), [notes], tmp_path / "local")
        gate = tmp_path / f"gate-{turn}"
        gate.mkdir()
        nodes.with_second()
        losing = nodes.lose_second_when(gate)
        monkeypatch.setattr(parts, "_encoder_of_a_worker", functools.partial(gated_encoder, str(gate), nodes.head))
        ingest_documents(load_settings(None, [*model, *shares]), [notes], tmp_path / "ray")
        losing.join()
        assert same_index(tmp_path / "local", tmp_path / "ray")
        encoded = [text for block in noted(gate) for text in block.split("\x1e")]
        assert len(encoded) == len(set(encoded)) == n_changed


def hashing_encoder(address, folder, gate, hold=""):
    """Its workers load no weights, and start in a moment."""
    made = SpreadEncoder(folder, cluster=Cluster(address, 1), make=print, lazy=True)
    made._make = functools.partial(HashEncoder, made.fingerprint, str(gate), hold)
    return made


def index_until_killed(address, corpus, index, encoder, gate, hold):
    """Index; each block that is written is told by a file of the gate, `written-…`."""
    import rag.index.stored
    import rag.index.write
    from rag.store.changing import MilvusStore

    encode.SHARD_PASSAGES = rag.index.write.SHARD_PASSAGES = rag.index.stored.PASSAGES_AT_ONCE = 2
    for owner, name in ((encode, "_write_shard"), (MilvusStore, "write")):
        setattr(owner, name, _telling(getattr(owner, name), gate))
    build_index(corpus, index, hashing_encoder(address, encoder, gate, hold))


def _telling(write, gate):
    def told(*given):
        write(*given)
        Path(gate, f"written-{secrets.token_hex(4)}").touch()

    return told


@pytest.mark.parametrize("store", ["folder", "milvus"])
def test_a_killed_index_command_goes_on_with_what_was_encoded(
    nodes, gate, tmp_path, corpus_file, passages, tiny_encoder_folder, small_shards, store
):
    again = hashing_encoder(nodes.address, tiny_encoder_folder, gate)
    (tmp_path / "elsewhere").mkdir()
    build_index(corpus_file, tmp_path / "local", HashEncoder(again.fingerprint, str(tmp_path / "elsewhere")))
    if store == "milvus":
        write_note(tmp_path / "ray", StoreNote("rag_killed_over_ray", timeout_seconds=300.0))
    longest_first = sorted((passage.content for passage in passages), key=lambda content: -len(content))
    arguments = [nodes.address, corpus_file, tmp_path / "ray", tiny_encoder_folder, gate, longest_first[4]]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, __file__, *map(str, arguments)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as killed:
        wait_until(lambda: len(list(gate.glob("written-*"))) == 2)
        killed.send_signal(signal.SIGKILL)
    before = noted(gate)
    assert len(before) == 2
    (gate / "open").touch()
    build_index(corpus_file, tmp_path / "ray", again)
    assert same_index(tmp_path / "local", tmp_path / "ray")
    # The third block may have been encoded twice, where its worker outlived the command; those before it are not.
    assert set(noted(gate)) - set(before) == {"\x1e".join(longest_first[4:6]), longest_first[6]}
    assert all(noted(gate).count(block) == 1 for block in before)


def without_seconds(run):
    rows = [json.loads(line) for line in (run / PREDICTIONS).read_text("utf-8").splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def on_ray(settings, nodes, size=3):
    compute = {"kind": "ray", "address": nodes.address, "worker_cores": 1, "questions_per_shard": size}
    return settings.model_copy(update={"compute": settings.compute.model_copy(update=compute)})


def ask(settings, folder, run, **options):
    queries = folder / "dev.txt"
    return predict(serving_over(settings, folder / "index"), queries, load_questions(queries), run, **options)


def test_a_batch_is_as_in_one_process_though_a_node_is_lost_in_the_middle(nodes, gate, data, monkeypatch):
    settings, folder = data
    ask(settings, folder, folder / "local", generate=False)
    nodes.with_second()
    losing = nodes.lose_second_when(gate)
    monkeypatch.setattr(spread, "_shard_worker", functools.partial(gated_shards, str(gate), nodes.head))
    ask(on_ray(settings, nodes), folder, folder / "ray", generate=False)
    losing.join()
    assert without_seconds(folder / "ray") == without_seconds(folder / "local")
    assert noted(gate) == ["00000", "00001", "00002"]
    assert sorted(path.name for path in (folder / "ray").iterdir()) == sorted(
        path.name for path in (folder / "local").iterdir()
    )
    assert (folder / "ray" / "run.json").read_bytes() == (folder / "local" / "run.json").read_bytes()
    # Whole: nothing is asked again, and no cluster is needed for that.
    nowhere = on_ray(settings, nodes)
    compute = nowhere.compute.model_copy(update={"address": "127.0.0.1:1"})
    assert ask(nowhere.model_copy(update={"compute": compute}), folder, folder / "ray", generate=False).is_file()
    with pytest.raises(RunMismatchError, match="was made otherwise"):
        ask(load_settings(None, ["retriever.kind=bm25", "reranker.enabled=false"]), folder, folder / "ray")


if __name__ == "__main__":
    index_until_killed(*sys.argv[1:])
