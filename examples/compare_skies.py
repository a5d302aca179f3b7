"""Compare the skies, sizes and colours of the galaxy images in several folders, in one figure of histograms.

zoobot3d simulate --survey sdss --n 300 --out simulated
python examples/compare_skies.py gz2/images simulated/images --labels "Galaxy Zoo 2" simulated --out skies.png

All images are made 212 pixels wide first, so that their noise can be compared. For each image it measures:

sky      median of the border, 0..255; the border is a tenth of the image wide
noise    1.48 times the median absolute difference of adjacent pixels of the border
size     radius of the circle with half of the light of the galaxy, divided by the width of the image
peak     brightest pixel of the galaxy above the sky, 0..255
red      mean of red divided by the mean of green over the galaxy, above the sky
blue     mean of blue divided by the mean of green over the galaxy, above the sky

The galaxy is the connected region, brighter than the sky, that is nearest to the centre. Light means pixel values
above the sky, after the stretch of the image. The medians are printed, and the figure needs the extra `plots`.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage

from zoobot3d_tf.commands.stage import at_least
from zoobot3d_tf.extras import require

WIDTH = 212
"""Height and width of the images when they are measured, in pixels."""
BORDER = WIDTH // 10
"""Width of the border, in pixels."""
AXES = {
    "sky": ("sky (0..255)", np.linspace(0, 100, 41)),
    "noise": ("noise (0..255)", np.linspace(0, 15, 31)),
    "size": ("radius / width", np.linspace(0, 0.25, 31)),
    "peak": ("peak (0..255)", np.linspace(0, 255, 31)),
    "red": ("red / green", np.linspace(0.6, 1.6, 31)),
    "blue": ("blue / green", np.linspace(0.4, 1.4, 31)),
}
"""Label and bins of the histogram of each measurement."""


def measure(image: Image.Image) -> dict[str, float]:
    """Measure the sky and the galaxy of one image.

    Args:
        image: image of a galaxy in its middle.

    Returns:
        The measurements that are described above; those of the galaxy are NaN if nothing is brighter than the sky.
    """
    rgb = np.asarray(image.convert("RGB").resize((WIDTH, WIDTH), Image.Resampling.BOX), dtype=float)
    border = np.ones((WIDTH, WIDTH), dtype=bool)
    border[BORDER:-BORDER, BORDER:-BORDER] = False
    grey = rgb.mean(axis=2)
    pairs = border[:, 1:] & border[:, :-1]
    noise = 1.48 * np.median(np.abs(np.diff(grey, axis=1)[pairs]))
    sky = np.median(grey[border])
    measured = {"sky": sky, "noise": noise} | dict.fromkeys(("size", "peak", "red", "blue"), np.nan)

    smooth = ndimage.gaussian_filter(grey, 1.5)
    regions, n_regions = ndimage.label(smooth > sky + max(noise, 4))
    if not n_regions:
        return measured
    from_centre = np.hypot(*(np.indices(grey.shape) - (WIDTH - 1) / 2))
    nearest = regions.flat[np.where(regions > 0, from_centre, np.inf).argmin()]
    galaxy = regions == nearest
    light = (grey - sky)[galaxy]
    row, column = ndimage.center_of_mass(np.where(galaxy, smooth - sky, 0))
    radius = np.hypot(*(np.argwhere(galaxy) - (row, column)).T)
    outwards = np.argsort(radius)
    enclosed = np.cumsum(light[outwards])
    half = radius[outwards][np.searchsorted(enclosed, enclosed[-1] / 2)]
    red, green, blue = (rgb - np.median(rgb[border], axis=0))[galaxy].mean(axis=0)
    return measured | {"size": half / WIDTH, "peak": light.max(), "red": red / green, "blue": blue / green}


def measure_folder(folder: Path, at_most: int) -> pd.DataFrame:
    """Measure images that are spread evenly over the sorted names of a folder; one row per image.

    Raises:
        ValueError: the folder has no images.
    """
    files = sorted(file for file in folder.glob("*") if file.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not files:
        raise ValueError(f"{folder}: has no JPEG or PNG images")
    rows = []
    for file in files[:: max(1, len(files) // at_most)][:at_most]:
        with Image.open(file) as image:
            rows.append(measure(image))
    return pd.DataFrame(rows)


def draw(tables: dict[str, pd.DataFrame], path: Path) -> None:
    """Draw a histogram of each measurement with its median: one row per folder, one column per measurement."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 0.8 + 0.55 * len(tables)), layout="constrained")
    grid = figure.subplots(len(tables), len(AXES), sharex="col", squeeze=False)
    for row, (label, table) in zip(grid, tables.items(), strict=True):
        for axes, (name, (_, bins)) in zip(row, AXES.items(), strict=True):
            # Values beyond the axis are counted in its last bin.
            axes.hist(table[name].dropna().clip(bins[0], bins[-1]), bins, color="0.65")
            axes.axvline(table[name].median(), color="tab:red", linewidth=1)
            axes.set(yticks=[], xlim=(bins[0], bins[-1]))
        row[0].set_ylabel(label, rotation=0, horizontalalignment="right", verticalalignment="center")
    for axes, (label, _) in zip(grid[-1], AXES.values(), strict=True):
        axes.set_xlabel(label)
    figure.savefig(path, dpi=90)


def main() -> None:
    """Measure the folders, print the medians, and write the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="folders of images")
    parser.add_argument("--labels", nargs="+", help="names in the figure, one per folder; by default the paths")
    parser.add_argument("--at-most", type=at_least(1), default=300, help="largest number of images per folder")
    parser.add_argument("--out", type=Path, default=Path("skies.png"), help="figure to write")
    args = parser.parse_args()
    labels = args.labels or [str(folder) for folder in args.folders]
    if len(labels) != len(args.folders):
        parser.error(f"--labels needs one name per folder, {len(args.folders)}; received {len(labels)}")
    require("matplotlib", "the figure")
    try:
        measured = [measure_folder(folder, args.at_most) for folder in args.folders]
    except ValueError as error:
        parser.error(str(error))
    tables = dict(zip(labels, measured, strict=True))
    print(pd.DataFrame({label: table.median() for label, table in tables.items()}).T.round(3).to_string())
    draw(tables, args.out)


if __name__ == "__main__":
    main()
