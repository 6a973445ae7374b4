"""The command line of `scripts/gpu-check`."""

import argparse
import re
import shlex
import signal
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from . import programs, table
from .parts import Setup, parts, use_portable
from .places import ROOT
from .process import run
from .report import Report

HELP = """Measures and checks Glimpse on one device. Needs Python 3.10 or newer, and no network, Rust, compiler or
checkpoint: models have random weights. numpy, safetensors, torch and diffusers are used where they are installed.

Writes DIR/gpu-check.json, with a member for each part, and DIR/PART.json as soon as a part ends, and prints a table. A
part that cannot run here is {"skipped": "why"}. A part that went wrong has the member "failed", and one whose time ran
out after its first figures the member "cut_off".
Exit codes: 0 no part failed, 1 a part failed, 2 wrong argument, 130 Ctrl-C, 143 SIGTERM."""


class Stopped(Exception):
    """A signal asked this process to end."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = number


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/gpu-check", description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--device", default="cuda:0", help="cuda:N or cpu [default: %(default)s]")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "target/gpu-check", metavar="DIR",
        help="where the reports go [default: target/gpu-check]",
    )
    parser.add_argument(
        "--minutes", type=float, default=8.0, metavar="N", help="the most time for all parts [default: 8]"
    )
    parser.add_argument(
        "--bin", type=Path, metavar="DIR",
        help="the folder that scripts/build-cuda made [default: target/cuda/bin; if that does not exist, with "
        "--device cpu, what cargo builds in the dev profile]",
    )
    parser.add_argument(
        "--small", action="store_true",
        help="a small model, small pictures and few repetitions: only shows whether the check works",
    )
    parser.add_argument(
        "--wheels", type=Path, metavar="DIR",
        help="a folder with wheels of Python packages that are not installed, such as diffusers",
    )
    args = parser.parse_args(argv)
    if not re.fullmatch(r"cpu|cuda(:\d+)?", args.device):
        parser.error(f"--device {args.device}: write cpu or cuda:N")
    if not 0 < args.minutes < 24 * 60:
        parser.error(f"--minutes {args.minutes:g}: write a number of minutes above 0")
    if args.wheels and not any(args.wheels.glob("*.whl")):
        parser.error(f"--wheels {args.wheels}: name a folder that has wheels (*.whl)")
    return args


def stop(number, _frame):
    raise Stopped(number)


def main(argv: list[str] | None = None) -> int:
    args = arguments(argv)
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:
        try:
            program = programs.find(args.bin, args.device)
            packages = unpack(args.wheels, Path(folder))
            report = Report(args.out)
        except (programs.NoProgram, OSError, zipfile.BadZipFile) as error:
            print(f"scripts/gpu-check: {error}", file=sys.stderr)
            return 2
        return check(args, program, packages, report, argv)


def check(
    args: argparse.Namespace, program: Path, packages: Path | None, report: Report, argv: list[str] | None
) -> int:
    """Runs all parts and prints the table. Returns the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    command = shlex.join(["scripts/gpu-check", *(sys.argv[1:] if argv is None else argv)])
    ended = measure(args, program, packages, report, command)
    print(table.of(report.members))
    print(f"\n{report.path}")
    if ended is not None:
        return 128 + ended
    return 1 if any("failed" in member for member in report.members.values()) else 0


def unpack(wheels: Path | None, folder: Path) -> Path | None:
    """Unpacks wheels, which are archives of what they install. Returns the folder, if there are any."""
    if wheels is None:
        return None
    for wheel in sorted(wheels.glob("*.whl")):
        zipfile.ZipFile(wheel).extractall(folder)
    return folder


def measure(
    args: argparse.Namespace, program: Path, packages: Path | None, report: Report, command: str
) -> int | None:
    """Runs all parts. Returns the signal that ended it early, if any."""
    begun = time.monotonic()
    waiting = parts(Setup(program, args.device, args.small, packages))
    report.expect([part.name for part in waiting])
    share = args.minutes / 8
    try:
        for part in waiting:
            left = args.minutes * 60 - (time.monotonic() - begun)
            print(f"{part.name} ...", file=sys.stderr)
            absent = report.members[waiting[0].name].get("skipped") if part is not waiting[0] else None
            if absent:
                report.add(part.name, {"skipped": absent})
            elif left < 1:
                report.add(part.name, {"skipped": f"no time was left of {args.minutes:g} minutes"})
            else:
                report.add(part.name, run(part, min(part.seconds * share, left)))
            if part.name == "ops":
                use_portable(report.members["ops"], waiting)
    except Stopped as stopped:
        return stopped.number
    finally:
        report.close({"command": command, "seconds": round(time.monotonic() - begun, 1)})
    return None
