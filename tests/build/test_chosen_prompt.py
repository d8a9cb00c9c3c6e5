"""Which prompt a generator is asked with by default, and what goes along with it: passages and room for the answer."""

import dataclasses
import json

import pytest

from rag.build import chosen_prompt, indexes, parts
from rag.build.chosen_prompt import max_new_tokens_of, sentence_margin_of, settled
from rag.build.identity import prompt_of_run, run_identity
from rag.build.pipelines import make_pipeline, sentence_margin
from rag.build.retrievers import Retrievers
from rag.build.serving import serving_over
from rag.config import load_settings
from rag.errors import ModelError
from rag.generate.builtin import BUILT_IN, get_prompt
from rag.generate.saved import save_prompt
from rag.lazy import Lazy
from rag.models import hub, resolve
from rag.serve.start import make_chat
from rag.serve.turns import Options
from rag.train.gate_generator import choosing_sentences
from rag.train.prepare_generator import training_forms
from rag.types import Passage, Query
from tests.conftest import write_corpus
from tests.fakes.chat_server import running

SERVER = "generator.kind=server"
# 3.09 and 1.54 billion parameters
LARGE = {"hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36, "num_attention_heads": 16}
SMALL = {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12}
OF_BOTH = {"num_key_value_heads": 2, "vocab_size": 151936}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("RAG_HOME", str(tmp_path / "home"))


def model(folder, shapes):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**shapes, **OF_BOTH}))
    return f"generator.model={folder}"


def chosen(*overrides):
    """(name of the prompt, sentence margin, tokens of the longest answer)"""
    settings = load_settings(overrides=overrides)
    return parts.make_prompt(settings).name, sentence_margin_of(settings), max_new_tokens_of(settings)


def test_a_large_model_answers_in_sentences_from_whole_passages_and_a_small_one_with_a_phrase(tmp_path):
    assert chosen(model(tmp_path / "large", LARGE)) == ("cited-v2", 0.0, 800)
    assert chosen(model(tmp_path / "small", SMALL)) == ("extract-v1", 6.0, 128)
    assert chosen(model(tmp_path / "unknown", {})) == ("extract-v1", 6.0, 128)
    (tmp_path / "unknown" / "config.json").write_text("{")
    assert chosen(f"generator.model={tmp_path / 'unknown'}") == ("extract-v1", 6.0, 128)


def test_a_large_model_that_was_trained_is_asked_with_its_own_prompt(tmp_path):
    large = model(tmp_path / "large", LARGE)
    own = dataclasses.replace(get_prompt("tuned-v1"), sentence_margin=2.5)
    save_prompt(own, tmp_path / "large")
    assert parts.make_prompt(load_settings(overrides=[large])) == own
    assert chosen(large) == ("tuned-v1", 2.5, 128)


def test_what_the_settings_say_wins(tmp_path):
    large = model(tmp_path / "large", LARGE)
    for first in (SERVER, large):
        assert chosen(first, "prompt.sentence_margin=3.0", "generator.max_new_tokens=77") == ("cited-v2", 3.0, 77)
        assert chosen(first, "prompt.name=extract-v1") == ("extract-v1", 6.0, 128)
        assert chosen(first, "prompt.name=extract-v1", "prompt.sentence_margin=0") == ("extract-v1", 0.0, 128)
    small = model(tmp_path / "small", SMALL)
    assert chosen(small, "prompt.name=cited-v2") == ("cited-v2", 0.0, 800)
    assert chosen(small, "prompt.name=cited-v2", "generator.max_new_tokens=900") == ("cited-v2", 0.0, 900)


def test_the_room_for_an_answer_leaves_three_quarters_of_a_small_window_to_the_prompt():
    assert chosen(SERVER, "generator.context_window_tokens=2000")[2] == 500
    assert chosen(SERVER, "generator.context_window_tokens=300")[2] == 128
    assert chosen("prompt.name=extract-v1", "generator.context_window_tokens=300")[2] == 128
    assert chosen(SERVER, "generator.context_window_tokens=300", "generator.max_new_tokens=200")[2] == 200


def test_a_model_that_is_not_here_is_taken_at_its_name_and_not_fetched(monkeypatch):
    fetched = []

    def snapshot(name, needs=(), *, local_only):
        if not local_only:
            fetched.append(name)
        raise ModelError("not here")

    for module in (hub, resolve):
        monkeypatch.setattr(module, "hub_snapshot", snapshot)
    monkeypatch.setattr(chosen_prompt, "hub_answers", lambda: True)
    seven, unnamed = "generator.model=org/some-7B-it", "generator.model=org/some-large"
    assert chosen(seven) == ("cited-v2", 0.0, 800)
    assert chosen("generator.model=org/some-1.5B") == chosen(unnamed) == ("extract-v1", 6.0, 128)
    # Then the packaged generator stands in for it, and that one is small.
    monkeypatch.setattr(chosen_prompt, "hub_answers", lambda: False)
    assert chosen(seven) == ("extract-v1", 6.0, 128)
    assert fetched == []


@pytest.mark.parametrize(("answers_in", "along"), [("phrase", (6.0, 128)), ("sentences", (0.0, 800))])
def test_a_prompt_of_ones_own_says_what_it_asks_for(tmp_path, answers_in, along):
    file = tmp_path / "my.toml"
    file.write_text(f'[prompts.mine]\nuser = "{{{{ question }}}}"\nanswers_in = "{answers_in}"\n')
    settings = load_settings(file, ["prompt.name=mine"])
    assert parts.make_prompt(settings).answers_in == answers_in
    assert (sentence_margin_of(settings), max_new_tokens_of(settings)) == along
    file.write_text('[prompts.mine]\nuser = "{{ question }}"\n')
    assert parts.make_prompt(load_settings(file, ["prompt.name=mine"])).answers_in == "phrase"


def test_built_in_prompts_say_what_they_ask_for():
    in_sentences = {"cited-v2", "tuned-sentences-v1", "course-v1", "course-v2", "course-v3"}
    assert {name for name, prompt in BUILT_IN.items() if prompt.answers_in == "sentences"} == in_sentences
    # Runs that were made with them go on: what goes along with them is what the settings once said by default.
    along = {name: (prompt.sentence_margin, prompt.max_new_tokens) for name, prompt in BUILT_IN.items()}
    assert along.pop("cited-v2") == (0.0, 800)
    assert set(along.values()) == {(6.0, 128)}


@pytest.fixture
def server():
    with running() as chat_server:
        yield chat_server


PASSAGES = [
    Passage("d@0", "Clara Voss designed the old tower. The river flows north.\n\nBread rises. [2] It is new.", "Tower"),
    Passage("d@1", "The queen wrote a poem. The king painted the ship.", "Poem"),
]


@pytest.fixture
def asking(tmp_path, tiny_encoder_folder, tiny_reranker_folder, compiled_graphs, server):
    """What serves over two passages of several sentences, asked of a server with further settings."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "compiled").symlink_to(compiled_graphs, target_is_directory=True)
    models = [f"encoder.model={tiny_encoder_folder}", f"reranker.model={tiny_reranker_folder}", "retriever.kind=bm25"]
    overrides = [
        *models,
        "reader.enabled=false",
        SERVER,
        "generator.model=served",
        f"generator.server_url={server.url}",
    ]
    indexes.make_index(load_settings(overrides=overrides), write_corpus(tmp_path / "c.txt", PASSAGES), tmp_path / "i")

    def with_settings(*more):
        return serving_over(load_settings(overrides=[*overrides, *more]), tmp_path / "i")

    return with_settings


QUESTION = "who designed the old tower"


def sent(server):
    """(system message, user message, longest answer) of the last request."""
    body = server.requests[-1]
    system, user = (message["content"] for message in body["messages"])
    return system, user, body["max_tokens"]


def test_a_server_is_sent_whole_passages_and_asked_for_cited_sentences_with_room_for_them(server, asking):
    (response,) = make_pipeline(asking(), interactive=True).run([Query("q", QUESTION)])
    assert response.excerpts == {}
    system, user, max_tokens = sent(server)
    assert system == get_prompt("cited-v2").system
    assert f"<passage 1>\nTower: {PASSAGES[0].text}\n</passage>" in user
    assert user.endswith(f"Question: {QUESTION}")
    assert max_tokens == 800
    assert len(server.requests) == 1


def test_a_server_is_asked_for_a_phrase_from_chosen_sentences_where_the_settings_say_so(server, asking):
    serving = asking("prompt.name=extract-v1", "prompt.sentence_margin=0.000001")
    (response,) = make_pipeline(serving, interactive=False).run([Query("q", QUESTION)])
    assert response.excerpts
    system, user, max_tokens = sent(server)
    assert system == get_prompt("extract-v1").system
    assert "<passage 1>" not in user
    assert max_tokens == 128
    make_pipeline(asking("generator.max_new_tokens=128"), interactive=False).run([Query("q", QUESTION)])
    assert sent(server)[0] == get_prompt("cited-v2").system
    assert sent(server)[2] == 128


def test_the_chat_asks_as_the_pipeline_does_and_streams_the_answer(server, asking):
    serving = asking()
    retrievers = Retrievers(serving.settings, serving.index_folder, Lazy(serving.load_encoder))
    chat = make_chat(serving, lambda: retrievers, lambda *given: Lazy(lambda: pytest.fail("narrowed")))
    turns = list(chat.ask(QUESTION, [], Options("bm25")))
    assert turns[-1].error == ""
    assert sent(server)[2] == 800
    assert server.requests[-1]["stream"] is True
    assert PASSAGES[0].text in sent(server)[1]
    growing = [turn.response.answer.text for turn in turns if turn.response and turn.response.answer]
    assert len(growing) > 20  # the server repeats the prompt word for word


def test_a_run_notes_what_the_prompt_decided(tmp_path, asking):
    def made_of(*overrides):
        return run_identity(asking(*overrides), "q.txt", generate=True)

    noted = made_of()["settings"]
    assert noted["prompt"]["name"] == "cited-v2"
    assert (noted["prompt"]["sentence_margin"], noted["generator"]["max_new_tokens"]) == (0.0, 800)
    explicit = ("prompt.sentence_margin=0", "generator.max_new_tokens=800")
    assert made_of() == made_of("prompt.name=cited-v2") == made_of("prompt.name=cited-v2", *explicit)
    assert prompt_of_run(made_of()) == get_prompt("cited-v2")
    # As runs of older versions noted it.
    before = ("prompt.sentence_margin=6.0", "generator.max_new_tokens=128")
    for name in ("extract-v1", "cited-v1", "tuned-sentences-v1"):
        assert made_of(f"prompt.name={name}") == made_of(f"prompt.name={name}", *before)


def test_without_a_reranker_there_are_no_sentences_to_choose():
    assert sentence_margin(load_settings(overrides=["reranker.enabled=false", "prompt.name=extract-v1"])) is None
    assert sentence_margin(load_settings(overrides=["prompt.name=extract-v1"])) == 6.0
    assert sentence_margin(load_settings(overrides=["prompt.name=cited-v2"])) is None


def test_a_large_model_is_trained_on_what_its_prompt_of_training_will_show_it(tmp_path):
    large = model(tmp_path / "large", LARGE)
    for overrides, margin in (([], 6.0), (["prompt.sentence_margin=2.5"], 2.5), (["prompt.name=cited-v2"], 0.0)):
        settings = load_settings(overrides=[large, *overrides])
        forms = training_forms(settings)
        assert (forms.short.sentence_margin, forms.sentences.sentence_margin) == (margin, margin)
        shown = settled(settings, forms.short)
        assert (shown.prompt.sentence_margin, shown.prompt.name) == (margin, settings.prompt.name)
        save_prompt(forms.short, tmp_path / "large")
        assert sentence_margin_of(load_settings(overrides=[large])) == margin
        (tmp_path / "large" / "rag_prompt.json").unlink()


def test_two_models_are_compared_from_contexts_whose_sentences_are_scored_if_either_is_shown_some(tmp_path, asking):
    tuned = tmp_path / "tuned"
    model(tuned, LARGE)
    save_prompt(get_prompt("tuned-v1"), tuned)
    large = asking("generator.kind=auto", model(tmp_path / "large", LARGE))
    assert sentence_margin(large.settings) is None
    found_with = choosing_sentences(large, tuned)
    assert (found_with.settings.generator.model, sentence_margin(found_with.settings)) == (str(tuned), 6.0)
    small = asking("generator.kind=auto", model(tmp_path / "small", SMALL))
    assert choosing_sentences(small, tuned) is small
