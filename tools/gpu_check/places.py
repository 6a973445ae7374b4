"""Where things are in the repository."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools"
DEMO = ROOT / "models/demo"
SDXL = ROOT / "worker/src/sdxl/base"
PARITY = ROOT / "worker/tests/parity"
