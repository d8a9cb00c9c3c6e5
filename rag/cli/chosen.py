"""The index that a command is about: the one that is named, or else the one that is meant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from rag.progress import say
from rag.terminal import shell_word

if TYPE_CHECKING:
    from rag.config import Settings


def index_of(index: Path | None) -> Path:
    """The index that was named, or the one that `rag.index.known.chosen_index` says; which one is told.

    Raises BadParameter where there is none but the sample.
    """
    if index is not None:
        return index
    from rag.index.known import chosen_index

    if (chosen := chosen_index()) is None:
        raise typer.BadParameter("no index was named, and none is known; make one: rag ingest FOLDER -i my.index")
    _say_which(chosen.folder, chosen.why, chosen.others)
    return chosen.folder


def index_to_ask(index: Path | None) -> tuple[Path, bool]:
    """The same, or the sample's index where there is none; and whether it is the sample's, which may not be there."""
    if index is not None:
        return index, False
    from rag.index.known import chosen_index, sample_folder

    if (chosen := chosen_index()) is None:
        return sample_folder(), True
    _say_which(chosen.folder, chosen.why, chosen.others)
    return chosen.folder, False


def index_or_sample(settings: Settings, index: Path | None) -> Path:
    """The index that was named, the one that is meant, or that of the sample corpus, which is built if need be."""
    folder, is_sample = index_to_ask(index)
    if not is_sample:
        return folder
    from rag.build.indexes import sample_index

    return sample_index(settings)


def _say_which(folder: Path, why: str, others: int) -> None:
    choose = "; another: -i INDEX (rag list)" if others else ""
    say(f"index: {shell_word(str(folder))}, {why}{choose}")
