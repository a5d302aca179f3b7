"""Simulated volunteers of Galaxy Zoo: 3D, who draw outlines of spiral arms and bars.

The outlines follow the geometry that the image was made from. Volunteers differ in the width of their outlines, their
offset and their accuracy. They may also miss an arm, join two arms in one path, draw a path that crosses itself, or
click only once.
"""

from dataclasses import dataclass

import numpy as np

from zoobot3d_tf.images.masks import N_VOLUNTEERS
from zoobot3d_tf.simulation.galaxies import Arm, Bar, Scene
from zoobot3d_tf.simulation.visibility import SIGMA_PER_FWHM, arms_visibility, bar_visibility

VolunteerMarks = list[list[list[list[float]]]]
"""[volunteer][component][vertex] -> [x, y] in pixels of the image."""


@dataclass(frozen=True)
class _DrawingStyle:
    """Drawing style of one volunteer.

    Attributes:
        generosity: half-width of the outline, in standard deviations of the structure as seen.
        drift: constant offset [x, y], pixels.
        tremor: amplitude of random deviations, pixels.
        clumsiness: 0 to 1; sets the probability of a path that crosses itself.
    """

    generosity: float
    drift: np.ndarray
    tremor: float
    clumsiness: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "_DrawingStyle":
        return cls(rng.lognormal(np.log(1.5), 0.3), rng.normal(0, 1.5, 2), rng.gamma(3, 0.5), rng.beta(1, 5))


def draw_marks(scene: Scene, rng: np.random.Generator, n_volunteers: int = N_VOLUNTEERS) -> dict[str, VolunteerMarks]:
    """Draw the marks of volunteers who are asked to outline the spiral arms and the bar.

    Args:
        scene: galaxy and conditions of the observation.
        rng: random generator of the volunteers.
        n_volunteers: number of volunteers.

    Returns:
        Marks for `spiral_mask` and `bar_mask`, in pixels of the image of 424 x 424 pixels. A volunteer who saw no
        structure has an empty list.
    """
    arms_seen, bar_seen = arms_visibility(scene), bar_visibility(scene)
    marks: dict[str, VolunteerMarks] = {"spiral_mask": [], "bar_mask": []}
    for _ in range(n_volunteers):
        style = _DrawingStyle.sample(rng)
        marks["spiral_mask"].append(_rounded(_draw_arms(scene, arms_seen, style, rng)))
        marks["bar_mask"].append(_rounded(_draw_bar(scene, bar_seen, style, rng)))
    return marks


def _draw_arms(scene: Scene, seen: float, style: _DrawingStyle, rng: np.random.Generator) -> list[np.ndarray]:
    if rng.random() >= np.sqrt(seen):
        return _stray_click(rng)
    paths = [_arm_outline(scene, arm, style, rng) for arm in scene.galaxy.arms if rng.random() < 0.45 + 0.5 * seen]
    if len(paths) > 1 and rng.random() < 0.12:
        paths[:2] = [np.concatenate(paths[:2])]
    return paths + _stray_click(rng)


def _draw_bar(scene: Scene, seen: float, style: _DrawingStyle, rng: np.random.Generator) -> list[np.ndarray]:
    if scene.galaxy.bar is None or rng.random() >= np.sqrt(seen):
        return _stray_click(rng)
    return [_bar_outline(scene, scene.galaxy.bar, style, rng)]


def _arm_outline(scene: Scene, arm: Arm, style: _DrawingStyle, rng: np.random.Generator) -> np.ndarray:
    """Outline along one side of an arm, outwards, and back along the other side."""
    n = 28
    radius, azimuth = arm.at(np.linspace(rng.uniform(0, 0.15), rng.uniform(0.75, 1), n))
    seen_width = np.hypot(arm.width_at(radius), scene.seeing[1] * SIGMA_PER_FWHM)
    # The outline is narrower at the ends of the arm.
    taper = np.sqrt(np.sin(np.linspace(0.12, np.pi - 0.12, n)))
    half_width = style.generosity * seen_width * taper / np.cos(np.radians(arm.pitch))
    # The outline does not reach the next arm.
    spacing = 2 * np.pi * radius * np.tan(np.radians(arm.pitch)) / len(scene.galaxy.arms)
    half_width = np.minimum(half_width, 0.4 * spacing)
    outer = scene.galaxy.to_sky(radius + half_width, azimuth)
    inner = scene.galaxy.to_sky(np.maximum(radius - half_width, 0), azimuth)
    way_back = inner if rng.random() < 0.3 * style.clumsiness else inner[::-1]
    return _draw_by_hand(scene, np.concatenate([outer, way_back]), style, rng)


def _bar_outline(scene: Scene, bar: Bar, style: _DrawingStyle, rng: np.random.Generator) -> np.ndarray:
    """Outline of a bar: a rounded rectangle."""
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    blur = scene.seeing[1] * SIGMA_PER_FWHM
    x = np.hypot(bar.half_length, blur) * rng.normal(1, 0.08) * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** 0.7
    half_width = style.generosity * 0.75 * np.hypot(bar.half_width, blur)
    y = half_width * np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** 0.7
    return _draw_by_hand(scene, scene.galaxy.to_sky(np.hypot(x, y), np.arctan2(y, x) + bar.azimuth), style, rng)


def _draw_by_hand(scene: Scene, outline: np.ndarray, style: _DrawingStyle, rng: np.random.Generator) -> np.ndarray:
    """Turn an exact outline into a path that is drawn by hand.

    The path starts at a random vertex, is shifted and deformed, and may continue a little beyond its start.

    Args:
        scene: gives the pixel scale.
        outline: positions right of and below the centre of the image, arcsec, shape (n, 2).
        style: drawing style of the volunteer.
        rng: random generator of the deviations.

    Returns:
        Vertices [x, y] in pixels, shape (n, 2) or (n + 3, 2).
    """
    path = scene.to_pixels(outline)
    share = np.arange(len(path)) / len(path)
    for wave in range(2, 6):
        amplitude = style.tremor * rng.normal(0, 1, 2) / np.sqrt(wave)
        path = path + amplitude * np.sin(2 * np.pi * (wave * share + rng.random()))[:, None]
    path = np.roll(path, rng.integers(len(path)), axis=0) + style.drift
    if rng.random() < 0.3:
        path = np.concatenate([path, path[:3] + rng.normal(0, 1.5, (3, 2))])
    return path


def _stray_click(rng: np.random.Generator) -> list[np.ndarray]:
    """Path of a single vertex, with a probability of 2 %."""
    return [rng.uniform(150, 270, (1, 2))] if rng.random() < 0.02 else []


def _rounded(paths: list[np.ndarray]) -> list[list[list[float]]]:
    return [np.round(path, 1).tolist() for path in paths]
