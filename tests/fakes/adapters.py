"""Adapters written by hand, over bases of a few numbers."""

import json
from pathlib import Path

from safetensors.torch import save_file

from rag.files import file_sha256
from rag.models.adapters import read_adapter
from rag.models.merge import checkpoint_sha256, merged_tensors, tensors_sha256


def write_base(folder: Path, tensors, **config) -> Path:
    """A checkpoint of these tensors."""
    folder.mkdir(parents=True)
    save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "hidden_size": 2, **config}))
    return folder


def write_adapter(folder: Path, base: Path, tensors, *, files=None, merged_sha256=None, **merge) -> Path:
    """An adapter `rag-qa/FOLDER` of these tensors on a base; `merge` are entries of its card's section of that name."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, str(folder / "adapter.safetensors"))
    for place, content in (files or {}).items():
        (folder / "files" / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / "files" / place).write_text(content)
    plan = {"remove": "", "add": "", "dropped": [], "config": {}, "config_dropped": [], "base_files": []}
    sizes = {key: value for key, value in json.loads((base / "config.json").read_text()).items() if "size" in key}
    card = {
        "name": f"rag-qa/{folder.name}",
        "role": "retriever",
        "license": "MIT",
        "base": {"model": str(base), "sha256": checkpoint_sha256(base), "sizes": sizes},
        "adapter_sha256": file_sha256(folder / "adapter.safetensors"),
        "merged_sha256": merged_sha256 or "",
        "merge": {**plan, **merge},
    }
    edit_card(folder, card)
    if merged_sha256 is None:
        edit_card(folder, {"merged_sha256": tensors_sha256(merged_tensors(read_adapter(folder), base))})
    return folder


def edit_card(folder: Path, entries) -> None:
    """Change entries of an adapter's card."""
    path = folder / "card.json"
    card = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**card, **entries}))
