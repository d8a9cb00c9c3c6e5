"""What differs between a checkpoint and its base, weight by weight, in the form of an adapter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rag.errors import ModelError
from rag.models.adapters import Plan
from rag.models.merge import Checkpoint
from rag.progress import progress

if TYPE_CHECKING:
    from torch import Tensor

EXACT_SVD_ELEMENTS = 1 << 20
LEAST_IN_COMMON = 0.5


@dataclass(frozen=True, slots=True)
class Changes:
    """The tensors of an adapter by their names in it, and how names of the base become merged ones.

    `kept` is the share of the squared norm of all differences that they keep; `rank` the most that a matrix has.
    """

    tensors: dict[str, Tensor]
    rank: int
    kept: float
    remove: str = ""
    add: str = ""
    dropped: tuple[str, ...] = ()

    def count(self, kind: str) -> int:
        """How many weights are stored as factors (`b`), as a difference (`diff`) or `whole`."""
        return sum(name.endswith(f".{kind}") for name in self.tensors)

    def save(self, path: Path) -> None:
        """Write them; raises ModelError where a value is no number, or too large for its type."""
        from safetensors.torch import save

        for name, tensor in self.tensors.items():
            if not tensor.isfinite().all():
                raise ModelError(f"the change of {name} holds a value that is no number, or too large for fp16")
        path.write_bytes(save(self.tensors, metadata={"format": "pt"}))


def differences(base: Path, tuned: Path, rank: int) -> Changes:
    """What differs between two checkpoints, matrices by their best approximation of `rank`.

    Raises ModelError where they hold the same weights, or hardly any of the same name and shape.
    """
    before, after = Checkpoint(base), Checkpoint(tuned)
    remove, add = _renaming(before, after)
    plan = Plan(remove=remove, add=add)
    base_names = {plan.merged_name(name): name for name in before.names()}
    stored: dict[str, Tensor] = {}
    squared = lost = 0.0
    highest = 0
    with progress(f"Comparing with {base.name}", len(after.names()), "weights") as bar:
        for name in after.names():
            bar.advance()
            tensor = after[name]
            of_base = base_names.get(name)
            if of_base is None or before.shape(of_base) != tuple(tensor.shape) or not tensor.is_floating_point():
                if of_base is None or not _equal(before[of_base], tensor):
                    stored[f"{name}.whole"] = tensor.contiguous()
                continue
            if _equal(before[of_base], tensor):
                continue
            difference = tensor.float() - before[of_base].float()
            parts = _parts(difference, rank)
            stored.update({f"{name}.{kind}": part.contiguous() for kind, part in parts.items()})
            squared += float(difference.square().sum())
            lost += float((difference - _sum(parts)).square().sum())
            highest = max(highest, parts["a"].shape[0] if "a" in parts else 0)
    if not stored:
        raise ModelError(f"{tuned} holds the same weights as {base}: nothing was tuned")
    dropped = tuple(sorted(of_base for name, of_base in base_names.items() if name not in after))
    return Changes(stored, highest, 1 - lost / squared if squared else 1.0, remove, add, dropped)


def _renaming(before: Checkpoint, after: Checkpoint) -> tuple[str, str]:
    """(prefix that names of the base lose, prefix that they get): a model with a head names its body, `bert.` or so.

    That under which most tensors have a partner of the same shape. Raises ModelError where hardly any has.
    """
    shapes = {name: after.shape(name) for name in after.names()}
    firsts = [{f"{name.split('.')[0]}." for name in names} for names in (before.names(), shapes)]
    choices = [("", ""), *((first, "") for first in sorted(firsts[0])), *(("", first) for first in sorted(firsts[1]))]

    def n_common(choice: tuple[str, str]) -> int:
        plan = Plan(remove=choice[0], add=choice[1])
        return sum(shapes.get(plan.merged_name(name)) == before.shape(name) for name in before.names())

    best = max(choices, key=n_common)
    n_base, n_same = len(before.names()), n_common(best)
    if n_same < LEAST_IN_COMMON * n_base:
        raise ModelError(
            f"{after.folder} was not tuned from {before.folder}: only {n_same} of its {n_base} weights have the same "
            "name and shape"
        )
    return best


def _equal(before: Tensor, after: Tensor) -> bool:
    """Whether a tensor is unchanged, but for a type that has fewer digits."""
    import torch

    return before.shape == after.shape and torch.equal(before.to(after.dtype), after)


def _parts(difference: Tensor, rank: int) -> dict[str, Tensor]:
    """Factors `b` and `a` of a matrix, where they take less than the difference itself; in fp16."""
    if difference.ndim != 2 or rank * sum(difference.shape) >= difference.numel():
        return {"diff": difference.half()}
    return factors(difference, rank)


def factors(difference: Tensor, rank: int) -> dict[str, Tensor]:
    """`b` (out, rank) and `a` (rank, in) in fp16, whose product comes nearest to a matrix in squared norm.

    By singular value decomposition, large matrices by a randomised one (Halko et al. 2011), seeded.
    """
    import torch

    if difference.numel() <= EXACT_SVD_ELEMENTS:
        u, s, vt = torch.linalg.svd(difference, full_matrices=False)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            u, s, v = torch.svd_lowrank(difference, q=min(rank + 16, *difference.shape), niter=4)
            vt = v.T
    root = s[:rank].sqrt()
    return {"b": (u[:, :rank] * root).half(), "a": (root[:, None] * vt[:rank]).half()}


def _sum(parts: dict[str, Tensor]) -> Tensor:
    return parts["diff"].float() if "diff" in parts else parts["b"].float() @ parts["a"].float()
