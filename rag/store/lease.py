"""One writer: a lease that names its owner and its end, renewed while the owner works.

Milvus has no compare-and-set. A lease is written, read again after a moment, and held by whoever is read: of two that
write at once, the later one. It runs out by itself, so that a killed writer keeps nobody waiting for long; where the
owner was a process of this machine that is gone, for no time at all.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from dataclasses import dataclass

import psutil

from rag.errors import IndexBusyError
from rag.store.client import Client

LEASE = "rag.lease"
SECONDS = 120.0
RENEWED_AFTER_SECONDS = 20.0
SETTLING_SECONDS = 0.05


@dataclass(slots=True)
class Lease:
    """The lease of the collection `place`, held from `take` to `give_back`."""

    client: Client
    place: str
    key: str = ""
    renewed: float = 0.0

    def take(self) -> None:
        """Raises IndexBusyError, naming the owner and the time, where another holds it."""
        held = self._read()
        if held and held["until"] > time.time() and not _is_gone(held["owner"]):
            raise IndexBusyError(
                f"{held['owner']} is writing this index until {_clock(held['until'])}; wait until it has finished"
            )
        self.key = secrets.token_hex(8)
        self._write()
        time.sleep(SETTLING_SECONDS if self.client.note.is_embedded else 20 * SETTLING_SECONDS)
        self.check()

    def keep(self) -> None:
        """Renew the lease where that is due. Raises IndexBusyError where it was lost."""
        if time.time() - self.renewed > RENEWED_AFTER_SECONDS:
            self.check()
            self._write()

    def check(self) -> None:
        """Raises IndexBusyError where another has taken the lease."""
        held = self._read()
        if not held or held["key"] != self.key:
            raise IndexBusyError("another process has taken over the writing of this index; run the same command again")

    def give_back(self) -> None:
        """Let others write; nothing where another has taken it."""
        held = self._read()
        if held and held["key"] == self.key:
            self.client("alter_collection_properties", self.place, properties={LEASE: ""})

    def _write(self) -> None:
        self.renewed = time.time()
        owner = f"{socket.gethostname()} {os.getpid()}"
        stored = json.dumps({"owner": owner, "key": self.key, "until": self.renewed + SECONDS})
        self.client("alter_collection_properties", self.place, properties={LEASE: stored})

    def _read(self) -> dict | None:
        stored = self.client("describe_collection", self.place).get("properties", {}).get(LEASE)
        try:
            held = json.loads(stored or "null")
            return {"owner": str(held["owner"]), "key": str(held["key"]), "until": float(held["until"])}
        except (ValueError, TypeError, KeyError):
            return None


def _is_gone(owner: str) -> bool:
    """Whether a lease's owner was a process of this machine that runs no more."""
    host, _, pid = owner.rpartition(" ")
    return host == socket.gethostname() and pid.isdigit() and not psutil.pid_exists(int(pid))


def _clock(seconds: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(seconds))
