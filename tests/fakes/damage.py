"""Every kind of damage to a file, and what an index answers to fixed questions."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import shutil
from pathlib import Path

import numpy as np

from rag.build.retrievers import Retrievers
from rag.errors import RagError
from rag.index.calibration import read_calibration
from rag.index.folder import serving_manifest
from rag.index.read import open_index, read_documents, read_sources
from rag.lazy import Lazy
from tests.fakes.documents import SETTINGS, WordEncoder

QUESTIONS = ("harbour", "Rule 3 is about the harbour of Tern Island.", "0\nRule 0 is about the harbour of Tern Island.")
COMMANDS = ("rag ", "rm -r ", "mv ")


def files_of(index: Path) -> list[str]:
    """Every file of an index but locks, by its path below it; the generation's folder is named `GENERATION`."""
    own = generation_of(index)
    names = [path.relative_to(index).as_posix() for path in index.rglob("*") if path.is_file()]
    return sorted(name.replace(own, "GENERATION") for name in names if not name.startswith(".lock"))


def generation_of(index: Path) -> str:
    return next(path.name for path in index.glob("generation-*"))


def answers(index: Path) -> list:
    """What an index answers: rows and scores of every retriever, its collections, what it follows and refuses below."""
    retrievers = Retrievers(SETTINGS, index, Lazy(WordEncoder))
    found: list = []
    for kind in ("dense", "bm25", "hybrid"):
        for hits in retrievers.get(kind).retrieve(QUESTIONS, 5):
            found.append([[hit.passage.id, hit.passage.content, round(hit.score, 6)] for hit in hits])
    generation, manifest = serving_manifest(index)
    followed = read_sources(generation)
    calibration = read_calibration(index)
    found += [manifest.fingerprint, followed, [row["title"] for row in read_documents(generation)]]
    return [*found, len(open_index(index).corpus), None if calibration is None else calibration["threshold"]]


def outcome(index: Path, wanted: list) -> str:
    """`same`, `sentence`, or what should not be: other answers, a sentence without a command, an exception of ours."""
    try:
        found = answers(index)
    except RagError as error:
        is_helpful = any(command in str(error) for command in COMMANDS) and "\n" not in str(error)
        return "sentence" if is_helpful else f"without a command: {error}"
    except Exception as error:
        return f"traceback: {type(error).__name__}: {error}"
    return "same" if found == wanted else "other answers"


def flipped(path: Path, at: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << bit
    path.write_bytes(content)


def damage(path: Path, kind: str, foreign: Path, seed: int) -> bool:
    """Damage a file in one way; says whether that way fits it. `foreign` is the same file of another index."""
    chance = random.Random(f"{seed} {path.name} {kind}")
    size = path.stat().st_size
    if kind == "flipped":
        flipped(path, chance.randrange(size), chance.randrange(8))
    elif kind == "truncated":
        os.truncate(path, chance.randrange(size))
    elif kind == "one byte short":
        os.truncate(path, size - 1)
    elif kind == "emptied":
        os.truncate(path, 0)
    elif kind == "zeros":
        path.write_bytes(bytes(size))
    elif kind == "noise":
        path.write_bytes(chance.randbytes(size))
    elif kind == "longer":
        path.write_bytes(path.read_bytes() + chance.randbytes(9))
    elif kind == "removed":
        if path.name == "calibration.json":  # an index without one is a sound index
            return False
        path.unlink()
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    elif kind == "lost link":
        path.unlink()
        path.symlink_to(path.with_name("nothing"))
    elif kind == "foreign":
        if not foreign.is_file() or foreign.read_bytes() == path.read_bytes():
            return False
        shutil.copyfile(foreign, path)
    elif kind in ("wrong types", "huge numbers", "deep"):
        return path.suffix in (".json", ".jsonl") and _other_json(path, kind, chance)
    elif kind in ("pickled", "other dtype", "other shape"):
        return path.suffix == ".npy" and _other_array(path, kind)
    elif kind in ("no number", "hostile header"):
        return path.suffix == ".faiss" and _other_vectors(path, kind)
    else:
        raise ValueError(kind)
    return True


KINDS = (
    *("flipped", "truncated", "one byte short", "emptied", "zeros", "noise", "longer", "removed", "folder"),
    *("lost link", "foreign", "wrong types", "huge numbers", "deep", "pickled", "other dtype", "other shape"),
    *("no number", "hostile header"),
)


def _other_json(path: Path, kind: str, chance: random.Random) -> bool:
    first, *rest = path.read_text("utf-8").splitlines() if path.suffix == ".jsonl" else [path.read_text("utf-8")]
    stored = json.loads(first)
    if not stored:
        return False
    key = chance.choice(sorted(stored))
    if kind == "wrong types":
        stored[key] = chance.choice([None, [], {}, 7, "seven", [[1]], True])
    elif kind == "huge numbers":
        stored[key] = chance.choice([10**400, -(10**30), 1e308, float("inf"), float("nan")])
    text = json.dumps(stored)
    if kind == "deep":
        text = text[:-1] + ', "deep": ' + "[" * 100_000 + "]" * 100_000 + "}"
    path.write_text("\n".join([text, *rest, ""]), "utf-8")
    return True


class Planted:
    """A pickle that leaves a file behind where it is loaded."""

    def __init__(self, at: str):
        self.at = at

    def __reduce__(self):
        return (open, (self.at, "w"))


def _other_array(path: Path, kind: str) -> bool:
    array = np.load(path)
    if kind == "pickled":
        stream = io.BytesIO()
        np.lib.format.write_array_header_1_0(stream, {"descr": "|O", "fortran_order": False, "shape": (1,)})
        path.write_bytes(stream.getvalue() + pickle.dumps(Planted(str(path.parent / "planted"))))
    elif kind == "other dtype":
        np.save(path, array.astype(np.float64) + 0.5)
    else:
        np.save(path, np.concatenate([array, array])[: max(len(array) - 1, 2)][:, None])
    return True


def _other_vectors(path: Path, kind: str) -> bool:
    content = bytearray(path.read_bytes())
    if kind == "no number":
        content[45:49] = np.float32("nan").tobytes()
    else:
        content[8:16] = (2**40).to_bytes(8, "little")
    path.write_bytes(content)
    return True


def tried(index: Path, other: Path, scratch: Path, kinds: tuple[str, ...] = KINDS, *, seeds: int = 1) -> dict:
    """(file, kind, seed) -> `outcome` of a copy of `index` with that damage; `other` is another index of the kind."""
    wanted, found = answers(index), {}
    for name in files_of(index):
        for kind in kinds:
            for seed in range(seeds):
                copy = scratch / "copy"
                shutil.copytree(index, copy)
                path = copy / name.replace("GENERATION", generation_of(copy))
                foreign = other / name.replace("GENERATION", generation_of(other))
                if damage(path, kind, foreign, seed):
                    found[name, kind, seed] = outcome(copy, wanted)
                    print(json.dumps([name, kind, seed, found[name, kind, seed]]), flush=True)
                shutil.rmtree(copy)
    return found


if __name__ == "__main__":
    import sys

    tried(*map(Path, sys.argv[1:4]), seeds=int(sys.argv[4]))
