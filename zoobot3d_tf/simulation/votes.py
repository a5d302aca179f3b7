"""Simulated votes of Galaxy Zoo volunteers for a simulated galaxy.

The votes follow the decision tree: only volunteers who answer that a galaxy is featured are asked about its features.
For each question, the probabilities of the answers are drawn from a Dirichlet distribution, whose mean depends on the
true parameters of the galaxy. The votes are then drawn from a multinomial distribution.
"""

from collections.abc import Mapping

import numpy as np

from zoobot3d_tf.schemas import get_schema
from zoobot3d_tf.simulation.galaxies import Scene
from zoobot3d_tf.simulation.visibility import arms_visibility, bar_visibility, bulge_fraction, ring_visibility

SCHEMA_NAME = "decals_rings"
"""Decision tree of the simulated votes: Galaxy Zoo DECaLS, and a question about rings."""
CONCENTRATION = 30.0
"""Sum of the concentrations of the Dirichlet distribution. The larger it is, the less galaxies differ from the mean."""


def draw_votes(scene: Scene, rng: np.random.Generator) -> dict[str, int]:
    """Draw the votes of 36 to 44 volunteers for the questions of Galaxy Zoo DECaLS and the question about rings.

    Args:
        scene: galaxy and conditions of the observation.
        rng: random generator of the votes.

    Returns:
        Number of votes for each answer, in the order of the `label_cols` of the schema. The number of votes on a
        question is the number of votes for the answers after which it is asked.
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
    """Compute the mean probability of each answer for a volunteer who is asked its question.

    Args:
        scene: galaxy and conditions of the observation.

    Returns:
        Probability of each answer, named as in `label_cols`. The answers of a question add to 1.
    """
    galaxy = scene.galaxy
    arms, bar = arms_visibility(scene), bar_visibility(scene)
    ring, bulge = ring_visibility(scene), bulge_fraction(galaxy)
    strong = _bar_strength(scene)
    questions = {
        "smooth-or-featured": _smooth_or_featured(scene, arms, bar, ring),
        "disk-edge-on": _yes_no(_edge_on(scene)),
        "has-spiral-arms": _yes_no(0.08 + 0.9 * arms),
        "bar": {"strong": bar * strong, "weak": bar * (1 - strong) + 0.08, "no": 1.02 - bar},
        # Volunteers judge the radius of the bulge, which scales with the root of its flux.
        "bulge-size": _nearest(
            np.sqrt(bulge), {"dominant": 0.9, "large": 0.68, "moderate": 0.45, "small": 0.22, "none": 0.0}, 0.12
        ),
        "how-rounded": _nearest(_axis_ratio(scene), {"round": 0.92, "in-between": 0.62, "cigar-shaped": 0.28}, 0.14),
        "edge-on-bulge": _edge_on_bulge(scene),
        # 18 degrees is about the mean pitch angle of disc galaxies.
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
    """Mean probability of the answer edge-on."""
    if scene.galaxy.disc is None:
        return 0.1
    return float(np.clip(1 / (1 + np.exp(-(scene.galaxy.inclination - 77) / 3)), 0.03, 0.97))


def _axis_ratio(scene: Scene) -> float:
    """Minor axis divided by major axis, on the sky."""
    galaxy = scene.galaxy
    if galaxy.disc is None and galaxy.bulge is not None:
        return galaxy.bulge.axis_ratio
    return max(float(np.cos(np.radians(galaxy.inclination))), 0.15)


def _bar_strength(scene: Scene) -> float:
    """Probability of the answer strong, if the bar is seen. It is higher for longer bars."""
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
    # If the arms are hard to see, more volunteers answer 2, the most common number.
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
    """Weights of ordered answers: a Gaussian in the distance of their centres from the value, and a small constant."""
    return {answer: float(np.exp(-0.5 * ((value - c) / width) ** 2)) + 0.02 for answer, c in centres.items()}
