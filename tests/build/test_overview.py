"""Which models `rag status` says would serve here."""

import pytest

from rag.build.overview import models_of
from rag.config import load_settings
from rag.errors import ModelError
from rag.models import resolve
from rag.models.catalog import FALLBACK_GENERATOR
from rag.models.promoted import promote

ON_HUB = "Qwen/Qwen3-1.7B"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine that holds no model; `machine(hub, cached)` says whether the hub answers, and which models it holds."""
    monkeypatch.setenv("RAG_HOME", str(tmp_path / "home"))

    def snapshot(name, needs=(), *, local_only):
        assert local_only, "fetched from the hub"
        if name not in cached:
            raise ModelError("not here")
        return tmp_path

    def set_up(hub=False, *names):
        cached.update(names)
        monkeypatch.setattr(resolve, "hub_answers", lambda: hub)

    cached = set()
    monkeypatch.setattr(resolve, "hub_snapshot", snapshot)
    monkeypatch.setattr(resolve, "fetch_packaged", lambda *arguments: pytest.fail("fetched a package"))
    return set_up


def generator(*settings):
    return models_of(load_settings(None, list(settings)))["generator"]


def test_without_the_hub_the_packaged_generator_is_named(machine):
    machine(hub=False)
    assert generator() == f"{FALLBACK_GENERATOR} ({ON_HUB} cannot be reached)"


def test_a_generator_that_is_here_or_can_be_fetched_is_named_itself(machine):
    machine(True)
    assert generator() == ON_HUB
    machine(False, ON_HUB)
    assert generator() == ON_HUB
    assert generator(f"generator.model={FALLBACK_GENERATOR}") == FALLBACK_GENERATOR


def test_a_source_that_was_chosen_and_a_server_have_no_stand_in(machine):
    machine(hub=False)
    assert generator("models.source=hub") == ON_HUB
    served = generator("generator.kind=server", "generator.model=qwen3:4b", "generator.server_url=http://x:1/v1")
    assert served == "qwen3:4b at http://x:1/v1"


def test_what_was_promoted_in_the_place_of_the_packaged_one_stands_in(machine, tmp_path):
    machine(hub=False)
    (tmp_path / "tuned").mkdir()
    promote(FALLBACK_GENERATOR, tmp_path / "tuned")
    assert generator() == (
        f"{tmp_path / 'tuned'} ({ON_HUB} cannot be reached, promoted in the place of {FALLBACK_GENERATOR})"
    )
