"""Simulated votes: what Galaxy Zoo volunteers would answer about a galaxy whose truth is known.

Votes fall through the decision tree: who answers that a galaxy is featured is asked about its features. At each
question the volunteers' leaning is drawn from a Dirichlet distribution about what the truth suggests, their answers
from a multinomial.
"""

from collections.abc import Mapping

import numpy as np

from zoobot3d_tf.schemas import get_schema
from zoobot3d_tf.simulation.galaxies import Scene
from zoobot3d_tf.simulation.visibility import arms_visibility, bar_visibility, bulge_fraction, ring_visibility

SCHEMA_NAME = "decals_rings"
CONCENTRATION = 30.0
"""Of the Dirichlet distribution: how closely the volunteers of one galaxy lean the way its truth suggests."""


def draw_votes(scene: Scene, rng: np.random.Generator) -> dict[str, int]:
    """Let some 40 volunteers answer the tree of Galaxy Zoo DECaLS, and say whether they see a ring.

    Args:
        scene: the truth.
        rng: draws the volunteers.

    Returns:
        Votes of each answer, in the order of the schema's `label_cols`. The total of a question is the total of the
        answers after which it is asked.
    """
    schema = get_schema(SCHEMA_NAME)
    leanings = answer_leanings(scene)
    n_top = int(rng.integers(36, 45))
    votes: dict[str, int] = {}
    for question in schema.questions:
        answers = [answer.text for answer in question.answers]
        n_asked = sum(votes[parent.text] for parent in question.asked_after) if question.asked_after else n_top
        leaning = rng.dirichlet(CONCENTRATION * np.array([leanings[answer] for answer in answers]) + 0.05)
        votes |= zip(answers, rng.multinomial(n_asked, leaning).tolist(), strict=True)
    return votes


def answer_leanings(scene: Scene) -> dict[str, float]:
    """Probability of each answer, within its question, for a typical volunteer who is asked."""
    galaxy = scene.galaxy
    arms, bar = arms_visibility(scene), bar_visibility(scene)
    ring, bulge = ring_visibility(scene), bulge_fraction(galaxy)
    strong = _bar_strength(scene)
    questions = {
        "smooth-or-featured": _smooth_or_featured(scene, arms, bar, ring),
        "disk-edge-on": _yes_no(_edge_on(scene)),
        "has-spiral-arms": _yes_no(0.08 + 0.9 * arms),
        "bar": {"strong": bar * strong, "weak": bar * (1 - strong) + 0.08, "no": 1.02 - bar},
        # Bulge sizes are seen as radii rather than as light, hence the root.
        "bulge-size": _nearest(
            np.sqrt(bulge), {"dominant": 0.9, "large": 0.68, "moderate": 0.45, "small": 0.22, "none": 0.0}, 0.12
        ),
        "how-rounded": _nearest(_axis_ratio(scene), {"round": 0.92, "in-between": 0.62, "cigar-shaped": 0.28}, 0.14),
        "edge-on-bulge": _edge_on_bulge(scene),
        # A medium spiral opens by 18 degrees, the mean of disc galaxies.
        "spiral-winding": _nearest(
            float(np.mean([arm.pitch for arm in galaxy.arms])) if galaxy.arms else 18.0,
            {"tight": 11.0, "medium": 18.0, "loose": 27.0},
            5.0,
        ),
        "spiral-arm-count": _arm_count(len(galaxy.arms), arms),
        "merging": _merging(scene),
        "ring": _yes_no(0.04 + (0.9 * ring if galaxy.kind != "artifact" else 0)),
    }
    return {
        f"{question}_{answer}": weight / sum(answers.values())
        for question, answers in questions.items()
        for answer, weight in answers.items()
    }


def _smooth_or_featured(scene: Scene, arms: float, bar: float, ring: float) -> dict[str, float]:
    galaxy = scene.galaxy
    if galaxy.kind == "artifact":
        return {"smooth": 0.15, "featured-or-disk": 0.1, "artifact": 0.75}
    featured = 0.10
    if galaxy.kind == "edge-on":
        featured = 0.80
    elif galaxy.disc is not None:
        disturbed = {"merger": 0.45, "irregular": 0.55}.get(galaxy.kind, 0.0)
        featured = 0.15 + 0.8 * max(arms, 0.7 * bar, 0.6 * ring, disturbed, _edge_on(scene))
    return {"smooth": 1 - featured, "featured-or-disk": featured, "artifact": 0.10}


def _edge_on(scene: Scene) -> float:
    """Probability that a disc is called edge-on."""
    if scene.galaxy.disc is None:
        return 0.1
    return float(np.clip(1 / (1 + np.exp(-(scene.galaxy.inclination - 77) / 3)), 0.03, 0.97))


def _axis_ratio(scene: Scene) -> float:
    """Axis ratio on the sky."""
    galaxy = scene.galaxy
    if galaxy.disc is None and galaxy.bulge is not None:
        return galaxy.bulge.axis_ratio
    return max(float(np.cos(np.radians(galaxy.inclination))), 0.15)


def _bar_strength(scene: Scene) -> float:
    """Probability that a bar, once seen, is called strong: longer bars are."""
    galaxy = scene.galaxy
    if galaxy.bar is None or galaxy.disc is None:
        return 0.0
    return float(np.clip(0.55 * galaxy.bar.half_length / galaxy.disc.scale_length - 0.1, 0.1, 0.9))


def _edge_on_bulge(scene: Scene) -> dict[str, float]:
    bulge = scene.galaxy.bulge
    if bulge is None:
        return {"boxy": 0.05, "none": 0.80, "rounded": 0.15}
    if bulge.boxiness > 2:
        return {"boxy": 0.45, "none": 0.10, "rounded": 0.45}
    return {"boxy": 0.07, "none": 0.13, "rounded": 0.80}


def _arm_count(n_arms: int, seen: float) -> dict[str, float]:
    answers = ["1", "2", "3", "4", "more-than-4"]
    # Who sees the arms dimly counts two, as most spirals have.
    weights = {answer: 0.04 + (0.12 if answer == "2" else 0) * (1 - seen) for answer in answers}
    if n_arms:
        weights[answers[min(n_arms, 5) - 1]] += 0.3 + 0.6 * seen
    return weights | {"cant-tell": 0.1 + 0.5 * (1 - seen) + 0.06 * max(n_arms - 3, 0)}


def _merging(scene: Scene) -> dict[str, float]:
    galaxy = scene.galaxy
    if galaxy.companions:
        return {"none": 0.12, "minor-disturbance": 0.15, "major-disturbance": 0.23, "merger": 0.50}
    lopsided = galaxy.disc.lopsidedness if galaxy.disc is not None else 0.0
    return {"none": 0.84, "minor-disturbance": 0.08 + 0.5 * lopsided, "major-disturbance": 0.03, "merger": 0.03}


def _yes_no(probability: float) -> dict[str, float]:
    return {"yes": probability, "no": 1 - probability}


def _nearest(value: float, centres: Mapping[str, float], width: float) -> dict[str, float]:
    """Weights of ordered answers by their distance from a value, in units of a width; no answer is ruled out."""
    return {answer: float(np.exp(-0.5 * ((value - c) / width) ** 2)) + 0.02 for answer, c in centres.items()}
