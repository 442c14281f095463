"""Simulated light curves against published figures and against ELAsTiCC's own simulations."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from train.simulator import core_collapse, supernova_ia
from train.simulator.periodic import draw_star, rr_lyrae_of
from train.simulator.population import true_peak
from train.simulator.spectra import bandpasses, distance_modulus, njy_to_magnitude, observed
from train.simulator.splits import SPLITS
from train.simulator.stochastic import draw_walk
from train.simulator.table_files import read_table

ELASTICC = "elasticc/astrolabsoftware+fink-tutorials"
EXTINCTION = {"u": 4.15, "g": 3.24, "r": 2.27, "i": 1.68, "z": 1.32}  # a unit of E(B-V)
PASSES = bandpasses("lsst", "ugrizy")


@pytest.mark.parametrize("redshift", [0.15, 0.2, 0.3])
def test_ia_peaks_follow_the_survey(redshift: float) -> None:
    """Peak r of SN Ia is 23.57 + 4.10 log10 z within 0.3 mag on average, scatter 0.2 to 0.45."""
    random, passes = np.random.default_rng(1), bandpasses("sdss", "ugriz")
    peaks = [njy_to_magnitude(supernova_ia.draw(random, passes, redshift).flux_TB[:, 2].max()) for _ in range(200)]
    assert np.mean(peaks) == pytest.approx(23.57 + 4.10 * np.log10(redshift), abs=0.3)
    assert 0.2 < np.std(peaks) < 0.45


def test_distance_modulus() -> None:
    """Of a flat universe with matter 0.3 and 70 km/s/Mpc: 41.0 at redshift 0.3 (astropy: 40.957)."""
    assert distance_modulus(0.3) == pytest.approx(40.957, abs=0.01)


def test_rr_lyrae_keep_their_fitted_amplitude_and_are_shared_out() -> None:
    """A drawn star's r curve has the table's amplitude and mean 0 in flux; every star is of exactly one split."""
    random = np.random.default_rng(3)
    name, star = draw_star(random, "rr_lyrae", "ugriz", bandpasses("sdss", "ugriz").center_a_B, "test")
    row = next(row for row in read_table("rr_lyrae.csv") if f"rr_lyrae:{row['star']}" == name)
    days = np.linspace(0.0, star.period_days, 2000)
    change = star.change(days, np.full(len(days), 2))
    ratio = (change + star.flux_njy_B[2]) / star.flux_njy_B[2]
    assert 2.5 * np.log10(ratio.max() / ratio.min()) == pytest.approx(float(row["amplitude_r"]), abs=0.02)
    assert change.mean() == pytest.approx(0.0, abs=1e-3)
    assert sum(len(rr_lyrae_of(split)) for split in SPLITS) == len(read_table("rr_lyrae.csv")) == 483
    assert min(len(rr_lyrae_of(split)) for split in SPLITS) > 20


def test_walks_have_their_structure_function() -> None:
    """Walks of many objects differ by the stated structure function at long lags, by less at short ones, and more in
    blue bands."""
    random = np.random.default_rng(5)
    days = np.array([0.0, 10.0, 4000.0])
    walks = [
        draw_walk(random, days, PASSES.center_a_B, redshift=0.5, structure_function=(0.2, 0.0)) for _ in range(800)
    ]
    values = np.array([walk.magnitude_T for walk in walks])
    assert (values[:, 2] - values[:, 0]).std() == pytest.approx(0.2, rel=0.1)
    assert (values[:, 1] - values[:, 0]).std() < 0.08
    assert (np.diff(walks[0].amplitude_B) < 0).all()


def test_faint_peaks_are_noise_corrected() -> None:
    """A tabulated peak near the limit is fainter in truth; a bright one is what it says."""
    assert true_peak(19.0) == 19.0
    assert true_peak(22.2) == pytest.approx(22.4)


def elasticc(folder: Path, class_id: int) -> list[dict]:
    pyarrow = pytest.importorskip("pyarrow.parquet")
    columns = ["SNID", "ZHELIO", "PEAKMJD", "MWEBV", "prvDiaForcedSources", *(f"PEAKMAG_{band}" for band in "ugriz")]
    rows = {}
    for file in sorted((folder / ELASTICC / f"classId={class_id}").glob("*.parquet")):
        rows |= {row["SNID"]: row for row in pyarrow.read_table(file, columns=columns).to_pylist()}
    return [row for row in rows.values() if 0.03 < row["ZHELIO"] < 0.6]


def drawn(random: np.random.Generator, class_id: int, redshift: float) -> tuple[np.ndarray, np.ndarray]:
    """Days and fluxes of a simulated supernova of the class."""
    if class_id == 111:
        curve = supernova_ia.draw(random, PASSES, redshift)
        return curve.days_T, curve.flux_TB
    kind = str(random.choice(["II-P", "II-L"], p=[0.77, 0.23]))
    spectra = core_collapse.draw_photosphere(random, kind).spectra(random.exponential(core_collapse.MEAN_REDDENING))
    return core_collapse.DAYS_T * (1 + redshift), PASSES.fluxes(
        observed(spectra, core_collapse.WAVELENGTH_A, redshift)
    )


def fading(row: dict, band: str, low: float, high: float) -> float | None:
    """Flux over peak flux between two rest-frame days after maximum; None where it is not measured to 3%."""
    found = np.array(
        [
            (one["midPointTai"], one["psFlux"], one["psFluxErr"])
            for one in row["prvDiaForcedSources"] or []
            if one["filterName"] == band
        ]
    ).reshape(-1, 3)
    phase = (found[:, 0] - row["PEAKMJD"]) / (1 + row["ZHELIO"])
    chosen = found[(phase > low) & (phase < high)]
    peak = 10 ** (0.4 * (31.4 - row[f"PEAKMAG_{band}"]))
    if not len(chosen) or peak * np.sqrt((1 / chosen[:, 2] ** 2).sum()) < 30:
        return None
    return float(np.average(chosen[:, 1], weights=1 / chosen[:, 2] ** 2) / peak)


@pytest.mark.data
@pytest.mark.parametrize(("class_id", "bluest"), [(111, 0.3), (113, 0.4)])
def test_colours_and_fading_agree_with_elasticc(sample_data: Path, class_id: int, bluest: float) -> None:
    """Against ELAsTiCC's type Ia (111) and type II (113) supernovae at the same redshifts: median colours at peak
    agree within 0.2 mag (u-g: 0.3 or 0.4), median fading in r and i by 20, 40 and 80 days within a third or 0.2 of
    the peak.
    """
    random, rows = np.random.default_rng(0), elasticc(sample_data, class_id)
    assert len(rows) > 200
    colours: dict[str, list[tuple[float, float]]] = defaultdict(list)
    fades: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        redshift = row["ZHELIO"]
        days, flux = drawn(random, class_id, redshift)
        magnitude = njy_to_magnitude(flux[int(np.argmax(flux[:, 1]))])
        truth = {band: row[f"PEAKMAG_{band}"] - row["MWEBV"] * EXTINCTION[band] for band in "ugriz"}
        for number, (blue, red) in enumerate(zip("ugri", "griz", strict=True)):
            if max(truth[blue], truth[red]) < 30:
                colours[f"{blue}-{red}"].append((truth[blue] - truth[red], magnitude[number] - magnitude[number + 1]))
        phase = (days - days[int(np.argmax(flux[:, 2]))]) / (1 + redshift)
        for band, low, high in (("r", 15, 25), ("r", 35, 45), ("r", 70, 90), ("i", 15, 25), ("i", 35, 45)):
            measured, chosen = fading(row, band, low, high), (phase > low) & (phase < high)
            if measured is not None and chosen.any():
                curve = flux[:, "ugrizy".index(band)]
                fades[band, low].append((measured, float(curve[chosen].mean() / curve.max())))
    for name, pairs in colours.items():
        theirs, ours = np.median(pairs, axis=0)
        assert ours == pytest.approx(theirs, abs=bluest if name == "u-g" else 0.2), name
    for place, pairs in fades.items():
        if len(pairs) >= 10:
            theirs, ours = np.median(pairs, axis=0)
            assert ours == pytest.approx(theirs, rel=0.33, abs=0.2), place
