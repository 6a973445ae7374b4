"""The programs of a release around one Redis, and a client of its APIs."""

import json
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# How long one thing may take, in seconds.
SOON = 60


class Fleet:
    """Starts programs of a folder. All are killed by `stop`."""

    def __init__(self, programs, redis, folder):
        self.programs, self.folder = Path(programs), Path(folder)
        self.url, self.processes = f"redis://127.0.0.1:{redis.port}", []

    def start(self, program, *flags):
        out = self.folder / f"{len(self.processes)}.out"
        log = out.with_suffix(".log")
        command = [self.programs / program, "--redis-url", self.url, *flags]
        with out.open("w") as to, log.open("w") as errors:
            process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=to, stderr=errors)
        process.out, process.log = out, log
        self.processes.append(process)
        return process

    def api(self, *flags):
        """An API; its address."""
        process = self.start("glimpse-api", "--listen", "127.0.0.1:0", *flags)
        until("an API to listen", lambda: "\n" in process.out.read_text())
        return Client(process.out.read_text().split()[2])

    def worker(self, app, checkpoint_every):
        """A worker that takes jobs: the demo's, or one that follows a script."""
        program, flags = "examples/scripted_worker", ("--checkpoint-every", checkpoint_every)
        if app == "glimpse/demo":
            program, flags = "glimpse-worker", ("--model", "models/demo", "--device", "cpu", *flags)
        process = self.start(program, "--app", app, "--drain-grace", "0", *flags)
        until("a worker to be ready", lambda: "ready for jobs" in process.log.read_text())
        return process

    def end(self, process, by):
        process.send_signal(by)
        process.wait()

    def stop(self):
        for process in self.processes:
            if process.poll() is None:
                self.end(process, signal.SIGKILL)


class Client:
    """A client of one API."""

    def __init__(self, address, key=None):
        self.address, self.key = address, key

    def ask(self, method, path, body=None, headers=None):
        """The status and the text of an answer."""
        request = urllib.request.Request(self.address + path, method=method, headers=headers or {})
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        if self.key:
            request.add_header("Authorization", f"Bearer {self.key}")
        try:
            with urllib.request.urlopen(request, timeout=SOON) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def json(self, method, path, body=None, headers=None):
        status, text = self.ask(method, path, body, headers)
        if status >= 300:
            raise SystemExit(f"{method} {path}: {status} {text}")
        return json.loads(text)

    def submit(self, app, prompt, headers=None, **fields):
        """Submits a job; its id."""
        body = {"app": app, "prompt": prompt, "seed": 7, "width": 64, "height": 64} | fields
        return self.json("POST", "/v1/jobs", body, headers)["id"]

    def state(self, job):
        return self.json("GET", f"/v1/jobs/{job}")

    def until(self, job, status):
        until(f"{job} to be {status}", lambda: self.state(job)["status"] == status)
        return job


def until(what, is_true):
    end = time.monotonic() + SOON
    while not is_true():
        if time.monotonic() > end:
            raise SystemExit(f"waited in vain for {what}")
        time.sleep(0.02)
