"""The same model in diffusers on the same device, with random weights: eager, then compiled."""

import argparse
import importlib
import json
import statistics
import time
from pathlib import Path

from .child import arguments, skip, tell
from .places import DEMO, SDXL

# Steps of a picture, and of one with --small.
STEPS, FEW = 30, 3


def main() -> None:
    args = arguments(__doc__).parse_args()
    try:
        torch, diffusers = importlib.import_module("torch"), importlib.import_module("diffusers")
    except ImportError as error:
        skip(f"{error}: install torch and diffusers, or give their wheels with --wheels")
    if args.device != "cpu" and not torch.cuda.is_available():
        skip("torch does not see a CUDA device")
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    bench = Bench(args, torch, diffusers)
    result = {"torch": torch.__version__, "diffusers": diffusers.__version__, "dtype": str(bench.dtype)}
    # Compiled code for a CPU would say nothing about a GPU.
    for name in ("eager", "compiled") if args.device != "cpu" else ("eager",):
        result[name] = {}
        try:
            if name == "compiled":
                bench.unet = torch.compile(bench.unet)
            for figure, measured in bench.measure(name == "eager"):
                result[name][figure] = measured
                tell(result)
        except RuntimeError as error:
            # For example, too little memory, or no compiler.
            result[name]["failed"] = str(error).strip().partition("\n")[0]
            tell(result)


class Bench:
    """diffusers' models on a device."""

    def __init__(self, args: argparse.Namespace, torch, diffusers):
        self.torch, self.device, self.small = torch, args.device, args.small
        self.dtype = torch.float32 if args.device == "cpu" else torch.float16
        folder = DEMO if args.small else SDXL

        self.steps = FEW if args.small else STEPS

        def model(kind, name: str):
            settings = config(folder / name / "config.json")
            # As diffusers' pipeline, which decodes in float32 if the checkpoint says so.
            dtype = torch.float32 if settings.get("force_upcast") else self.dtype
            torch.set_default_dtype(dtype)
            with torch.device(args.device):
                made = kind.from_config(settings).eval()
            torch.set_default_dtype(torch.float32)
            return made

        self.unet = model(diffusers.UNet2DConditionModel, "unet")
        self.vae = model(diffusers.AutoencoderKL, "vae")
        self.taesd = diffusers.AutoencoderTiny().to(args.device, self.dtype).eval()
        self.scheduler = diffusers.EulerDiscreteScheduler.from_config(
            config(folder / "scheduler/scheduler_config.json")
        )
        self.settings = self.unet.config

    def measure(self, all_parts: bool):
        """Name and value of each figure, one after the other."""
        torch = self.torch
        if self.device != "cpu":
            torch.cuda.reset_peak_memory_stats()
        side = self.settings.sample_size
        latents = torch.randn(1, 4, side, side, device=self.device)
        self.scheduler.set_timesteps(self.steps, device=self.device)
        embeds = torch.randn(2, 77, self.settings.cross_attention_dim, device=self.device, dtype=self.dtype)
        pooled = self.settings.projection_class_embeddings_input_dim - 6 * self.settings.addition_time_embed_dim
        pixels = float(side * 8)
        time_ids = torch.tensor([[pixels, pixels, 0, 0, pixels, pixels]] * 2, device=self.device)
        added = {
            "text_embeds": torch.randn(2, pooled, device=self.device, dtype=self.dtype),
            "time_ids": time_ids.to(self.dtype),
        }

        def step(latents, t):
            sample = self.scheduler.scale_model_input(torch.cat([latents] * 2), t).to(self.dtype)
            predicted = self.unet(
                sample, t, encoder_hidden_states=embeds, added_cond_kwargs=added, return_dict=False
            )[0]
            negative, positive = predicted.float().chunk(2)
            guided = negative + 5.0 * (positive - negative)
            return self.scheduler.step(guided, t, latents, return_dict=False)[0]

        def picture():
            current = latents * self.scheduler.init_noise_sigma
            self.scheduler.set_timesteps(self.steps, device=self.device)
            for t in self.scheduler.timesteps:
                current = step(current, t)
            return self.vae.decode(current.to(self.vae.dtype) / self.vae.config.scaling_factor).sample

        def one_step():
            # So that the sampler takes its first step again.
            self.scheduler._step_index = None
            step(latents, self.scheduler.timesteps[0])

        yield "step_ms", self.times(one_step, 3, 2 if self.small else 20)
        if self.device != "cpu":
            yield "step_peak_bytes", torch.cuda.max_memory_allocated()
        yield "picture_ms", self.times(picture, 1, 1 if self.small else 3)
        if all_parts:
            z = latents.to(self.dtype)
            yield "vae_ms", self.times(lambda: self.vae.decode(z.to(self.vae.dtype)).sample, 2, 2 if self.small else 10)
            yield "taesd_ms", self.times(lambda: self.taesd.decode(z).sample, 2, 2 if self.small else 10)
        if self.device != "cpu":
            yield "peak_bytes", torch.cuda.max_memory_allocated()

    def times(self, work, first: int, runs: int) -> dict:
        """Milliseconds of several runs, after some that are not counted."""
        times = []
        for _ in range(first + runs):
            self.wait()
            begun = time.perf_counter()
            work()
            self.wait()
            times.append((time.perf_counter() - begun) * 1e3)
        counted = [round(number, 4) for number in times[first:]]
        return {"median": round(statistics.median(counted), 4), "min": min(counted), "max": max(counted), "n": runs}

    def wait(self) -> None:
        if self.device != "cpu":
            self.torch.cuda.synchronize()


def config(path: Path) -> dict:
    return json.loads(path.read_text())


if __name__ == "__main__":
    main()
