"""What all training phases share: settings, the clock, pictures, gradients averaged over processes."""

import dataclasses
import time

import numpy as np
import scenes
import torch
import torch.distributed as dist
import torch.nn.functional as F

# SDXL's own; the autoencoder is folded to match it.
SCALING_FACTOR = 0.13025


@dataclasses.dataclass
class Settings:
    """One run. Minutes are wall time: schedules follow the clock, so a busy machine ends on time."""

    out: str = "model"
    cache: str = "cache"
    seed: int = 0
    workers: int = 2
    vae_minutes: float = 14.0
    unet_minutes: float = 70.0
    decoder_minutes: float = 6.0
    taesd_minutes: float = 12.0
    pictures: int = 48000
    merges: int = 420
    batch: int = 32
    learning_rate: float = 1.2e-3
    caption_dropout: float = 0.1
    offset_noise: float = 0.1
    snr_gamma: float = 5.0
    ema: float = 0.999
    rank: int = 0

    def log(self, *words):
        if self.rank == 0:
            print(f"[{time.strftime('%H:%M:%S')}]", *words, flush=True)


class Clock:
    """Progress from 0 to 1 by wall time, agreed between the processes."""

    def __init__(self, minutes):
        self.started, self.seconds, self.progress = time.time(), minutes * 60, 0.0

    def learning_rate(self, peak, warm_up=0.02, floor=0.02):
        """Linear warm-up, then a cosine down to `floor` of the peak."""
        p = min(self.progress, 1)
        cosine = floor + (1 - floor) * 0.5 * (1 + np.cos(np.pi * p))
        return peak * min(1, p / warm_up + 0.02) * cosine

    def sync(self, parameters, clip=1.0):
        """Averages the gradients over the processes, clips them, and agrees on the time.

        One single-threaded process per core with averaged gradients beats two OpenMP threads here.
        """
        parameters = [p for p in parameters if p.grad is not None]
        now = torch.tensor([(time.time() - self.started) / self.seconds])
        flat = torch.cat([p.grad.flatten() for p in parameters] + [now])
        if dist.is_initialized():
            dist.all_reduce(flat)
            flat /= dist.get_world_size()
        self.progress = flat[-1].item()
        flat *= min(1.0, clip / (flat[:-1].norm().item() + 1e-6))
        start = 0
        for p in parameters:
            p.grad.copy_(flat[start : start + p.numel()].view_as(p))
            start += p.numel()


class Mean:
    """A running mean that forgets."""

    def __init__(self, keep=0.98):
        self.keep, self.value = keep, None

    def add(self, value):
        self.value = value if self.value is None else self.keep * self.value + (1 - self.keep) * value


def set_learning_rate(optimiser, rate):
    for group in optimiser.param_groups:
        group["lr"] = rate


def to_tensor(pictures):
    """[B, H, W, 3] bytes to [B, 3, H, W] in -1..1."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def picture_pool(count, size, seed):
    rng = np.random.default_rng(seed)
    return np.stack([scenes.sample(rng, size)[0] for _ in range(count)])


def crops(pools, count, size, rng):
    """Random parts of random pictures; small ones are mostly edges, as flat parts teach little."""
    found = []
    while len(found) < count:
        pool = pools[int(rng.integers(len(pools)))]
        picture = pool[int(rng.integers(len(pool)))]
        grid = 8 if rng.uniform() < 0.5 else 1
        y, x = (int(rng.integers(picture.shape[0] - size + 1)) // grid * grid for _ in range(2))
        part = picture[y : y + size, x : x + size]
        if size < 128 and rng.uniform() < 0.8 and part.std((0, 1)).max() < 12:
            continue
        found.append(part)
    return to_tensor(np.stack(found)).to(memory_format=torch.channels_last)


def image_loss(made, wanted):
    """Absolute and squared difference, that of edges, and that of small means."""
    d = made - wanted
    edges = (d[..., 1:] - d[..., :-1]).abs().mean() + (d[..., 1:, :] - d[..., :-1, :]).abs().mean()
    return d.abs().mean() + 0.5 * d.square().mean() + 0.5 * edges + F.avg_pool2d(d, 4).abs().mean()
