"""fal's own Python client, unmodified, against the queue of the server named on the command line.

Both clients, the blocking one and the asynchronous one. Prints one JSON object for the Rust test.
"""

import asyncio
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

APP = "glimpse/demo"
UNKNOWN = "018f2f6e-7b7e-7c4e-9a4e-3f1e2d3c4b0a"
HEART = {"prompt": "a red heart on a white background", "seed": 1}
# Runs until it is cancelled: longer than the server waits before it ends requests that start too late.
LONG = {**HEART, "num_inference_steps": 50, "num_images": 4, "image_size": {"width": 384, "height": 384}}
WRONG = {"prompt": "x", "num_inference_steps": 51, "image_size": "huge"}


def shown(result):
    return {"url": result["images"][0]["url"], "seed": result["seed"], "prompt": result["prompt"]}


def refusal(error):
    fields = [entry["loc"] for entry in error.message] if isinstance(error.message, list) else None
    return {"status": error.status_code, "fields": fields, "type": error.error_type}


def refused(call):
    try:
        call()
    except fal_client.FalClientHTTPError as error:
        return refusal(error)


def blocking():
    updates = []
    subscribed = fal_client.subscribe(APP, arguments=HEART, with_logs=True, on_queue_update=updates.append)

    handle = fal_client.submit(APP, arguments=HEART, priority="low")
    for _ in handle.iter_events():
        pass
    got = {"handle": shown(handle.get()), "result": shown(fal_client.result(APP, handle.request_id))}

    long = fal_client.submit(APP, arguments=LONG)
    for event in long.iter_events(with_logs=True):
        if isinstance(event, fal_client.InProgress):
            break
    waiting = fal_client.submit(APP, arguments=HEART)
    late = fal_client.submit(APP, arguments=HEART, start_timeout=1.1)
    position = waiting.status().position
    waiting.cancel()
    waiting.cancel()
    timeout = refused(late.get)
    fal_client.cancel(APP, long.request_id)
    cancelled = fal_client.status(APP, long.request_id, with_logs=True)

    return {
        "run": shown(fal_client.run(APP, arguments=HEART)),
        "warnings": fal_client.run(APP, arguments={**HEART, "expand_prompt": True})["warnings"],
        "subscribed": shown(subscribed),
        "updates": [type(update).__name__ for update in updates],
        "lines": [line["message"] for line in updates[-1].logs],
        "metrics": updates[-1].metrics,
        "got": got,
        "position": position,
        "timeout": timeout,
        "cancelled": {
            "queued": refused(waiting.get),
            "running": refused(long.get),
            "status": [type(cancelled).__name__, cancelled.error, cancelled.error_type],
        },
        "refused": {
            "submit": refused(lambda: fal_client.submit(APP, arguments=WRONG)),
            "run": refused(lambda: fal_client.run(f"{APP}/image-to-image", arguments=HEART)),
            "embeddings": refused(lambda: fal_client.subscribe(APP, arguments={**HEART, "embeddings": [{"path": "x"}]})),
            "app": refused(lambda: fal_client.submit("no/body", arguments=HEART)),
        },
        "unknown": {
            "status": refused(lambda: fal_client.status(APP, UNKNOWN)),
            "result": refused(lambda: fal_client.result(APP, UNKNOWN)),
            "cancel": refused(lambda: fal_client.cancel(APP, UNKNOWN)),
        },
        "completed": refused(handle.cancel),
    }


async def refused_async(call):
    try:
        await call
    except fal_client.FalClientHTTPError as error:
        return refusal(error)


async def asynchronous():
    updates = []
    jobs = [
        fal_client.subscribe_async(APP, arguments={**HEART, "seed": seed}, with_logs=True, on_queue_update=updates.append)
        for seed in (1, 2, 3)
    ]
    subscribed = await asyncio.gather(*jobs, fal_client.run_async(APP, arguments=HEART))
    handle = await fal_client.submit_async(APP, arguments=HEART)
    async for _ in handle.iter_events():
        pass
    events = [event async for event in fal_client.stream_async(APP, arguments=HEART)]
    long = await fal_client.submit_async(APP, arguments=LONG)
    await long.cancel()
    return {
        "subscribed": [shown(result) for result in subscribed],
        "lines": max(len(update.logs or []) for update in updates if isinstance(update, fal_client.InProgress)),
        "got": shown(await fal_client.result_async(APP, handle.request_id)),
        "streamed": events[-1]["image"]["url"],
        "cancelled": await refused_async(long.get()),
        "refused": await refused_async(fal_client.submit_async(APP, arguments=WRONG)),
        "unknown": await refused_async(fal_client.status_async(APP, UNKNOWN)),
    }


print(json.dumps({"blocking": blocking(), "asynchronous": asyncio.run(asynchronous())}))
