"""Little landscapes: a sky, a ground, and perhaps something on it."""

import numpy as np
from canvas import COLOURS, NAMES, Canvas, article, jitter, pick, rgb

TIMES = {"day": ["on a sunny day", "during the day", ""], "sunset": ["at sunset"], "night": ["at night"]}
TINTS = {"day": (255, 255, 255), "sunset": (240, 190, 170), "night": (90, 100, 150)}
SKIES = {
    "day": [(0, (70, 150, 240)), (0.65, (190, 228, 252))],
    "sunset": [(0, (90, 60, 140)), (0.38, (236, 110, 90)), (0.65, (255, 206, 110))],
    "night": [(0, (8, 12, 42)), (0.65, (38, 50, 104))],
}
HORIZONS = {"sea": 0.62, "hill": 0.78, "field": 0.7, "snow": 0.7, "desert": 0.68}
GROUNDS = {
    "sea": ((44, 130, 205), (14, 62, 140)),
    "hill": ((104, 190, 80), (44, 120, 50)),
    "field": ((140, 200, 84), (70, 150, 56)),
    "snow": ((250, 252, 255), (205, 220, 240)),
    "desert": ((240, 208, 130), (214, 160, 86)),
}
WHERE = {"hill": "on a hill", "field": "in a field", "snow": "in the snow", "desert": "in the desert"}
THINGS = {
    "sea": "the sea",
    "hill": "a green hill",
    "field": "a green field",
    "snow": "the snow",
    "desert": "the desert",
}


class _Scene:
    """One landscape while it is painted."""

    def __init__(self, rng, size, time, place):
        self.rng, self.canvas, self.time, self.place = rng, Canvas(size), time, place
        self.tint = rgb(TINTS[time])
        self.horizon = HORIZONS[place] + rng.uniform(-0.02, 0.02)

    def u(self, low, high):
        return self.rng.uniform(low, high)

    def light(self, colour, keep=0.3):
        """A colour under this sky; `keep` of it is its own."""
        return colour * (self.tint * (1 - keep) + keep)

    def colour(self, value):
        return jitter(self.rng, value)


def landscape(rng, size):
    """A random landscape, and its caption."""
    subject = pick(rng, [*SUBJECTS, "mountain", "none"])
    if subject == "boat":
        place = "sea"
    elif subject in ("none", "mountain"):
        place = pick(rng, list(GROUNDS))
    else:
        place = pick(rng, [place for place in GROUNDS if place != "sea"])
    scene = _Scene(rng, size, pick(rng, list(TIMES)), place)
    sun = (pick(rng, [0.2, 0.8]) if subject != "none" else 0.5) + scene.u(-0.06, 0.06)
    _sky(scene, sun, subject)
    if subject == "mountain":
        _mountains(scene)
    base = _ground(scene, sun)
    if subject in SUBJECTS:
        name = SUBJECTS[subject](scene, 0.5 + scene.u(-0.06, 0.06), base + 0.07, scene.u(0.92, 1.08))
    elif subject == "mountain":
        name = pick(rng, ["a mountain", "mountains", "snowy mountains"])
    else:
        name = ""
    return scene.canvas.out(), _caption(scene, subject, name)


def _caption(scene, subject, name):
    rng, thing = scene.rng, THINGS[scene.place]
    if not name:
        options = {
            "day": [f"the sun over {thing}", f"{thing} on a sunny day", f"a blue sky over {thing}"],
            "sunset": [f"a sunset over {thing}", f"{thing} at sunset"],
            "night": [f"the moon over {thing}", f"a night sky over {thing}", f"{thing} at night"],
        }
        return pick(rng, options[scene.time])
    if scene.place == "sea":
        where = "on the sea" if subject == "boat" else pick(rng, ["by the sea", "over the sea"])
    elif subject == "mountain" and scene.place == "hill":
        where = "behind a hill"
    else:
        where = WHERE[scene.place]
    return f"{name} {where} {pick(rng, TIMES[scene.time])}".strip()


def _sky(scene, sun, subject):
    canvas, rng, u = scene.canvas, scene.rng, scene.u
    canvas.gradient([(place, scene.colour(colour)) for place, colour in SKIES[scene.time]])
    if scene.time == "day":
        canvas.paint(canvas.circle(sun, 0.2, 0.16), rgb((255, 240, 170)), alpha=0.35, soft=canvas.size * 0.08)
        canvas.paint(canvas.circle(sun, 0.2, 0.095), rgb((255, 225, 70)))
        for _ in range(int(rng.integers(0, 3))):
            x, y = (1 - sun) + u(-0.14, 0.14), u(0.12, 0.32)
            puffs = canvas.circle(x - 0.07, y + 0.015, 0.045), canvas.circle(x + 0.07, y + 0.015, 0.045)
            cloud = np.minimum(canvas.circle(x, y, 0.06), np.minimum(*puffs))
            canvas.paint(cloud, rgb((255, 255, 255)), alpha=0.9)
    elif scene.time == "sunset":
        y = scene.horizon - u(0.04, 0.12)
        canvas.paint(canvas.circle(sun, y, 0.25), rgb((255, 230, 150)), alpha=0.5, soft=canvas.size * 0.14)
        canvas.paint(canvas.circle(sun, y, 0.13), rgb((255, 190, 60)), rgb((255, 90, 50)))
    else:
        for _ in range(10):
            star = canvas.circle(u(0.02, 0.98), u(0.02, 0.5), u(0.007, 0.012))
            canvas.paint(star, rgb((255, 255, 235)))
        moon = canvas.circle(sun, 0.2, 0.1)
        if subject != "none" or u(0, 1) < 0.5:
            moon = np.maximum(moon, -canvas.circle(sun - 0.05, 0.17, 0.09))
        canvas.paint(moon, rgb((250, 245, 205)))


def _mountains(scene):
    canvas, u = scene.canvas, scene.u
    slopes = ((0.32 + u(-0.08, 0.08), u(0.34, 0.42), 0.34, 118), (0.68 + u(-0.08, 0.08), u(0.40, 0.5), 0.38, 98))
    for x, height, width, gray in slopes:
        top, base = scene.horizon - height, scene.horizon + 0.05
        slope = canvas.polygon([(x, top), (x + width, base), (x - width, base)])
        canvas.paint(slope, scene.colour((gray, gray + 4, gray + 14)) * scene.tint)
        snow = np.maximum(slope, canvas.y - top - 0.13 - 0.02 * np.cos(canvas.x * 60))
        canvas.paint(snow, scene.light(rgb((248, 250, 255)), 0.4))


def _ground(scene, sun):
    """Paints the ground, and says at what height things stand on it."""
    canvas, horizon = scene.canvas, scene.horizon
    near, far = (scene.colour(colour) * scene.tint for colour in GROUNDS[scene.place])
    if scene.place == "hill":
        x = 0.5 + scene.u(-0.08, 0.08)
        dome = np.hypot((canvas.x - x) / 1.6, canvas.y - horizon - 0.62) - 0.72
        canvas.paint(dome, near * 1.05, far)
        return horizon - 0.08
    if scene.place == "desert":
        phase = scene.u(0, 6)
        dunes = horizon + 0.025 * np.sin(canvas.x * 7 + phase), horizon + 0.16 + 0.03 * np.sin(canvas.x * 6 + phase + 2)
        canvas.paint(dunes[0] - canvas.y, near, far)
        canvas.paint(dunes[1] - canvas.y, near * 0.93, far * 0.93)
        return horizon
    canvas.paint(horizon - canvas.y, near, far)
    if scene.place == "sea" and scene.time != "day":
        glitter = (255, 190, 100) if scene.time == "sunset" else (220, 220, 210)
        width = 0.1 * (0.6 + canvas.y - horizon) if scene.time == "sunset" else 0.06
        path = np.maximum(abs(canvas.x - sun) - width, horizon - canvas.y)
        canvas.paint(path, rgb(glitter), alpha=0.6 if scene.time == "sunset" else 0.35, soft=canvas.size * 0.05)
    return horizon


def _house(scene, x, y, scale):
    canvas, rng = scene.canvas, scene.rng
    colour = pick(rng, [name for name in NAMES if name not in ("white", "gray")])
    wall = pick(rng, [(250, 240, 215), (245, 245, 245), (240, 220, 180)])
    w, h, y = 0.19 * scale, 0.13 * scale, y + 0.03
    canvas.paint(canvas.box(x, y - h, w, h), scene.light(scene.colour(wall), 0.2))
    roof = [(x, y - 2 * h - 0.2 * scale), (x + w + 0.06, y - 2 * h), (x - w - 0.06, y - 2 * h)]
    canvas.paint(canvas.polygon(roof), scene.light(scene.colour(COLOURS[colour])))
    door = canvas.box(x - 0.08 * scale, y - 0.075 * scale, 0.04 * scale, 0.075 * scale)
    canvas.paint(door, scene.light(rgb((120, 72, 40))))
    window = canvas.box(x + 0.08 * scale, y - 0.14 * scale, 0.05 * scale, 0.05 * scale)
    canvas.paint(window, rgb((255, 220, 90)) if scene.time == "night" else rgb((140, 200, 240)))
    return f"a house with {article(colour)} roof"


def _tree(scene, x, y, scale):
    canvas, rng = scene.canvas, scene.rng
    colour = pick(rng, ["green", "green", "orange", "red", "pink", "yellow", "purple"])
    canvas.paint(canvas.box(x, y - 0.13 * scale, 0.03 * scale, 0.14 * scale), rgb((112, 74, 44)) * scene.tint)
    sides = [canvas.circle(x + side * 0.11 * scale, y - 0.31 * scale, 0.12 * scale) for side in (-1, 1)]
    crown = np.minimum(canvas.circle(x, y - 0.42 * scale, 0.15 * scale), np.minimum(*sides))
    leaves = scene.light(scene.colour(COLOURS[colour]))
    canvas.paint(crown, np.minimum(leaves * 1.2, 1), leaves * 0.75)
    return "a tree" if colour == "green" and rng.uniform() < 0.5 else f"{article(colour)} tree"


def _pine(scene, x, y, scale):
    canvas = scene.canvas
    canvas.paint(canvas.box(x, y - 0.04, 0.03 * scale, 0.06), rgb((100, 66, 40)) * scene.tint)
    for k in range(3):
        base, width = y - (0.07 + 0.13 * k) * scale, (0.2 - 0.045 * k) * scale
        tier = canvas.polygon([(x, base - 0.22 * scale), (x + width, base), (x - width, base)])
        canvas.paint(tier, scene.light(scene.colour((30, 110 + 14 * k, 70))))
    return "a pine tree"


def _flower(scene, x, y, scale):
    canvas = scene.canvas
    colour = pick(scene.rng, ["red", "yellow", "pink", "purple", "white", "blue", "orange"])
    head = y - 0.36 * scale
    canvas.paint(canvas.box(x, (y + head) / 2 + 0.04, 0.014, (y - head) / 2 + 0.04), rgb((40, 130, 50)) * scene.tint)
    leaf = np.hypot((canvas.x - x - 0.07) / 1.6, canvas.y - y + 0.06) - 0.035
    canvas.paint(leaf, rgb((50, 150, 60)) * scene.tint)
    angles = np.arange(6) * np.pi / 3
    petals = [
        canvas.circle(x + 0.1 * scale * np.cos(a), head + 0.1 * scale * np.sin(a), 0.07 * scale) for a in angles
    ]
    canvas.paint(np.minimum.reduce(petals), scene.light(scene.colour(COLOURS[colour]), 0.4))
    heart = (255, 205, 50) if colour != "yellow" else (150, 90, 40)
    canvas.paint(canvas.circle(x, head, 0.065 * scale), rgb(heart))
    return f"{article(colour)} flower"


def _boat(scene, x, _y, _scale):
    canvas, rng = scene.canvas, scene.rng
    colour = pick(rng, ["white", "red", "yellow", "orange", "pink", "green", "purple", "black"])
    y = scene.horizon + 0.12 + scene.u(-0.02, 0.03)
    sail = scene.light(scene.colour(COLOURS[colour]))
    front = [(x + 0.015, y - 0.46), (x + 0.22, y - 0.09), (x + 0.015, y - 0.09)]
    back = [(x - 0.015, y - 0.40), (x - 0.015, y - 0.09), (x - 0.17, y - 0.09)]
    hull = [(x - 0.24, y - 0.06), (x + 0.27, y - 0.06), (x + 0.18, y + 0.05), (x - 0.17, y + 0.05)]
    canvas.paint(canvas.polygon(front), sail)
    canvas.paint(canvas.polygon(back), sail * 0.88)
    canvas.paint(canvas.box(x, y - 0.24, 0.008, 0.23), scene.light(rgb((90, 60, 40))))
    canvas.paint(canvas.polygon(hull), scene.light(rgb((130, 76, 42))))
    if colour == "white" and rng.uniform() < 0.2:
        return "a sailboat"
    return f"a sailboat with {article(colour)} sail"


SUBJECTS = {"house": _house, "tree": _tree, "pine": _pine, "boat": _boat, "flower": _flower}
