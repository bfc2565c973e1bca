"""Words for settings and lists."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from reports.page.numbers import DASH

COMPLETE = "All data sets are complete: what missing values would change is not measured."

GREEK = {"pi": "π", "mu": "μ", "lambda": "λ", "Lambda": "Λ", "alpha": "α", "beta": "β", "nu": "ν", "theta": "θ"}


def symbols(text: str) -> str:
    """Write names of Greek letters as the letters, and inverses as such.

    >>> symbols("mu_k | Lambda_k ~ N(m0, (beta0 Lambda_k)^-1)")
    'μ_k | Λ_k ~ N(m0, (β0 Λ_k)⁻¹)'
    """
    text = text.replace("^-1", "⁻¹").replace("_inv", "⁻¹")
    return re.sub(rf"(?<![A-Za-z])({'|'.join(GREEK)})(?![A-Za-z])", lambda m: GREEK[m[1]], text)


def sentence(text: str) -> str:
    """Return text as it begins a sentence; a symbol that stands first stays as it is.

    >>> sentence("fitted K = 3"), sentence("n = 50"), sentence("full: K = 2")
    ('Fitted K = 3', 'n = 50', 'Full: K = 2')
    """
    return text[0].upper() + text[1:] if text[1:2].isalpha() else text


def spoken(text: str, one: str, kept: Sequence[str] = ()) -> str:
    """Return text that speaks of clusters with the word for what they are: a cluster, or a state.

    What leads to a place or a term of the glossary stays as it is, and so do names that the data brought.

    Parameters
    ----------
    text : str
    one : str
        "cluster" or "state".
    kept : sequence of str
        Names that may hold the word.

    Examples
    --------
    >>> spoken("Clusters: cluster 0; [[occupied|clusters in use]], [[cluster]], co-clustering", "state")
    'States: state 0; [[occupied|states in use]], [[cluster]], co-clustering'
    """
    if one == "cluster":
        return text
    whole = "|".join([r"\[\[[^\[\]|]*(?:\||\]\])", *map(re.escape, sorted(kept, key=len, reverse=True))])
    words = rf"({whole})|(?<![\w-])(?:([Cc])luster(s?))(?!\w)"
    return re.sub(words, lambda m: m[1] or f"{one.capitalize() if m[2] == 'C' else one}{m[3]}", text)


def moment(written: str) -> str:
    """Return a time of a manifest as it is read; one that is not in ISO 8601 stays as it is.

    >>> moment("2026-11-27T23:45:17+00:00"), moment("2026-11-27 23:45 UTC")
    ('2026-11-27 23:45:17 UTC', '2026-11-27 23:45 UTC')
    """
    return re.sub(r"^([\d-]{10})T([\d:]+)\+00:00$", r"\1 \2 UTC", written)


def listing(names: Sequence[str], word: str = "and") -> str:
    """Return names as words: `a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"


def literal(text: object) -> str:
    """Return text from outside, such as a method's or feature's name, so that none of it is read as a link to a term.

    >>> literal("means[0, [[a|b]]]").replace("\u2060", "~")
    'means[0, [~[a|b]]]'
    """
    return str(text).replace("[[", "[\u2060[")


def short(x: object) -> str:
    """Write a setting in a line: numbers with few digits, a constant list as one number, nested lists in brackets."""
    if x is None:
        return DASH
    if isinstance(x, str | int):
        return str(x)
    if isinstance(x, float):
        return f"{x:.4g}".replace("-", "−")
    if isinstance(x, list | tuple):
        if sum(np.size(v) for v in x) > 9:
            lengths = {np.size(v) for v in x}
            shape = " × ".join(map(str, np.shape(x) if len(lengths) == 1 else (len(x), f"up to {max(lengths)}")))
            return f"{shape} numbers, in manifest.json"
        if len(x) > 1 and all(isinstance(v, int | float) for v in x) and len(set(x)) == 1:
            return f"{short(x[0])} for each"
        return f"[{', '.join(short(v) for v in x)}]"
    return str(x)
