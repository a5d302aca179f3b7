"""Scores as sentences that need no legend."""

from zoobot3d_tf.evaluation.bootstrap import Score
from zoobot3d_tf.evaluation.calibration import coverage_in_words
from zoobot3d_tf.evaluation.labels import LabelScores
from zoobot3d_tf.evaluation.masks import THRESHOLD_NAMES
from zoobot3d_tf.evaluation.scores import MaskResults, Scores, VoteResults
from zoobot3d_tf.evaluation.votes import ALL, CLEAR_SHARE, CLEAR_VOTES
from zoobot3d_tf.images.masks import MASK_TITLES, THRESHOLD_IN_WORDS
from zoobot3d_tf.labels import Label

_LOWEST = THRESHOLD_NAMES[0]


def in_words(scores: Scores, label: Label | None) -> list[str]:
    """Say what the scores mean, most important first: votes, their intervals, masks, label.

    Args:
        scores: scores of an evaluation.
        label: label of the evaluation, if there is one.
    """
    sentences = [] if scores.votes is None else _votes(scores.votes)
    sentences += [_mask(MASK_TITLES[name], results) for name, results in scores.masks.items()]
    if scores.label is not None and label is not None:
        sentences += _label(label, scores.label)
    return sentences


def _votes(votes: VoteResults) -> list[str]:
    numbers, estimates = votes.numbers[ALL], votes.estimates[ALL]
    whose = "training" if numbers.is_training_mean else "scored"
    compared = f"{abs(numbers.gain):.0%} {'less' if numbers.gain >= 0 else 'more'} than"
    sentences = [
        f"Votes: the fractions are wrong by {estimates['mae'].text('.3f')} on average, over {numbers.n_galaxies:,} "
        f"galaxies. This is {compared} for always predicting the mean of the {whose} galaxies "
        f"({numbers.mean_mae:.3f}), and {numbers.times_floor:.1f} times the error of the true fractions "
        f"({numbers.noise_floor:.3f}), which no model can beat, since the fractions of few volunteers scatter."
    ]
    if numbers.n_clear:
        sentences.append(
            f"Where at least {CLEAR_SHARE:.0%} of at least {CLEAR_VOTES} volunteers agree, the likeliest answer is "
            f"theirs in {estimates['accuracy'].text('.0%')} of {numbers.n_clear:,} cases. Always giving the commonest "
            f"answer is right in {numbers.mean_accuracy:.0%}, one volunteer in {numbers.volunteer_accuracy:.0%}."
        )
    questions = {name: score for name, score in votes.numbers.items() if name != ALL and score.n_galaxies >= 10}
    if len(questions) > 1:
        worst = min(questions, key=lambda name: questions[name].gain)
        best = max(questions, key=lambda name: questions[name].gain)
        sentences.append(
            f"Compared with always predicting the mean, the question {best!r} is predicted best (error lower by "
            f"{questions[best].gain:.0%}) and {worst!r} worst ({questions[worst].gain:.0%})."
        )
    return [*sentences, f"{coverage_in_words(estimates['coverage'])}."]


def _mask(title: str, results: MaskResults) -> str:
    scores = results.scores
    others = [("a brightness threshold", scores[f"brightness_iou_{_LOWEST}"])]
    others += [(whose, ceiling[f"iou_{_LOWEST}"]) for whose, ceiling in results.ceilings.items()]
    compared = ", ".join(f"{whose} {_percent(score)}" for whose, score in others)
    return (
        f"{title[0].upper()}{title[1:]}: the model and the volunteers agree on {scores[f'iou_{_LOWEST}'].text('.0%')} "
        f"of the pixels that either of them encloses (at least {THRESHOLD_IN_WORDS}), over {len(results.table):,} "
        f"galaxies. For comparison: {compared}."
    )


def _label(label: Label, scores: LabelScores) -> list[str]:
    name = "mae" if label.kind == "regression" else "accuracy"
    line = scores.line(name)
    if label.kind == "regression":
        sentence = f"{label.column}: the values are wrong by {line.score.text('.3g')} on average, over"
        compared = f"Always predicting the mean is wrong by {line.baseline:.3g}."
    else:
        sentence = f"{label.column}: the most probable class is right for {line.score.text('.0%')} of"
        compared = f"{line.baseline_name[0].upper()}{line.baseline_name[1:]} is right for {line.baseline:.0%}."
    return [f"{sentence} {line.n_galaxies:,} galaxies. {compared}", *scores.notes]


def _percent(score: Score) -> str:
    return f"{score.value:.0%}"
