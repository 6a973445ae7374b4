"""fal's own Python client, unmodified: realtime, with the blocking and the asynchronous client.

Its environment variables name the server. Prints one JSON object for the Rust test.
"""

import asyncio
import base64
import json
import os

os.environ.setdefault("FAL_KEY", "any:thing")

import fal_client  # noqa: E402  (the key is read at import)
from fal_client.client import RealtimeError  # noqa: E402

APP = "glimpse/demo"
HEART = {"prompt": "a red heart on a white background", "seed": 1}
WRONG = {"prompt": "x", "num_inference_steps": 51, "request_id": "wrong"}


def shown(result):
    (image,) = result["images"]
    url = f"data:{image['content_type']};base64,{base64.b64encode(image['content']).decode()}"
    return {"url": url, "seed": result["seed"], "prompt": result["prompt"], "request_id": result.get("request_id")}


def refusal(error):
    return {
        "error": error.error,
        "fields": [entry["loc"] for entry in error.payload["detail"]],
        "request_id": error.payload["request_id"],
    }


def blocking():
    with fal_client.realtime(APP, use_jwt=False, max_buffering=2) as connection:
        connection.send({**HEART, "request_id": "one"})
        first = shown(connection.recv())
        connection.send(WRONG)
        try:
            refused = connection.recv()
        except RealtimeError as error:
            refused = refusal(error)
        connection.send(HEART)
        return {"first": first, "refused": refused, "second": shown(connection.recv())}


async def asynchronous():
    async with fal_client.realtime_async(APP, use_jwt=False) as connection:
        for seed in (1, 2):
            await connection.send({**HEART, "seed": seed})
        return [shown(await connection.recv()) for _ in range(2)]


def changed():
    """A picture's bytes are an input as they are."""
    run = fal_client.run(APP, arguments={**HEART, "sync_mode": True})
    picture = base64.b64decode(run["images"][0]["url"].split(",")[1])
    with fal_client.realtime(f"{APP}/image-to-image", use_jwt=False) as connection:
        connection.send({**HEART, "image_url": picture})
        return shown(connection.recv())


print(
    json.dumps(
        {
            "run": fal_client.run(APP, arguments={**HEART, "sync_mode": True})["images"][0]["url"],
            "blocking": blocking(),
            "asynchronous": asyncio.run(asynchronous()),
            "changed": changed(),
        }
    )
)
