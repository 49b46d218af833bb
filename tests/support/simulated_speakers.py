"""Corpora of speakers drawn from a population whose accuracies are known."""

import numpy as np
from scipy.special import expit

COUNTS = np.array([110, 108, 164, 171])  # utterances a speaker and class, as uneven as IEMOCAP's
RECALL = np.array([0.9, 0.8, 0.5, 0.7])  # logits of the mean speaker's recalls
SPEAKER, CLASS_OF_SPEAKER = 0.2, 0.25  # deviations in logits: accuracies of speakers lie about 5 points apart


def confusions_of(hits, totals):
    """[speakers, classes] -> [speakers, classes, classes], every error taken for the next class."""
    classes = np.arange(hits.shape[1])
    confusions = np.zeros((*hits.shape, len(classes)))
    confusions[:, classes, classes] = hits
    confusions[:, classes, (classes + 1) % len(classes)] = totals - hits
    return confusions


def draw_totals(generator, speakers):
    return np.maximum(generator.poisson(COUNTS * generator.gamma(8, 1 / 8, (speakers, 4))), 1)


def draw_logits(generator, speakers):
    each = generator.normal(0, SPEAKER, (speakers, 1)) + generator.normal(0, CLASS_OF_SPEAKER, (speakers, 4))
    return RECALL + each


def draw_system(generator, speakers):
    """One system's confusions of new speakers."""
    totals = draw_totals(generator, speakers)
    return confusions_of(generator.binomial(totals, expit(draw_logits(generator, speakers))), totals)


def draw_pair(generator, speakers, *, gain=0.0):
    """Two systems' confusions of new speakers; the second is better by `gain` logits for the mean speaker.

    Each speaker suits one of the two better, by 0.15 logits or so.
    """
    totals, logits = draw_totals(generator, speakers), draw_logits(generator, speakers)
    apart = gain + generator.normal(0, 0.15, (speakers, 1))
    return tuple(
        confusions_of(generator.binomial(totals, expit(logits + side * apart / 2)), totals) for side in (-1, 1)
    )


def true_accuracies():
    """WA and UA of the population; how many utterances a speaker has tells nothing of the accuracy."""
    recall = expit(draw_logits(np.random.default_rng(0), 200_000)).mean(axis=0)
    return {"wa": (recall * COUNTS).sum() / COUNTS.sum(), "ua": recall.mean()}
