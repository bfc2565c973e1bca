"""How numbers are written on the page: sensible digits, a dash where there is none, never minus zero."""

from __future__ import annotations

import math

from reports.metrics.reference import RHAT

DASH = "–"
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float | None, digits: int = 3) -> str:
    """Write `value` with at least `digits` significant digits, a whole number as it is, extremes in powers of ten.

    Examples
    --------
    >>> number(0.123456), number(-12.0), number(-0.0), number(None), number(2.5e-7)
    ('0.123', '−12', '0', '–', '2.5×10⁻⁷')
    """
    if value is None or math.isnan(value):
        return DASH
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == round(value) and abs(value) < 1e7:
        return fixed(value, 0)
    size = math.floor(math.log10(abs(value)))
    if size >= 7 or size < -4:
        mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
        if "." in mantissa:
            mantissa = mantissa.rstrip("0").rstrip(".")
        return f"{mantissa}×10{str(int(exponent)).translate(SUPERSCRIPT)}".replace("-", "−")
    return fixed(value, max(0, digits - 1 - size))


def fixed(value: float, decimals: int) -> str:
    """Write `value` with that many decimals, a thin space between thousands and a true minus sign.

    Examples
    --------
    >>> fixed(-0.0004, 2), fixed(1234567.0, 1).split(), fixed(876.0, -2)
    ('0.00', ['1', '234', '567.0'], '900')
    """
    text = f"{value if decimals >= 0 else round(value, decimals):,.{max(0, decimals)}f}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("-")
    return text.replace(",", "\u202f").replace("-", "−")


def places(error: float) -> int:
    """Return the decimals that hold the two leading digits of a Monte Carlo or standard error; below zero, whole tens.

    Examples
    --------
    >>> places(0.0621), places(3.0), places(1234.0)
    (3, 1, -2)
    """
    return min(8, 1 - math.floor(math.log10(error)))


def with_error(value: float | None, se: float | None) -> str:
    """Write a value and its standard error to the error's two leading digits.

    Examples
    --------
    >>> with_error(-4.15234, 0.0621), with_error(876.0, 123.0), with_error(-4.15234, None), with_error(None, 1.0)
    ('−4.152 ± 0.062', '880 ± 120', '−4.15', '–')
    """
    if value is None or math.isnan(value):
        return DASH
    if se is None or not se > 1e-12 * abs(value) or not math.isfinite(se) or not math.isfinite(value):
        return number(value)
    return f"{fixed(value, places(se))} ± {fixed(se, places(se))}"


def rhat(value: float | None) -> str:
    """Write an R-hat to the thousandth, and one more digit where that would hide on which side of its limit it is.

    Examples
    --------
    >>> rhat(1.00287), rhat(1.0098), rhat(None)
    ('1.003', '1.0098', '–')
    """
    if value is None or math.isnan(value):
        return DASH
    return fixed(value, 4 if abs(value - RHAT) < 5e-4 else 3)


def khat(value: float | None) -> str:
    """Write a Pareto k-hat to the hundredth.

    Examples
    --------
    >>> khat(0.7512), khat(1.0713), khat(None)
    ('0.75', '1.07', '–')
    """
    if value is None or not math.isfinite(value):
        return number(value)
    return fixed(value, 2)


def seconds(value: float | None) -> str:
    """Write a duration.

    Examples
    --------
    >>> seconds(0.0213), seconds(12.34), seconds(83.0), seconds(0.0), seconds(1.2e-5), seconds(None)
    ('0.021 s', '12 s', '1 min 23 s', '0 s', '< 0.001 s', '–')
    """
    if value is None or math.isnan(value):
        return DASH
    if 0 < value < 0.001:
        return "< 0.001 s"
    if value < 60:
        return f"{number(value, 2)} s"
    return f"{int(value // 60)} min {int(value % 60)} s"


def percent(value: float | None) -> str:
    """Write a fraction as a percentage.

    Examples
    --------
    >>> percent(0.5), percent(0.9973), percent(0.004), percent(None)
    ('50%', '99.7%', '0.4%', '–')
    """
    return DASH if value is None or math.isnan(value) else f"{fixed(100 * value, 1).removesuffix('.0')}%"
