"""Trainings of tiny models: most of their time would go into what surrounds a step."""

import pytest

from rag.compute import runner


@pytest.fixture
def curves():
    """Asked for by tests in which a run draws its curves."""


@pytest.fixture
def compiled():
    """Asked for by tests in which a run is what it is for users: its checkpoints have cards, OpenVINO scores."""


@pytest.fixture(autouse=True)
def quick_runs(request, monkeypatch):
    """Elsewhere nothing is drawn, no card is written, and torch itself scores, in float32."""

    def forward(build_module, n_inputs, precision, cache_folder):
        return runner._torch_forward(build_module, "cpu", "fp32")

    if "curves" not in request.fixturenames:
        monkeypatch.setattr("rag.train.telemetry.plot_log", lambda folder, drift=None: None)
    if "compiled" not in request.fixturenames:
        monkeypatch.setattr(runner, "_openvino_forward", forward)
        card = "sentence_transformers.base.model.BaseModel._create_model_card"
        monkeypatch.setattr(card, lambda *given, **named: None, raising=False)
