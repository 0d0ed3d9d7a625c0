"""Makes the demo's input: a few synthetic brain slices, drawn by arithmetic, so that no data need be shipped."""

import math
import random
from pathlib import Path

from PIL import Image

SIDE_PX = 96


def write_slices(folder: Path, count: int) -> None:
    """Write ``count`` axial slices of one head as ``slice-NN.png``, from the chin side up; always the same ones."""
    folder.mkdir(parents=True)
    for number in range(count):
        height = (number + 0.5) / count  # 0 = bottom, 1 = top of the head
        image = Image.new("L", (SIDE_PX, SIDE_PX))
        image.putdata(_pixels(math.sin(math.pi * (0.15 + 0.75 * height)), random.Random(number)))  # noqa: S311 - noise
        image.save(folder / f"slice-{number:02}.png")


def _pixels(size: float, noise: random.Random) -> list[int]:
    points = [(2 * (i + 0.5) / SIDE_PX - 1) for i in range(SIDE_PX)]
    return [round(max(0.0, min(255.0, _tissue(x, y, size) + noise.gauss(0, 6)))) for y in points for x in points]


def _tissue(x: float, y: float, size: float) -> float:
    """Return the brightness at a point: air, skull, grey matter in folds, white matter, or a ventricle."""
    radius = math.hypot(x / 0.78, y / 0.95) / size
    if radius > 1:
        return 4
    if radius > 0.92:
        return 235
    if size > 0.6 and math.hypot((abs(x) - 0.13) / 0.08, (y + 0.05) / 0.28) < 1:
        return 40
    folds = 0.07 * math.sin(14 * math.atan2(y, x)) + 0.04 * math.sin(23 * x)
    return 120 if radius > 0.68 + folds or abs(x) < 0.02 else 185
