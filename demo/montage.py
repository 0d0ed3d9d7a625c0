"""The demo's job, as a plugin author would write it: ``montage.py INCOMING OUTGOING``.

Joins all images of one folder into ``montage.png`` in the other, and measures each: ``stats.csv``, ``stats.json``.
"""

import csv
import json
import math
import sys
from pathlib import Path

from PIL import Image, ImageStat

TISSUE_MIN = 70
"""Brighter than this is tissue or bone; darker is air or fluid."""


def measure(path: Path, image: Image.Image) -> dict[str, str | float]:
    stat = ImageStat.Stat(image)
    histogram = image.histogram()
    probabilities = [count / sum(histogram) for count in histogram if count]
    return {
        "image": path.name,
        "mean": round(stat.mean[0], 2),
        "std": round(stat.stddev[0], 2),
        "median": stat.median[0],
        "entropy_bits": round(-sum(p * math.log2(p) for p in probabilities), 3),
        "tissue_percent": round(100 * sum(histogram[TISSUE_MIN:]) / sum(histogram), 1),
    }


def join(images: list[Image.Image]) -> Image.Image:
    columns = math.ceil(math.sqrt(len(images)))
    width, height = images[0].size
    sheet = Image.new("L", (columns * width, math.ceil(len(images) / columns) * height))
    for number, image in enumerate(images):
        sheet.paste(image, (number % columns * width, number // columns * height))
    return sheet


def main(incoming: Path, outgoing: Path) -> None:
    paths = sorted(incoming.glob("*.png"))
    if not paths:
        sys.exit(f"no images in {incoming}")
    images = [Image.open(path).convert("L") for path in paths]
    rows = []
    for number, (path, image) in enumerate(zip(paths, images, strict=True), start=1):
        rows.append(measure(path, image))
        sys.stdout.write(f"{number}/{len(paths)} {path.name}: mean {rows[-1]['mean']}\n")
    join(images).save(outgoing / "montage.png")
    with (outgoing / "stats.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, fieldnames=list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    (outgoing / "stats.json").write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
