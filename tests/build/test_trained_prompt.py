"""prompt.name = "auto": the prompt that the generator was trained with, where there is one."""

import dataclasses

import pytest

from rag.build import parts
from rag.build.identity import generator_identity, prompt_of_run, run_identity
from rag.build.serving import serving_over
from rag.config import Settings, load_settings
from rag.errors import ModelError
from rag.generate.builtin import get_prompt
from rag.generate.prompts import Prompt
from rag.generate.saved import PROMPT_FILE, save_prompt
from rag.models.adapters import CARD, FILES
from rag.models.catalog import FALLBACK_GENERATOR
from rag.models.promoted import promote
from rag.models.resolve import ResolvedModel

AUTO = "prompt.name=auto"
OWN = Prompt(name="mine", system="Reply.", user="{{ question }}", parser="strip")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RAG_HOME", str(tmp_path / "home"))


@pytest.fixture
def trained(tmp_path):
    """The folder of a model that keeps a prompt."""
    folder = tmp_path / "trained"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    save_prompt(get_prompt("tuned-v1"), folder)
    return folder


def test_a_model_without_a_prompt_of_its_own_is_asked_as_before(tmp_path):
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "config.json").write_text("{}")
    assert Settings().prompt.name == "auto"
    for overrides in ([AUTO], [AUTO, f"generator.model={tmp_path / 'plain'}"]):
        settings = load_settings(overrides=overrides)
        assert parts.make_prompt(settings) == get_prompt("extract-v1")


def test_a_model_is_asked_with_the_prompt_that_it_keeps_unless_another_is_named(trained):
    overrides = [AUTO, f"generator.model={trained}"]
    assert parts.make_prompt(load_settings(overrides=overrides)) == get_prompt("tuned-v1")
    named = load_settings(overrides=[*overrides, "prompt.name=cited-v1"])
    assert parts.make_prompt(named) == get_prompt("cited-v1")
    server = load_settings(overrides=[*overrides, "generator.kind=server"])
    assert parts.make_prompt(server) == get_prompt("cited-v2")


def test_an_adapter_brings_the_prompt_before_it_is_merged_with_its_base(tmp_path):
    (tmp_path / "adapter" / FILES).mkdir(parents=True)
    (tmp_path / "adapter" / CARD).write_text("{}")
    save_prompt(OWN, tmp_path / "adapter" / FILES)
    assert parts.make_prompt(load_settings(overrides=[AUTO, f"generator.model={tmp_path / 'adapter'}"])) == OWN


def test_what_the_settings_say_of_passages_holds_for_a_kept_prompt(trained):
    settings = load_settings(overrides=[AUTO, f"generator.model={trained}", "prompt.withhold_instructions=false"])
    assert parts.make_prompt(settings) == dataclasses.replace(get_prompt("tuned-v1"), withhold=False)


def test_a_damaged_prompt_is_told(trained):
    settings = load_settings(overrides=[AUTO, f"generator.model={trained}"])
    for text in ("{", "{}"):
        (trained / PROMPT_FILE).write_text(text)
        with pytest.raises(ModelError, match=r"prompt\.name=extract-v1"):
            parts.make_prompt(settings)


def test_a_promoted_generator_serves_with_its_prompt(trained):
    settings = load_settings(overrides=[AUTO])
    promote(settings.generator.model, trained)
    assert parts.find_generator_model(settings).folder == trained.resolve()
    assert parts.make_prompt(settings) == get_prompt("tuned-v1")


def test_what_was_promoted_in_the_place_of_the_packaged_generator_stands_in_for_one_out_of_reach(
    trained, monkeypatch, capsys
):
    settings = load_settings(overrides=[AUTO])
    promote(FALLBACK_GENERATOR, trained)
    found = ResolvedModel(FALLBACK_GENERATOR, trained.parent, "package index", {}, "it cannot be reached")
    monkeypatch.setattr(parts, "resolve_generator", lambda name, source: found)
    assert parts.find_generator_model(settings).folder == trained.resolve()
    assert "it cannot be reached" in capsys.readouterr().err
    (trained / "model.safetensors").write_bytes(b"weights")
    assert generator_identity(settings)  # says nothing: it is said where the generator is loaded
    assert capsys.readouterr().err == ""
    assert parts.make_prompt(settings) == get_prompt("tuned-v1")
    monkeypatch.setattr("rag.build.trained_prompt.hub_answers", lambda: True)
    assert parts.make_prompt(settings) == get_prompt("extract-v1")


def test_a_run_is_the_same_however_its_prompt_was_named(data, trained):
    settings, folder = data

    def made_of(*overrides):
        own = load_settings(overrides=[AUTO, *overrides])
        chosen = settings.model_copy(update={"prompt": own.prompt, "generator": own.generator})
        return run_identity(serving_over(chosen, folder / "index"), "q.txt", generate=False)

    assert made_of() == made_of("prompt.name=extract-v1")
    tuned = f"generator.model={trained}"
    assert made_of(tuned) == made_of(tuned, "prompt.name=tuned-v1")
    assert made_of(tuned)["prompt_sha256"] != made_of()["prompt_sha256"]
    save_prompt(OWN, trained)  # a name that leads nowhere without the model
    assert made_of(tuned)["settings"]["prompt"]["name"] == "auto"
    assert prompt_of_run(made_of(tuned)) == OWN
