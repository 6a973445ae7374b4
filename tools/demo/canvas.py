"""Drawing by signed distances in unit coordinates, so that every size renders alike."""

import numpy as np

COLOURS = {
    "red": (222, 40, 42),
    "orange": (246, 138, 24),
    "yellow": (250, 216, 48),
    "green": (44, 160, 66),
    "cyan": (50, 200, 212),
    "blue": (40, 84, 222),
    "purple": (132, 56, 184),
    "pink": (248, 140, 190),
    "white": (250, 250, 250),
    "black": (24, 24, 28),
    "gray": (138, 138, 142),
}
NAMES = list(COLOURS)
SHAPES = ["circle", "square", "triangle", "star", "heart", "ring", "diamond", "cross"]


def rgb(colour):
    """A colour of 0..255 as floats of 0..1."""
    return np.array(colour, np.float32) / 255


def jitter(rng, colour, amount=0.03):
    """A colour a little off, so that a word stands for a range and not for one value."""
    return np.clip(rgb(colour) + rng.uniform(-amount, amount, 3).astype(np.float32), 0, 1)


def pick(rng, items):
    return items[int(rng.integers(len(items)))]


def article(word):
    return ("an " if word[0] in "aeiou" else "a ") + word


class Canvas:
    """A square picture; x grows to the right and y downwards, both from 0 to 1."""

    _grids = {}

    def __init__(self, size):
        if size not in self._grids:
            centres = (np.arange(size, dtype=np.float32) + 0.5) / size
            self._grids[size] = np.meshgrid(centres, centres)
        self.size = size
        self.x, self.y = self._grids[size]
        self.pixels = np.ones((size, size, 3), np.float32)

    def gradient(self, stops):
        """Fills the picture from top to bottom; stops are (position, colour)."""
        rows = self.y[:, 0]
        places = [place for place, _ in stops]
        channels = [np.interp(rows, places, [colour[i] for _, colour in stops]) for i in range(3)]
        self.pixels[:] = np.stack(channels, 1)[:, None, :]

    def paint(self, distance, colour, bottom=None, alpha=1.0, soft=1.0):
        """Fills where distance < 0, over an edge `soft` pixels wide; `bottom` makes a vertical gradient."""
        cover = np.clip(0.5 - distance * (self.size / soft), 0, 1)[..., None] * alpha
        if bottom is not None:
            colour = colour + (bottom - colour) * self.y[..., None]
        self.pixels += cover * (colour - self.pixels)

    def circle(self, x, y, radius):
        return np.hypot(self.x - x, self.y - y) - radius

    def box(self, x, y, half_width, half_height):
        return np.maximum(np.abs(self.x - x) - half_width, np.abs(self.y - y) - half_height)

    def polygon(self, points):
        """A convex polygon, clockwise on the screen."""
        distance = None
        for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1]):
            dx, dy = x1 - x0, y1 - y0
            edge = ((self.x - x0) * dy - (self.y - y0) * dx) / np.hypot(dx, dy)
            distance = edge if distance is None else np.maximum(distance, edge)
        return distance

    def shape(self, kind, x, y, radius):
        """One of SHAPES; all look about equally large for one radius."""
        u, v = (self.x - x) / radius, (y - self.y) / radius
        return _SHAPE_DISTANCES[kind](u, v) * radius

    def out(self):
        return (np.clip(self.pixels, 0, 1) * 255 + 0.5).astype(np.uint8)


def _star(x, y):
    """Five points: two reflections fold the plane into a tenth, which has one edge."""
    kx, ky, ratio = 0.809016994, -0.587785252, 0.45
    x = abs(x)
    m = 2 * np.maximum(kx * x + ky * y, 0)
    x, y = x - m * kx, y - m * ky
    m = 2 * np.maximum(-kx * x + ky * y, 0)
    x, y = abs(x + m * kx), y - m * ky - 1.05
    bx, by = -ratio * ky, ratio * kx - 1
    h = np.clip((x * bx + y * by) / (bx * bx + by * by), 0, 1.05)
    return np.hypot(x - bx * h, y - by * h) * np.sign(y * bx - x * by)


def _heart(x, y):
    """Two quarter circles on a square that stands on its corner."""
    k = 0.62
    x, y = abs(x) * k, y * k + 0.52
    s = np.maximum(x + y, 0) * 0.5
    edge = np.sqrt(np.minimum(x * x + (y - 1) ** 2, (x - s) ** 2 + (y - s) ** 2)) * np.sign(x - y)
    return np.where(x + y > 1, np.hypot(x - 0.25, y - 0.75) - 0.35355, edge) / k


def _triangle(x, y):
    return np.maximum(-(y + 0.2) - 0.55, 0.866 * abs(x) + 0.5 * (y + 0.2) - 0.55)


def _cross(x, y):
    across = np.maximum(abs(x) - 0.95, abs(y) - 0.3)
    return np.minimum(np.maximum(abs(x) - 0.3, abs(y) - 0.95), across)


_SHAPE_DISTANCES = {
    "circle": lambda x, y: np.hypot(x, y) - 0.95,
    "square": lambda x, y: np.maximum(abs(x), abs(y)) - 0.84,
    "triangle": _triangle,
    "star": _star,
    "heart": _heart,
    "ring": lambda x, y: abs(np.hypot(x, y) - 0.76) - 0.22,
    "diamond": lambda x, y: (abs(x) / 0.8 + abs(y) / 1.1 - 1) * 0.65,
    "cross": _cross,
}
