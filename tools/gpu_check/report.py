"""The report and its files."""

import json
import os
from pathlib import Path


class Report:
    """A member for each part, in the order in which they run."""

    def __init__(self, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.path = folder / "gpu-check.json"
        self.members: dict[str, dict] = {}

    def expect(self, names: list[str]) -> None:
        """Names the parts. Results of an earlier run are removed."""
        self.members = {name: {"skipped": "it was not reached"} for name in names}
        for name in names:
            (self.folder / f"{name}.json").unlink(missing_ok=True)
        self._write(self.path, self.members)

    def add(self, name: str, member: dict) -> None:
        """The result of a part."""
        self.members[name] = member
        self._write(self.folder / f"{name}.json", member)
        self._write(self.path, self.members)

    def close(self, about: dict) -> None:
        """Adds what the run was, as the member `run`."""
        self.members["run"] = about
        self._write(self.path, self.members)

    @staticmethod
    def _write(path: Path, value: dict) -> None:
        """Writes a file at once: whoever reads it finds the old one or the new one."""
        part = path.with_suffix(".part")
        part.write_text(json.dumps(value, indent=1) + "\n")
        os.replace(part, path)
