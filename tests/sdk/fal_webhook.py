"""fal's own Python client names a webhook; a receiver verifies the signatures with the code of docs/webhooks.md.

The receiver is down at the first call of each request. Prints one JSON object for the Rust test.
"""

import http.server
import json
import os
import pathlib
import re
import sys
import threading
import time
import urllib.request

os.environ.setdefault("FAL_KEY", "any:thing")

import fal_client  # noqa: E402  (the key is read at import)
import fal_client.client as client  # noqa: E402

base = sys.argv[1]
client.RUN_URL_FORMAT, client.QUEUE_URL_FORMAT = f"{base}/", f"{base}/queue/"

APP = "glimpse/demo"
HEART = {"prompt": "a red heart on a white background", "seed": 1}
LONG = {**HEART, "num_inference_steps": 50, "num_images": 4, "image_size": {"width": 384, "height": 384}}

documented = {}
for block in re.findall(r"```python\n(.*?)```", pathlib.Path("docs/webhooks.md").read_text(), re.S):
    exec(block, documented)

with urllib.request.urlopen(f"{base}/.well-known/jwks.json") as answer:
    JWKS = json.load(answer)

calls = {}


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        verify = documented["verify_own" if self.path == "/own" else "verify_fal"]
        verify(self.headers, body, JWKS)
        try:
            verify(self.headers, body + b" ", JWKS)
            changed = "accepted"
        except Exception as error:
            changed = type(error).__name__
        seen = calls.setdefault(self.path, [])
        seen.append({"at": time.monotonic(), "changed": changed, "body": json.loads(body)})
        self.send_response(500 if len(seen) == 1 else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
threading.Thread(target=server.serve_forever, daemon=True).start()
hook = f"http://127.0.0.1:{server.server_port}"

done = fal_client.submit(APP, arguments=HEART, webhook_url=f"{hook}/done?a=b&c=%20")
result = done.get()
cancelled = fal_client.submit(APP, arguments=LONG, webhook_url=f"{hook}/cancelled")
cancelled.cancel()
own = urllib.request.Request(
    f"{base}/v1/jobs",
    json.dumps({"app": APP, **HEART, "webhook": f"{hook}/own"}).encode(),
    {"Content-Type": "application/json"},
)
with urllib.request.urlopen(own) as answer:
    job = json.load(answer)["id"]

deadline = time.monotonic() + 60
while sum(len(seen) for seen in calls.values()) < 6 and time.monotonic() < deadline:
    time.sleep(0.05)


def refused(url):
    try:
        fal_client.submit(APP, arguments=HEART, webhook_url=url)
    except fal_client.FalClientHTTPError as error:
        return [error.status_code, error.message[0]["loc"], error.message[0]["type"]]


print(
    json.dumps(
        {
            "ids": {"done": done.request_id, "cancelled": cancelled.request_id, "own": job},
            "result": result,
            "calls": {path: [call["body"] for call in seen] for path, seen in calls.items()},
            "waits": {path: seen[1]["at"] - seen[0]["at"] for path, seen in calls.items() if len(seen) > 1},
            "changed": sorted({call["changed"] for seen in calls.values() for call in seen}),
            "refused": refused("ftp://example.com"),
        }
    )
)
