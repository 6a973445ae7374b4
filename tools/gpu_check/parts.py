"""The parts of the report. The most important run first, in case the time runs out."""

import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

from .places import DEMO, TOOLS
from .programs import environment


@dataclass(frozen=True)
class Setup:
    """What to measure."""

    program: Path
    device: str
    small: bool
    # A folder of Python packages, from --wheels.
    packages: Path | None

    def model(self) -> list[str]:
        """Arguments of `glimpse measure` for a part with the model."""
        return ["--device", self.device, *(["--small", "--config", str(DEMO)] if self.small else [])]


@dataclass(frozen=True)
class Part:
    """One part: a command that prints a JSON object."""

    name: str
    # The most time that it may take in a run of 8 minutes.
    seconds: float
    command: list[str]
    environment: dict[str, str] = field(repr=False)
    # Why it cannot run on this device.
    absent: str | None = None


def use_portable(ops: dict, waiting: list[Part]) -> None:
    """Makes the other parts use the portable form of the operations for which `doctor` found that a worker does so."""
    names = sorted({row["op"] for row in ops.get("ops", []) if row["used"] == "portable"})
    for part in waiting if names else []:
        part.environment["GLIMPSE_PORTABLE_OPS"] = ",".join(names)


def parts(setup: Setup) -> list[Part]:
    """All parts, in the order in which they run."""
    variables = environment() if setup.device != "cpu" else dict(os.environ)
    places = [TOOLS, os.environ.get("PYTHONPATH"), setup.packages]
    variables["PYTHONPATH"] = os.pathsep.join(str(place) for place in places if place)
    small = ["--small"] if setup.small else []

    def part(name: str, seconds: float, *command: str) -> Part:
        return Part(name, seconds, list(command), variables)

    def measure(name: str, seconds: float) -> Part:
        return part(name, seconds, str(setup.program), "measure", name.replace("_", "-"), *setup.model())

    def of_gpu(part: Part, absent: str) -> Part:
        return replace(part, absent=absent) if setup.device == "cpu" else part

    def script(name: str, seconds: float) -> Part:
        command = [sys.executable, "-m", f"gpu_check.{name}", "--program", str(setup.program), "--device", setup.device]
        return part(name, seconds, *command, *small)

    return [
        part("device", 40, str(setup.program), "measure", "device", "--device", setup.device, *small),
        part("ops", 60, str(setup.program), "doctor", "--device", setup.device, "--json", *small),
        measure("unet", 60),
        script("parity", 90),
        of_gpu(script("profile", 60), "a CPU runs no kernels"),
        measure("end_to_end", 60),
        of_gpu(
            part("cuda_graph", 60, str(setup.program), "measure", "unet", "--cuda-graph", *setup.model()),
            "a CPU has no graphs",
        ),
        measure("vae", 45),
        measure("taesd", 30),
        measure("text", 30),
        script("diffusers", 150),
        script("philox", 45),
        measure("memory", 40),
        measure("batch", 60),
        measure("pixels", 30),
        measure("lora", 40),
        measure("controlnet", 40),
        script("cold_start", 60),
    ]
