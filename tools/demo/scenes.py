"""Pictures with captions, drawn by rule: one shape, two shapes, or a little landscape."""

import numpy as np
from canvas import COLOURS, NAMES, SHAPES, Canvas, article, jitter, pick
from landscapes import landscape

PLACES = {
    "": (0.5, 0.5),
    "on the left": (0.25, 0.5),
    "on the right": (0.75, 0.5),
    "at the top": (0.5, 0.25),
    "at the bottom": (0.5, 0.75),
}
RADII = {"": (0.24, 0.30), "small": (0.11, 0.15), "big": (0.36, 0.42)}
OFFSETS = {"left": (-0.24, 0), "right": (0.24, 0), "and": (-0.24, 0), "above": (0, -0.24), "below": (0, 0.24)}
LINKS = {
    "left": ["left of", "to the left of"],
    "right": ["right of", "to the right of"],
    "and": ["and", "next to"],
    "above": ["above"],
    "below": ["below"],
}


def held_out(colour, shape, background):
    """Whether a combination is kept from training, to measure what is understood and not remembered."""
    return (NAMES.index(colour) * 7 + SHAPES.index(shape) * 3 + NAMES.index(background) * 5) % 11 == 0


def _put(canvas, rng, shape, colour, x, y, radius):
    top = jitter(rng, COLOURS[colour])
    canvas.paint(canvas.shape(shape, x, y, radius), np.minimum(top * 1.06 + 0.02, 1), top * 0.9)


def _backdrop(canvas, rng, background):
    colour = jitter(rng, COLOURS[background])
    canvas.gradient([(0, np.minimum(colour * 1.05, 1)), (1, colour * 0.93)])


def single(rng, size):
    """One shape on a background, and its caption."""
    while True:
        colour, shape, background = pick(rng, NAMES), pick(rng, SHAPES), pick(rng, NAMES)
        if colour != background and not held_out(colour, shape, background):
            break
    word = pick(rng, ["", "", "", "small", "big"])
    where = pick(rng, [""] * 5 + [place for place in PLACES if place])
    canvas = Canvas(size)
    radius = rng.uniform(*RADII[word])
    if where:
        # Off the middle there is less room.
        radius = min(radius, rng.uniform(0.18, 0.22))
    x, y = (centre + rng.uniform(-0.04, 0.04) for centre in PLACES[where])
    tail = f" on {article(background)} background"
    if rng.uniform() < 0.12:
        second = pick(rng, [name for name in NAMES if name not in (colour, background)])
        canvas.gradient([(0, jitter(rng, COLOURS[background])), (1, jitter(rng, COLOURS[second]))])
        tail = f" on {article(background)} to {second} gradient background"
    else:
        _backdrop(canvas, rng, background)
        if rng.uniform() < 0.1:
            tail = ""
    _put(canvas, rng, shape, colour, x, y, radius)
    thing = article(f"{word} {colour} {shape}".strip())
    return canvas.out(), thing + (f" {where}" if where else "") + tail


def pair(rng, size):
    """Two shapes with a relation between them, and their caption."""
    first, second, background = (NAMES[i] for i in rng.permutation(len(NAMES))[:3])
    if rng.uniform() < 0.15:
        second = first
    shapes = pick(rng, SHAPES), pick(rng, SHAPES)
    relation = pick(rng, list(OFFSETS))
    canvas = Canvas(size)
    _backdrop(canvas, rng, background)
    dx, dy = OFFSETS[relation]
    for sign, colour, shape in ((1, first, shapes[0]), (-1, second, shapes[1])):
        x = 0.5 + sign * dx + rng.uniform(-0.03, 0.03)
        y = 0.5 + sign * dy + rng.uniform(-0.03, 0.03)
        _put(canvas, rng, shape, colour, x, y, rng.uniform(0.17, 0.21))
    link = pick(rng, LINKS[relation])
    caption = f"{article(first)} {shapes[0]} {link} {article(second)} {shapes[1]}"
    if rng.uniform() < 0.6:
        caption += f" on {article(background)} background"
    return canvas.out(), caption


def sample(rng, size):
    """A random picture of `size` x `size` x 3 bytes, and its caption."""
    kind = rng.uniform()
    picture, caption = (single if kind < 0.45 else pair if kind < 0.55 else landscape)(rng, size)
    if rng.uniform() < 0.06:
        caption = pick(rng, ["a picture of ", "a drawing of "]) + caption
    return picture, caption
