"""Parts of the hold-out that are looked at by themselves: a candidate may be better in the mean and worse for some.

The rules are short and plain on purpose, for a person must be able to say why a row is where it is.
topic: the list of words below with the most hits in the last message; `other` where none has one. length: that
message's words, in thirds of this hold-out. language: the list of function words with most hits, at least two, or the
script where it is not Latin; else `unknown`. raters: who rated the row, by how often they rate.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from data.vocabulary import PoolRow

MANY_RATINGS = 5  # from so many rows on a rater counts as one of many ratings

_TOPICS = {
    "crisis": "suicide suicidal kill die dying dead death hurt harm cut overdose pills hopeless worthless unsafe",
    "loneliness": "lonely loneliness isolated alone nobody miss attached leave abandoned friendless",
    "sleep": "sleep asleep insomnia awake night nightmare nightmares tired exhausted bed rest",
    "work": "work job boss manager colleague colleagues office career fired unemployed deadline shift interview salary",
    "study": "school exam exams college university student study studying teacher class grades homework thesis",
    "family": "mother father mom dad mum parent parents son daughter child children sister brother family baby kids",
    "partner": "husband wife boyfriend girlfriend partner marriage married divorce divorced relationship cheated",
    "friends": "friend friends friendship party social shy people trust",
    "grief": "grief grieving died funeral loss lost passed mourning widow widower",
    "anxiety": "anxious anxiety panic worry worried worrying nervous fear afraid scared stress stressed overwhelmed",
    "mood": "depressed depression sad sadness empty numb cry crying unhappy down motivation",
    "anger": "angry anger rage furious yell yelling shout shouting fight fighting temper resent",
    "addiction": "drink drinking alcohol drunk drug drugs smoke smoking gambling addicted addiction sober relapse",
    "body": "eat eating food weight body diet pain sick illness doctor medication pregnant health",
    "money": "money debt rent bills afford poor loan savings bankrupt",
}
_WORDS_OF_TOPICS = {word: topic for topic, words in reversed(_TOPICS.items()) for word in words.split()}

_FUNCTION_WORDS = {
    "en": "the and to of is are was my me you it that in for with not have do what how this but",
    "de": "der die das und ich ist nicht mit ein eine mich mir zu den auf für wie was aber habe",
    "fr": "le la les et je est pas un une mon ma moi que qui dans pour avec mais comment suis",
    "es": "el la los las y yo es no un una mi me que en para con pero como estoy por",
    "it": "il lo la gli e io è non un una mio mia mi che per con ma come sono di",
    "pt": "o a os as e eu é não um uma meu minha me que em para com mas como estou",
    "nl": "de het een en ik is niet mijn mij dat van voor met maar hoe wat ben te op naar",
}
_LANGUAGE_HITS = 2


def build_slices(rows: Sequence[PoolRow], ratings: Counter[str]) -> pd.DataFrame:
    """slices.parquet: row_id and slice (`kind:value`); each row is in one slice of each kind.

    Args:
        ratings: how many rows of the snapshot each rater has.
    """
    unique = list({row.row_id: row for row in rows}.values())
    lengths = [len(row.context.split()) for row in unique]
    borders = np.quantile(lengths, (1 / 3, 2 / 3)) if lengths else np.zeros(2)
    records = [
        (row.row_id, f"{kind}:{value}")
        for row, length in zip(unique, lengths, strict=True)
        for kind, value in (
            ("topic", find_topic(row.context)),
            ("length", ("short", "medium", "long")[int(np.searchsorted(borders, length, side="left"))]),
            ("language", find_language(row.context)),
            ("raters", find_rater_group(row, ratings)),
        )
    ]
    return pd.DataFrame(records, columns=["row_id", "slice"]).astype("string")


def find_topic(text: str) -> str:
    """The topic with most words in the text, the earlier in the list on a tie; `other` without any."""
    hits = Counter(_WORDS_OF_TOPICS[word] for word in _list_words(text) if word in _WORDS_OF_TOPICS)
    return max(_TOPICS, key=lambda topic: hits[topic]) if hits else "other"


def find_language(text: str) -> str:
    """A two-letter code, `script-…` for letters that are not Latin, or `unknown`."""
    scripts = Counter(unicodedata.name(letter, "?").split()[0].lower() for letter in text if letter.isalpha())
    if scripts and (script := scripts.most_common(1)[0][0]) != "latin":
        return f"script-{script}"
    words = Counter(_list_words(text))
    hits = {code: sum(words[word] for word in known.split()) for code, known in _FUNCTION_WORDS.items()}
    best = max(hits, key=lambda code: hits[code])
    return best if hits[best] >= _LANGUAGE_HITS else "unknown"


def find_rater_group(row: PoolRow, ratings: Counter[str]) -> str:
    """`expert`, `many` or `few` by whoever rated the row, `none` where nobody is known."""
    if row.is_expert:
        return "expert"
    if row.rater is None:
        return "none"
    return "many" if ratings[row.rater] >= MANY_RATINGS else "few"


def _list_words(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", text.casefold())
