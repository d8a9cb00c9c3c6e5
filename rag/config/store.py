"""The settings of the store that passages are kept in."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from rag.config.section import Positive, PositiveInt, Section


class StoreSettings(Section):
    """Where an index keeps its passages, vectors and words: in its folder, or in Milvus."""

    kind: Literal["faiss", "milvus"] = Field(
        default="faiss",
        description="faiss keeps everything in the index folder, for up to about a million passages. milvus keeps it "
        "in a Milvus, embedded or a server; it needs the extra scale. An index stays where it was made.",
    )
    uri: str = Field(
        default="",
        description="The Milvus: http://HOST:19530 is a server; a path that ends in .db is an embedded store, for one "
        "process at a time. If empty, it is milvus.db in the index folder.",
        examples=["http://localhost:19530"],
    )
    token_variable: str = Field(
        default="RAG_MILVUS_TOKEN", description="The environment variable that holds the server's token, USER:PASSWORD."
    )
    index: Literal["auto", "FLAT", "HNSW", "IVF_FLAT", "IVF_SQ8", "DISKANN"] = Field(
        default="auto",
        description="The kind of index of the vectors. auto is HNSW on a server, and exact (FLAT) embedded.",
    )
    replicas: PositiveInt = Field(
        default=1, description="Copies of the passages in a server's memory; each answers searches."
    )
    consistency: Literal["Strong", "Bounded", "Session", "Eventually"] = Field(
        default="Strong",
        description="What a search sees. Strong sees all that was written before it; the others are quicker, and may "
        "miss what was written in the last seconds.",
    )
    timeout_seconds: Positive = Field(default=30.0, description="Longest wait for one answer of the store.")

    @field_validator("uri")
    @classmethod
    def _is_an_address_or_a_file(cls, value: str) -> str:
        if value and "://" not in value and not value.endswith(".db"):
            raise ValueError("name a server as http://HOST:19530, or a path that ends in .db for an embedded store")
        return value
