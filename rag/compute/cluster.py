"""Work shared among the workers of a Ray cluster; what a lost worker had in hand is given to another.

Workers are actors, and each has one item in hand. This process hands items out and takes results back, so that it alone
reads and writes, and nothing waits for a core that a worker holds.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import logging
import os
import secrets
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from rag import fixes
from rag.compute.hardware import limit_threads, n_threads
from rag.errors import ConfigError, RagError
from rag.lazy import Lazy
from rag.progress import say

T = TypeVar("T")
R = TypeVar("R")
LOOK_EVERY_SECONDS = 2.0
KNOCK_SECONDS = 10.0
MOST_LOSSES = 5
"""An item that so many workers were lost over is given up."""
OBJECT_STORE_BYTES = 128 * 2**20


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Ray cluster by its address; "" starts one on this machine for as long as work is shared.

    `worker_cores` are the cores of each worker, or all of the largest node, if it has fewer.
    """

    address: str = ""
    worker_cores: int = 4

    def each(
        self, make: Callable[[], Callable[[T], R]], items: Iterable[T], *, waiting: Callable[[], object] = lambda: None
    ) -> Iterator[tuple[int, R]]:
        """(position, what a worker made) of each item, in the order in which they are done.

        `make` makes, once in each worker, what is called with its items; it and they are sent there by pickle. Items
        are taken as workers become free. `waiting` is called every two seconds at least. A RagError of a worker is
        raised here. Raises ConfigError where Ray is not installed, no cluster answers, or an item keeps killing its
        workers.
        """
        check_installed()
        items = iter(items)
        first = list(itertools.islice(items, 1))
        if not first:
            return
        with _connected(self.address):
            work = _Work(make, itertools.chain(first, items), self.worker_cores)
            try:
                yield from work.results(waiting)
            finally:
                work.end()


def check_installed() -> None:
    """Raises ConfigError, with the command that installs it, where Ray is missing."""
    if importlib.util.find_spec("ray") is None:
        raise ConfigError(f"compute.kind ray needs the package ray; install it: {fixes.install('scale')}")


@contextlib.contextmanager
def _connected(address: str) -> Iterator[None]:
    """Be connected to a cluster; one that was started for this ends with it."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read when ray is imported; nothing is reported to anybody
    import ray

    if ray.is_initialized():  # by the program that calls us
        yield
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not address:
        options |= {"num_cpus": n_threads(), "object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False}
    with contextlib.nullcontext() if address else _of_its_own():
        try:
            _knock(address)
            ray.init(address or "local", **options)
        except (OSError, RuntimeError, ValueError) as error:
            where = f"at {address}" if address else "on this machine"
            raise ConfigError(
                f"no Ray cluster answers {where} ({_short(error)}); start one with `ray start --head`, set "
                "compute.address, or work in one process with --set compute.kind=local"
            ) from error
        try:
            yield
        finally:
            ray.shutdown()


@contextlib.contextmanager
def _of_its_own() -> Iterator[None]:
    """Let a cluster that is started listen on loopback, and ask for a token that nobody else has.

    Ray would keep both for the whole process, and one that is joined later could not reach it.
    """
    from ray._private import ray_constants
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]  # of Cython

    set_here = {ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0"}
    if "RAY_AUTH_MODE" not in os.environ:
        set_here |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    before, was_enabled = {name: os.environ.get(name) for name in set_here}, ray_constants.ENABLE_RAY_CLUSTER

    def have(variables: Mapping[str, str | None], enabled: bool) -> None:
        for name, value in variables.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        ray_constants.ENABLE_RAY_CLUSTER = enabled
        Config.initialize("")  # reads the variables once more
        AuthenticationTokenLoader.instance().reset_cache()

    have(set_here, False)
    os.environ.setdefault("RAY_worker_niceness", "0")  # of 15 by default, which leaves all to other processes
    try:
        yield
    finally:
        have(before, was_enabled)


def _knock(address: str) -> None:
    """Raises OSError where nobody listens at HOST:PORT; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=KNOCK_SECONDS).close()


class _Worker:
    """Runs in a process of the cluster: makes what does the work with the first item."""

    def __init__(self, make: Callable[[], Callable], folder: str, cores: int):
        with contextlib.suppress(OSError):
            os.chdir(folder)  # paths of the settings start where the command was given
        limit_threads(cores)
        self._do = Lazy(make)

    def is_there(self) -> bool:
        return True

    def do(self, item: Any) -> Any:
        return self._do.get()(item)


@dataclass(slots=True)
class _Item(Generic[T]):
    """An item that is not done yet, and how many workers were lost over it."""

    position: int
    item: T
    lost: int = 0


@dataclass(slots=True)
class _Work(Generic[T, R]):
    """Items on their way.

    `left` are the next ones. `starting` holds the workers that wait for a place on a node, `idle` those without work,
    and `in_hand` the others with their items; the keys are references to what they will answer. Only a worker that is
    there is given an item: one that waits for a place might wait for ever.
    """

    make: Callable[[], Callable[[T], R]]
    items: Iterator[T]
    worker_cores: int
    left: deque[_Item[T]] = field(default_factory=deque)
    starting: dict[Any, Any] = field(default_factory=dict)
    idle: list[Any] = field(default_factory=list)
    in_hand: dict[Any, tuple[Any, _Item[T]]] = field(default_factory=dict)
    n_taken: int = 0
    n_not_started: int = 0

    def results(self, waiting: Callable[[], object]) -> Iterator[tuple[int, R]]:
        import ray

        while self._hand_out() or self.in_hand:
            waiting()
            ready, _ = ray.wait([*self.starting, *self.in_hand], num_returns=1, timeout=LOOK_EVERY_SECONDS)
            for reference in ready:
                if reference in self.starting:
                    self._take_in(reference)
                    continue
                worker, item = self.in_hand.pop(reference)
                try:
                    made = ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    if isinstance(error.cause, RagError):
                        raise error.cause from error
                    raise
                except ray.exceptions.RayError as error:
                    self._lose(worker, item, error)
                    continue
                self.idle.append(worker)
                yield item.position, made

    def _hand_out(self) -> bool:
        """Give items to the workers that are free, and let more start where there is room; whether items are left."""
        room = self._room()
        for taken in itertools.islice(self.items, max(room - len(self.left), 0)):
            self.left.append(_Item(self.n_taken, taken))
            self.n_taken += 1
        while self.idle and self.left:
            worker, item = self.idle.pop(), self.left.popleft()
            self.in_hand[worker.do.remote(item.item)] = worker, item
        n_workers = len(self.starting) + len(self.in_hand) + len(self.idle)
        for _ in range(min(room - n_workers, len(self.left) - len(self.starting))):
            worker = self._start()
            self.starting[worker.is_there.remote()] = worker
        return bool(self.left)

    def _room(self) -> int:
        """How many workers the nodes that are there now hold; one where they hold none, so that one is asked for."""
        nodes = _nodes()
        if gpus := sum(int(node.get("GPU", 0)) for node in nodes):
            return gpus
        cores = self._cores(nodes)
        return max(1, sum(int(node.get("CPU", 0)) // cores for node in nodes))

    def _cores(self, nodes: Sequence[Mapping[str, float]]) -> int:
        return max(1, min(self.worker_cores, max((int(node.get("CPU", 0)) for node in nodes), default=1)))

    def _start(self) -> Any:
        import ray

        nodes = _nodes()
        on_gpu = any(node.get("GPU", 0) >= 1 for node in nodes)
        cores = 1 if on_gpu else self._cores(nodes)
        # A lost worker is not started again by Ray, which would let its item wait for a place: another takes it.
        actor = ray.remote(_Worker).options(num_cpus=cores, num_gpus=int(on_gpu), max_restarts=0)
        return actor.remote(self.make, os.getcwd(), cores)

    def _take_in(self, reference: Any) -> None:
        """Let a worker that has started be idle. Raises ConfigError where none starts."""
        import ray

        worker = self.starting.pop(reference)
        try:
            ray.get(reference)
        except ray.exceptions.RayError as error:
            self.n_not_started += 1
            if self.n_not_started >= MOST_LOSSES:
                raise ConfigError(
                    f"no worker of the cluster starts ({_short(error)}); install the same rag-qa on every node, or "
                    "work in one process with --set compute.kind=local"
                ) from error
            return
        self.n_not_started = 0
        self.idle.append(worker)

    def _lose(self, worker: Any, item: _Item[T], error: Exception) -> None:
        import ray

        with contextlib.suppress(ray.exceptions.RayError):
            ray.kill(worker)  # it may only have been out of reach
        item.lost += 1
        if item.lost >= MOST_LOSSES:
            raise ConfigError(
                f"{item.lost} workers of the cluster were lost over the same work ({_short(error)}); give each more "
                "memory by a larger compute.worker_cores, or work in one process with --set compute.kind=local"
            ) from error
        say("a worker of the cluster was lost; another does its work again")
        self.left.appendleft(item)

    def end(self) -> None:
        """Free what the workers hold of a cluster that goes on without us."""
        import ray

        for worker in [*self.starting.values(), *self.idle, *(worker for worker, _ in self.in_hand.values())]:
            with contextlib.suppress(Exception):  # the cluster itself may be gone
                ray.kill(worker)


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _nodes() -> list[dict[str, float]]:
    """What each node that is alive has."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]
