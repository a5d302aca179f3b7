"""Simulated surveys: a folder with a training catalogue, and the images, masks and marks of simulated galaxies."""

import json
import logging
import zlib
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from zoobot3d_tf.files import LOCK_NAME, one_owner, partial_path, path_of, whole_file, write_atomically
from zoobot3d_tf.images.masks import N_VOLUNTEERS, counts_from_marks
from zoobot3d_tf.machine import map_in_processes
from zoobot3d_tf.progress import Progress
from zoobot3d_tf.schemas import get_schema
from zoobot3d_tf.simulation.galaxies import IMAGE_SIZE, Scene
from zoobot3d_tf.simulation.looks import DEFAULT_SURVEY, check_survey, draw_look
from zoobot3d_tf.simulation.population import sample_scene
from zoobot3d_tf.simulation.render import render
from zoobot3d_tf.simulation.visibility import arms_visibility, bar_visibility, bulge_fraction, ring_visibility
from zoobot3d_tf.simulation.volunteers import VolunteerMarks, draw_marks
from zoobot3d_tf.simulation.votes import SCHEMA_NAME, draw_votes
from zoobot3d_tf.tables.formats import write_table
from zoobot3d_tf.version import __version__

CATALOG_NAME = "catalog.csv"
"""Name of the training catalogue in the folder of a survey."""
SETTINGS_NAME = "simulation.json"
"""Name of the file with the settings of a survey, by which an interrupted simulation is recognised."""
SHARE_WITHOUT_VOTES = 0.1
"""Mean share of the galaxies of a survey without votes."""
SHARE_WITHOUT_MASKS = 0.6
"""Mean share of the galaxies of a survey without masks."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SimulatedGalaxy:
    """A simulated galaxy: its parameters, its image, and the votes and marks of volunteers.

    The image and the masks are drawn when they are first used.

    Attributes:
        id_str: name of the galaxy in the catalogue.
        truth: parameters of the galaxy and its observation.
        votes: number of votes for each answer of the schema `decals_rings`.
        marks: paths of the volunteers for `spiral_mask` and `bar_mask`, in pixels of the image.
        ra: right ascension, degrees.
        dec: declination, degrees.
        has_votes: whether the catalogue of a survey has its votes.
        has_masks: whether the catalogue of a survey has its masks.
    """

    id_str: str
    truth: Scene
    votes: dict[str, int]
    marks: dict[str, VolunteerMarks]
    ra: float
    dec: float
    has_votes: bool
    has_masks: bool
    _for_image: np.random.Generator = field(repr=False)

    @cached_property
    def bands(self) -> np.ndarray:
        """Fluxes in g, r and the reddest band, in nanomaggies per native pixel, float32 (3, 424, 424)."""
        return render(self.truth, self._for_image)

    @cached_property
    def image(self) -> np.ndarray:
        """Picture, uint8 (424, 424, 3), with north up and east left."""
        return self.truth.display.picture(self.bands)

    @cached_property
    def spiral_counts(self) -> np.ndarray:
        """Number of volunteers who enclosed each pixel as part of an arm, uint8 (424, 424)."""
        return counts_from_marks(self.marks["spiral_mask"], (IMAGE_SIZE, IMAGE_SIZE))

    @cached_property
    def bar_counts(self) -> np.ndarray:
        """Number of volunteers who enclosed each pixel as part of the bar, uint8 (424, 424)."""
        return counts_from_marks(self.marks["bar_mask"], (IMAGE_SIZE, IMAGE_SIZE))


def simulate_galaxy(seed: int, index: int, survey: str = DEFAULT_SURVEY) -> SimulatedGalaxy:
    """Draw one galaxy. The result depends on the arguments only.

    Args:
        seed: random seed of the survey, >= 0.
        index: number of the galaxy in the survey, >= 0.
        survey: survey whose look the image has, one of `looks.SURVEYS`.

    Returns:
        The galaxy.

    Raises:
        ValueError: the seed or the index is negative, or the survey is unknown.
    """
    if seed < 0 or index < 0:
        raise ValueError(f"seed and index must be >= 0; received seed {seed}, index {index}")
    # Each stage has its own random stream, so that a change of one, such as the votes, does not change the images.
    streams = np.random.default_rng([seed, index]).spawn(6)
    for_scene, for_image, for_votes, for_marks, for_catalog, for_look = streams
    scene = sample_scene(for_scene, draw_look(survey, for_look))
    return SimulatedGalaxy(
        id_str=f"sim-{seed}-{index:06d}",
        truth=scene,
        votes=draw_votes(scene, for_votes),
        marks=draw_marks(scene, for_marks),
        ra=for_catalog.uniform(0, 360),
        dec=float(np.degrees(np.arcsin(for_catalog.uniform(-0.3, 0.5)))),
        has_votes=for_catalog.random() >= SHARE_WITHOUT_VOTES,
        has_masks=for_catalog.random() >= SHARE_WITHOUT_MASKS,
        _for_image=for_image,
    )


def simulate_survey(out_dir: str | Path, n: int, seed: int = 0, workers: int = 1, survey: str = DEFAULT_SURVEY) -> Path:
    """Write a survey of simulated galaxies.

    The folder `out_dir` receives `catalog.csv`, a training catalogue as `catalogs.training_catalog` reads it;
    `truth.csv`, the true parameters of each galaxy; and the folders `images`, `masks` and `marks`. Each file is
    complete or absent, and the catalogue is written last.

    The same n, seed and survey give the same bytes, for any number of workers. A larger n adds galaxies, and does not
    change the others. If a simulation was interrupted, the same call continues it.

    Args:
        out_dir: folder to fill. It must be empty or not exist, or have a survey of the same settings.
        n: number of galaxies, >= 1.
        seed: random seed, >= 0.
        workers: number of processes, >= 1.
        survey: survey whose look the images have, one of `looks.SURVEYS`.

    Returns:
        Path of the catalogue.

    Raises:
        ValueError: `out_dir` is a file, or has other files or a survey of other settings; n or workers is below 1; the
            seed is negative; or the survey is unknown.
        BlockingIOError: another process writes the folder.
        OSError: a file cannot be written, or a worker died.
    """
    if n < 1 or workers < 1 or seed < 0:
        raise ValueError(f"n and workers must be >= 1 and seed >= 0; received n {n}, workers {workers}, seed {seed}")
    check_survey(survey)
    out_dir = path_of(out_dir)
    if out_dir.exists() and not out_dir.is_dir():
        raise ValueError(f"{out_dir}: is a file; choose a new or an empty folder")
    with one_owner(out_dir):
        # Folders of the default survey have no entry for it, so that older ones can be continued.
        of_survey = {} if survey == DEFAULT_SURVEY else {"survey": survey}
        _claim_folder(out_dir, {"n": n, "seed": seed, "version": __version__} | of_survey)
        if (out_dir / CATALOG_NAME).exists():
            log.info("%s: the survey is already complete", out_dir)
            return out_dir / CATALOG_NAME
        return _write_survey(out_dir, n, seed, workers, survey)


def _claim_folder(folder: Path, settings: dict[str, Any]) -> None:
    """Begin a survey in a folder, or check that the survey in it has the same settings."""
    path = folder / SETTINGS_NAME
    if path.exists():
        if (earlier := path.read_text(encoding="utf-8")) != json.dumps(settings):
            raise ValueError(
                f"{folder}: holds a survey with other settings, {earlier:.200}; received {json.dumps(settings)}; use "
                "the same settings, or choose another folder"
            )
        return
    of_killed_runs = {LOCK_NAME, partial_path(path).name}
    if any(file.name not in of_killed_runs for file in folder.iterdir()):
        raise ValueError(f"{folder}: is a folder with other files; choose a new or an empty folder")
    write_atomically(path, json.dumps(settings))


def _write_survey(out_dir: Path, n: int, seed: int, workers: int, survey: str) -> Path:
    """Write the files of a survey that are missing; return the path of the catalogue."""
    for folder in ("images", "masks", "marks"):
        (out_dir / folder).mkdir(exist_ok=True)
    write = partial(_write_galaxy, out_dir, seed, survey)
    with closing(map_in_processes(write, range(n), workers, chunk_size=8)) as made:
        rows = list(Progress(made, total=n, desc="simulating", unit="galaxy"))
    catalog = pd.DataFrame([row for row, _ in rows])
    counts = [*get_schema(SCHEMA_NAME).label_cols, "n_volunteers"]
    catalog[counts] = catalog[counts].astype("Int64")
    write_table(pd.DataFrame([truth for _, truth in rows]), out_dir / "truth.csv")
    # The catalogue is written last. If it exists, the survey is complete.
    return write_table(catalog, out_dir / CATALOG_NAME)


def _write_galaxy(out_dir: Path, seed: int, survey: str, index: int) -> tuple[dict, dict]:
    """Write the files of a galaxy that are missing; return its rows of the catalogue and of the true values."""
    galaxy = simulate_galaxy(seed, index, survey)
    image_loc = f"images/{galaxy.id_str}.png"
    _write_missing_png(out_dir / image_loc, lambda: galaxy.image)
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
        for name in ("spiral", "bar"):
            row[f"{name}_mask_loc"] = f"masks/{galaxy.id_str}_{name}.png"
            _write_missing_png(out_dir / row[f"{name}_mask_loc"], partial(getattr, galaxy, f"{name}_counts"))
        write_atomically(out_dir / row["marks_loc"], json.dumps(galaxy.marks, separators=(",", ":")))
    truth = {"id_str": galaxy.id_str} | _truth_row(galaxy.truth)
    return row, truth if survey == DEFAULT_SURVEY else truth | _observation_row(galaxy.truth)


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
    return _rounded(row)


def _observation_row(scene: Scene) -> dict:
    """What was drawn from the look of a survey. Fluxes are in nanomaggies per native pixel; "z" is the reddest band."""
    row = {"look": scene.look, "detector_pixscale": scene.detector_pixscale, "z_share": scene.z_share}
    for band, noise, sky in zip("grz", scene.sky_noise, scene.sky_residual, strict=True):
        row |= {f"sky_noise_{band}": noise, f"sky_residual_{band}": sky}
    return _rounded(row | asdict(scene.display))


def _rounded(row: dict) -> dict:
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in row.items()}


def _write_missing_png(path: Path, draw: Callable[[], np.ndarray]) -> None:
    """Write an image if it is missing. An interrupted simulation has left whole files only."""
    if path.exists():
        return
    # Noisy images have no long repeats. A search for them takes time, and does not make the file smaller.
    with whole_file(path) as unfinished:
        Image.fromarray(draw()).save(unfinished, compress_level=1, compress_type=zlib.Z_RLE)
