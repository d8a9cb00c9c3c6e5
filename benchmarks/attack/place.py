"""The folder in which commands are attacked: little documents, questions about them, and an index."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.attack.forks import Ended, Kill, Running, command

NOUNS = ("river", "lake", "mountain", "city", "tower", "bridge", "king", "queen", "painter", "poem", "ship", "train")
NOUNS += ("bread", "yeast", "island", "port")
Command = tuple[str, ...]
INDEX: Command = ("index", "corpus.txt", "-o", "index")
INGEST: Command = ("ingest", "docs", "-i", "index")


@dataclass(slots=True)
class Place:
    """The folder in which commands run, and the settings of tiny models."""

    folder: Path
    settings: list[str] = field(default_factory=list)
    home: str = "home"

    def options(self, words: Command) -> list[str]:
        """The settings as options of a command; [] for one that takes none."""
        if words[0] in ("rollback", "feedback", "user", "export", "audit"):
            return []
        return [word for setting in self.settings for word in ("--set", setting)]

    def run(self, words: Command, kill: Kill | None = None) -> Ended:
        """A command, in this folder."""
        return self.start(command(*words, *self.options(words)), kill).wait()

    def start(self, work: Callable[[], object], kill: Kill | None = None, name: str = "said.txt") -> Running:
        def here() -> None:
            os.chdir(self.folder)
            os.environ["RAG_HOME"] = str(self.folder.parent / self.home)
            os.environ["HF_HUB_OFFLINE"] = "1"
            work()

        return Running(here, self.folder, self.folder.parent / name, kill)

    def value(self, look: Callable[[], object]) -> object:
        """What a function finds in this folder; where it fails, how."""
        found = self.folder.parent / "found.json"
        found.unlink(missing_ok=True)
        ended = self.start(lambda: found.write_text(json.dumps(look())), name="looked.txt").wait()
        return json.loads(found.read_text()) if ended.status == 0 and found.exists() else f"failed: {ended.printed}"


def write_files(folder: Path) -> None:
    """Documents, a corpus, and questions for training, for dev and for a batch."""
    folder.mkdir()
    (folder / "docs").mkdir()
    for n, noun in enumerate(NOUNS):
        text = (
            f"The {noun} was built in 18{70 + n} by Clara Voss.\n\nIt is {n} km long, and the {noun} is old and red.\n"
        )
        (folder / "docs" / f"{noun}.txt").write_text(text * 3)
    texts = [f"the {noun} and the {NOUNS[n - 1]}" for n, noun in enumerate(NOUNS)]
    rows = [json.dumps({"id": f"d{n}@0", "title": "", "text": text, "source": "x"}) for n, text in enumerate(texts)]
    (folder / "corpus.txt").write_text("\n".join(rows) + "\n")
    questions = []
    for n, noun in enumerate(NOUNS):
        is_answerable = n % 4 != 3
        row = {
            "qid": f"q{n}",
            "question": f"who built the {noun}",
            "evidences": [texts[n], texts[(n + 1) % len(texts)]],
        }
        row |= {"retrieval_labels": [1, 0], "answer": {"text": noun if is_answerable else "CANNOTANSWER"}}
        questions.append(json.dumps(row) + "\n")
    (folder / "train.txt").write_text("".join(questions[:11]))
    (folder / "dev.txt").write_text("".join(questions[11:]))
    (folder / "all.txt").write_text("".join(questions))


def index_state() -> object:
    """What `index` answers with: the fingerprint of a generation that opens whole, and what it finds."""
    from rag.index.read import open_index

    opened = open_index("index")
    opened.check_holds_passages()
    assert len(opened.vectors()) >= len(opened.corpus)
    found = opened.bm25().retrieve(["the river and the lake"], 3)[0]
    return [opened.manifest.fingerprint, len(opened.corpus), [hit.passage.id for hit in found]]
