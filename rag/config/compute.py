"""The settings of where long work is done."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rag.config.section import PositiveInt, Section


class ComputeSettings(Section):
    """Where passages are encoded and batches are answered: in this process, or by the workers of a Ray cluster."""

    kind: Literal["local", "ray"] = Field(
        default="local",
        description="local does everything in this process. ray shares the encoding of passages and `rag batch` among "
        "the workers of a Ray cluster; it needs the extra scale.",
    )
    address: str = Field(
        default="",
        description="The cluster: HOST:6379, or auto for the one that this machine is part of. If empty, a cluster is "
        "started on this machine for as long as the work takes.",
        examples=["ray-head:6379"],
    )
    worker_cores: PositiveInt = Field(
        default=4,
        description="Cores of each worker; each loads models of its own. Where the cluster has GPUs, a worker has one "
        "GPU and one core instead.",
    )
    questions_per_shard: PositiveInt = Field(
        default=256,
        description="Questions of a batch that a worker answers at a time, and does again where its node is lost. With "
        "a multiple of 256 they are asked together as in one process.",
    )
