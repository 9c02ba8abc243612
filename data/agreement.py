"""How far several people agree on the same things, beyond chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


def compute_alpha(labels: Iterable[tuple[str, str, str]]) -> float | None:
    """Krippendorff's alpha, nominal, over (person, thing, label): 1 is full agreement, 0 is chance.

    Things with one label are left out. None where alpha is undefined: fewer than two different labels are left.
    """
    from nltk.metrics.agreement import AnnotationTask  # it takes a second, and few processes ask

    labels = list(labels)
    times = Counter(thing for _, thing, _ in labels)
    shared = [item for item in labels if times[item[1]] > 1]
    if len({label for _, _, label in shared}) < 2:
        return None
    return float(AnnotationTask(data=shared).alpha())
