"""Simulated surveys: a folder with a training catalogue, and the images, masks and marks of simulated galaxies."""

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from zoobot3d_tf.files import whole_file, write_atomically
from zoobot3d_tf.images.masks import N_VOLUNTEERS, counts_from_marks
from zoobot3d_tf.images.rgb import grz_to_rgb
from zoobot3d_tf.machine import map_in_processes
from zoobot3d_tf.schemas import get_schema
from zoobot3d_tf.simulation.galaxies import IMAGE_SIZE, Scene
from zoobot3d_tf.simulation.population import sample_scene
from zoobot3d_tf.simulation.render import render
from zoobot3d_tf.simulation.visibility import arms_visibility, bar_visibility, bulge_fraction, ring_visibility
from zoobot3d_tf.simulation.volunteers import VolunteerMarks, draw_marks
from zoobot3d_tf.simulation.votes import SCHEMA_NAME, draw_votes
from zoobot3d_tf.tables.formats import write_table

SHARE_WITHOUT_VOTES = 0.1
"""Mean share of the galaxies of a survey without votes."""
SHARE_WITHOUT_MASKS = 0.6
"""Mean share of the galaxies of a survey without masks."""


@dataclass(frozen=True)
class SimulatedGalaxy:
    """A simulated galaxy: its parameters, its image, and the votes and marks of volunteers.

    Attributes:
        id_str: name of the galaxy in the catalogue.
        truth: parameters of the galaxy and its observation.
        bands: fluxes in g, r, z, in nanomaggies per native pixel, float32 (3, 424, 424).
        image: colour image, uint8 (424, 424, 3), with north up and east left.
        votes: number of votes for each answer of the schema `decals_rings`.
        marks: paths of the volunteers for `spiral_mask` and `bar_mask`, in pixels of the image.
        spiral_counts: number of volunteers who enclosed each pixel as part of an arm, uint8 (424, 424).
        bar_counts: number of volunteers who enclosed each pixel as part of the bar, uint8 (424, 424).
        ra: right ascension, degrees.
        dec: declination, degrees.
        has_votes: whether the catalogue of a survey has its votes.
        has_masks: whether the catalogue of a survey has its masks.
    """

    id_str: str
    truth: Scene
    bands: np.ndarray
    image: np.ndarray
    votes: dict[str, int]
    marks: dict[str, VolunteerMarks]
    spiral_counts: np.ndarray
    bar_counts: np.ndarray
    ra: float
    dec: float
    has_votes: bool
    has_masks: bool


def simulate_galaxy(seed: int, index: int) -> SimulatedGalaxy:
    """Draw one galaxy. The result depends on the seed and the index only.

    Args:
        seed: random seed of the survey, >= 0.
        index: number of the galaxy in the survey, >= 0.

    Returns:
        The galaxy.

    Raises:
        ValueError: the seed or the index is negative.
    """
    if seed < 0 or index < 0:
        raise ValueError(f"seed and index must be >= 0; received seed {seed}, index {index}")
    # Each stage has its own random stream, so that a change of one, such as the votes, does not change the images.
    for_scene, for_image, for_votes, for_marks, for_survey = np.random.default_rng([seed, index]).spawn(5)
    scene = sample_scene(for_scene)
    bands = render(scene, for_image)
    marks = draw_marks(scene, for_marks)
    shape = (IMAGE_SIZE, IMAGE_SIZE)
    return SimulatedGalaxy(
        id_str=f"sim-{seed}-{index:06d}",
        truth=scene,
        bands=bands,
        image=grz_to_rgb(bands),
        votes=draw_votes(scene, for_votes),
        marks=marks,
        spiral_counts=counts_from_marks(marks["spiral_mask"], shape),
        bar_counts=counts_from_marks(marks["bar_mask"], shape),
        ra=for_survey.uniform(0, 360),
        dec=float(np.degrees(np.arcsin(for_survey.uniform(-0.3, 0.5)))),
        has_votes=for_survey.random() >= SHARE_WITHOUT_VOTES,
        has_masks=for_survey.random() >= SHARE_WITHOUT_MASKS,
    )


def simulate_survey(out_dir: str | Path, n: int, seed: int = 0, workers: int = 1) -> Path:
    """Write a survey of simulated galaxies.

    The folder `out_dir` receives `catalog.csv`, a training catalogue as `catalogs.training_catalog` reads it;
    `truth.csv`, the true parameters of each galaxy; and the folders `images`, `masks` and `marks`. Each file is
    complete or absent, and the catalogue is written last.

    The same n and seed give the same bytes, for any number of workers. A larger n adds galaxies, and does not change
    the others.

    Args:
        out_dir: folder to fill. It must be empty or not exist.
        n: number of galaxies, >= 1.
        seed: random seed, >= 0.
        workers: number of processes, >= 1.

    Returns:
        Path of the catalogue.

    Raises:
        ValueError: `out_dir` is a file or not empty, n or workers is below 1, or the seed is negative.
        OSError: a file cannot be written.
    """
    if n < 1 or workers < 1 or seed < 0:
        raise ValueError(f"n and workers must be >= 1 and seed >= 0; received n {n}, workers {workers}, seed {seed}")
    out_dir = Path(out_dir)
    if out_dir.exists() and (not out_dir.is_dir() or any(out_dir.iterdir())):
        raise ValueError(f"{out_dir}: is a file or a folder with files; choose a new or an empty folder")
    for folder in ("images", "masks", "marks"):
        (out_dir / folder).mkdir(parents=True, exist_ok=True)
    rows = list(tqdm(_write_galaxies(out_dir, n, seed, workers), total=n, desc="simulating", unit="galaxy"))
    catalog = pd.DataFrame([row for row, _ in rows])
    counts = [*get_schema(SCHEMA_NAME).label_cols, "n_volunteers"]
    catalog[counts] = catalog[counts].astype("Int64")
    write_table(pd.DataFrame([truth for _, truth in rows]), out_dir / "truth.csv")
    # The catalogue is written last. If it exists, the survey is complete.
    return write_table(catalog, out_dir / "catalog.csv")


def _write_galaxies(out_dir: Path, n: int, seed: int, workers: int) -> Iterator[tuple[dict, dict]]:
    """Write the files of all galaxies; yield a row of the catalogue and a row of the true values for each, in order."""
    return map_in_processes(partial(_write_galaxy, out_dir, seed), range(n), workers, chunk_size=8)


def _write_galaxy(out_dir: Path, seed: int, index: int) -> tuple[dict, dict]:
    galaxy = simulate_galaxy(seed, index)
    image_loc = f"images/{galaxy.id_str}.png"
    _write_png(out_dir / image_loc, galaxy.image)
    row: dict[str, Any] = {
        "id_str": galaxy.id_str,
        "file_loc": image_loc,
        "ra": round(galaxy.ra, 6),
        "dec": round(galaxy.dec, 6),
        "pixscale": round(galaxy.truth.pixscale, 6),
    }
    row |= galaxy.votes if galaxy.has_votes else dict.fromkeys(galaxy.votes)
    row |= dict.fromkeys(("spiral_mask_loc", "bar_mask_loc", "marks_loc", "n_volunteers"))
    if galaxy.has_masks:
        row["n_volunteers"] = N_VOLUNTEERS
        row["marks_loc"] = f"marks/{galaxy.id_str}.json"
        for name, counts in (("spiral", galaxy.spiral_counts), ("bar", galaxy.bar_counts)):
            row[f"{name}_mask_loc"] = f"masks/{galaxy.id_str}_{name}.png"
            _write_png(out_dir / row[f"{name}_mask_loc"], counts)
        write_atomically(out_dir / row["marks_loc"], json.dumps(galaxy.marks, separators=(",", ":")))
    return row, {"id_str": galaxy.id_str} | _truth_row(galaxy.truth)


def _truth_row(scene: Scene) -> dict:
    """Row of the table of true values. Angles are in degrees, lengths in arcsec."""
    galaxy = scene.galaxy
    bar, ring, disc = galaxy.bar, galaxy.ring, galaxy.disc
    row = {
        "kind": galaxy.kind,
        "defect": scene.defect,
        "pixscale": scene.pixscale,
        "seeing_r": scene.seeing[1],
        "inclination": galaxy.inclination,
        "position_angle": galaxy.position_angle,
        "bulge_fraction": bulge_fraction(galaxy),
        "disc_scale_length": disc.scale_length if disc else None,
        "n_arms": len(galaxy.arms),
        "pitch": float(np.mean([arm.pitch for arm in galaxy.arms])) if galaxy.arms else None,
        "arms_visibility": arms_visibility(scene),
        "bar_half_length": bar.half_length if bar else None,
        "bar_half_width": bar.half_width if bar else None,
        "bar_position_angle": galaxy.bar_position_angle(),
        "bar_visibility": bar_visibility(scene),
        "ring_radius": ring.radius if ring else None,
        "ring_visibility": ring_visibility(scene),
        "n_companions": len(galaxy.companions),
    }
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in row.items()}


def _write_png(path: Path, pixels: np.ndarray) -> None:
    # Noisy images have no long repeats. A search for them takes time, and does not make the file smaller.
    with whole_file(path) as partial:
        Image.fromarray(pixels).save(partial, compress_level=1, compress_type=zlib.Z_RLE)
