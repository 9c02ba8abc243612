"""Word clouds as SVG text: no script, no font file; a word stretches to its place in whatever font the reader has."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from html import escape
from pathlib import Path

import matplotlib as mpl
from PIL import ImageFont
from wordcloud import STOPWORDS, WordCloud

WORDS = 60  # shown at most
MIN_TEXTS = 2  # that share a word: what one person alone wrote is not shown
_WIDTH, _HEIGHT = 460, 230
_FONT = Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
_WORD = re.compile(r"\[[A-Z_]+\]|[^\W\d_][\w'’]*[\w]")  # masks of scrubbing are matched, to be left out


def count_words(texts: Iterable[str]) -> dict[str, int]:
    """In how many texts each word stands, the WORDS most common ones, without common English words and masks."""
    counts: Counter[str] = Counter()
    for text in texts:
        words = {match.group().lower().replace("’", "'") for match in _WORD.finditer(text) if match.group()[0] != "["}
        counts.update(word for word in words if word not in STOPWORDS)
    shared = [(word, count) for word, count in counts.items() if count >= MIN_TEXTS]
    return dict(sorted(shared, key=lambda item: (-item[1], item[0]))[:WORDS])


def draw_cloud(texts: Iterable[str], colour: str, title: str) -> str:
    """The words of `texts`, each as large as the number of texts that have it; empty when no two share any."""
    counts = count_words(texts)
    if not counts:
        return ""
    cloud = WordCloud(
        width=_WIDTH, height=_HEIGHT, font_path=str(_FONT), prefer_horizontal=1.0, random_state=0, max_font_size=64
    )
    cloud.generate_from_frequencies(counts)
    placed = [
        _place(word, size, x, y, counts[word] / max(counts.values())) for (word, _), size, (y, x), _, _ in cloud.layout_
    ]
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}" fill="{colour}" '
        f'font-family="DejaVu Sans, Verdana, sans-serif">{"".join(placed)}</svg>'
    )


def _place(word: str, size: int, x: int, y: int, share: float) -> str:
    """One word at the place of its bounding box's upper left corner; the rarer, the paler."""
    left, top, right, _ = ImageFont.truetype(str(_FONT), size).getbbox(word, anchor="ls")  # from the base line
    return (
        f'<text x="{x}" y="{y - top:.0f}" font-size="{size}" textLength="{right - left:.0f}" '
        f'lengthAdjust="spacingAndGlyphs" fill-opacity="{0.55 + 0.45 * share:.2f}">{escape(word)}</text>'
    )
