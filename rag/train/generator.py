"""Fine-tuning the generator by LoRA with transformers' trainer. The recipes stand in `generator_recipes`."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import ConfigError
from rag.files import weights_sha256, write_json
from rag.generate.prompts import Prompt
from rag.generate.saved import save_prompt
from rag.train.dev_evaluation import dev_evaluator
from rag.train.fit import fit
from rag.train.generator_encoding import collate, load_tokenizer, training_dataset
from rag.train.generator_loss import answer_loss, generator_figures
from rag.train.generator_recipes import GeneratorRecipe
from rag.train.generator_rows import Row
from rag.train.run import Watch, check_same_training, digest, is_first_process, note_training
from rag.types import CANNOTANSWER

if TYPE_CHECKING:
    from peft import PeftModel

ADAPTER = "adapter"


def train_generator(
    base: str | Path,
    rows: Sequence[Row],
    recipe: GeneratorRecipe,
    target: str | Path,
    *,
    prompt: Prompt,
    dev: Sequence[Row],
    watched: Iterable[str] = (),
    watch: Watch = Watch(),
) -> Path:
    """Fine-tune the checkpoint `base` into `target/model`, the best by its loss on `dev`; returns that folder.

    `target/adapter` holds what was added, as peft keeps it; `prompt` is kept in both. `watched` are the ids of the
    questions that choose the checkpoint, or chose the one to start from.

    A run that was killed goes on from its last checkpoint, and a finished one is left as it is. A target that was made
    with another recipe, base or data is refused (RunMismatchError).
    """
    from transformers import TrainingArguments

    from rag.train.lora import add_lora, load_causal, lora_sums
    from rag.train.plain_trainer import PlainTrainer

    target = Path(target)
    identity = _identity(base, rows, recipe, prompt, dev, watched)
    check_same_training(target, identity)
    finished = target / "model"
    if finished.is_dir():
        return finished
    tokenizer = load_tokenizer(base)
    training, watching = (training_dataset(own, tokenizer, recipe.max_length_tokens) for own in (rows, dev))
    if not len(training) or not len(watching):
        raise ConfigError(
            "no row to train on, or to watch, is short enough; raise training.generator.max_length_tokens"
        )
    model = add_lora(load_causal(base), recipe)
    refusal_id = tokenizer(CANNOTANSWER, add_special_tokens=False)["input_ids"][0]
    # Nothing is refused from here on, so that a command that was refused leaves the folder to the right one.
    note_training(target, identity)
    fit(
        PlainTrainer,
        TrainingArguments,
        model,
        training,
        answer_loss,
        dev_evaluator(functools.partial(generator_figures, dev=watching, refusal_id=refusal_id), decides="loss"),
        target,
        recipe,
        watch,
        label=f"Training ({recipe.name})",
        section="training.generator",
        drift=functools.partial(lora_sums, model),
        collate=collate,
        remove_unused_columns=False,
    )
    if is_first_process():
        _save(model, tokenizer, prompt, target)
    return finished


def _identity(
    base: str | Path,
    rows: Sequence[Row],
    recipe: GeneratorRecipe,
    prompt: Prompt,
    dev: Sequence[Row],
    watched: Iterable[str],
) -> dict:
    """What the run is made of. The prompt is in the rows, too; by itself it is what is kept beside the model."""
    return {
        "recipe": asdict(recipe),
        "base": weights_sha256(Path(base)),
        "prompt": [prompt.name, prompt.sha256()],
        "n": len(rows),
        "data": digest(row.made_of() for row in rows),
        "dev": digest(row.made_of() for row in dev),
        "watched": sorted(set(watched)),
    }


def _save(model: PeftModel, tokenizer: Any, prompt: Prompt, target: Path) -> None:
    """Write adapter, drift and merged model; each folder is there whole, or not there."""
    from rag.train.lora import merge_lora
    from rag.train.telemetry import plot_log

    adapter, merged = (_emptied(target / f".{name}") for name in (ADAPTER, "model"))
    model.save_pretrained(str(adapter))
    save_prompt(prompt, adapter)
    shutil.rmtree(target / ADAPTER, ignore_errors=True)
    adapter.rename(target / ADAPTER)
    plain, drift = merge_lora(model)
    # What the trainer's end has written is about the adapter's own matrices; this is about the weights that serve.
    write_json(target / "drift.json", drift)
    plot_log(target, drift)
    plain.save_pretrained(str(merged))
    tokenizer.save_pretrained(str(merged))
    save_prompt(prompt, merged)
    merged.rename(target / "model")


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
