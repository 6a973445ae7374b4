"""The kernels of one step that take the most time, the gaps between kernels and the host's time. libglimpse-kernels.so
records them."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from .child import arguments, glimpse, skip, tell
from .kernels import read, summary
from .places import DEMO
from .programs import nvidia_folders

# Made by scripts/build-cuda from kernels.c.
LIBRARY = "libglimpse-kernels.so"


def main() -> None:
    args = arguments(__doc__).parse_args()
    library = args.program.with_name(LIBRARY)
    if not library.is_file():
        skip(f"{library} does not exist: scripts/build-cuda makes it")
    model = ["--device", args.device, *(["--small", "--config", str(DEMO)] if args.small else [])]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernels.tsv"
        env = {**os.environ, "CUDA_INJECTION64_PATH": str(library), "GLIMPSE_KERNELS": str(path)}
        cupti = next((found for place in nvidia_folders() for found in place.glob("libcupti.so*")), None)
        if cupti:
            env["GLIMPSE_CUPTI"] = str(cupti)
        measured = glimpse(args.program, "unet", *model, env=env)
        if not path.is_file():
            skip("nothing was recorded, because libcupti cannot be opened: install PyPI's nvidia-cuda-cupti")
        with path.open(encoding="utf-8", errors="replace") as lines:
            records = read(lines)
    # The last step, when all kernels are loaded and all algorithms are chosen.
    begun, ended = measured["step_windows_ns"][-1]
    result = summary(records, begun, ended)
    for kernel in result.get("kernels", []):
        kernel["name"] = demangled(kernel["name"])
    tell(result)


def demangled(name: str) -> str:
    """A kernel's name as in its source, where the tool for it is installed."""
    if not name.startswith("_Z") or not shutil.which("c++filt"):
        return name
    return subprocess.run(["c++filt", name], stdout=subprocess.PIPE, text=True).stdout.strip() or name


if __name__ == "__main__":
    main()
