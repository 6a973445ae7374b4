"""fal's own Python client, unmodified, against a server that keeps results outside of its answers.

Loads the URL of each answer's picture. Prints one JSON object for the Rust test.
"""

import hashlib
import json
import os
import sys
import urllib.request

os.environ.setdefault("FAL_KEY", "any:thing")

import fal_client  # noqa: E402  (the key is read at import)
import fal_client.client as client  # noqa: E402

base = sys.argv[1]
client.RUN_URL_FORMAT, client.QUEUE_URL_FORMAT = f"{base}/", f"{base}/queue/"

APP = "glimpse/demo"
HEART = {"prompt": "a red heart on a white background", "seed": 1, "num_inference_steps": 2}


def loaded(url):
    with urllib.request.urlopen(url) as answer:
        return {
            "url": url,
            "status": getattr(answer, "status", None),
            "type": answer.headers.get_content_type(),
            "sha256": hashlib.sha256(answer.read()).hexdigest(),
        }


events = list(fal_client.stream(APP, arguments=HEART))
print(
    json.dumps(
        {
            "run": loaded(fal_client.run(APP, arguments=HEART)["images"][0]["url"]),
            "subscribed": loaded(fal_client.subscribe(APP, arguments=HEART)["images"][0]["url"]),
            "streamed": loaded(events[-1]["image"]["url"]),
            "sync_mode": loaded(fal_client.run(APP, arguments={**HEART, "sync_mode": True})["images"][0]["url"]),
        }
    )
)
