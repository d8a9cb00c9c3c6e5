"""The commands that messages name as the way out, quoted so that they can be pasted into a shell.

`CORPUS`, `PATH`, `DEV` and `INDEX` stand where only the reader knows what to name.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rag.terminal import shell_word


def make_index(folder: str | Path) -> str:
    """Make an index where there is none, or where nobody can say any more what it was made from."""
    return f"{index_corpus('CORPUS', folder)}, or of documents: {ingest(folder, ['PATH'])}"


def index_corpus(corpus: str | Path, folder: str | Path) -> str:
    """Index a corpus file; a killed build goes on where it was."""
    return _command("rag", "index", corpus, "-o", folder)


def encode_again(folder: str | Path) -> str:
    """Encode the passages that an index holds once more, all of them."""
    return _command("rag", "index", "--rebuild", "-o", folder)


def ingest(
    folder: str | Path,
    paths: Sequence[str | Path] = (),
    *,
    forget: Sequence[str | Path] = (),
    settings: Sequence[str] = (),
) -> str:
    """Ingest files and folders; without `paths`, follow those that were ingested before.

    `forget` names what is left out from now on, `settings` are of the form `section.name=value`.
    """
    options: list[str | Path] = ["-i", folder]
    for path in forget:
        options += ["--forget", path]
    for setting in settings:
        options += ["--set", setting]
    return _command("rag", "ingest", *paths, *options)


def remake(folder: str | Path, corpus_path: str) -> str:
    """Make an index again from what it was made from: a corpus file, or documents where `corpus_path` is empty."""
    return index_corpus(corpus_path, folder) if corpus_path else ingest(folder)


def start_again(folder: str | Path) -> str:
    """Delete an index of documents, and name the files again."""
    return f"{remove(folder)} && {ingest(folder, ['PATH'])}"


def roll_back(folder: str | Path) -> str:
    """Let the generation before the present one serve again."""
    return _command("rag", "rollback", folder)


def calibrate(folder: str | Path, *, written: bool = False) -> str:
    """Choose the refusal threshold of an index: on dev questions, or on questions `written` by the generator."""
    return _command("rag", "calibrate", "--written" if written else "DEV", "-i", folder)


def ask(folder: str | Path) -> str:
    """Ask a question of an index."""
    return _command("rag", "ask", "your question", "-i", folder)


def batch(folder: str | Path) -> str:
    """Answer questions into a run folder."""
    return _command("rag", "batch", "QUERIES", "-i", "INDEX", "-o", folder)


def evaluate(folder: str | Path) -> str:
    """Score a run folder."""
    return _command("rag", "evaluate", folder, "--qrels", "QRELS", "--queries", "FILE")


def mine(negatives: str | Path = "FILE") -> str:
    """Mine hard negatives, scored by the cross-encoder, into a file."""
    return _command("rag", "mine", "TRAIN", "-i", "INDEX", "-o", negatives)


def gate(model: str | Path) -> str:
    """Let a model, or a run's, meet the one that serves."""
    return _command("rag", "train", "gate", model, "-i", "INDEX", "-o", "MET", "--dev", "DEV")


def gate_on(model: str | Path, index: str | Path, met: str | Path) -> str:
    """Let a model meet the one that serves over an index, in a folder."""
    return _command("rag", "train", "gate", model, "-i", index, "-o", met, "--dev", "DEV")


def promote(run: str | Path) -> str:
    """Serve the model of a run in the place of its base."""
    return _command("rag", "promote", run)


def go_back(base: str | Path) -> str:
    """Take the last promotion in the place of a model back."""
    return _command("rag", "promote", "--back", base)


def install(extra: str) -> str:
    """Install an extra of this package."""
    return _command("pip", "install", f"rag-qa[{extra}]")


def start_store() -> str:
    """Start a Milvus server."""
    return "docker compose -f deploy/compose.scale.yaml up -d milvus"


def store_token(variable: str) -> str:
    """Name the token of a Milvus server."""
    return f"export {variable}=USER:PASSWORD"


def note_store(folder: str | Path, *, is_beside: bool) -> str:
    """Write the note anew that says in which store an index is kept; `is_beside`: in the one in its folder."""
    address = () if is_beside else ("--set", "store.uri=ADDRESS")
    return _command("rag", "search", "your question", "-i", folder, "--set", "store.kind=milvus", *address)


def fetch_models() -> str:
    """Fetch every model that the settings name."""
    return _command("rag", "models", "--fetch")


def add_user(users: str | Path) -> str:
    """Add a person to a users file."""
    return _command("rag", "user", "add", "NAME", users)


def close_collection(name: str, users: str | Path) -> str:
    """Let only people to whom it was granted read a collection."""
    return _command("rag", "user", "revoke", "*", name, users)


def remove(path: str | Path) -> str:
    """Delete a folder."""
    return _command("rm", "-r", path)


def set_aside(path: str | Path) -> str:
    """Move a damaged file away, so that another can be made in its place; nothing is lost."""
    return _command("mv", path, f"{path}.damaged")


def _command(*words: str | Path) -> str:
    return " ".join(shell_word(str(word)) for word in words)
