"""OpenAI's own Python client, unmodified, against the server named on the command line: `base_url` alone.

Both clients, the blocking one and the asynchronous one. Prints one JSON object for the Rust test.
"""

import asyncio
import base64
import json
import os
import sys
import urllib.request

import openai

base = sys.argv[1]
settings = {"base_url": f"{base}/v1", "api_key": os.environ.get("OPENAI_API_KEY", "any"), "max_retries": 0}
client = openai.OpenAI(**settings)

APP = "glimpse/demo"
HEART = {"prompt": "a red heart on a white background", "extra_body": {"seed": 1}}
LONG = {"prompt": "x", "n": 4, "size": "384x384", "extra_body": {"num_inference_steps": 50}}
# 16x16 RGBA pixels: the left half is transparent.
MASK = base64.b64decode(sys.argv[2])


def uri(b64, kind="png"):
    return f"data:image/{kind};base64,{b64}"


def shown(event):
    return {
        "type": event.type,
        "url": uri(event.b64_json, "jpeg" if event.type.endswith("partial_image") else event.output_format),
        "index": getattr(event, "partial_image_index", None),
        "about": [event.size, event.quality, event.background, event.output_format],
        "dated": event.created_at > 1_700_000_000,
    }


def refused(call):
    try:
        call()
    except openai.APIStatusError as error:
        return {
            "kind": type(error).__name__,
            "status": error.status_code,
            "type": error.type,
            "param": error.param,
            "code": error.code,
            "id": error.request_id,
        }
    except openai.APIError as error:
        return {"kind": type(error).__name__}


def blocking():
    whole = client.images.generate(model=APP, **HEART)
    two = client.images.generate(**HEART, n=2, output_format="jpeg", size="64x128", output_compression=50)
    linked = client.images.generate(**HEART, n=2, response_format="url")
    loaded = []
    for image in linked.data:
        # Without --results the picture is a route of the API, which wants the key too.
        load = urllib.request.Request(image.url, headers={"Authorization": f"Bearer {settings['api_key']}"})
        with urllib.request.urlopen(load) as answer:
            loaded.append(uri(base64.b64encode(answer.read()).decode()))
    drawn = base64.b64decode(whole.data[0].b64_json)
    edited = client.images.edit(
        image=("heart.png", drawn), mask=("mask.png", MASK), prompt="a blue heart", size="128x128", user="me",
        extra_body={"seed": 3, "num_inference_steps": 4},
    )
    stream = client.images.generate(**HEART, stream=True, partial_images=3, quality="high")
    edits = client.images.edit(
        image=[("mask.png", MASK)], prompt="a heart", stream=True, partial_images=1, size="64x64",
        output_format="webp", extra_body={"strength": 0.5, "num_inference_steps": 4},
    )
    models = client.models.list().data
    return {
        "whole": {
            "url": uri(whole.data[0].b64_json), "size": whole.size, "format": whole.output_format,
            "seed": whole.seed, "usage": whole.usage, "id": whole._request_id,
        },
        "two": [uri(image.b64_json, "jpeg") for image in two.data],
        "linked": loaded,
        "edited": uri(edited.data[0].b64_json),
        "stream": [shown(event) for event in stream],
        "edits": [shown(event) for event in edits],
        "models": [[model.id, model.object, model.owned_by] for model in models],
        "model": client.models.retrieve(APP).id,
        "refused": {
            "size": refused(lambda: client.images.generate(prompt="x", size="100x100")),
            "n": refused(lambda: client.images.generate(prompt="x", n=5)),
            "background": refused(lambda: client.images.generate(prompt="x", background="transparent")),
            "partial_images": refused(lambda: client.images.generate(prompt="x", stream=True, partial_images=4)),
            "prompt": refused(lambda: client.images.generate(prompt="")),
            "mask": refused(lambda: client.images.edit(image=("x.png", MASK), mask=("x.png", b"no"), prompt="x")),
            "model": refused(lambda: client.images.generate(prompt="x", model="gpt-image-2")),
            "retrieve": refused(lambda: client.models.retrieve("glimpse/other")),
            "variation": refused(lambda: client.images.create_variation(image=("x.png", MASK))),
            "timeout": refused(lambda: client.with_options(timeout=0.5).images.generate(**LONG)),
        },
    }


async def asynchronous():
    async with openai.AsyncOpenAI(**settings) as client:
        same = [client.images.generate(prompt=HEART["prompt"], extra_body={"seed": seed}) for seed in (1, 2, 1)]
        whole = await asyncio.gather(*same)
        stream = await client.images.generate(**HEART, stream=True, partial_images=2)
        events = [shown(event) async for event in stream]
        hung_up = await client.images.generate(**LONG, stream=True, partial_images=3)
        async for _ in hung_up:
            break
        await hung_up.close()
        return {
            "whole": [uri(images.data[0].b64_json) for images in whole],
            "stream": events,
            # Only if the abandoned job does not keep the worker.
            "after": uri((await client.images.generate(**HEART, timeout=60)).data[0].b64_json),
            "hung_up": hung_up.response.headers["x-request-id"],
        }


print(json.dumps({"blocking": blocking(), "asynchronous": asyncio.run(asynchronous())}))
