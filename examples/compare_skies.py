"""Compare the skies, sizes and colours of folders of galaxy images, in one figure of histograms.

zoobot3d simulate --survey sdss --n 300 --out simulated
python examples/compare_skies.py gz2/images simulated/images --labels "Galaxy Zoo 2" simulated --out skies.png

All images are made 212 pixels wide first, so that their noise can be compared. For each image it measures:

sky      median of the border, 0..255; the border is a tenth of the image wide
noise    1.48 times the median absolute difference of adjacent pixels of the border
size     radius of a circle with half of the light of the galaxy, divided by the width of the image
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

WIDTH = 212
"""Height and width of the images when they are measured, in pixels."""
BORDER = WIDTH // 10
"""Width of the border, in pixels."""
AXES = {
    "sky": ("sky level (0..255)", np.linspace(0, 100, 41)),
    "noise": ("noise of the sky (0..255)", np.linspace(0, 20, 41)),
    "size": ("half-light radius / width of image", np.linspace(0, 0.25, 41)),
    "peak": ("peak above the sky (0..255)", np.linspace(0, 255, 41)),
    "red": ("red / green", np.linspace(0.6, 1.6, 41)),
    "blue": ("blue / green", np.linspace(0.2, 1.4, 41)),
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
    """Draw a histogram of each measurement, with one outline per folder."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 4.8), layout="constrained")
    for axes, (name, (label, bins)) in zip(figure.subplots(2, 3).flat, AXES.items(), strict=True):
        for folder, table in tables.items():
            # Values beyond the axis are counted in its last bin.
            values = table[name].dropna().clip(bins[0], bins[-1])
            axes.hist(values, bins, weights=np.full(len(values), 1 / len(values)), histtype="step", label=folder)
        axes.set(xlabel=label, yticks=[])
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(path, dpi=100)


def main() -> None:
    """Measure the folders, print the medians, and write the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="folders of images")
    parser.add_argument("--labels", nargs="+", help="names in the figure, one per folder; by default the paths")
    parser.add_argument("--at-most", type=int, default=300, help="number of images of each folder to measure")
    parser.add_argument("--out", type=Path, default=Path("skies.png"), help="figure to write")
    args = parser.parse_args()
    labels = args.labels or [str(folder) for folder in args.folders]
    if len(labels) != len(args.folders):
        parser.error(f"--labels needs one name per folder, {len(args.folders)}; received {len(labels)}")
    tables = {label: measure_folder(folder, args.at_most) for label, folder in zip(labels, args.folders, strict=True)}
    print(pd.DataFrame({label: table.median() for label, table in tables.items()}).T.round(3).to_string())
    draw(tables, args.out)


if __name__ == "__main__":
    main()
