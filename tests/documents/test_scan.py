"""Walks over odd folders: links in circles, lock files, names that are no text, what cannot be listed."""

import os
import socket
from pathlib import Path

import pytest

from rag.documents.scan import FoundFile, fault_of, readable, scan
from rag.errors import DataError, UnreadableFile


def looked_at(*roots):
    return scan(roots, max_bytes=10**6)


def paths_of(found):
    return [file.path for file in found.files]


def reasons_of(found):
    return {Path(path).name: reason for path, reason in found.left_out.items()}


def test_links_in_a_circle_are_listed_with_the_reason(tmp_path):
    (tmp_path / "a").symlink_to("a")
    (tmp_path / "b.txt").symlink_to("c.txt")
    (tmp_path / "c.txt").symlink_to("b.txt")
    (tmp_path / "picture.png").symlink_to("picture.png")
    (tmp_path / "up").symlink_to("..")
    (tmp_path / "here").symlink_to(".")
    (tmp_path / "nowhere.txt").symlink_to("absent.txt")
    (tmp_path / "d.txt").write_text("ferry", "utf-8")
    found = looked_at(tmp_path)
    assert paths_of(found) == ["d.txt"]
    circle = "a link in a circle"
    assert reasons_of(found) == {
        "a": circle,
        "b.txt": circle,
        "c.txt": circle,
        "picture.png": circle,
        "up": "a link to a folder",
        "here": "a link to a folder",
        "nowhere.txt": "gone, or a link to nothing",
    }


def test_a_root_that_is_a_link_in_a_circle_or_a_pipe_is_listed_beside_the_others(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "d.txt").write_text("ferry", "utf-8")
    found = looked_at(tmp_path / "a", tmp_path / "pipe", tmp_path / "d.txt")
    assert reasons_of(found) == {"a": "a link in a circle", "pipe": "not a regular file"}
    assert [file.full_path.name for file in found.files] == ["d.txt"]
    with pytest.raises(DataError, match="does not exist"):
        looked_at(tmp_path / "d.txt" / "below")
    assert "too long" in fault_of(tmp_path / ("n" * 5000))


def test_lock_files_and_the_systems_own_are_passed_over_in_silence(tmp_path):
    for name in (
        "~$report.docx",
        "~WRL0001.tmp",
        ".~lock.report.odt#",
        "Thumbs.db",
        "desktop.ini",
        ".DS_Store",
        "Icon\r",
        "notes.txt~",
        "README~",
        "#notes#",
        "film.txt.part",
        "film.txt.crdownload",
    ):
        (tmp_path / name).write_text("ferry", "utf-8")
    for folder in ("__MACOSX", "$RECYCLE.BIN", "System Volume Information", "lost+found", "@eaDir", ".git"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "inside.txt").write_text("ferry", "utf-8")
    for name in ("a~b.txt", "~notes.txt", "$prices.txt", "#1 guide.txt", "partial.txt"):
        (tmp_path / name).write_text("ferry", "utf-8")
    found = looked_at(tmp_path)
    assert paths_of(found) == ["#1 guide.txt", "$prices.txt", "a~b.txt", "partial.txt", "~notes.txt"]
    assert (found.left_out, found.other_kinds) == ({}, {})
    assert len(looked_at(tmp_path / "~$report.docx").files) == 1  # named itself, it is tried


def test_a_name_that_is_no_text_can_be_shown(tmp_path):
    name = os.fsdecode(b"caf\xe9\n2.txt")
    (tmp_path / name).write_bytes(b"The ferry sails daily.")
    (tmp_path / os.fsdecode(b"\xff.txt")).symlink_to("/nowhere")
    found = looked_at(tmp_path)
    (file,) = found.files
    assert file.full_path.read_bytes() == b"The ferry sails daily."
    assert (file.shown_path, file.name) == (f"{tmp_path.name}/caf??2.txt", f"{tmp_path}/caf??2.txt")
    assert list(found.left_out) == [f"{tmp_path}/?.txt"]
    assert readable("é") == "é"


def test_sockets_and_pipes_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "to-pipe.txt").symlink_to("pipe.txt")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket.txt"))
        assert set(reasons_of(looked_at(tmp_path)).values()) == {"not a regular file"}


def test_a_folder_that_cannot_be_listed_is_named_and_the_others_are_read(tmp_path, monkeypatch):
    for name in ("closed", "open"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text("ferry", "utf-8")
    listing = os.scandir

    def scandir(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return listing(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = looked_at(tmp_path)
    assert paths_of(found) == ["open/a.txt"]
    assert reasons_of(found) == {"closed": "cannot be listed: Permission denied"}


def test_a_folder_that_nobody_may_look_into_does_not_end_the_walk(tmp_path):
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.txt").write_text("ferry", "utf-8")

    def is_index(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    found = scan([tmp_path], max_bytes=10**6, is_index=is_index)
    assert paths_of(found) == ["a.txt"]
    assert reasons_of(found) == {"closed": "cannot be listed: Permission denied"}


def test_a_file_deleted_or_forbidden_while_it_is_looked_at_is_listed(tmp_path):
    for name in ("gone.txt", "closed.txt", "there.txt"):
        (tmp_path / name).write_text("ferry", "utf-8")

    def look(path, status):
        if path.name == "gone.txt":
            raise FileNotFoundError(2, "No such file or directory", str(path))
        if path.name == "closed.txt":
            raise PermissionError(13, "Permission denied", str(path))
        return "0" * 64, status.st_size, status.st_mtime

    found = scan([tmp_path], max_bytes=10**6, look=look)
    assert paths_of(found) == ["there.txt"]
    assert reasons_of(found) == {
        "gone.txt": "gone, or a link to nothing",
        "closed.txt": "cannot be read: Permission denied",
    }


def test_a_file_deleted_between_walk_and_reading_is_named_as_gone(tmp_path):
    from rag.documents.parse import parse_file

    with pytest.raises(UnreadableFile, match="cannot be read: gone since it was found"):
        parse_file(tmp_path / "gone.txt", "0" * 64)


def test_a_title_from_a_name_that_is_no_text_can_be_written(tmp_path):
    from rag.documents.parse import parse_file

    path = tmp_path / os.fsdecode(b"caf\xe9.txt")
    path.write_bytes(b"The ferry sails daily.")
    assert parse_file(path).title.encode("utf-8") == b"caf?"


def test_a_page_is_called_by_its_address():
    page = FoundFile("/index/web", "0a.html", "0" * 64, 5, 0.0, "https://example.org/a")
    assert (page.name, page.shown_path, str(page.full_path)) == (
        "https://example.org/a",
        "https://example.org/a",
        "/index/web/0a.html",
    )
