"""Where the uncertainty of predicted votes comes from: few volunteers, little training, or the galaxy itself.

The votes on a galaxy are seen as drawn in three steps. A network (a sample s of the concentrations) is drawn from those
that the training could have given. The galaxy's true fraction p, that of very many volunteers, is drawn from the
distribution that this network predicts. N volunteers then vote. Each step adds a part to the uncertainty.

- volunteers: more volunteers would settle it. It is the noise of N votes around the true fraction.
- training: more training galaxies, or better training, would settle it. It is the difference between the samples.
- neither: the spread of the true fractions of galaxies that look alike to the network. More galaxies of the same kind,
  or more votes on them, do not change it. Votes on this galaxy itself, or better images, would.

The parts are those that the network states. `compare_with_votes` sets them beside what the votes show.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, entr

from zoobot3d_tf.evaluation.bootstrap import Score, ratio_scores
from zoobot3d_tf.predictions.results import expected_fractions
from zoobot3d_tf.schemas import Schema, vote_fractions


@dataclass(frozen=True)
class Uncertainty:
    """The three parts of an uncertainty. All have the same shape.

    Attributes:
        volunteers: what more volunteers would settle.
        training: what more training would settle; NaN if there is one sample only.
        neither: what neither would settle.
    """

    volunteers: np.ndarray
    training: np.ndarray
    neither: np.ndarray

    @property
    def total(self) -> np.ndarray:
        """Sum of the parts. A part of training that is not known counts as 0."""
        return self.volunteers + np.nan_to_num(self.training) + self.neither


def variance_parts(concentrations: np.ndarray, schema: Schema, n_votes: np.ndarray | float) -> Uncertainty:
    """Split the variance of the vote fraction of each answer.

    In sample s, the true fraction p has a Beta distribution with mean m = a / A and variance m (1 - m) / (A + 1), where
    a is the concentration of the answer and A the sum over its question. The fraction of N votes has the mean p and the
    variance p (1 - p) / N. By the law of total variance,

        Var(k / N) = E[p (1 - p)] / N  +  Var_s(m)  +  E_s[m (1 - m) / (A + 1)],

    with E[p (1 - p)] = E_s[m (1 - m) A / (A + 1)]. These are the parts of the volunteers, of training, and of neither.
    Var_s is estimated without bias, by a division by samples - 1.

    Args:
        concentrations: concentrations, > 0, shape (galaxies, answers, samples).
        schema: decision tree.
        n_votes: numbers N of votes on the question, > 0; broadcasts to (galaxies, answers). With 1, the part of the
            volunteers is E[p (1 - p)], to compare with `disagreement`.

    Returns:
        Variances of the vote fraction, shape (galaxies, answers).
    """
    mean, total = _means(concentrations, schema)
    spread = mean * (1 - mean)
    return Uncertainty(
        volunteers=(spread * total / (total + 1)).mean(axis=2) / n_votes,
        training=mean.var(axis=2, ddof=1) if mean.shape[2] > 1 else np.full(mean.shape[:2], np.nan),
        neither=(spread / (total + 1)).mean(axis=2),
    )


def entropy_parts(concentrations: np.ndarray, schema: Schema) -> Uncertainty:
    """Split the entropy of the answer that the next volunteer gives to each question.

    With the entropy H, the means m and concentrations a of the answers in sample s, and the true fractions p,

        H(E_s[m])  =  E[H(p)]  +  (H(E_s[m]) - E_s[H(m)])  +  E_s[H(m) - E_p[H(p)]].

    These are the disagreement of the volunteers, which remains for the next one however many have voted; the
    information on the network (Houlsby et al. 2011, arXiv 1112.5745); and the information on the true fractions
    (Malinin & Gales 2018, arXiv 1802.10501). The mean over the Dirichlet distribution is
    E_p[H(p)] = digamma(A + 1) - sum m digamma(a + 1). Few samples make the part of training too small.

    Args:
        concentrations: concentrations, > 0, shape (galaxies, answers, samples).
        schema: decision tree.

    Returns:
        Entropies in nats, shape (galaxies, questions). Their sum is the column `<question>_entropy` of predictions.
    """
    mean, total = _means(concentrations, schema)
    of_sample = _sum_by_question(entr(mean), schema)
    of_fractions = _sum_by_question(mean * (digamma(total + 1) - digamma(concentrations + 1)), schema)
    of_all = schema.sum_by_question(entr(mean.mean(axis=2)))
    return Uncertainty(
        volunteers=of_fractions.mean(axis=2),
        training=of_all - of_sample.mean(axis=2) if mean.shape[2] > 1 else np.full(of_all.shape, np.nan),
        neither=(of_sample - of_fractions).mean(axis=2),
    )


def disagreement(votes: np.ndarray, schema: Schema) -> np.ndarray:
    """Estimate p (1 - p) of each answer from the votes: how much the volunteers disagree.

    f (1 - f) of the observed fraction f is too small for few votes: its mean is (n - 1) / n p (1 - p). It is therefore
    multiplied by n / (n - 1), as the unbiased variance of n votes of 0 and 1.

    Args:
        votes: numbers of votes, shape (galaxies, answers).
        schema: decision tree.

    Returns:
        Estimates, 0..0.5, shape (galaxies, answers); NaN where fewer than two volunteers were asked.
    """
    n_votes = schema.repeat_by_question(schema.sum_by_question(votes))
    fraction = vote_fractions(votes, schema)
    correction = np.divide(n_votes, n_votes - 1, out=np.full(votes.shape, np.nan), where=n_votes > 1)
    return correction * fraction * (1 - fraction)


def compare_with_votes(concentrations: np.ndarray, votes: np.ndarray, schema: Schema) -> dict[str, dict[str, Score]]:
    """Compare the stated uncertainty with that of the votes.

    If the predictions are right, each `observed_` value is equal, within its interval, to the value beside it:

    - `volunteers`, `training`, `neither`, `total`: means of `variance_parts`, for the numbers of votes of the galaxies;
    - `observed_volunteers`: mean of `disagreement` / n, beside `volunteers`;
    - `observed_total`: mean squared difference of observed and expected fractions, beside `total`;
    - `observed_rest`: their difference, an unbiased estimate of the mean squared error of the true fractions, beside
      `training` plus `neither`, which votes cannot tell apart.

    Args:
        concentrations: concentrations, > 0, shape (galaxies, answers, samples).
        votes: numbers of votes, shape (galaxies, answers).
        schema: decision tree.

    Returns:
        By the text of the question, means over answers and galaxies with at least two votes, with their intervals;
        questions without such galaxies are left out.
    """
    n_votes = schema.repeat_by_question(schema.sum_by_question(votes))
    parts = variance_parts(concentrations, schema, np.maximum(n_votes, 1))
    noise = disagreement(votes, schema) / np.maximum(n_votes, 1)
    squared = (vote_fractions(votes, schema) - expected_fractions(concentrations, schema)) ** 2
    values = {
        "volunteers": parts.volunteers,
        "training": parts.training,
        "neither": parts.neither,
        "total": parts.total,
        "observed_volunteers": noise,
        "observed_total": squared,
        "observed_rest": squared - noise,
    }
    by_answer = np.stack(list(values.values()), axis=1)
    known = np.isfinite(by_answer) & (n_votes > 1)[:, None]
    scores = ratio_scores(schema.sum_by_question(np.where(known, by_answer, 0)), schema.sum_by_question(1.0 * known))
    by_question = np.moveaxis(np.stack(scores), 2, 0)
    return {
        question.text: {name: Score(*map(float, ends)) for name, *ends in zip(values, *of_question, strict=True)}
        for question, part, of_question in zip(schema.questions, schema.slices, by_question, strict=True)
        if (n_votes[:, part] > 1).any()
    }


def _means(concentrations: np.ndarray, schema: Schema) -> tuple[np.ndarray, np.ndarray]:
    """Expected fractions of each sample, and the sums over the questions: (galaxies, answers, samples) each."""
    sums = np.moveaxis(_sum_by_question(concentrations, schema), 2, 1)
    total = np.moveaxis(schema.repeat_by_question(sums), 1, 2)
    return concentrations / total, total


def _sum_by_question(values: np.ndarray, schema: Schema) -> np.ndarray:
    """Sum over the answers of each question: (galaxies, answers, samples) to (galaxies, questions, samples)."""
    return np.moveaxis(schema.sum_by_question(np.moveaxis(values, 2, 1)), 1, 2)
