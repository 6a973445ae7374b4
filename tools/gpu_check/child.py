"""What the parts that are written in Python have in common."""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import NoReturn


def arguments(about: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--program", type=Path, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--small", action="store_true")
    return parser


def tell(result: dict) -> None:
    """Prints the result so far."""
    print(json.dumps(result), flush=True)


def skip(why: str) -> NoReturn:
    """Ends a part that cannot run here."""
    print(why, file=sys.stderr)
    sys.exit(2)


def glimpse(program: Path, *arguments: str, env: dict[str, str] | None = None) -> dict:
    """Runs `glimpse measure` and returns its result. If it fails, this part ends with its exit code."""
    run = subprocess.run([program, "measure", *arguments], stdout=subprocess.PIPE, text=True, env=env)
    if run.returncode != 0:
        sys.exit(run.returncode if run.returncode > 0 else 1)
    return json.loads(run.stdout.splitlines()[-1])
