"""The demo's job, as a plugin author would write it: ``montage.py INCOMING OUTGOING``.

Enlarges and denoises all images of one folder, measures each (``stats.csv``, ``stats.json``) and joins them into one
picture (``montage.png``) in the other folder.
"""

import csv
import json
import math
import sys
from pathlib import Path

from PIL import Image, ImageFilter, ImageStat

SCALE = 3
NOISE_PX = 7
"""Of the enlarged image: the width of the median filter."""
TISSUE_MIN = 70
"""Brighter than this is tissue or bone; darker is air or fluid."""


def clean(path: Path) -> Image.Image:
    with Image.open(path) as image:
        grey = image.convert("L")
    enlarged = grey.resize((grey.width * SCALE, grey.height * SCALE), Image.Resampling.BICUBIC)
    return enlarged.filter(ImageFilter.MedianFilter(NOISE_PX))


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
    images, rows = [], []
    for number, path in enumerate(paths, start=1):
        images.append(clean(path))
        rows.append(measure(path, images[-1]))
        sys.stdout.write(f"{number}/{len(paths)} {path.name}: mean {rows[-1]['mean']}\n")
        sys.stdout.flush()
    join(images).save(outgoing / "montage.png")
    with (outgoing / "stats.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, fieldnames=list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    (outgoing / "stats.json").write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
