#!/usr/bin/env python3
"""Times one picture of diffusers, part by part, as `cargo run --example bench` does of the worker.

Same model, prompt, steps and size, float32; one line of JSON in milliseconds, the smallest of several runs.
Needs torch, diffusers and transformers.
"""

import argparse
import json
import os
import pathlib
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from diffusers import AutoencoderTiny, StableDiffusionXLPipeline

DEMO = pathlib.Path(__file__).resolve().parents[1] / "models" / "demo"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=pathlib.Path, default=DEMO)
    parser.add_argument("--taesd", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--size", type=int)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)

    pipe = StableDiffusionXLPipeline.from_pretrained(args.model, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    taesd = AutoencoderTiny.from_pretrained(args.taesd or args.model / "taesd", torch_dtype=torch.float32)
    size = args.size or pipe.unet.config.sample_size * pipe.vae_scale_factor
    clock = {}

    def marked(name, function):
        def run(*a, **k):
            started = time.perf_counter()
            result = function(*a, **k)
            clock[name] = clock.get(name, 0.0) + time.perf_counter() - started
            return result

        return run

    pipe.encode_prompt = marked("encode_prompts_ms", pipe.encode_prompt)
    pipe.vae.decode = marked("decode_ms", pipe.vae.decode)
    best = {}
    for _ in range(args.runs + 1):
        clock.clear()
        started = time.perf_counter()
        latents = []
        pipe(
            prompt="a red heart on a white background",
            negative_prompt="blurry, low quality",
            num_inference_steps=args.steps,
            guidance_scale=5.0,
            width=size,
            height=size,
            generator=torch.Generator().manual_seed(0),
            callback_on_step_end=lambda p, i, t, k: latents.append(k["latents"]) or {},
        )
        clock["picture_ms"] = time.perf_counter() - started
        parts = clock["encode_prompts_ms"] + clock["decode_ms"]
        clock["step_ms"] = (clock["picture_ms"] - parts) / args.steps
        started = time.perf_counter()
        taesd.decode(latents[-1])
        clock["preview_ms"] = time.perf_counter() - started
        best = {k: min(v * 1e3, best.get(k, float("inf"))) for k, v in clock.items()}
    report = {"threads": args.threads, "size": size, "steps": args.steps}
    print(json.dumps({**report, **{k: round(v, 2) for k, v in sorted(best.items())}}))


if __name__ == "__main__":
    main()
