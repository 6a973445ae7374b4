"""The program to measure, and the libraries that it opens."""

import ctypes.util
import importlib.util
import json
import os
import subprocess
from pathlib import Path

from .places import ROOT

NAME = "glimpse"


class NoProgram(Exception):
    """There is no program to measure."""


def find(folder: Path | None, device: str) -> Path:
    """The program: in the given folder, in that of scripts/build-cuda, or built by cargo for the CPU."""
    if folder is not None:
        if not os.access(folder / NAME, os.X_OK):
            raise NoProgram(f"--bin {folder}: there is no program {NAME}; scripts/build-cuda makes it")
        return (folder / NAME).resolve()
    made = ROOT / "target/cuda/bin" / NAME
    if os.access(made, os.X_OK):
        return made
    if device != "cpu":
        raise NoProgram(f"{made} does not exist: run scripts/build-cuda, or name its folder with --bin")
    return build()


def build() -> Path:
    command = ["cargo", "build", "--locked", "--package", NAME, "--bin", NAME]
    try:
        built = subprocess.run(
            [*command, "--message-format", "json-render-diagnostics"], cwd=ROOT, stdout=subprocess.PIPE, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoProgram(f"{' '.join(command)} failed: {error}; name a folder with --bin") from error
    messages = [json.loads(line) for line in built.stdout.splitlines()]
    executables = [message["executable"] for message in messages if message.get("executable")]
    return Path(executables[-1])


def nvidia_folders() -> list[Path]:
    """The folders of NVIDIA's libraries in Python's packages, such as those that torch brings."""
    package = importlib.util.find_spec("nvidia")
    roots = [Path(root) for root in package.submodule_search_locations or []] if package else []
    return sorted(folder for root in roots for folder in root.glob("*/lib") if any(folder.glob("*.so*")))


def environment() -> dict[str, str]:
    """The environment in which the program finds CUDA's libraries."""
    changed = dict(os.environ)
    installed = all(ctypes.util.find_library(name) for name in ("cublas", "curand", "cudnn"))
    if not installed:
        folders = [os.environ.get("LD_LIBRARY_PATH", ""), *map(str, nvidia_folders())]
        changed["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, folders))
    return changed
