"""Simulated volunteers of Galaxy Zoo: 3D: the outlines they draw round spiral arms and the bar.

Each volunteer has a taste of their own, how generously to draw and where the pen drifts, and may miss an arm, join two
in one path, lose the way, or click once and go on. What they draw is the geometry that the image was made from.
"""

from dataclasses import dataclass

import numpy as np

from zoobot3d_tf.images.masks import N_VOLUNTEERS
from zoobot3d_tf.simulation.galaxies import Arm, Bar, Scene
from zoobot3d_tf.simulation.visibility import SIGMA_PER_FWHM, arms_visibility, bar_visibility

VolunteerMarks = list[list[list[list[float]]]]
"""[volunteer][component][vertex] -> [x, y] in pixels of the image."""


@dataclass(frozen=True)
class _Hand:
    """How one volunteer draws: widths relative to what is seen; drift and tremor in pixels."""

    generosity: float
    drift: np.ndarray
    tremor: float
    clumsiness: float

    @classmethod
    def sample(cls, rng: np.random.Generator) -> "_Hand":
        return cls(rng.lognormal(np.log(1.5), 0.3), rng.normal(0, 1.5, 2), rng.gamma(3, 0.5), rng.beta(1, 5))


def draw_marks(scene: Scene, rng: np.random.Generator, n_volunteers: int = N_VOLUNTEERS) -> dict[str, VolunteerMarks]:
    """Ask volunteers to outline the spiral arms and the bar.

    Args:
        scene: the truth.
        rng: draws the volunteers.
        n_volunteers: how many are asked.

    Returns:
        `spiral_mask` and `bar_mask` in the form of Galaxy Zoo: 3D marks, in pixels of the 424-pixel image. Who saw
        nothing drew nothing: `[]`.
    """
    arms_seen, bar_seen = arms_visibility(scene), bar_visibility(scene)
    marks: dict[str, VolunteerMarks] = {"spiral_mask": [], "bar_mask": []}
    for _ in range(n_volunteers):
        hand = _Hand.sample(rng)
        marks["spiral_mask"].append(_rounded(_draw_arms(scene, arms_seen, hand, rng)))
        marks["bar_mask"].append(_rounded(_draw_bar(scene, bar_seen, hand, rng)))
    return marks


def _draw_arms(scene: Scene, seen: float, hand: _Hand, rng: np.random.Generator) -> list[np.ndarray]:
    if rng.random() >= np.sqrt(seen):
        return _stray_click(rng)
    paths = [_arm_outline(scene, arm, hand, rng) for arm in scene.galaxy.arms if rng.random() < 0.45 + 0.5 * seen]
    if len(paths) > 1 and rng.random() < 0.12:
        paths[:2] = [np.concatenate(paths[:2])]
    return paths + _stray_click(rng)


def _draw_bar(scene: Scene, seen: float, hand: _Hand, rng: np.random.Generator) -> list[np.ndarray]:
    if scene.galaxy.bar is None or rng.random() >= np.sqrt(seen):
        return _stray_click(rng)
    return [_bar_outline(scene, scene.galaxy.bar, hand, rng)]


def _arm_outline(scene: Scene, arm: Arm, hand: _Hand, rng: np.random.Generator) -> np.ndarray:
    """Out along one side of the arm and back along the other."""
    n = 28
    radius, azimuth = arm.at(np.linspace(rng.uniform(0, 0.15), rng.uniform(0.75, 1), n))
    seen_width = np.hypot(arm.width_at(radius), scene.seeing[1] * SIGMA_PER_FWHM)
    # The ends are drawn narrower than the middle.
    taper = np.sqrt(np.sin(np.linspace(0.12, np.pi - 0.12, n)))
    half_width = hand.generosity * seen_width * taper / np.cos(np.radians(arm.pitch))
    # Nobody draws across the gap to the next arm.
    spacing = 2 * np.pi * radius * np.tan(np.radians(arm.pitch)) / len(scene.galaxy.arms)
    half_width = np.minimum(half_width, 0.4 * spacing)
    outer = scene.galaxy.to_sky(radius + half_width, azimuth)
    inner = scene.galaxy.to_sky(np.maximum(radius - half_width, 0), azimuth)
    way_back = inner if rng.random() < 0.3 * hand.clumsiness else inner[::-1]
    return _by_hand(scene, np.concatenate([outer, way_back]), hand, rng)


def _bar_outline(scene: Scene, bar: Bar, hand: _Hand, rng: np.random.Generator) -> np.ndarray:
    """A rounded rectangle round the bar."""
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    blur = scene.seeing[1] * SIGMA_PER_FWHM
    x = np.hypot(bar.half_length, blur) * rng.normal(1, 0.08) * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** 0.7
    half_width = hand.generosity * 0.75 * np.hypot(bar.half_width, blur)
    y = half_width * np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** 0.7
    return _by_hand(scene, scene.galaxy.to_sky(np.hypot(x, y), np.arctan2(y, x) + bar.azimuth), hand, rng)


def _by_hand(scene: Scene, outline: np.ndarray, hand: _Hand, rng: np.random.Generator) -> np.ndarray:
    """An exact outline (arcsec) as it is drawn: begun anywhere, drifting, trembling, its end beyond its beginning."""
    path = scene.to_pixels(outline)
    share = np.arange(len(path)) / len(path)
    for wave in range(2, 6):
        amplitude = hand.tremor * rng.normal(0, 1, 2) / np.sqrt(wave)
        path = path + amplitude * np.sin(2 * np.pi * (wave * share + rng.random()))[:, None]
    path = np.roll(path, rng.integers(len(path)), axis=0) + hand.drift
    if rng.random() < 0.3:
        path = np.concatenate([path, path[:3] + rng.normal(0, 1.5, (3, 2))])
    return path


def _stray_click(rng: np.random.Generator) -> list[np.ndarray]:
    return [rng.uniform(150, 270, (1, 2))] if rng.random() < 0.02 else []


def _rounded(paths: list[np.ndarray]) -> list[list[list[float]]]:
    return [np.round(path, 1).tolist() for path in paths]
