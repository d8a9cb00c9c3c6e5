"""Settings: where each value comes from, and what a wrong one is told."""

import functools
import inspect
import re
import tomllib

import pytest
from pydantic import BaseModel, ValidationError

from rag.config import DEFAULT_FILE, PromptTemplate, Settings, load, load_settings
from rag.errors import ConfigError


def write(path, text):
    path.write_text(text, "utf-8")
    return path


def sections(model=Settings, prefix=""):
    """(dotted name, class) of every section that holds keys."""
    for name, field in model.model_fields.items():
        if inspect.isclass(field.annotation) and issubclass(field.annotation, BaseModel):
            yield prefix + name, field.annotation
            yield from sections(field.annotation, f"{prefix}{name}.")


def keys(section):
    """Fields that are no sections themselves."""
    return {name: field for name, field in section.model_fields.items() if not isinstance(field.default, BaseModel)}


def test_the_shipped_file_is_the_defaults():
    assert DEFAULT_FILE.is_file()
    assert load_settings() == Settings()


def test_the_shipped_file_names_every_setting():
    text = DEFAULT_FILE.read_text("utf-8")
    shipped = tomllib.loads(text)
    for name, section in sections():
        table = functools.reduce(dict.__getitem__, name.split("."), shipped)
        for key, field in keys(section).items():
            if field.default is None:
                assert f"# {key} = " in text.partition(f"[{name}]")[2].partition("\n[")[0], f"{name}.{key}"
            else:
                assert table[key] == field.default, f"{name}.{key}"


def test_the_shipped_file_is_valid_with_every_key_that_it_comments_out(tmp_path):
    text = DEFAULT_FILE.read_text("utf-8")
    lines = [re.sub(r"^# ((\w+ = |\[).*)$", r"\1", line) for line in text.splitlines()]
    settings = load_settings(write(tmp_path / "all.toml", "\n".join(lines)))
    assert settings.index.factory == "Flat"
    assert settings.training.reranker.skip_easy == 3.0
    assert settings.prompts["mine"].examples[0].question == "…"


def test_every_setting_is_described():
    described = {**dict(sections()), "prompts.NAME": PromptTemplate}
    for name, section in described.items():
        assert section.__doc__, name
        for key, field in keys(section).items():
            assert field.description, f"{name}.{key}"
            assert field.description.endswith("."), f"{name}.{key}"
            assert field.default is not None or field.examples, f"{name}.{key} shows no value"


def test_without_a_checkout_the_defaults_are_those_of_the_code(tmp_path, monkeypatch):
    monkeypatch.setattr(load, "DEFAULT_FILE", tmp_path / "rag.toml")
    assert load_settings() == Settings()
    assert load_settings(overrides=["reranker.depth=3"]).reranker.depth == 3


def test_what_a_checkout_s_file_says_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(load, "DEFAULT_FILE", write(tmp_path / "rag.toml", "[reranker]\ndepth = 7\n"))
    assert load_settings().reranker.depth == 7
    assert load_settings(overrides=["reranker.depth=3"]).reranker.depth == 3


def test_a_key_of_training_is_read_under_its_old_name_with_a_note(tmp_path, capsys):
    file = write(tmp_path / "old.toml", "[training]\nepochs = 1\nskip_easy = 2.5\nreport_to = 'wandb'\n")
    training = load_settings(file, ["training.learning_rate=1e-4"]).training
    for kind in (training.retriever, training.reranker):
        assert (kind.epochs, kind.learning_rate, kind.report_to) == (1, 1e-4, "wandb")
    assert training.reranker.skip_easy == 2.5
    note = capsys.readouterr().err
    assert note.count("\n") == 1
    assert "training.epochs is now training.retriever.epochs and training.reranker.epochs" in note
    assert "training.skip_easy is now training.reranker.skip_easy" in note
    assert "training.learning_rate is now" in note


def test_new_names_of_training_need_no_note(capsys):
    training = load_settings(overrides=["training.retriever.epochs=1"]).training
    assert (training.retriever.epochs, training.reranker.epochs) == (1, None)
    assert capsys.readouterr().err == ""


def test_of_an_old_and_a_new_name_the_later_wins_and_in_one_file_the_new(tmp_path):
    old = "training.epochs=1"
    new = "training.retriever.epochs=2"
    assert load_settings(overrides=[old, new]).training.retriever.epochs == 2
    assert load_settings(overrides=[old, new]).training.reranker.epochs == 1
    assert load_settings(overrides=[new, old]).training.retriever.epochs == 1
    for text in ("[training]\nepochs = 1\nretriever.epochs = 2\n", "[training]\nretriever.epochs = 2\nepochs = 1\n"):
        training = load_settings(write(tmp_path / "my.toml", text)).training
        assert (training.retriever.epochs, training.reranker.epochs) == (2, 1)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.epoch=1", r"unknown setting 'training\.epoch' \(known here: retriever, reranker, "),
        (
            "training.retriever.skip_easy=1",
            r"unknown setting 'training\.retriever\.skip_easy' \(known here: evaluations",
        ),
        ("training.epochs=0", r"setting 'training\.retriever\.epochs': .*'training\.reranker\.epochs': "),
        ("training.loss=mse", r"setting 'training\.retriever\.loss': .*'training\.reranker\.loss': "),
        ("training.retriever=1", r"setting 'training\.retriever': "),
    ],
)
def test_a_wrong_key_or_value_of_training_is_named(override, message):
    with pytest.raises(ConfigError, match=message):
        load_settings(overrides=[override])


def test_an_own_file_changes_only_what_it_names(tmp_path):
    settings = load_settings(write(tmp_path / "my.toml", "[reranker]\ndepth = 7\n"))
    assert settings.reranker.depth == 7
    assert settings.model_copy(update={"reranker": Settings().reranker}) == Settings()
    assert settings.reranker.model_copy(update={"depth": Settings().reranker.depth}) == Settings().reranker


def test_a_set_value_wins_over_the_file_and_the_last_one_over_the_first(tmp_path):
    file = write(tmp_path / "my.toml", "[reranker]\ndepth = 7\n[retriever]\ndepth = 8\n")
    settings = load_settings(file, ["reranker.depth=9", "generator.seed=1", "generator.seed=2"])
    assert (settings.reranker.depth, settings.retriever.depth, settings.generator.seed) == (9, 8, 2)


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("reranker.depth=20", "reranker", "depth", 20),
        ("reranker.enabled=false", "reranker", "enabled", False),
        ("abstain.rerank_threshold=-2.5", "abstain", "rerank_threshold", -2.5),
        ("prompt.name=cited-v2", "prompt", "name", "cited-v2"),
        ('prompt.name="cited-v2"', "prompt", "name", "cited-v2"),
        ("encoder.model=intfloat/e5-base", "encoder", "model", "intfloat/e5-base"),
        ("encoder.query_prompt=query: ", "encoder", "query_prompt", "query: "),
        ("generator.server_url=http://host:1/v1?a=b", "generator", "server_url", "http://host:1/v1?a=b"),
        (" index.factory =HNSW32", "index", "factory", "HNSW32"),
    ],
)
def test_a_set_value_is_read_as_toml_or_as_a_bare_word(override, section, key, value):
    assert getattr(getattr(load_settings(overrides=[override]), section), key) == value


@pytest.mark.parametrize("override", ["reranker.depth", "depth=3", "=3", "reranker depth 3", ""])
def test_a_set_value_of_another_shape_is_told_the_shape(override):
    with pytest.raises(ConfigError) as caught:
        load_settings(overrides=[override])
    assert f"--set {override!r} is not section.key=value" in str(caught.value)


def test_an_unknown_key_is_told_the_known_ones(tmp_path):
    file = write(tmp_path / "my.toml", "[reranker]\ndeep = 7\n")
    for arguments in ({"file": file}, {"overrides": ["reranker.deep=7"]}):
        with pytest.raises(ConfigError) as caught:
            load_settings(**arguments)
        message = str(caught.value)
        assert "unknown setting 'reranker.deep'" in message
        assert "(known here: enabled, model, depth, max_length_tokens, precision, cosine_weight)" in message


def test_an_unknown_section_is_told_the_known_ones():
    with pytest.raises(ConfigError, match=r"unknown setting 'rerankr' \(known here: models, encoder, index, documents"):
        load_settings(overrides=["rerankr.depth=7"])


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("rerankr.depth=7", "did you mean reranker?"),
        ("reranker.dept=7", "did you mean reranker.depth?"),
        ("reranker.chunk_tokens=7", "did you mean documents.chunk_tokens?"),
        ("rrf_k=7", "did you mean retriever.rrf_k?"),
        ("training.retriever.mini_batch=7", "did you mean training.retriever.mini_batch_size?"),
    ],
)
def test_a_setting_that_was_probably_meant_is_named(override, meant):
    with pytest.raises(ConfigError) as caught:
        load_settings(overrides=[override])
    assert str(caught.value).endswith(meant)


def test_an_unknown_key_of_an_own_prompt_is_told_the_known_ones():
    with pytest.raises(ConfigError, match=r"\(known here: system, user, parser, answers_in, examples\)"):
        load_settings(overrides=["prompts.mine.user=hello", "prompts.mine.usr=hello"])
    example = '[{ passages = [], question = "q", answer = "a", answers = "a" }]'
    with pytest.raises(
        ConfigError, match=r"'prompts.mine.examples.0.answers' \(known here: passages, question, answer\)"
    ):
        load_settings(overrides=["prompts.mine.user=hello", f"prompts.mine.examples={example}"])


def test_an_own_prompt_is_read(tmp_path):
    file = write(tmp_path / "my.toml", '[prompts.mine]\nuser = "{{ question }}"\nparser = "strip"\n')
    prompt = load_settings(file).prompts["mine"]
    assert (prompt.user, prompt.system, prompt.parser) == ("{{ question }}", "", "strip")


@pytest.mark.parametrize(
    "override",
    [
        "reranker.depth=0",
        "reranker.depth=many",
        "reranker.depth=2.5",
        "reranker.depth.x=2",
        "retriever.kind=splade",
        "encoder.precision=fp16",
        "abstain.strictness=1.5",
        "generator.vllm_gpu_share=2",
        "generator.temperature=-1",
        "encoder.model=5",
    ],
)
def test_a_value_of_the_wrong_type_or_range_is_named_with_what_was_given(override):
    key, _, value = override.partition("=")
    with pytest.raises(ConfigError) as caught:
        load_settings(overrides=[override])
    assert f"setting '{key.removesuffix('.x')}': " in str(caught.value)
    assert f"(given: {'{' if key.endswith('.x') else ''}" in str(caught.value)
    assert value in str(caught.value)


def test_languages_to_recognise_are_asked_for_in_words():
    for given in ("german!", "eng+", "eng deu", "../eng"):
        with pytest.raises(ConfigError, match=r"ocr_languages': names of .* such as \"eng\+deu\", or nothing"):
            load_settings(overrides=[f"documents.ocr_languages={given}"])
    for given in ("", "eng", "eng+deu", "script/Latin", "chi_sim"):
        languages = load_settings(overrides=[f"documents.ocr_languages='{given}'"]).documents.ocr_languages
        assert languages == given


def test_every_fault_is_told_at_once():
    with pytest.raises(ConfigError) as caught:
        load_settings(overrides=["reranker.depth=0", "reranker.deep=1", "prompt.contexts=-1"])
    assert all(key in str(caught.value) for key in ("'reranker.depth'", "'reranker.deep'", "'prompt.contexts'"))


def test_a_missing_or_broken_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.toml cannot be read: No such file"):
        load_settings(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match=r"my\.toml is not valid TOML: .*line 2"):
        load_settings(write(tmp_path / "my.toml", "[reranker]\ndepth = = 7\n"))
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"a = '\xff'")
    with pytest.raises(ConfigError, match=r"binary\.toml is not valid TOML"):
        load_settings(binary)


def test_settings_cannot_be_changed_in_place():
    with pytest.raises(ValidationError):
        Settings().reranker.depth = 3
