"""Compares our generators with torch's: Philox with its CUDA generator; on the CPU, MT19937 with its CPU generator."""

import importlib
import sys
import tempfile
from array import array
from pathlib import Path

from .child import arguments, glimpse, skip, tell

SEEDS = [0, 1, 42, 2**32 + 5]
# Two draws each: the latents of one picture, an odd number, the latents of four pictures.
DRAWS = [[65536, 65536], [1001, 999], [262144, 1000]]
# The limits of tools/parity/compare.py.
LIMITS = {"cuda": 1e-4, "cpu": 4e-6}
# CUDA threads of a block in torch's kernel.
BLOCK = 256


def main() -> None:
    args = arguments(__doc__).parse_args()
    try:
        torch = importlib.import_module("torch")
    except ImportError as error:
        skip(f"{error}: install torch, or give its wheels with --wheels")
    kind = args.device.partition(":")[0]
    if kind == "cuda" and not torch.cuda.is_available():
        skip("torch does not see a CUDA device")
    capacity = threads(torch, args.device) if kind == "cuda" else None
    cases, worst = [], 0.0
    for seed in SEEDS[:2] if args.small else SEEDS:
        for counts in DRAWS:
            ours = draw(args.program, kind, seed, counts)
            generator = torch.Generator(args.device).manual_seed(seed)
            theirs = [torch.randn(n, generator=generator, device=args.device).cpu().tolist() for n in counts]
            apart = [abs(a - b) for a, b in zip(ours, [number for draw in theirs for number in draw])]
            # In a larger draw a thread draws several numbers, in another order than ours.
            fits = capacity is None or max(counts) <= capacity
            worst = max(worst, *apart) if fits else worst
            cases.append({"seed": seed, "counts": counts, "max_abs": max(apart), "one_number_a_thread": fits})
    result = {"generator": kind, "torch": torch.__version__, "max_abs": worst, "limit": LIMITS[kind]}
    if capacity is not None:
        result["most_numbers_of_a_draw"] = capacity
    if worst > LIMITS[kind]:
        result["failed"] = f"numbers differ from torch's by up to {worst:.3g}"
    tell({**result, "cases": cases})


def threads(torch, device: str) -> int:
    """The most threads of torch's kernel on this card. Up to so many numbers, each thread draws one."""
    card = torch.cuda.get_device_properties(device)
    return card.multi_processor_count * (card.max_threads_per_multi_processor // BLOCK) * BLOCK


def draw(program: Path, kind: str, seed: int, counts: list[int]) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "numbers"
        wanted = [text for count in counts for text in ("--count", str(count))]
        glimpse(program, "draw", "--generator", kind, "--seed", str(seed), "--out", str(out), *wanted)
        numbers = array("f", out.read_bytes())
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()


if __name__ == "__main__":
    main()
