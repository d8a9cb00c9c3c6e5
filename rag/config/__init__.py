"""Settings: their sections, and how they are read. An unknown key is an error."""

from __future__ import annotations

from rag.config.load import DEFAULT_FILE, load_settings
from rag.config.reader import ReaderSettings
from rag.config.section import Precision
from rag.config.sections import (
    AbstainSettings,
    ContextOrder,
    DocumentsSettings,
    EncoderSettings,
    GeneratorPrecision,
    GeneratorSettings,
    IndexSettings,
    ModelsSettings,
    PromptExample,
    PromptSettings,
    PromptTemplate,
    RerankerSettings,
    RetrieverKind,
    RetrieverSettings,
    ScorerSettings,
    ServingSettings,
    Settings,
)
from rag.config.training import RerankerTraining, RetrieverTraining, TrainingSettings

__all__ = [
    "DEFAULT_FILE",
    "AbstainSettings",
    "ContextOrder",
    "DocumentsSettings",
    "EncoderSettings",
    "GeneratorPrecision",
    "GeneratorSettings",
    "IndexSettings",
    "ModelsSettings",
    "Precision",
    "PromptExample",
    "PromptSettings",
    "PromptTemplate",
    "ReaderSettings",
    "RerankerSettings",
    "RerankerTraining",
    "RetrieverKind",
    "RetrieverSettings",
    "RetrieverTraining",
    "ScorerSettings",
    "ServingSettings",
    "Settings",
    "TrainingSettings",
    "load_settings",
]
