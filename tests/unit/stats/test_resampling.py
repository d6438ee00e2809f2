"""Bootstrap and mediation against scipy, pingouin and brute force."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from seqlab.stats.bootstrap import (
    bootstrap_interval,
    expanded_level,
    interval_from_replicates,
)
from seqlab.stats.mediation import CAVEAT, mediate, widened_p


def mean_ratio(a, b, axis):
    return a.mean(axis=axis) / b.mean(axis=axis)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_bootstrap_equals_scipy_with_the_same_draws(method):
    data = np.random.default_rng(1).lognormal(0, 0.7, 17)
    ours = bootstrap_interval(
        data, np.mean, rng=np.random.default_rng(5), resamples=999, method=method
    )
    theirs = scipy_stats.bootstrap(
        (data,), np.mean, n_resamples=999, method=method, rng=np.random.default_rng(5)
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=1e-12)
    assert ours.method == method
    assert ours.fallback == ""


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_paired_bootstrap_equals_scipy(method):
    rng = np.random.default_rng(2)
    a = rng.lognormal(0, 0.3, 12)
    b = a * rng.lognormal(0.1, 0.2, 12)
    ours = bootstrap_interval(
        (a, b), mean_ratio, rng=np.random.default_rng(5), resamples=500, method=method
    )
    theirs = scipy_stats.bootstrap(
        (a, b),
        mean_ratio,
        paired=True,
        n_resamples=500,
        method=method,
        rng=np.random.default_rng(5),
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=1e-12)


def test_bca_falls_back_and_says_so():
    constant = bootstrap_interval(
        [2.0, 2.0, 2.0], np.mean, rng=np.random.default_rng(0), resamples=50, method="bca"
    )
    assert (constant.method, constant.low) == ("percentile", 2.0)
    assert "jackknife" in constant.fallback

    def one_sided(values, axis):
        return np.where(values.ndim == 1, 10.0, values.mean(axis=axis))

    above = bootstrap_interval(
        [1.0, 2.0, 3.0], one_sided, rng=np.random.default_rng(0), resamples=50, method="bca"
    )
    assert "one side" in above.fallback


@pytest.mark.parametrize("bad", [[1.0], [1.0, math.nan], ([1.0, 2.0], [1.0])])
def test_bootstrap_refuses(bad):
    with pytest.raises(ValueError, match="bootstrap needs"):
        bootstrap_interval(bad, np.mean, rng=np.random.default_rng(0))


def chain(n: int = 120, direct: float = 0.3, seed: int = 4) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.normal(5, 2, n)
    m = 1 + 0.8 * x + rng.normal(0, 1, n)
    y = 20 - direct * x - 1.5 * m + rng.normal(0, 1, n)
    return pd.DataFrame({"x": x, "m": m, "y": y})


def least_squares(y, *columns):
    design = np.column_stack([np.ones(len(y)), *columns])
    return np.linalg.lstsq(design, y, rcond=None)[0]


def test_mediation_agrees_with_pingouin():
    import pingouin

    frame = chain()
    ours = mediate(frame.x, frame.m, frame.y, rng=np.random.default_rng(0), resamples=800)
    theirs = pingouin.mediation_analysis(frame, "x", "m", "y", n_boot=300, seed=1)
    table = theirs.set_index("path")
    expected = {"a": "m ~ X", "total": "Total", "ade": "Direct", "acme": "Indirect"}
    columns = [c for c in table.columns if c.startswith(("CI", "2.5", "97.5"))]
    for name, path in expected.items():
        assert ours.effects[name].estimate == pytest.approx(table.loc[path, "coef"], abs=2e-5)
    low, high = table.loc["Indirect", columns]
    width = high - low
    assert ours.effects["acme"].percentile.low == pytest.approx(low, abs=0.25 * width)
    assert ours.effects["acme"].percentile.high == pytest.approx(high, abs=0.25 * width)


def test_mediation_recovers_the_paths_and_not_the_naive_slope():
    frame = chain(n=2000)
    ours = mediate(frame.x, frame.m, frame.y, rng=np.random.default_rng(0), resamples=200)
    e = ours.effects
    assert e["a"].estimate == pytest.approx(0.8, abs=0.05)
    assert e["b"].estimate == pytest.approx(-1.5, abs=0.08)
    assert e["acme"].estimate + e["ade"].estimate == pytest.approx(e["total"].estimate, rel=1e-10)
    naive = least_squares(frame.y, frame.m)[1]
    assert abs(naive - e["b"].estimate) > 0.1
    assert ours.standardised["a"] == pytest.approx(
        e["a"].estimate * frame.x.std() / frame.m.std(), rel=1e-10
    )
    assert ours.proportion.estimate == pytest.approx(e["acme"].estimate / e["total"].estimate)
    assert ours.caveat == CAVEAT


def test_bootstrap_by_moments_equals_refitting_every_resample():
    frame = chain(n=25)
    covariate = np.random.default_rng(9).normal(size=(25, 1))
    ours = mediate(
        frame.x, frame.m, frame.y, covariates=covariate, rng=np.random.default_rng(3), resamples=60
    )
    drawn = np.random.default_rng(3).integers(0, 25, (60, 25), dtype=np.uint16)
    acme, total = [], []
    for index in drawn:
        x, m, y = (frame[c].to_numpy()[index] for c in "xmy")
        z = covariate[index, 0]
        acme.append(least_squares(m, z, x)[2] * least_squares(y, z, x, m)[3])
        total.append(least_squares(y, z, x)[2])
    assert ours.effects["acme"].percentile.low == pytest.approx(np.quantile(acme, 0.025), rel=1e-8)
    assert ours.effects["total"].percentile.high == pytest.approx(
        np.quantile(total, 0.975), rel=1e-8
    )


def test_bca_of_mediation_equals_the_generic_bootstrap():
    frame = chain(n=20)

    def acme(x, m, y):
        dx, dm, dy = (v - v.mean(axis=-1, keepdims=True) for v in (x, m, y))
        xx, xm, mm = (dx * dx).sum(-1), (dx * dm).sum(-1), (dm * dm).sum(-1)
        xy, my = (dx * dy).sum(-1), (dm * dy).sum(-1)
        return xm / xx * (my * xx - xm * xy) / (xx * mm - xm**2)

    columns = tuple(frame[c].to_numpy() for c in "xmy")
    drawn = np.random.default_rng(7).integers(0, 20, (400, 20), dtype=np.uint16)
    generic = interval_from_replicates(
        float(acme(*columns)),
        acme(*(c[drawn] for c in columns)),
        lambda: np.array([acme(*(np.delete(c, i) for c in columns)) for i in range(20)]),
        20,
        method="bca",
    )
    ours = mediate(*columns, rng=np.random.default_rng(7), resamples=400).effects["acme"].bca
    assert (ours.low, ours.high) == pytest.approx((generic.low, generic.high), rel=1e-8)


def test_clusters_are_resampled_whole():
    frame = chain(n=30)
    doubled = pd.concat([frame, frame], ignore_index=True)
    rows = mediate(
        frame.x,
        frame.m,
        frame.y,
        rng=np.random.default_rng(0),
        resamples=300,
        alpha=expanded_level(0.05, 30),
    )
    clustered = mediate(
        doubled.x,
        doubled.m,
        doubled.y,
        clusters=np.tile(np.arange(30), 2),
        rng=np.random.default_rng(0),
        resamples=300,
    )
    assert clustered.clusters == 30
    assert clustered.effects["acme"].percentile.low == pytest.approx(
        rows.effects["acme"].percentile.low, rel=1e-9
    )


def test_no_proportion_without_a_total_effect():
    rng = np.random.default_rng(0)
    x, m, y = rng.normal(size=(3, 60))
    result = mediate(x, m, y, rng=rng, resamples=300)
    assert result.proportion is None
    assert "contains 0" in result.proportion_reason
    assert 0 < result.effects["total"].p <= 1


def test_collinear_resamples_are_counted_and_collinear_data_refused():
    x = np.array([0.0, 0.0, 0.0, 1.0, 0.0])
    rng = np.random.default_rng(0)
    m, y = rng.normal(size=(2, 5))
    result = mediate(x, m, y, rng=rng, resamples=200)
    assert 0 < result.collinear < 200
    with pytest.raises(ValueError, match="collinear"):
        mediate(x, 2 * x, y, rng=rng)
    with pytest.raises(ValueError, match="variation"):
        mediate(np.ones(5), m, y, rng=rng)


@pytest.mark.parametrize("units", [5, 12, 40, 100_000])
def test_level_of_few_clusters_is_that_of_t(units: int) -> None:
    level = expanded_level(0.05, units)
    # The normal interval at that level is the t interval with the unbiased standard error.
    reach = scipy_stats.norm.ppf(1 - level / 2) * np.sqrt((units - 1) / units)
    assert reach == pytest.approx(scipy_stats.t.ppf(0.975, units - 1))
    assert level < 0.05
    assert widened_p(level, units) == pytest.approx(0.05)
    assert widened_p(1.0, units) == 1.0


@pytest.mark.parametrize("values", [[0.2, 0.9], [0.1, 0.5, 0.6], [0.0, 0.0, 0.0, 0.0, 1.0]])
def test_intervals_of_very_few_units_are_finite(values: list[float]) -> None:
    found = bootstrap_interval(
        np.array(values),
        lambda x, axis: x.mean(axis),
        rng=np.random.default_rng(0),
        resamples=500,
        alpha=expanded_level(0.05, len(values)),
    )
    assert min(values) <= found.low <= found.estimate <= found.high <= max(values)
