"""The jobs that are recorded, in every state, and the files that are written."""

import argparse
import hashlib
import json
import signal
import tempfile
from pathlib import Path

from .fleet import ROOT, Client, Fleet, until
from .redis import Monitor, Redis

DEMO, SCRIPTED = "glimpse/demo", "chaos/scripted"
# A key of the fixture alone. The tests replace the receiver, where nobody listens, by one of theirs.
KEY, RECEIVER = "glimpse-recorded-release", "http://127.0.0.1:9/hook"
LUA = ROOT / "shared/src/store/redis/lua"


def main():
    parser = argparse.ArgumentParser(description=__doc__, prog="scripts/record-release")
    parser.add_argument("programs", help="the folder of the release's glimpse-api and glimpse-worker, and of "
                        "examples/scripted_worker; this checkout has to be that release's")
    parser.add_argument("out", type=Path, help="the folder to write, such as tests/releases/0.2.0")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        redis = Redis(folder)
        fleet = Fleet(args.programs, redis, folder)
        try:
            record(fleet, redis, Path(folder), args.out)
        finally:
            fleet.stop()
            redis.stop()
    return 0


def record(fleet, redis, folder, out):
    monitor = Monitor(redis.port)
    keys = folder / "keys.toml"
    entry = f'[[key]]\nname = "team"\nhash = "sha256:{hashlib.sha256(KEY.encode()).hexdigest()}"\n'
    keys.write_text(entry + 'scopes = ["jobs"]\nmax_concurrent = 3\nweight = 2.0\n')
    hooks = "--allow-private-webhooks"
    open_api = fleet.api(hooks)
    team = Client(fleet.api(hooks, "--keys-file", keys).address, KEY)

    jobs = ended_jobs(fleet, monitor, open_api, team)
    answers = {name: answer(open_api, job) for name, job in jobs.items() if name != "team_completed"}
    answers["team_completed"] = answer(team, jobs["team_completed"])
    lists = {path: json.loads(open_api.ask("GET", path)[1]) for path in ("/v1/jobs", "/v1/dead", "/v1/workers")}
    jobs |= unfinished_jobs(fleet, redis, open_api, team)

    # Of the worker that was killed, before its lease is over.
    stored = {"recorded_at": redis.ask("TIME"), "keys": redis.keys()}
    seconds, micros = map(int, stored["recorded_at"])
    stored["recorded_at"] = seconds * 1_000_000 + micros
    out.mkdir(parents=True, exist_ok=True)
    write(out / "store.json", stored)
    client = {"receiver": RECEIVER, "key": KEY, "keys_file": keys.read_text()}
    write(out / "jobs.json", client | {"jobs": jobs, "answers": answers, "lists": lists})
    write_scripts(monitor, out)


def ended_jobs(fleet, monitor, api, team):
    """Jobs that have ended, by what each is an example of."""
    worker, scripted = fleet.worker(DEMO, "60"), fleet.worker(SCRIPTED, "60")
    until("both apps", lambda: len(api.json("GET", "/v1/apps")["apps"]) == 2)
    short = {"num_inference_steps": 4, "preview_every": 1}
    jobs = {"completed": api.until(api.submit(DEMO, "a red heart", **short, seeds=[3, 4], seed=None), "completed")}
    key = {"Idempotency-Key": "recorded"}
    jobs["completed_by_key"] = api.until(api.submit(DEMO, "a blue circle", key, **short), "completed")
    openai = {"prompt": "a green star", "size": "64x64", "stream": True, "partial_images": 2, **short}
    api.ask("POST", "/v1/images/generations", openai | {"model": DEMO})
    jobs["partials"] = api.json("GET", "/v1/jobs?limit=1")["jobs"][0]["id"]
    jobs["team_completed"] = team.until(team.submit(DEMO, "a black square", **short), "completed")
    jobs["hook_due"] = api.until(api.submit(DEMO, "a white moon", webhook=RECEIVER, **short), "completed")
    jobs["refused"] = api.until(api.submit(SCRIPTED, "refused=0"), "failed")
    jobs["dead"] = api.until(api.submit(SCRIPTED, "fault=1 pace=1"), "failed")
    jobs["dead_retried"] = api.until(api.submit(SCRIPTED, "fault=2 pace=1"), "failed")
    retry = api.json("POST", f"/v1/dead/{jobs['dead_retried']}/retry")["id"]
    jobs["dead_again"] = api.until(retry, "failed")
    jobs["cancelled"] = api.submit(SCRIPTED, "pace=500", preview_every=0)
    until("a renewal without a checkpoint", lambda: monitor.has_run("Renews a job's lease."))
    api.json("DELETE", f"/v1/jobs/{jobs['cancelled']}")
    fleet.end(worker, signal.SIGTERM)
    fleet.end(scripted, signal.SIGTERM)
    jobs["start_timeout"] = api.until(api.submit(SCRIPTED, "late", start_timeout=1), "failed")
    return jobs


def unfinished_jobs(fleet, redis, api, team):
    """Jobs that wait or run, by what each is an example of."""
    has_checkpoint = lambda job: bool(redis.text("KEYS", f"*:ckpt:{job}"))  # noqa: E731
    long = {"num_inference_steps": 50, "preview_every": 1, "width": 128, "height": 128}

    scripted = fleet.worker(SCRIPTED, "0.05")
    jobs = {"given_back": api.submit(SCRIPTED, "pace=100", num_inference_steps=8)}
    until("a checkpoint", lambda: has_checkpoint(jobs["given_back"]))
    fleet.end(scripted, signal.SIGTERM)

    worker = fleet.worker(DEMO, "0.05")
    jobs["running"] = api.submit(DEMO, "a mountain at night", **long)
    until("a checkpoint", lambda: has_checkpoint(jobs["running"]))
    jobs["queued"] = api.submit(DEMO, "a red heart", num_inference_steps=4)
    euler = {"scheduler": "DDIMScheduler", "num_inference_steps": 4, "webhook": RECEIVER}
    jobs["queued_with_needs_and_hook"] = api.submit(DEMO, "a blue circle", **euler)
    low = {"X-Fal-Queue-Priority": "low"}
    fal = api.json("POST", f"/queue/{DEMO}", {"prompt": "a green star", "num_inference_steps": 4}, low)
    jobs["queued_low"] = fal["request_id"]
    for name in ("team_queued", "team_queued_second", "team_queued_third"):
        jobs[name] = team.submit(DEMO, name, num_inference_steps=4)
    for name in ("queued", "running"):
        if api.state(jobs[name])["status"] != name:
            raise SystemExit(f"the {name} job is over already: record again on a machine with less to do")
    fleet.end(worker, signal.SIGKILL)
    return jobs


def answer(api, job):
    """What the release's own API says about a job that has ended."""
    events = api.ask("GET", f"/v1/jobs/{job}/events")[1]
    app = api.state(job)["app"]
    result = api.ask("GET", f"/queue/{app}/requests/{job}")
    return {"state": api.state(job), "events": events, "result": [result[0], json.loads(result[1])]}


def write_scripts(monitor, out):
    """Each script as it was sent, and the last call of it that named most."""
    bodies = {path.stem: path.read_text().partition("\n")[2] for path in LUA.glob("*.lua")}
    folder, calls = out / "scripts", {}
    folder.mkdir(exist_ok=True)
    for sha, code in monitor.codes.items():
        name = max((name for name in bodies if code.endswith(bodies[name])), key=lambda name: len(bodies[name]))
        (folder / f"{name}.lua").write_text(code)
        calls[name] = monitor.calls[sha][-1]
    write(out / "calls.json", calls)


def write(path, value):
    path.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
