"""How well scores rank liked replies above disliked ones, and the paired difference of two models in that."""

from __future__ import annotations

import numpy as np

from data.arrays import BoolArray, FloatArray, LabelArray


def rating_auc(scores: FloatArray, is_up: BoolArray, clusters: LabelArray) -> float:
    """P(an up-rated row scores above a down-rated one), ties half, every cluster with the same weight in all.

    This is the Mann-Whitney form of the area under the ROC curve, 0 to 1, with row weights 1 / rows in the
    cluster. Both kinds of rating must be present.
    """
    weights = _row_weights(clusters)
    return float(np.average(_placements(scores, is_up, weights)[is_up], weights=weights[is_up]))


def paired_auc_differences(
    candidate: FloatArray, production: FloatArray, is_up: BoolArray, clusters: LabelArray
) -> FloatArray:
    """One number for each cluster; their mean is AUC of the candidate minus AUC of production.

    The placement value v of a row is the share of the other kind of rating that the row is ranked rightly
    against. With dv its difference between the models, D the difference of the AUCs, w the row weights, W
    their sum over the rows of the same rating and C clusters, a cluster gets D + C sum(w (dv - D) / W), its
    linearised share of D.
    Source: E. DeLong, D. DeLong & D. Clarke-Pearson, Biometrics 44 (1988) 837-845; summed within clusters as
    in N. Obuchowski, Biometrics 53 (1997) 567-578. Both kinds of rating must be present.
    """
    weights = _row_weights(clusters)
    change = _placements(candidate, is_up, weights) - _placements(production, is_up, weights)
    difference = float(np.average(change[is_up], weights=weights[is_up]))
    share = weights / np.where(is_up, weights[is_up].sum(), weights[~is_up].sum())
    labels, member = np.unique(clusters, return_inverse=True)
    linearised = np.bincount(member, share * (change - difference)).astype(np.float64)
    return difference + len(labels) * linearised


def _row_weights(clusters: LabelArray) -> FloatArray:
    _, member, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    return 1.0 / sizes[member]


def _placements(scores: FloatArray, is_up: BoolArray, weights: FloatArray) -> FloatArray:
    """The placement value of each row, 0 to 1."""
    up, down = scores[is_up], scores[~is_up]
    wins = np.where(up[:, None] == down, 0.5, up[:, None] > down)
    placements = np.empty(len(scores))
    placements[is_up] = np.average(wins, axis=1, weights=weights[~is_up])
    placements[~is_up] = np.average(wins, axis=0, weights=weights[is_up])
    return placements
