"""The time from the start of the process to its first picture: once, and again with its files in the page cache."""

import time

from .child import arguments, glimpse, tell
from .places import DEMO


def main() -> None:
    args = arguments(__doc__).parse_args()
    model = ["--device", args.device, *(["--small", "--config", str(DEMO)] if args.small else [])]
    result = {}
    for name in ("first", "again"):
        begun = time.perf_counter()
        parts = glimpse(args.program, "first-picture", *model)
        process = (time.perf_counter() - begun) * 1e3
        result[name] = {"process_ms": round(process, 1), **parts}
        tell(result)


if __name__ == "__main__":
    main()
