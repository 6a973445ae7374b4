"""What half precision costs diffusers itself, beside what it costs the worker: the largest relative L2 distance from
the float32 fixtures, per stage, over the cases whose noise is the same in both types.

    cargo run --release -p glimpse-worker --example dump -- --model FIXTURES/model --taesd FIXTURES/taesdxl \\
        --cases FIXTURES/cases.json --dtype f16 --out DUMPS/f16        # and bf16
    python half_precision.py FIXTURES DUMPS

torch draws noise in the type of the model, so the samplers that draw some on their way are left out.
"""

import json
import sys
from pathlib import Path

import make_fixtures as mf
import torch
from safetensors.torch import load_file

STAGES = ("prompt_embeds", "pooled_prompt_embeds", "negative_prompt_embeds", "negative_pooled_prompt_embeds",
          "noise_pred", "latents", "preview", "pred_x0", "preview_x0", "image")


def distance(a, b):
    return float((a.float() - b.float()).norm() / b.float().norm())


def main(fixtures, dumps):
    fixtures, dumps = Path(fixtures), Path(dumps)
    cases = json.loads((fixtures / "cases.json").read_text())
    for name, dtype in (("f16", torch.float16), ("bf16", torch.bfloat16)):
        pipe, taesd = mf.load_pipe(fixtures, dtype=dtype)
        base, worst, used = dict(pipe.scheduler.config), {}, 0
        for case in cases:
            reference = load_file(fixtures / "cases" / f"{case['name']}.safetensors")
            if case.get("weights") == "fp16" or "step_noise.0" in reference or "encoder_mean" in reference:
                continue
            if case.get("scheduler", {}).get("rescale_betas_zero_snr"):
                continue  # begins at a sigma of 4096
            theirs, _ = mf.run_case(pipe, taesd, base, {k: v for k, v in case.items() if k not in ("info", "tensors")})
            if distance(theirs["noise"], reference["noise"]) > 1e-2:
                continue
            used += 1
            ours = load_file(dumps / name / f"{case['name']}.safetensors")
            for key, expected in reference.items():
                stage = key.rstrip("0123456789").rstrip(".")
                if stage in STAGES and key in theirs:
                    pair = worst.setdefault(stage, [0, 0])
                    pair[:] = [max(pair[0], distance(theirs[key], expected)), max(pair[1], distance(ours[key], expected))]
        for stage in STAGES:
            print(f"{name} {stage}: diffusers {worst[stage][0]:.1e}, worker {worst[stage][1]:.1e} ({used} cases)")


if __name__ == "__main__":
    main(*sys.argv[1:])
