#!/usr/bin/env python3
"""Success rates of a demo checkpoint, by measuring its pictures.

    python evaluate.py ../../models/demo --n 200 --pairs 60

Prompts have combinations of colour, shape and background that were held out of training. Needs torch, diffusers,
transformers and numpy.
"""

import argparse

import numpy as np
import scenes
import torch
from canvas import COLOURS, NAMES, SHAPES, Canvas, article
from diffusers import AutoencoderTiny, StableDiffusionXLPipeline

PALETTE = {name: np.array(colour, np.float32) / 255 for name, colour in COLOURS.items()}
HALVES = {"left of": (1, 0), "right of": (1, 1), "above": (0, 0), "below": (0, 1)}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--taesd", action="store_true", help="decode with the preview decoder")
    parser.add_argument("--n", type=int, default=100, help="prompts with one shape")
    parser.add_argument("--pairs", type=int, default=40, help="prompts with two shapes")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=5.0)
    return parser.parse_args()


def make_pictures(pipe, arguments, prompts, first_seed, batch=20):
    pictures = []
    for k in range(0, len(prompts), batch):
        part = prompts[k : k + batch]
        seeds = range(first_seed + k, first_seed + k + len(part))
        pictures += list(
            pipe(
                part,
                num_inference_steps=arguments.steps,
                guidance_scale=arguments.guidance,
                height=128,
                width=128,
                generator=[torch.Generator().manual_seed(seed) for seed in seeds],
                output_type="np",
            ).images
        )
    return pictures


def nearest(colour):
    return min(PALETTE, key=lambda name: ((PALETTE[name] - colour) ** 2).sum())


def background(picture):
    """Median colour of the border, and how far each pixel is from it."""
    border = [picture[:6], picture[-6:], picture[:, :6], picture[:, -6:]]
    colour = np.median(np.concatenate([part.reshape(-1, 3) for part in border]), 0)
    return colour, np.sqrt(((picture - colour) ** 2).sum(-1))


def judge(picture, mask):
    """Colour, best fitting shape and its overlap (intersection over union) of what is under a mask."""
    if mask.sum() < 40:
        return None, None, 0
    ys, xs = np.nonzero(mask)
    best = (None, 0)
    for shape in SHAPES:
        unit = (Canvas(len(picture)).shape(shape, 0.5, 0.5, 0.25) < 0).mean()
        for stretch in np.linspace(0.75, 1.25, 11):
            radius = 0.25 * np.sqrt(mask.mean() / unit) * stretch
            model = Canvas(len(picture)).shape(shape, 0.5, 0.5, radius) < 0
            yy, xx = np.nonzero(model)
            if len(yy) == 0:
                continue
            dy = round((ys.min() + ys.max() - yy.min() - yy.max()) / 2)
            dx = round((xs.min() + xs.max() - xx.min() - xx.max()) / 2)
            moved = np.roll(np.roll(model, dy, 0), dx, 1)
            overlap = (moved & mask).sum() / max((moved | mask).sum(), 1)
            best = max(best, (shape, overlap), key=lambda candidate: candidate[1])
    return nearest(np.median(picture[mask], 0)), *best


def singles(pipe, arguments):
    rng, wishes = np.random.default_rng(99), []
    while len(wishes) < arguments.n:
        colour, shape, ground = NAMES[rng.integers(11)], SHAPES[rng.integers(8)], NAMES[rng.integers(11)]
        if colour != ground and scenes.held_out(colour, shape, ground):
            wishes.append((colour, shape, ground))
    prompts = [f"{article(c)} {s} on {article(b)} background" for c, s, b in wishes]
    right = []
    for wish, picture in zip(wishes, make_pictures(pipe, arguments, prompts, 1000)):
        ground, distance = background(picture)
        mask = distance > max(0.12, np.percentile(distance, 97) * 0.5)
        colour, shape, overlap = judge(picture, mask)
        right.append((nearest(ground) == wish[2], colour == wish[0], shape == wish[1] and overlap > 0.7))
    report("one shape", ("background", "colour", "shape"), right)


def pairs(pipe, arguments):
    rng, wishes = np.random.default_rng(100), []
    for _ in range(arguments.pairs):
        colours = [NAMES[i] for i in rng.permutation(11)[:3]]
        shapes = [SHAPES[rng.integers(8)] for _ in range(2)]
        wishes.append((colours, shapes, list(HALVES)[rng.integers(4)]))
    prompts = [
        f"{article(c[0])} {s[0]} {relation} {article(c[1])} {s[1]} on {article(c[2])} background"
        for c, s, relation in wishes
    ]
    right = []
    for (colours, shapes, relation), picture in zip(wishes, make_pictures(pipe, arguments, prompts, 2000)):
        mask = background(picture)[1] > 0.15
        axis, later = HALVES[relation]
        in_later_half = np.indices(mask.shape)[axis] >= len(mask) // 2
        first = in_later_half == bool(later)
        found = judge(picture, mask & first), judge(picture, mask & ~first)
        right.append(
            (
                all(f[0] == c for f, c in zip(found, colours)),
                all(f[1] == s and f[2] > 0.6 for f, s in zip(found, shapes)),
            )
        )
    report("two shapes", ("colours", "shapes"), right)


def report(title, parts, right):
    if right:
        rates = {part: np.mean([r[i] for r in right]) for i, part in enumerate(parts)}
        rates["all"] = np.mean([all(r) for r in right])
        print(f"{title}:", ", ".join(f"{part} {rate:.0%}" for part, rate in rates.items()))


def main():
    arguments = parse_arguments()
    pipe = StableDiffusionXLPipeline.from_pretrained(arguments.model, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    if arguments.taesd:
        pipe.vae = AutoencoderTiny.from_pretrained(f"{arguments.model}/taesd", torch_dtype=torch.float32)
    singles(pipe, arguments)
    pairs(pipe, arguments)


if __name__ == "__main__":
    main()
