"""One paired contrast: estimate, interval, tests, equivalence and a verdict in words.

Precedence of the verdict, first match wins:

1. `degenerate`: no variance, fewer than two runs, or a value that is not finite. There is no p
   value. Pairs that agree exactly carry the reason "identical in every run", which a claim may read
   as exact equality.
2. Equivalence is shown: both one-sided tests pass at alpha *and* the (1 - alpha) interval lies
   within the margin. The verdict is `equivalent`, also where the difference is significant (the
   reason then says both), unless two identical arms differ by more than the margin (`noise_limit >
   margin`): then equivalence cannot be told from noise and the verdict is `inconclusive`.
3. The corrected p is at most alpha: the direction (`faster`/`slower`, `lower`/`higher`), unless the
   estimate is no larger than what two identical arms show (`noise_limit`): `inconclusive`.
4. `inconclusive`.

The tests of equivalence are not corrected within the family: requiring the two-sided (1 - alpha)
interval inside the margin holds each of them at alpha / 2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seqlab.errors import UserError
from seqlab.stats import multiplicity
from seqlab.stats.equivalence import relative_bounds, tost
from seqlab.stats.independent import Welch, welch
from seqlab.stats.paired import PairedT, paired_t, sign_flip_test, wilcoxon_signed_rank

Scale = Literal["difference", "log_ratio"]
Labels = tuple[str, str]

LOWER_HIGHER: Labels = ("lower", "higher")
FASTER_SLOWER: Labels = ("faster", "slower")
EQUIVALENT = "equivalent"
INCONCLUSIVE = "inconclusive"
DEGENERATE = "degenerate"

# Columns of `Contrast.row`, for tables that hold no contrast yet.
CONTRAST_COLUMNS = (
    *("n", "estimate", "ci_low", "ci_high", "ratio", "ratio_low", "ratio_high"),
    *("test", "statistic", "p_raw", "p_holm", "p_bh", "p_bonferroni", "d_z", "d_av"),
    *("p_signflip", "signflip_floor", "p_wilcoxon", "wilcoxon_floor"),
    *("tost_margin", "tost_p", "noise_limit", "verdict", "reason"),
)

_NAN = math.nan


@dataclass(frozen=True, slots=True)
class Contrast:
    """Treatment against control over the same runs.

    `estimate` and its interval are on the scale of the test: the unit of the data for `difference`,
    the natural log of treatment / control for `log_ratio`, where `ratio` and its interval are their
    exponentials. `margin` and `noise_limit` are in the unit of the data, or relative (0.02 = 2 %)
    for `log_ratio`. `p_corrected` equals `p_raw` until `correct_family` has seen the whole family.
    """

    scale: Scale
    labels: Labels
    alpha: float
    n: int
    estimate: float
    margin: float
    noise_limit: float | None
    test: str
    ci_low: float = _NAN
    ci_high: float = _NAN
    statistic: float = _NAN
    p_raw: float = _NAN
    p_corrected: float = _NAN
    correction: str = "none"
    p_holm: float = _NAN
    p_bh: float = _NAN
    p_bonferroni: float = _NAN
    d_z: float = _NAN
    d_av: float = _NAN
    g_z: float = _NAN
    p_signflip: float = _NAN
    signflip_floor: float = _NAN
    p_wilcoxon: float = _NAN
    wilcoxon_floor: float = _NAN
    tost_p: float = _NAN
    degenerate_reason: str = ""
    verdict: str = field(default="", compare=False)
    reason: str = field(default="", compare=False)

    @property
    def ratio(self) -> float:
        """Ratio of geometric means, treatment over control; NaN on the difference scale."""
        return self._exponential(self.estimate)

    @property
    def ratio_low(self) -> float:
        """Lower end of the interval of `ratio`."""
        return self._exponential(self.ci_low)

    @property
    def ratio_high(self) -> float:
        """Upper end of the interval of `ratio`."""
        return self._exponential(self.ci_high)

    @property
    def bounds(self) -> tuple[float, float]:
        """Equivalence bounds on the scale of the test."""
        if self.scale == "log_ratio":
            return relative_bounds(self.margin)
        return -self.margin, self.margin

    def row(self) -> dict[str, float | int | str]:
        """Return the statistics columns of a tidy table, NaN where undefined."""
        return {
            "n": self.n,
            "estimate": self.estimate,
            "ci_low": self.ci_low,
            "ci_high": self.ci_high,
            "ratio": self.ratio,
            "ratio_low": self.ratio_low,
            "ratio_high": self.ratio_high,
            "test": self.test,
            "statistic": self.statistic,
            "p_raw": self.p_raw,
            "p_holm": self.p_holm,
            "p_bh": self.p_bh,
            "p_bonferroni": self.p_bonferroni,
            "d_z": self.d_z,
            "d_av": self.d_av,
            "p_signflip": self.p_signflip,
            "signflip_floor": self.signflip_floor,
            "p_wilcoxon": self.p_wilcoxon,
            "wilcoxon_floor": self.wilcoxon_floor,
            "tost_margin": self.margin,
            "tost_p": self.tost_p,
            "noise_limit": _NAN if self.noise_limit is None else self.noise_limit,
            "verdict": self.verdict,
            "reason": self.reason,
        }

    def _exponential(self, value: float) -> float:
        return math.exp(value) if self.scale == "log_ratio" else _NAN


def paired_contrast(
    treatment: ArrayLike,
    control: ArrayLike,
    *,
    scale: Scale = "difference",
    margin: float,
    noise_limit: float | None = None,
    alpha: float = 0.05,
    labels: Labels = LOWER_HIGHER,
) -> Contrast:
    """Compare two arms over the same runs, one value per run.

    Args:
        treatment: Shape (n,); run-level values such as medians of repeats.
        control: Shape (n,), same runs in the same order.
        scale: `difference` (treatment - control) or `log_ratio` (log treatment - log control).
        margin: Equivalence margin: unit of the data, or relative (0.02 = 2 %) for `log_ratio`.
        noise_limit: What two identical arms differ by on this machine (A/A limit), same unit as the
            margin.
        alpha: Level of the tests; one minus the coverage of the interval.
        labels: Words for a negative and a positive difference.

    Raises:
        ValueError: Shapes differ, the margin is not positive, or the noise limit is negative.
        UserError: A value that is not positive on the log scale.
    """
    if not margin > 0:
        raise ValueError(f"the equivalence margin must be positive, got {margin}")
    if noise_limit is not None and not noise_limit >= 0:
        raise ValueError(f"the noise limit must not be negative, got {noise_limit}")
    a, b = (np.asarray(values, dtype=np.float64) for values in (treatment, control))
    logs = scale == "log_ratio"
    if logs:
        a, b = _log(a, "treatment"), _log(b, "control")
    test = paired_t(a, b, alpha, magnitude=1.0 if logs else 0.0)
    contrast = Contrast(
        scale=scale,
        labels=labels,
        alpha=alpha,
        n=test.n,
        estimate=test.estimate,
        margin=margin,
        noise_limit=noise_limit,
        test="paired t on log ratios" if logs else "paired t",
        degenerate_reason=test.reason,
    )
    if test.status == "ok":
        contrast = _tested(contrast, test, a - b)
    return _decided(contrast)


def independent_contrast(
    treatment: ArrayLike,
    control: ArrayLike,
    *,
    margin: float,
    alpha: float = 0.05,
    labels: Labels = LOWER_HIGHER,
) -> tuple[Contrast, Welch]:
    """Compare two arms of independent runs by Welch's test; also return the test itself.

    Args:
        treatment: Shape (n,); run-level values.
        control: Shape (m,).
        margin: Equivalence margin in the unit of the data.
        alpha: Level of the tests; one minus the coverage of the interval.
        labels: Words for a negative and a positive difference.

    Raises:
        ValueError: The margin is not positive, or a sample is empty.
    """
    if not margin > 0:
        raise ValueError(f"the equivalence margin must be positive, got {margin}")
    test = welch(treatment, control, alpha)
    contrast = Contrast(
        scale="difference",
        labels=labels,
        alpha=alpha,
        n=test.n,
        estimate=test.estimate,
        margin=margin,
        noise_limit=None,
        test="Welch t",
        ci_low=test.ci_low,
        ci_high=test.ci_high,
        statistic=test.t,
        p_raw=test.p,
        p_corrected=test.p,
        tost_p=test.tost_p(-margin, margin),
        degenerate_reason=test.reason,
    )
    return _decided(contrast), test


def _tested(contrast: Contrast, test: PairedT, difference: NDArray[np.float64]) -> Contrast:
    flips = sign_flip_test(difference)
    ranks = wilcoxon_signed_rank(difference)
    return replace(
        contrast,
        ci_low=test.ci_low,
        ci_high=test.ci_high,
        statistic=test.t,
        p_raw=test.p,
        p_corrected=test.p,
        d_z=test.d_z,
        d_av=test.d_av,
        g_z=test.g_z,
        p_signflip=flips.p,
        signflip_floor=flips.floor,
        p_wilcoxon=ranks.p,
        wilcoxon_floor=ranks.floor,
        tost_p=tost(difference, *contrast.bounds).p,
    )


def correct_family(
    contrasts: Sequence[Contrast], method: multiplicity.Method = "holm"
) -> list[Contrast]:
    """Correct the p values of one family and decide every verdict again on the corrected ones.

    A degenerate contrast has no test: it stays in the list and does not enlarge the family.

    Args:
        contrasts: The family, stated before its data.
        method: The correction that decides; all three are reported.
    """
    raw = [contrast.p_raw for contrast in contrasts]
    adjusted: dict[str, NDArray[np.float64]] = {
        name: multiplicity.adjust(raw, name) for name in ("holm", "bh", "bonferroni")
    }
    return [
        _decided(
            replace(
                contrast,
                p_corrected=float(adjusted[method][i]),
                correction=method,
                p_holm=float(adjusted["holm"][i]),
                p_bh=float(adjusted["bh"][i]),
                p_bonferroni=float(adjusted["bonferroni"][i]),
            )
        )
        for i, contrast in enumerate(contrasts)
    ]


def _log(values: NDArray[np.float64], arm: str) -> NDArray[np.float64]:
    if (values <= 0).any():
        raise UserError(
            f"value {values[values <= 0][0]:g} has no logarithm",
            where=f"{arm} of a contrast on the log scale",
            fix='use scale="difference" for values that can be zero or negative',
        )
    return np.log(values)


def _decided(contrast: Contrast) -> Contrast:
    verdict, reason = _decide(contrast)
    return replace(contrast, verdict=verdict, reason=reason)


def _decide(c: Contrast) -> tuple[str, str]:
    """Return verdict and reason by the precedence in the module docstring."""
    if c.degenerate_reason:
        return DEGENERATE, c.degenerate_reason
    lower, upper = c.bounds
    significant = c.p_corrected <= c.alpha
    p_text = f"p {_number(c.p_corrected)} ({c.correction})"
    difference = f"{'significant' if significant else 'no significant'} difference, {p_text}"
    noise = "" if c.noise_limit is None else f"identical arms differ by up to {c.noise_limit:.3g}"
    noisy = c.noise_limit is not None and c.noise_limit > c.margin
    if c.tost_p < c.alpha and lower < c.ci_low and c.ci_high < upper:
        inside = f"interval within the margin {c.margin:.3g} (TOST p {_number(c.tost_p)})"
        if noisy:
            return INCONCLUSIVE, f"noise: {inside}, but {noise}; {difference}"
        return EQUIVALENT, f"{inside}; {difference}"
    if significant:
        if c.noise_limit is not None and _magnitude(c) <= c.noise_limit:
            return INCONCLUSIVE, f"noise: {difference}, but {noise}"
        return c.labels[int(c.estimate > 0)], difference
    outside = f"interval not within the margin {c.margin:.3g}"
    return INCONCLUSIVE, (
        f"noise: {difference}; {outside}; {noise}" if noisy else f"{difference}; {outside}"
    )


def _magnitude(c: Contrast) -> float:
    """Size of the estimate in the unit of margin and noise limit; symmetric for ratios."""
    return math.expm1(abs(c.estimate)) if c.scale == "log_ratio" else abs(c.estimate)


def _number(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
