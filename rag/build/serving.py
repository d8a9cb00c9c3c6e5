"""What serves over an index now: models, passages and threshold, resolved once and given to everything after."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rag.build.english import understood
from rag.build.parts import ENCODER_FILES, encoder_of, query_model, reader_of, reranker_of
from rag.build.retrievers import Retrievers
from rag.build.stores import use_store
from rag.build.threshold import applying_calibration, match_scale, rerank_threshold
from rag.config import Settings
from rag.errors import ConfigError
from rag.evidence import MatchScale, Threshold
from rag.files import weights_sha256
from rag.index.folder import serving_manifest
from rag.index.manifest import Manifest
from rag.lazy import Lazy
from rag.models.promoted import what_serves
from rag.models.resolve import ResolvedModel, resolve
from rag.rerank.keep_order import KeepOrder

if TYPE_CHECKING:
    from rag.read.reader import SpanReader
    from rag.rerank.cross_encoder import CrossEncoderReranker
    from rag.retrieve.encoder import Encoder
    from rag.types import Retriever


@dataclass(frozen=True, slots=True)
class Serving:
    """What answers questions over an index.

    `encoder`, `reranker` and `reader` are the models that serve in the place of those in the settings: the same name,
    or the folder that was promoted; `reranker` and `reader` are None where none is used. `query_encoder` is the model
    that embeds questions beside the encoder; None where that one embeds both. `calibration` is the one that
    applies, and `rerank_threshold` the score below which a question is refused (None: no question is).
    """

    settings: Settings
    index_folder: Path
    generation: Path
    manifest: Manifest
    encoder: str
    reranker: str | None
    calibration: dict | None
    rerank_threshold: Threshold | None
    reader: str | None = None
    query_encoder: str | None = None

    def threshold_at(self, strictness: float | None, manifest: Manifest) -> Threshold | None:
        """The threshold by the calibration that the index holds now, over the passages of `manifest`.

        `strictness` None means as the settings say. The chat asks with every question: files may have been added, and
        a calibration may have been made, since it started.
        """
        settings = self.settings
        if strictness is not None:
            abstain = settings.abstain.model_copy(update={"strictness": strictness, "rerank_threshold": None})
            settings = settings.model_copy(update={"abstain": abstain})
        calibration = applying_calibration(settings, self.index_folder, manifest, self.reranker, self.reader)
        return rerank_threshold(settings, calibration, self.reranker)

    def match_scale(self, manifest: Manifest) -> MatchScale | None:
        """From which rerank logits on a passage is called a strong match, and a likely one; None where none tells."""
        abstain = self.settings.abstain.model_copy(update={"rerank_threshold": None})
        settings = self.settings.model_copy(update={"abstain": abstain})
        calibration = applying_calibration(settings, self.index_folder, manifest, self.reranker, self.reader)
        return match_scale(calibration, self.reranker)

    def with_reranker(self, model: str | Path) -> Serving:
        """What would serve with this model as the reranker. The threshold stays that of the other one."""
        reranker = self.settings.reranker.model_copy(update={"model": str(model), "enabled": True})
        settings = self.settings.model_copy(update={"reranker": reranker})
        return dataclasses.replace(self, settings=settings, reranker=str(model))

    def with_query_encoder(self, model: str | Path) -> Serving:
        """What would serve with this model for the questions; the index and the encoder of its passages stay."""
        encoder = self.settings.encoder.model_copy(update={"query_model": str(model)})
        settings = self.settings.model_copy(update={"encoder": encoder})
        return dataclasses.replace(self, settings=settings, query_encoder=str(model))

    def with_max_new_tokens(self, n: int) -> Serving:
        """The same with answers of at most `n` tokens."""
        generator = self.settings.generator.model_copy(update={"max_new_tokens": n})
        return dataclasses.replace(self, settings=self.settings.model_copy(update={"generator": generator}))

    def encoder_model(self) -> ResolvedModel:
        """The encoder's folder; it may be fetched."""
        return self.find(self.encoder, needs=ENCODER_FILES)

    def query_encoder_model(self) -> ResolvedModel | None:
        """The folder of the model that embeds questions beside the encoder; None where that one embeds both."""
        return None if self.query_encoder is None else self.find(self.query_encoder, needs=ENCODER_FILES)

    def reranker_model(self) -> ResolvedModel | None:
        """The reranker's folder; it may be fetched. None where no reranker is used."""
        return None if self.reranker is None else self.find(self.reranker)

    def reader_model(self) -> ResolvedModel | None:
        """The span reader's folder; it may be fetched. None where none reads."""
        return None if self.reader is None else self.find(self.reader)

    def find(self, name: str, *, needs: Sequence[str] = ()) -> ResolvedModel:
        """Any model by its name or folder, from where the settings let models come from (`rag.models.resolve`)."""
        return resolve(name, source=self.settings.models.source, needs=needs)

    def load_encoder(self, *, lazy: bool = False) -> Encoder:
        """The encoder; `lazy` loads its weights with the first text."""
        return encoder_of(self.settings, self.encoder_model(), self.query_encoder, lazy=lazy)

    def load_reranker(self) -> CrossEncoderReranker | KeepOrder:
        """The reranker, or one that keeps the order where none is used."""
        model = self.reranker_model()
        return KeepOrder() if model is None else reranker_of(self.settings, model)

    def load_reader(self) -> SpanReader:
        """The span reader. Raises ConfigError where none reads."""
        model = self.reader_model()
        if model is None:
            raise ConfigError("no span reader is in use; --set reader.enabled=true")
        return reader_of(self.settings, model)

    def retrievers(self) -> Retrievers:
        """Every retriever over the index, with the encoder that serves."""
        return Retrievers(self.settings, self.index_folder, Lazy(self.load_encoder))

    def retriever(self, collections: Sequence[str] | None = None) -> Retriever:
        """The retriever of the settings over the index, or over some of its collections."""
        return self.retrievers().get(self.settings.retriever.kind, collections)

    def query_identity(self) -> dict[str, str]:
        """What a record of found passages says beside the index: the weights that embed questions, if others do."""
        model = self.query_encoder_model()
        return {} if model is None else {"query_encoder": weights_sha256(model.folder)}

    def reranker_sha256(self) -> str | None:
        """A hash of the reranker's weights; None where no reranker is used."""
        model = self.reranker_model()
        return None if model is None else weights_sha256(model.folder)

    def reader_sha256(self) -> str | None:
        """A hash of the span reader's weights; None where none reads."""
        model = self.reader_model()
        return None if model is None else weights_sha256(model.folder)


def serving_over(settings: Settings, index_folder: str | Path) -> Serving:
    """What serves over an index by these settings, but for models that do not know its language (`rag.build.english`).

    Loads and fetches no model. Raises IndexMismatchError, with the command that fixes it, where the index is missing,
    damaged, or older than its corpus file; ModelError where a promoted model is gone.
    """
    use_store(settings, index_folder)
    generation, manifest = serving_manifest(index_folder)
    settings = understood(settings, manifest, index_folder)
    encoder = what_serves(settings.encoder.model)
    reranker = what_serves(settings.reranker.model) if settings.reranker.enabled else None
    reader = what_serves(settings.reader.model) if settings.reader.enabled else None
    calibration = applying_calibration(settings, index_folder, manifest, reranker, reader)
    return Serving(
        settings,
        Path(index_folder),
        generation,
        manifest,
        encoder,
        reranker,
        calibration,
        rerank_threshold(settings, calibration, reranker),
        reader,
        query_model(settings),
    )
