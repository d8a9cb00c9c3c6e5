"""Fine-tuning the span reader with transformers' trainer. The recipe stands in `reader_recipes`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.compute.hardware import default_device
from rag.compute.quiet import quiet_transformers
from rag.data.passages import Corpus
from rag.errors import ConfigError, ModelError
from rag.files import read_json, weights_sha256
from rag.train.by_length import prepare_model
from rag.train.checkpoints import save_plain
from rag.train.dev_evaluation import dev_evaluator
from rag.train.fit import fit
from rag.train.reader_dev import BEST_FIGURE, ReaderDev, reader_figures
from rag.train.reader_encoding import SpanCollator, training_dataset
from rag.train.reader_loss import SpanLoss
from rag.train.reader_recipes import ReaderRecipe
from rag.train.reader_rows import ReaderRow
from rag.train.run import WATCHED, Watch, check_same_training, digest, note_training

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def train_reader(
    base: str | Path,
    rows: Sequence[ReaderRow],
    corpus: Corpus,
    recipe: ReaderRecipe,
    target: str | Path,
    *,
    dev: ReaderDev,
    watch: Watch = Watch(),
) -> Path:
    """Fine-tune the checkpoint `base` into `target/model`, the best on dev; returns that folder.

    `base` is a reader, or an encoder of another kind whose body becomes a reader's; its head is then new.

    A run that was killed goes on from its last checkpoint, and a finished one is left as it is. A target that was made
    with another recipe, base or data is refused (RunMismatchError). So is `keep_spans` without a reader to start from
    (ConfigError).
    """
    from transformers import TrainingArguments

    from rag.train.plain_trainer import PlainTrainer

    if recipe.keep_spans and not is_reader(base):
        raise ConfigError(
            f"{base} marks no answers yet, so there is nothing to keep; set training.reader.keep_spans = 0, or start "
            "from a reader: --base rag-qa/minilm-reader-openqa"
        )
    target = Path(target)
    identity = _identity(base, rows, corpus, recipe, dev)
    check_same_training(target, identity)
    finished = target / "model"
    if finished.is_dir():
        return finished
    model, tokenizer = _load(base, recipe.seed)
    longest = min(recipe.max_length_tokens, tokenizer.model_max_length, model.config.max_position_embeddings)
    prepare_model(model, model.base_model, recipe)
    dataset = training_dataset(rows, corpus, tokenizer, recipe, longest)
    kept = _load(base, recipe.seed)[0].eval().requires_grad_(False) if recipe.keep_spans else None
    loss = SpanLoss(kept, recipe.keep_spans)
    # Nothing is refused from here on, so that a command that was refused leaves the folder to the right one.
    note_training(target, identity)
    figures = functools.partial(reader_figures, tokenizer=tokenizer, dev=dev, max_length_tokens=longest)
    fit(
        PlainTrainer,
        TrainingArguments,
        model,
        dataset,
        loss,
        dev_evaluator(figures, decides=BEST_FIGURE),
        target,
        recipe,
        watch,
        label=f"Training ({recipe.name})",
        section="training.reader",
        separation=loss.separation,
        collate=SpanCollator(tokenizer.pad_token_id),
        # The questions are in the rows for counting; no model takes them.
        remove_unused_columns=False,
    )
    save_plain(model, tokenizer, finished)
    return finished


def _identity(
    base: str | Path, rows: Sequence[ReaderRow], corpus: Corpus, recipe: ReaderRecipe, dev: ReaderDev
) -> dict:
    """What the run is made of. Texts count by themselves, so that an edited passage makes another run."""
    return {
        "recipe": asdict(recipe),
        "base": weights_sha256(Path(base)),
        "n": len(rows),
        "data": digest([row.query, corpus.by_id(row.pid).content, row.spans] for row in rows),
        "dev": digest([row.query, row.passage.content, row.answers] for row in dev.rows),
        WATCHED: sorted(set(dev.ids)),
    }


def is_reader(folder: str | Path) -> bool:
    """Whether a checkpoint marks answers in passages."""
    return any(name.endswith("ForQuestionAnswering") for name in _architectures(folder))


def _architectures(folder: str | Path) -> Sequence[str]:
    return read_json(Path(folder) / "config.json", ModelError, default={}).get("architectures") or ()


def _load(base: str | Path, seed: int) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model to start from, with its tokenizer; a head that it lacks is drawn with `seed`.

    Raises ModelError where the tokenizer does not tell a question's tokens from the passage's.
    """
    import torch
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer

    quiet_transformers()
    tokenizer = AutoTokenizer.from_pretrained(str(base), local_files_only=True)
    if not tokenizer.is_fast or "token_type_ids" not in tokenizer.model_input_names:
        raise ModelError(f"{base} does not tell question and passage by token types; a reader starts from a BERT")
    torch.manual_seed(seed)
    model: Any = AutoModelForQuestionAnswering.from_pretrained(
        str(base), num_labels=2, local_files_only=True, dtype=torch.float32
    )
    # What sentence-transformers noted of a cross-encoder does not hold for the reader.
    if hasattr(model.config, "sentence_transformers"):
        del model.config.sentence_transformers
    return model.to(default_device()), tokenizer
