"""Runs one part in a process of its own, within its time."""

import json
import os
import re
import signal
import subprocess
import tempfile

from .parts import Part
from .places import ROOT

# How many characters of a failed part's error output the report has: the last ones.
SAID = 2000


def run(part: Part, seconds: float) -> dict:
    """The last JSON object that the part printed, and what went wrong. A part may print its result several times, each
    time with more in it, so that something is left of a part whose time runs out."""
    if part.absent:
        return {"skipped": part.absent}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                part.command, cwd=ROOT, env=part.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=said,
                start_new_session=True,
            )
        except OSError as error:
            return {"failed": f"{part.command[0]} does not start: {error}"}
        code = None
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            pass
        finally:
            # Also when a signal ends the wait.
            if code is None:
                end(process)
        out.seek(0)
        said.seek(0)
        return outcome(code, out.read().decode(errors="replace"), said.read().decode(errors="replace"), seconds)


def end(process: subprocess.Popen) -> None:
    """Ends a part and the processes that it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def outcome(code: int | None, out: str, said: str, seconds: float) -> dict:
    """What a part's exit code and output mean. `None`: its time was over."""
    result = last_object(out)
    said = said.strip()[-SAID:]
    if code is None:
        late = f"did not end within {seconds:.0f} s"
        return {"cut_off": late, **result} if result else {"failed": late, "said": said}
    if code == 0:
        return result or {"failed": "printed no result", "said": said}
    # Exit code 2 with a usage text means wrong arguments: the program is not of the same version as this check.
    if code == 2 and not result and not re.search(r"^usage: ", said, re.IGNORECASE | re.MULTILINE):
        return {"skipped": reason(said)}
    how = f"ended by signal {-code}" if code < 0 else f"exit code {code}"
    return {"failed": f"{how}: {result.get('error') or reason(said)}", "said": said, **result}


def last_object(out: str) -> dict:
    for text in reversed(out.splitlines()):
        try:
            value = json.loads(text)
        except ValueError:
            continue
        if isinstance(value, dict):
            return value
    return {}


def reason(said: str) -> str:
    """The first line that is an error of ours or of clap's, else the last line."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    named = [line for line in lines if line.startswith(("glimpse: ", "error: "))]
    text = (named or lines[-1:] or ["it did not say why"])[0]
    return text.removeprefix("glimpse: ").removeprefix("error: ")
