"""What a reply is measured by: numbers of each reply, and numbers of all replies together.

A number of all replies together, such as corpus BLEU, has no value in a row. Its jackknife pseudo-values by cluster
stand in: theta_i = C theta - (C - 1) theta_(-i), with theta over all C clusters and theta_(-i) without cluster i. Their
mean is the statistic with its bias of order 1/C taken off, and two models' values of one cluster pair like any others.
Source: J. Tukey (1958); B. Efron & R. Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 11.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from data.vocabulary import PoolRow
from serving.output_filter import filter_text
from trainer.holdout import list_texts

FloatArray = NDArray[np.float64]

REPLY_METRICS = ("rouge_1", "rouge_2", "rouge_l", "bleu", "chrf", "repetition", "reply_words", "filtered")
CORPUS_METRICS = ("corpus_bleu", "distinct_1", "distinct_2")
REPEATED_WORDS = 4  # length of the runs of words that `repetition` counts
_ORDERS = 4  # BLEU counts runs of 1 to 4 words

# Precision and recall alike, as in ROUGE's F1. sacreBLEU's default of 2, made for translations, which should leave
# nothing out, marks a reply mostly by its length: cut by a quarter it loses four to six points, more than the guard's
# margin, where the guard of the length allows that (docs/gate.md, benchmarks/overlap_metrics.py).
CHRF_BETA = 1


def measure_replies(rows: Sequence[PoolRow], replies: Sequence[str]) -> dict[str, FloatArray]:
    """Every metric of REPLY_METRICS and CORPUS_METRICS.

    The former have a number for each row: ROUGE F1 from 0 to 1 (rouge-score, stemmed), sentence `bleu` and `chrf` 0 to
    100 (sacreBLEU, chrF with beta 1), `repetition` 0 to 1, `reply_words`, `filtered` 0 or 1. The latter have a
    pseudo-value for each cluster, in the order of the sorted labels: `corpus_bleu` 0 to 100, `distinct_1` and
    `distinct_2` 0 to 1.
    """
    rouge = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    bleu, chrf = BLEU(effective_order=True), CHRF(beta=CHRF_BETA)
    columns: dict[str, list[float]] = {name: [] for name in REPLY_METRICS}
    counts = np.zeros((len(rows), 2 * _ORDERS + 2))
    for index, (row, reply) in enumerate(zip(rows, replies, strict=True)):
        overlap = rouge.score(row.reply, reply)
        sentence = bleu.sentence_score(reply, [row.reply])
        counts[index] = [*sentence.counts, *sentence.totals, sentence.sys_len, sentence.ref_len]
        for name, value in (
            ("rouge_1", overlap["rouge1"].fmeasure),
            ("rouge_2", overlap["rouge2"].fmeasure),
            ("rouge_l", overlap["rougeL"].fmeasure),
            ("bleu", sentence.score),
            ("chrf", chrf.sentence_score(reply, [row.reply]).score),
            ("repetition", measure_repetition(reply)),
            ("reply_words", len(reply.split())),
            ("filtered", filter_text(reply, known="\n".join(list_texts(row))).is_stopped),
        ):
            columns[name].append(float(value))
    clusters = np.array([row.cluster for row in rows], dtype=str)
    return {
        **{name: np.array(values) for name, values in columns.items()},
        "corpus_bleu": jackknife_bleu(counts, clusters),
        "distinct_1": jackknife_distinct(replies, clusters, 1),
        "distinct_2": jackknife_distinct(replies, clusters, 2),
    }


def measure_repetition(reply: str) -> float:
    """Share of runs of four words that stood earlier in the same reply, 0 to 1; 0 in a shorter reply."""
    runs = _list_runs(reply, REPEATED_WORDS)
    return 1.0 - len(set(runs)) / len(runs) if runs else 0.0


def jackknife_bleu(counts: FloatArray, clusters: NDArray[np.str_]) -> FloatArray:
    """Pseudo-values of corpus BLEU (sacreBLEU's, exponential smoothing), one for each cluster in sorted order.

    Args:
        counts: of each row the matches of 1 to 4 words, the totals, and the words of the reply and of the reference.
    """
    labels, member = np.unique(clusters, return_inverse=True)
    by_cluster = np.zeros((len(labels), counts.shape[1]))
    np.add.at(by_cluster, member, counts)
    whole = by_cluster.sum(axis=0)
    without = np.array([_compute_bleu(whole - own) for own in by_cluster])
    return _build_pseudo_values(_compute_bleu(whole), without)


def jackknife_distinct(replies: Sequence[str], clusters: NDArray[np.str_], length: int) -> FloatArray:
    """Pseudo-values of distinct-n (Li et al. 2016, arXiv 1510.03055), one for each cluster in sorted order.

    Distinct-n is the share of different runs of `length` words among all runs of all replies together: a model that
    opens every reply alike must show. Without a cluster, the runs that only it has are gone from the different ones.
    """
    labels, member = np.unique(clusters, return_inverse=True)
    ids: dict[tuple[str, ...], int] = {}
    pairs: set[tuple[int, int]] = set()
    totals = np.zeros(len(labels))
    for reply, cluster in zip(replies, member.tolist(), strict=True):
        runs = _list_runs(reply, length)
        totals[cluster] += len(runs)
        pairs.update((cluster, ids.setdefault(run, len(ids))) for run in runs)
    held = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
    holders = np.bincount(held[:, 1], minlength=len(ids))
    alone = np.bincount(held[:, 0], weights=holders[held[:, 1]] == 1, minlength=len(labels))
    rest = totals.sum() - totals
    without = np.divide(len(ids) - alone, rest, out=np.zeros(len(labels)), where=rest > 0)
    return _build_pseudo_values(len(ids) / totals.sum() if ids else 0.0, without)


def _build_pseudo_values(whole: float, without: FloatArray) -> FloatArray:
    count = len(without)
    return np.full(count, whole) if count < 2 else count * whole - (count - 1) * without


def _compute_bleu(counts: FloatArray) -> float:
    numbers = counts.astype(int).tolist()
    score = BLEU.compute_bleu(
        numbers[:_ORDERS], numbers[_ORDERS : 2 * _ORDERS], numbers[-2], numbers[-1], smooth_method="exp"
    )
    return float(score.score)


def _list_runs(text: str, length: int) -> list[tuple[str, ...]]:
    words = re.findall(r"\w+(?:['’]\w+)*", text.casefold())
    return [tuple(words[start : start + length]) for start in range(len(words) - length + 1)]
