"""fal's own Python client, unmodified, against the server named on the command line: `stream` and `run`.

The client forces https; its two URL formats are read at call time, so plain http needs only these.
Prints one JSON object for the Rust test.
"""

import json
import os
import sys

os.environ.setdefault("FAL_KEY", "any:thing")

import fal_client  # noqa: E402  (the key is read at import)
import fal_client.client as client  # noqa: E402

base = sys.argv[1]
# Over https the client's own environment variables name the server.
if "FAL_RUN_HOST" not in os.environ:
    client.RUN_URL_FORMAT, client.QUEUE_URL_FORMAT = f"{base}/", f"{base}/queue/"

arguments = {"prompt": "a red heart on a white background", "seed": 1, "sync_mode": True}

events = list(fal_client.stream("glimpse/demo", arguments=arguments))
run = fal_client.run("glimpse/demo", arguments=arguments)

try:
    fal_client.run("glimpse/demo", arguments={"prompt": "x", "num_inference_steps": 51})
    refusal = None
except fal_client.FalClientHTTPError as error:
    refusal = {"status": error.status_code, "fields": [entry["loc"] for entry in error.message]}

print(
    json.dumps(
        {
            "events": [event["image"]["url"] for event in events],
            "last": {"url": events[-1]["image"]["url"], "seed": events[-1].get("seed")},
            "run": {"url": run["image"]["url"], "images": len(run.get("images", [])), "seed": run["seed"]},
            "refusal": refusal,
        }
    )
)
