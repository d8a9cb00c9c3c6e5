"""A torch module compiled for a CPU by OpenVINO, and kept.

Not every body can be converted, and tracing may take what belongs to one example for what belongs to all. So a new
graph is compared with its module on texts of other lengths; where it does not agree, torch runs the module itself.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rag.compute.hardware import fastest_precision, n_threads
from rag.compute.kept import is_whole, note_files
from rag.compute.one_at_a_time import TORCH
from rag.errors import ModelError
from rag.files import kept_where_possible
from rag.progress import say

INT8_GROUP_VALUES = 128
CLOSE = 1e-2
"""The largest difference between graph and module that is taken for rounding, relative to the largest value."""
BY_TORCH = "by-torch"
_CONVERTING = threading.Lock()
"""The filters of Python's warnings belong to all threads: each conversion has to put back what it found."""


class NotConverted(Exception):
    """OpenVINO cannot run a module as torch does."""


def openvino_forward(
    build_module: Callable[[], Any], n_inputs: int, precision: str, cache_folder: Path | None
) -> Callable[..., np.ndarray]:
    """The module compiled for this CPU; raises NotConverted where that cannot be done.

    It is built only where `cache_folder` does not hold its graph. A new graph is compared with the module, unless the
    module says `is_compared = False`, as one does that gives places instead of numbers.
    """
    import openvino as ov

    core = ov.Core()
    graph = _cached_graph(core, build_module, n_inputs, precision, cache_folder)
    # With int8 weights, what is not quantised runs in the CPU's fastest precision.
    unquantised = fastest_precision("cpu") if precision == "int8" else precision
    compiled = core.compile_model(
        graph,
        "CPU",
        {
            "INFERENCE_NUM_THREADS": n_threads(),
            "INFERENCE_PRECISION_HINT": unquantised.replace("fp32", "f32"),  # OpenVINO's own word
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": INT8_GROUP_VALUES if precision == "int8" else 0,
        },
    )

    def forward(*arrays: np.ndarray) -> np.ndarray:
        # Every call makes its own request: several threads may call at once.
        return compiled.create_infer_request().infer(list(arrays))[0]

    return forward


def _cached_graph(
    core: Any, build_module: Callable[[], Any], n_inputs: int, precision: str, cache_folder: Path | None
) -> Any:
    """The OpenVINO graph from the cache; if it is not there, converted from the torch module and kept."""
    import openvino as ov

    kind = "int8" if precision == "int8" else "fp32"
    folder = cache_folder / f"openvino-{ov.__version__.split('-')[0]}-{kind}" if cache_folder else None
    if folder is not None and (folder / "graph.xml").exists():
        if is_whole(folder):
            with contextlib.suppress(RuntimeError):  # what an earlier version kept did not note its files
                return core.read_model(folder / "graph.xml")
        say(f"{folder} is damaged, and is made again")
        with kept_where_possible():
            shutil.rmtree(folder)
    if folder is not None and (folder / BY_TORCH).is_file():
        raise NotConverted
    try:
        with TORCH:
            module = build_module().eval().float()
            graph = _convert(module, n_inputs)
            if getattr(module, "is_compared", True) and not _agrees(core, graph, module, n_inputs):
                raise NotConverted
            if kind == "int8":
                graph = _compress_weights(graph)
    except NotConverted:
        say("OpenVINO cannot run this model as torch does: torch runs it, in fp32")
        if folder is not None:
            with kept_where_possible():
                folder.mkdir(parents=True, exist_ok=True)
                (folder / BY_TORCH).touch()
        raise
    if folder is not None:
        with kept_where_possible():
            _keep(graph, folder)
    return graph


def _keep(graph: Any, folder: Path) -> None:
    """Written beside its place and renamed: a kill leaves no half of a graph that looks whole."""
    import openvino as ov

    folder.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".building-"))
    ov.save_model(graph, building / "graph.xml", compress_to_fp16=False)
    note_files(building)
    try:
        building.rename(folder)
    except OSError:  # another process finished first
        shutil.rmtree(building)


def _convert(module: Any, n_inputs: int) -> Any:
    import openvino as ov
    import torch

    example = tuple(torch.ones(2, 8, dtype=torch.int64) for _ in range(n_inputs))
    with _CONVERTING, warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # tracing warns of Python values in transformers' mask code
        # It logs what it cannot trace before it raises; the sentence for it comes later.
        logging.getLogger("openvino").setLevel(logging.ERROR)
        root = logging.getLogger()
        level, filters = root.level, list(root.filters)
        try:
            return ov.convert_model(module, example_input=example)
        except Exception as error:  # OpenVINO and torch raise what they like
            # It silences the warnings of the whole program while it converts, and ends that only where it succeeds.
            root.setLevel(level)
            root.filters = filters
            raise NotConverted from error


def _agrees(core: Any, graph: Any, module: Any, n_inputs: int) -> bool:
    """Whether the graph computes what the module does, on a batch of another shape with padding."""
    import torch

    rng = np.random.default_rng(0)
    mask = np.ones((3, 13), np.int64)
    mask[1, 9:] = 0
    mask[2, 4:] = 0
    ids = rng.integers(5, 50, (3, 13)) * mask
    inputs = [ids, mask, np.zeros_like(ids)][:n_inputs]
    try:
        with torch.inference_mode():
            wanted = module(*map(torch.from_numpy, inputs)).numpy()
        compiled = core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        got = compiled.create_infer_request().infer(inputs)[0]
    except Exception:  # it is as useless, whatever is raised
        return False
    if got.shape != wanted.shape:
        return False
    return bool(np.abs(got - wanted).max() <= CLOSE * max(np.abs(wanted).max(), 1e-6))


def _compress_weights(graph: Any) -> Any:
    try:
        import nncf
    except ImportError as error:
        raise ModelError("precision 'int8' needs the package nncf: pip install nncf") from error
    nncf.set_log_level(logging.ERROR)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        return nncf.compress_weights(graph, mode=nncf.CompressWeightsMode.INT8_SYM)
