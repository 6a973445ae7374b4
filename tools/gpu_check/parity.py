"""The repository's parity cases on a device, in every type, compared with diffusers' numbers by the limits of
tools/parity/compare.py."""

import argparse
import importlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from .child import arguments, skip, tell
from .places import PARITY, TOOLS

# The dumps that --small compares in half precision, which the CPU only imitates.
SMALL = "euler4_cfg75_emptyneg"
MODEL, TAESD = PARITY / "model", PARITY / "taesdxl"
CASES, VARIANTS = PARITY / "cases.json", PARITY / "variants/cases.json"
# Failures that the report names.
NAMED = 10


def main() -> None:
    args = arguments(__doc__).parse_args()
    try:
        numpy = importlib.import_module("numpy")
        sys.path.insert(0, str(TOOLS / "parity"))
        compare = importlib.import_module("compare")
    except ImportError as error:
        skip(f"{error}: install numpy and safetensors, or give their wheels with --wheels")
    result: dict = {}
    for dtype in ("f32", "f16", "bf16"):
        only = SMALL if args.small and dtype != "f32" else None
        result[dtype] = one_type(args, dtype, only, compare, numpy)
        bad = {name: kind["failed"] for name, kind in result.items() if isinstance(kind, dict) and kind["failed"]}
        if bad:
            counted = ", ".join(f"{count} in {name}" for name, count in bad.items())
            result["failed"] = f"tensors beyond their limits: {counted}"
        tell(result)


def one_type(args: argparse.Namespace, dtype: str, only: str | None, compare, numpy) -> dict:
    """The comparison of all cases in one type."""
    counts = {"passed": 0, "failed": 0}
    failures: list[str] = []
    worst: dict[str, float] = {}
    # The random LoRAs of the variants amplify rounding: the limits of half precision do not apply to them.
    for cases in (CASES, VARIANTS) if dtype == "f32" else (CASES,):
        with tempfile.TemporaryDirectory() as out:
            dump(args, cases, dtype, only, Path(out))
            for fixture in sorted((cases.parent / "cases").glob(f"{only or '*'}.safetensors")):
                of_case(fixture, Path(out) / fixture.name, dtype, compare, numpy, counts, failures, worst)
    return {**counts, "failures": failures[:NAMED], "worst_relative_l2": worst}


def dump(args: argparse.Namespace, cases: Path, dtype: str, only: str | None, out: Path) -> None:
    command = [args.program, "measure", "dump", "--device", args.device, "--model", MODEL, "--taesd", TAESD]
    command += ["--cases", cases, "--dtype", dtype, "--out", out, *(["--only", only] if only else [])]
    code = subprocess.run(command, stdout=subprocess.DEVNULL).returncode
    if code == 2:
        sys.exit(2)
    # A case that failed has no dump, which the comparison counts.


def of_case(fixture: Path, dump: Path, dtype: str, compare, numpy, counts: dict, failures: list, worst: dict) -> None:
    """Adds the comparison of one case."""
    expected, _ = compare.load(fixture)
    found = compare.load(dump)[0] if dump.is_file() else {}
    last = max((int(name.split(".")[1]) for name in expected if re.match(r"latents\.\d+$", name)), default=-1)
    for name in sorted(expected):
        kind, limits = compare.rule(name, last)
        if name not in found:
            if not found or not re.search(compare.OPTIONAL, name):
                counts["failed"] += 1
                failures.append(f"{fixture.stem}: {name} is missing")
            continue
        image = re.search(compare.IMAGES, name)
        ok, text = compare.check(found[name], expected[name], kind, limits.get(dtype), image, dtype)
        counts["passed" if ok else "failed"] += 1
        if not ok:
            failures.append(f"{fixture.stem}: {name} {' '.join(text.split())}")
        stage = re.sub(r"\.\d+$", "", name)
        worst[stage] = max(worst.get(stage, 0.0), relative(found[name], expected[name], numpy))


def relative(found, expected, numpy) -> float:
    """|found - expected| / |expected|, to three digits; a large number for what cannot be compared."""
    if found.shape != expected.shape:
        return 1e9
    expected = expected.astype(numpy.float64)
    size, apart = numpy.linalg.norm(expected), numpy.linalg.norm(found.astype(numpy.float64) - expected)
    distance = float(apart / size) if size else float(apart)
    return float(f"{distance:.3g}") if numpy.isfinite(distance) else 1e9


if __name__ == "__main__":
    main()
