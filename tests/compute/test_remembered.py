"""A hash is remembered until a weight file changes."""

import os
import time

import pytest

from rag.compute import remembered
from rag.compute.remembered import FILE, remembered_weights_sha256
from rag.errors import ModelError
from rag.files import weights_sha256


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Weights that have not changed for a while."""
    monkeypatch.setattr(remembered, "SETTLED_SECONDS", -1.0)
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.fixture
def hashed(monkeypatch):
    """The folders that are hashed from now on."""
    folders = []
    monkeypatch.setattr(remembered, "weights_sha256", lambda folder: folders.append(folder) or weights_sha256(folder))
    return folders


def test_weights_are_hashed_once(folder, tmp_path, hashed):
    found = [remembered_weights_sha256(folder, tmp_path / "cache") for _ in range(3)]
    assert found == [weights_sha256(folder)] * 3
    assert len(hashed) == 1


def test_other_weights_of_the_same_size_are_hashed_again(folder, tmp_path, hashed):
    first = remembered_weights_sha256(folder, tmp_path)
    stat = (folder / "model.safetensors").stat()
    (folder / "model.safetensors").write_bytes(b"WEIGHTS")
    os.utime(folder / "model.safetensors", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert remembered_weights_sha256(folder, tmp_path) == weights_sha256(folder) != first
    (folder / "more.bin").write_bytes(b"")
    remembered_weights_sha256(folder, tmp_path)
    assert len(hashed) == 3


def test_weights_that_changed_just_now_may_change_again_and_are_not_remembered(folder, tmp_path, hashed, monkeypatch):
    monkeypatch.setattr(remembered, "SETTLED_SECONDS", time.time())
    for _ in range(2):
        remembered_weights_sha256(folder, tmp_path)
    assert len(hashed) == 2


@pytest.mark.parametrize("content", ["{half", "[]", '{"elsewhere": 1}'])
def test_a_damaged_memory_is_written_anew(folder, tmp_path, hashed, content):
    (tmp_path / FILE).write_text(content, "utf-8")
    assert [remembered_weights_sha256(folder, tmp_path) for _ in range(2)] == [weights_sha256(folder)] * 2
    assert len(hashed) == 1


def test_two_folders_are_remembered_side_by_side(folder, tmp_path, hashed):
    other = tmp_path / "other"
    other.mkdir()
    (other / "model.safetensors").write_bytes(b"others")
    for _ in range(2):
        assert remembered_weights_sha256(folder, tmp_path) != remembered_weights_sha256(other, tmp_path)
    assert len(hashed) == 2


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(ModelError, match="holds no weights"):
        remembered_weights_sha256(tmp_path, tmp_path)
