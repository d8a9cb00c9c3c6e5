"""The command that shows models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rag.build.parts import ENCODER_FILES, find_generator_model
from rag.cli.options import ConfigOption, JsonOption, SetOption, print_json, settings_of
from rag.config import Settings
from rag.models.promoted import all_promoted
from rag.models.resolve import ResolvedModel, cached_models, cached_on_hub, describe, resolve


def list_models(settings: Settings, *, fetch: bool) -> list[dict]:
    """Records of the models in the caches; with `fetch`, every model that the settings name is brought there first."""
    source = settings.models.source
    roles = {settings.encoder.model: "retriever", settings.reranker.model: "reranker"}
    roles |= {settings.scorer.model: "answer scorer", settings.generator.model: "generator"}
    if settings.generator.kind == "server":
        roles.pop(settings.generator.model)
    found: dict[str, ResolvedModel] = {}
    for name, role in roles.items():
        if not fetch:
            if model := (Path(name).is_dir() and resolve(name)) or cached_on_hub(name):
                found[name] = model
        elif role == "generator":
            model = find_generator_model(settings)
            found[model.name] = model
        else:
            needs = () if role == "reranker" else ENCODER_FILES
            found[name] = resolve(name, source=source, needs=needs)
    records = {record["model"]: record for record in cached_models()}
    for name, model in found.items():
        if model.source != "package index":
            records[name] = {**describe(model), "role": roles.get(name, "")}
    for name, folders in all_promoted().items():
        if name in records:
            records[name]["notice"] = f"{folders[-1]}, promoted, serves in its place"
    return list(records.values())


app = typer.Typer()


@app.command()
def models(
    fetch: Annotated[bool, typer.Option("--fetch", help="Fetch every model that the settings name.")] = False,
    config: ConfigOption = None,
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the models that the settings name and those in the cache: source, licence, hash."""
    from rag.cli.lines import model_lines
    from rag.cli.models import list_models

    records = list_models(settings_of(config, set_), fetch=fetch)
    if as_json:
        print_json(records)
    else:
        print("\n".join(model_lines(records)))
