"""The first step of tuning a generator: everything that its training is given, from settings and files."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.build import parts
from rag.build.chosen_prompt import max_new_tokens_of, sentence_margin_of, settled
from rag.build.pipelines import make_pipeline
from rag.build.serving import Serving
from rag.build.trained_prompt import AUTO, trained_prompt
from rag.config import Settings
from rag.data.labelled import Example
from rag.data.splits import refuse_written
from rag.errors import ConfigError, DataError, ModelError
from rag.files import read_json
from rag.generate.builtin import get_prompt
from rag.generate.prompts import Prompt
from rag.index.read import open_index
from rag.progress import say
from rag.train.files import TrainingFiles, choose_watched, sample_examples
from rag.train.gate import question_ids, watched_ids
from rag.train.generator_contexts import Contexts, find_contexts
from rag.train.generator_encoding import TokenCounter, load_tokenizer
from rag.train.generator_recipes import RECIPES, GeneratorRecipe
from rag.train.generator_rows import Forms, Row, RowMaker, make_rows
from rag.train.recipes import chosen_recipe
from rag.train.run import Watch
from rag.types import CANNOTANSWER

SHORT, SENTENCES = "tuned-v1", "tuned-sentences-v1"
CONTEXTS_FILE = "contexts.jsonl"

Found = Sequence[tuple[Example, Contexts]]
"""Questions with the contexts that were found for them."""


@dataclass(frozen=True, slots=True)
class GeneratorJob:
    """What a generator is trained with, and the dev questions with their contexts that judge it afterwards."""

    recipe: GeneratorRecipe
    start: Path
    """The checkpoint to start from."""
    forms: Forms
    rows: Sequence[Row]
    dev: Sequence[Row]
    watched: Sequence[str]
    watch: Watch
    judged: Found


def prepare_generator(
    serving: Serving,
    files: TrainingFiles,
    target: str | Path,
    recipe_name: str,
    *,
    contexts: str | Path | None = None,
    with_gate: bool = True,
) -> GeneratorJob:
    """Read the files, choose the recipe, find contexts with what serves, and make the rows.

    Whatever can be refused is refused here, before anything is found or trained: ConfigError, DataError, ModelError.
    Contexts are kept in the file `contexts`, by default in `target`.
    """
    chosen = serving.settings.training.generator
    recipe = chosen_recipe(RECIPES, recipe_name, "generator", serving.settings.training)
    start = _start(serving.settings)
    forms = training_forms(serving.settings)
    serving = dataclasses.replace(serving, settings=settled(serving.settings, forms.short))
    corpus = open_index(serving.index_folder).corpus
    training, held_out = files.splits(corpus, with_unanswerable=True)
    if with_gate:
        refuse_written(held_out)
    training = with_answers([one for one in training if one.positives or recipe.unanswerable], str(files.train))
    # What chose the model to start from is watched again: a question that has chosen a checkpoint judges none.
    chose = watched_ids(start)
    answered = with_answers(held_out, "dev")
    watched, judged = choose_watched(answered, chosen.dev_questions, files.without, chose)
    judged = sample_examples(judged, chosen.gate_questions) if with_gate else []
    file = Path(target) / CONTEXTS_FILE if contexts is None else contexts
    found = find_contexts(serving, [*training, *watched, *judged], file)
    tokens = TokenCounter(
        load_tokenizer(start),
        context_window_tokens=serving.settings.generator.context_window_tokens,
        max_new_tokens=max_new_tokens_of(serving.settings),
    )
    pipeline = make_pipeline(serving, interactive=False)
    rows = make_rows(training, found, RowMaker(pipeline, corpus, tokens, forms, recipe))
    say(rows.summary())
    # Dev is as it is found: nothing is put in, withheld or exchanged.
    plain = dataclasses.replace(recipe, put_in_share=0.0, withheld_share=0.0, twin_share=0.0)
    dev = make_rows(watched, found, RowMaker(pipeline, corpus, tokens, forms, plain))
    return GeneratorJob(
        recipe,
        start,
        forms,
        rows.rows,
        dev.rows,
        [*chose, *question_ids(watched)],
        Watch(evaluations=chosen.evaluations, report_to=chosen.report_to),
        [(example, found[example.question.id]) for example in judged],
    )


def _start(settings: Settings) -> Path:
    """The checkpoint of the serving generator. Raises ConfigError or ModelError where it cannot be trained."""
    if settings.generator.kind == "server":
        raise ConfigError(
            "the generator runs on a server, where it cannot be trained; name a model, --set generator.kind=auto "
            "--set generator.model=MODEL"
        )
    if settings.prompt.demonstrations is not None:
        raise ConfigError(
            "demonstrations would show a question's own answer while training; leave prompt.demonstrations out"
        )
    folder = parts.find_generator_model(settings).folder
    if not is_causal(folder):
        raise ModelError(f"{folder} is no causal language model; name one, --set generator.model=MODEL")
    return folder


def is_causal(folder: Path) -> bool:
    """Whether a checkpoint is a causal language model: by the architecture that its configuration names.

    One that names none, as some converted checkpoints, is a causal language model if its kind has one and it comes with
    a chat template.
    """
    config = read_json(folder / "config.json", ModelError, default={})
    if architectures := config.get("architectures"):
        return any(name.endswith("ForCausalLM") for name in architectures)
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    tokenizer = read_json(folder / "tokenizer_config.json", ModelError, default={})
    is_chat = (folder / "chat_template.jinja").is_file() or bool(tokenizer.get("chat_template"))
    return is_chat and config.get("model_type") in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES


def training_forms(settings: Settings) -> Forms:
    """The prompts to train with: those made for it, or the one that the settings name, or the model was trained with.

    What was named, and what the model knows, asks for one form only. A sentence margin that the settings name goes
    along with the prompt from then on: the model is to be shown what it was trained with.
    """
    known = trained_prompt(settings) if settings.prompt.name == AUTO else None
    if settings.prompt.name != AUTO or (known is not None and known.sha256() != get_prompt(SHORT).sha256()):
        own = _tamed(settings, settings.prompt.name)
        return Forms(own, own)
    return Forms(*(_tamed(settings, name) for name in (SHORT, SENTENCES)))


def _tamed(settings: Settings, name: str) -> Prompt:
    """A prompt by its name, with what the settings say of passages."""
    named = settings.model_copy(update={"prompt": settings.prompt.model_copy(update={"name": name})})
    return dataclasses.replace(parts.make_prompt(named), sentence_margin=sentence_margin_of(named))


def with_answers(examples: Sequence[Example], name: str) -> list[Example]:
    """Those with a reference to learn or to be judged by; says how many have none.

    Raises DataError where no answerable one is left.
    """
    left = [
        one for one in examples if (one.question.answer or "").strip() not in ("", CANNOTANSWER) or not one.positives
    ]
    if n_without := len(examples) - len(left):
        say(f"{name}: {n_without:,} questions are left out, because they have no reference answer")
    if not any(one.positives for one in left):
        raise DataError(f"{name} holds no answerable question with a reference answer; write its field 'answer'")
    return left
