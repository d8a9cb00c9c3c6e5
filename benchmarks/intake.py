"""Ingest a thousand documents of seven kinds: how long it takes, how much memory, and how much of it is not encoding.

    python -m benchmarks.intake [DOCUMENTS] [--set …]

The documents (Markdown, text, HTML, DOCX, PPTX, XLSX and CSV, a few sections each) are made from passages of the sample
corpus. `rag ingest` runs over them in a process of its own, and once more over the unchanged folder. Then the texts it
stored are encoded alone, in one call of the same encoder, to compare the whole with encoding.
"""

from __future__ import annotations

import argparse
import csv
import html
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rag.build.indexes import corpus_of
from rag.build.parts import make_encoder
from rag.compute.quiet import quiet_libraries
from rag.config import load_settings
from rag.data.embedded import embedded_corpus
from rag.types import Passage

SECTIONS = 4


def write_markdown(path: Path, passages: Sequence[Passage]) -> None:
    path.write_text("\n\n".join(f"# {passage.title}\n\n{passage.text}" for passage in passages), "utf-8")


def write_text(path: Path, passages: Sequence[Passage]) -> None:
    path.write_text("\n\n".join(passage.content for passage in passages), "utf-8")


def write_html(path: Path, passages: Sequence[Passage]) -> None:
    sections = (f"<h2>{html.escape(p.title)}</h2><p>{html.escape(p.text)}</p>" for p in passages)
    path.write_text(f"<!doctype html><title>{path.stem}</title>{''.join(sections)}", "utf-8")


def write_docx(path: Path, passages: Sequence[Passage]) -> None:
    import docx

    document = docx.Document()
    for passage in passages:
        document.add_heading(passage.title)
        document.add_paragraph(passage.text)
    document.save(str(path))


def write_pptx(path: Path, passages: Sequence[Passage]) -> None:
    import pptx

    slides = pptx.Presentation()
    for passage in passages:
        slide = slides.slides.add_slide(slides.slide_layouts[1])
        slide.shapes.title.text = passage.title
        slide.placeholders[1].text = passage.text
    slides.save(str(path))


def write_xlsx(path: Path, passages: Sequence[Passage]) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    book.active.append(["title", "text"])
    for passage in passages:
        book.active.append([passage.title, passage.text])
    book.save(path)


def write_csv(path: Path, passages: Sequence[Passage]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("title", "text"), *((passage.title, passage.text) for passage in passages)])


WRITERS: dict[str, Callable[[Path, Sequence[Passage]], None]] = {
    ".md": write_markdown,
    ".txt": write_text,
    ".html": write_html,
    ".docx": write_docx,
    ".pptx": write_pptx,
    ".xlsx": write_xlsx,
    ".csv": write_csv,
}


def write_documents(folder: Path, n: int) -> None:
    """Write `n` documents, each from passages drawn for it; the kinds take turns."""
    passages, draw, kinds = list(embedded_corpus()), random.Random(0), list(WRITERS)
    for number in range(n):
        path = folder / f"{number // 100:02}" / f"document-{number:04}{kinds[number % len(kinds)]}"
        path.parent.mkdir(exist_ok=True)
        WRITERS[path.suffix](path, draw.sample(passages, SECTIONS))


def run_ingest(folder: Path, index: Path, options: Sequence[str]) -> tuple[dict, float]:
    """(what `rag ingest --json` reports, seconds)."""
    command = [sys.executable, "-m", "rag", "ingest", str(folder), "-i", str(index), "--json", *options]
    started = time.perf_counter()
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if run.returncode not in (0, 3):  # 3: some files were left out
        run.check_returncode()
    return json.loads(run.stdout), time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("documents", type=int, nargs="?", default=1000, help="how many documents")
    parser.add_argument("--set", action="append", default=[], help="section.key=value")
    given = parser.parse_args()
    quiet_libraries()
    options = [part for setting in given.set for part in ("--set", setting)]
    with tempfile.TemporaryDirectory() as scratch:
        folder, index = Path(scratch) / "documents", Path(scratch) / "index"
        folder.mkdir()
        write_documents(folder, given.documents)
        first, seconds = run_ingest(folder, index, options)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        again, seconds_again = run_ingest(folder, index, options)
        encoder = make_encoder(load_settings(None, given.set))
        texts = [passage.content for passage in corpus_of(index)]
        encoder.encode_passages(texts[:8])
        started = time.perf_counter()
        encoder.encode_passages(texts)
        alone = time.perf_counter() - started
    row = {
        "documents": given.documents,
        "left out": len(first["left_out"]),
        "passages": first["n_passages"],
        "peak GiB of a process": round(peak, 2),
        "seconds": round(seconds, 1),
        "passages/s": round(first["n_passages"] / seconds, 1),
        "whole to encoding alone": round(seconds / alone, 2),
        "again, unchanged: encoded": again["added"],
        "again to the first time": round(seconds_again / seconds, 3),
    }
    print(json.dumps(row))


if __name__ == "__main__":
    main()
