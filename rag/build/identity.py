"""What identifies the generator of the settings."""

from __future__ import annotations

import hashlib
import json

from rag.build.parts import find_generator_model, generator_kind
from rag.config import Settings
from rag.files import file_sha256, weights_sha256


def generator_identity(settings: Settings) -> str:
    """What tells the generator of a batch from others: where it runs, its name, its weights and its settings."""
    kind = generator_kind(settings, interactive=False)
    if kind == "server":
        return f"{settings.generator.server_url} {settings.generator.model}"
    model = find_generator_model(settings)
    small = sorted(path for path in model.folder.iterdir() if path.suffix in (".json", ".jinja"))  # chat template, too
    made_of = [weights_sha256(model.folder), *(file_sha256(path) for path in small)]
    return f"{kind} {model.name} {hashlib.sha256(json.dumps(made_of).encode()).hexdigest()}"
