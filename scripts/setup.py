"""Make `.venv` and install everything, with nothing but a Python and its pip. Run by `make`, safe to run again.

uv is taken from PATH, or fetched with pip. The user's own pip configuration (index, find-links) is passed on to uv, so
that a machine behind a package mirror sets up like any other. Needs only the standard library.
"""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
SUPPORTED = ((3, 11), (3, 14))
PIP_TO_UV = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "find-links": "UV_FIND_LINKS"}


def main() -> int:
    uv = find_uv()
    environment, closed_network = uv_environment()
    extra = "gpu" if has_nvidia_driver() else "cpu"
    print(f"Installing into {VENV.name} for the {'GPU' if extra == 'gpu' else 'CPU'}", flush=True)
    if not (VENV / "bin" / "python").exists():
        python = sys.executable if SUPPORTED[0] <= sys.version_info[:2] < SUPPORTED[1] else "3.11"
        if run([uv, "venv", "--quiet", "--python", python, str(VENV)], environment) != 0:
            return fail("no Python 3.11, 3.12 or 3.13 was found; install one and run make again")
    install = [uv, "pip", "install", "--python", str(VENV / "bin" / "python"), "-e", f".[{extra},dev]"]
    backend = ["--torch-backend", "cpu"]
    install += ["--constraint", "constraints-gpu.txt" if extra == "gpu" else "constraints.txt"]
    if extra == "gpu":
        attempts = [install]
    else:
        # The CPU builds of torch come from PyTorch's own index, unless the machine's pip settings offer them.
        attempts = [install, install + backend] if closed_network else [install + backend, install]
    if any(run(command, environment) == 0 for command in attempts):
        return 0
    # Not every machine has a build of vLLM. Everything else works without it: transformers then answers batches.
    print("Trying without vLLM: batches will be answered by transformers, slower", flush=True)
    if any(run([".[dev]" if word == f".[{extra},dev]" else word for word in c], environment) == 0 for c in attempts):
        return 0
    return fail("the packages could not be installed; the reason is printed above")


def find_uv() -> str:
    if found := shutil.which("uv"):
        return found
    tools = ROOT / ".tools"
    uv = tools / "bin" / "uv"
    if not uv.exists():
        print("Fetching uv with pip", flush=True)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        if run([*command, "--target", str(tools), "uv"], dict(os.environ)) != 0:
            raise SystemExit(fail("pip could not fetch uv; install uv by hand (docs.astral.sh/uv) and try again"))
    return str(uv)


def uv_environment() -> tuple[dict[str, str], bool]:
    """(environment for uv, whether pip is configured for a mirror or a local folder of wheels)."""
    environment = {**os.environ, "VIRTUAL_ENV": str(VENV)}
    configured = pip_settings()
    for pip_name, uv_name in PIP_TO_UV.items():
        if pip_name in configured and uv_name not in environment:
            separator = "," if uv_name == "UV_FIND_LINKS" else " "
            environment[uv_name] = separator.join(configured[pip_name])
            if uv_name == "UV_INDEX":  # pip takes the best version from all indexes; uv must do the same
                environment.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    return environment, bool(configured)


def pip_settings() -> dict[str, list[str]]:
    """Where pip looks, by its configuration and environment. Places on this disk are left out if they are missing."""
    listed = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True)
    settings: dict[str, list[str]] = {}
    for line in listed.stdout.splitlines():
        key, _, value = line.partition("=")
        name = key.rpartition(".")[2]
        if name in PIP_TO_UV:
            places = [place for place in ast.literal_eval(value).split() if is_there(place)]
            if places:
                settings[name] = places
    return settings


def is_there(place: str) -> bool:
    if "://" not in place:
        return Path(place).expanduser().exists()
    return not place.startswith("file://") or Path(unquote(urlsplit(place).path)).exists()


def has_nvidia_driver() -> bool:
    return Path("/proc/driver/nvidia/version").exists() or Path("/dev/nvidia0").exists()


def run(command: list[str], environment: dict[str, str]) -> int:
    return subprocess.run(command, cwd=ROOT, env=environment).returncode


def fail(message: str) -> int:
    print(f"setup: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
