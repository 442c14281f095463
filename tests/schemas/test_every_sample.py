"""Every sample packet: cutouts bit-equal to astropy's, and an outcome with the right reason for each."""

from __future__ import annotations

import csv
import gzip
import io
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pytest
from astropy.io import fits
from astropy.io.fits.verify import VerifyWarning

from schemas.archive.packet import ArchivePacket
from schemas.archive.reader import ArchiveReader
from schemas.cuts import Cuts
from schemas.decode import PacketDecoder, survey_of
from schemas.errors import DeadLetterReason, PacketError, SchemaUnavailable
from schemas.fits import read_hdus
from schemas.observation import Observation
from schemas.outcome import Filtered, Stamped
from schemas.wire import PacketReader

pytestmark = [pytest.mark.data, pytest.mark.timeout(240)]
AMPEL = "ztf/AmpelAstro+Ampel-ZTF/alerts"
EARLY = "ztf/ZwickyTransientFacility+ztf-avro-alert/data"
ALERT_PACKET = "lsst/lsst+alert_packet"
LSST_NIGHT = "lsst/astrolabsoftware+fink-tutorials/converted/ftransfer_lsst_2026-03-10.v10_0.avro"
LSST_WIRE = "lsst/boom-astro+boom/tests/data/alerts/lsst/7912941781254298.avro"
SUPERNOVA = "ztf/mwvgroup+Pitt-Google-Broker/SuperNNova/ZTF21abiuvdk"
# every file whose packets the manifest says cannot be read, and more that this package refuses
DEAD_LETTERS = {
    # a byte is missing: the block's end and a gzipped cutout are both wrong
    f"{AMPEL}/ztf_public_20180601/516401801315010009.avro": DeadLetterReason.BAD_CONTAINER,
    f"{AMPEL}/ztf_public_20180601/516434762915010006.avro": DeadLetterReason.BAD_CONTAINER,
    f"{AMPEL}/ztf_public_20180601/516442330015015017.avro": DeadLetterReason.BAD_CONTAINER,
    f"{AMPEL}/ztf_public_20180601/516442805615015004.avro": DeadLetterReason.BAD_CONTAINER,
    f"{AMPEL}/ztf_public_20180601/516476004815015005.avro": DeadLetterReason.BAD_CONTAINER,
    # a union as the writer schema, and line ends changed in the data
    **{f"{AMPEL}/uli/test_alerts_Ia_Hsiao_v2_{n}.avro": DeadLetterReason.BAD_CONTAINER for n in range(51, 56)},
    # JPEG stamps
    **{f"{AMPEL}/ipac/12154079351513500{n}.avro": DeadLetterReason.NOT_FITS for n in range(4)},
    # from before objects had ids; JPEG stamps too
    **{f"{EARLY}/172695872515500{n}.avro": DeadLetterReason.MISSING_FIELD for n in range(3)},
    **{f"{EARLY}/8770446315500{n}.avro": DeadLetterReason.MISSING_FIELD for n in range(3)},
    # bare Avro, of no stated schema
    f"{EARLY}/87704463155000.avro.021f713c": DeadLetterReason.UNKNOWN_FRAMING,
    f"{EARLY}/87704463155001.avro.2b81bde5": DeadLetterReason.UNKNOWN_FRAMING,
    f"{EARLY}/87704463155002.avro.f3a38f6a": DeadLetterReason.UNKNOWN_FRAMING,
    f"{ALERT_PACKET}/data/fakeAlert.avro": DeadLetterReason.UNKNOWN_FRAMING,
    f"{ALERT_PACKET}/schema/2/0/sample_data/fakeAlert.avro": DeadLetterReason.UNKNOWN_FRAMING,
    "lsst/lsst-uk+lasair-lsst/tests/unit/pipeline/ingest/msg.avro": DeadLetterReason.UNKNOWN_FRAMING,
    # gzipped, which an archive may be and a message may not
    "elasticc/astrolabsoftware+fink-client/alert_mjd60674.0512_obj747_src1494043.avro.gz": (
        DeadLetterReason.UNKNOWN_FRAMING
    ),
    # no cutouts, no schema that is supported, times in seconds
    f"{ALERT_PACKET}/schema/2/1/sample_data/fakeAlert.avro": DeadLetterReason.UNSUPPORTED_VERSION,
    f"{ALERT_PACKET}/python/lsst/alert/packet/schema/6/1/sample_data/fakeAlert.avro": (
        DeadLetterReason.UNSUPPORTED_VERSION
    ),
    f"{ALERT_PACKET}/python/lsst/alert/packet/schema/7/4/sample_data/fakeAlert.avro": DeadLetterReason.BAD_FIELD,
}
OUTCOMES = {
    ("atlas", "decode_only"): 12,
    ("decam", "decode_only"): 3,
    ("elasticc", "unknown_survey"): 5626,  # light curves without images
    ("lsst", "bad_field"): 19,
    ("lsst", "moving_object"): 53,
    ("lsst", "schema_unavailable"): 4,  # id 12345
    ("lsst", "stamp"): 169,  # 10 without cutouts: masked frames
    ("lsst", "unknown_framing"): 3,
    ("lsst", "unknown_survey"): 3,  # ELAsTiCC's
    ("lsst", "unsupported_version"): 12,
    ("ztf", "bad_container"): 9,
    ("ztf", "missing_field"): 6,
    ("ztf", "moving_object"): 29,
    ("ztf", "no_calibration"): 18,  # from before packets had a zero point
    ("ztf", "programid"): 29,
    ("ztf", "stamp"): 794,  # 12 without cutouts: masked frames
    ("ztf", "unknown_framing"): 3,
}
# manifest rows behind damage that ends the container, which an archive does not count as packets
LOST = 4


@pytest.fixture
def manifest(sample_data: Path) -> list[dict[str, str]]:
    with (sample_data / "MANIFEST.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def packets(sample_data: Path, manifest: list[dict[str, str]]) -> Iterator[ArchivePacket]:
    files = sorted({row["file"] for row in manifest})
    assert len(files) == 342
    return iter(ArchiveReader([sample_data / file for file in files], lambda damage: None))


def by_astropy(data: bytes) -> list[np.ndarray]:
    content = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", VerifyWarning)  # ZTF writes its SIMPLE card off the standard
        with fits.open(io.BytesIO(content)) as hdus:
            return [np.array(hdu.data, hdu.data.dtype.newbyteorder("=")) for hdu in hdus]


def test_cutouts_are_bit_equal_to_astropys(sample_data: Path, manifest: list[dict[str, str]]) -> None:
    """All images of every readable packet's cutouts have the bits astropy gives, as many as the manifest says."""
    reader = PacketReader()
    found: Counter[str] = Counter()
    for packet in packets(sample_data, manifest):
        try:
            record = reader.read(packet.payload)
            survey = survey_of(record)
        except (PacketError, SchemaUnavailable):
            continue
        for data in survey.cutouts(record.record).values():
            if data is None or data.startswith(b"\xff\xd8"):
                continue
            expected = by_astropy(data)
            images = [hdu.pixels for hdu in read_hdus(data, limit=9)]
            assert [image.tobytes() for image in images] == [image.tobytes() for image in expected]
            found[survey.name] += len(images)
    stated = Counter(
        row["survey"]
        for row in manifest
        if row["file"] not in DEAD_LETTERS
        for _ in re.findall(r"\d+x\d+>f", row["cutouts"])
    )
    print(f"{found.total()} images bit-equal to astropy's: {dict(found)}")
    assert found == stated
    assert found.total() > 4200


@pytest.mark.parametrize("file", DEAD_LETTERS)
def test_a_bad_packet_is_dead_lettered_with_its_reason(sample_data: Path, file: str) -> None:
    """Each bad file, as a message, ends in its reason whatever the cuts."""
    with pytest.raises(PacketError) as caught:
        PacketDecoder(cuts=Cuts(programids=None)).decode((sample_data / file).read_bytes())
    assert caught.value.reason is DEAD_LETTERS[file]


def test_no_problem_of_the_manifest_is_left_out(manifest: list[dict[str, str]]) -> None:
    """The table above holds every file that the manifest calls a problem."""
    problems = {row["file"] for row in manifest if row["problem"] not in ("", "no cutouts")}
    assert len(problems) == 27
    assert problems <= set(DEAD_LETTERS)


def test_every_packet_has_an_outcome(sample_data: Path, manifest: list[dict[str, str]]) -> None:
    """Each of the manifest's packets becomes a stamp, is filtered or dead-lettered; how many of each is known."""
    decoder = PacketDecoder()
    found: Counter[tuple[str, str]] = Counter()
    for packet in packets(sample_data, manifest):
        folder = Path(packet.path).relative_to(sample_data).parts[0]
        try:
            outcome = decoder.decode(packet.payload)
        except PacketError as error:
            found[folder, error.reason.value] += 1
        except SchemaUnavailable:
            found[folder, "schema_unavailable"] += 1
        else:
            found[folder, outcome.reason.value if isinstance(outcome, Filtered) else "stamp"] += 1
    assert found.total() == len(manifest) - LOST
    assert found == OUTCOMES


def changed(path: Path, **changes: object) -> bytes:
    """The first packet of a container with fields changed, in a sound container of its own."""
    with path.open("rb") as stream:
        archive = fastavro.reader(stream)
        record = next(archive)
        buffer = io.BytesIO()
        fastavro.writer(buffer, archive.writer_schema, [record | changes])  # type: ignore[operator, arg-type]
    return buffer.getvalue()


def test_null_cutouts(sample_data: Path) -> None:
    """With one cutout null a packet is a frame with that plane masked, with all null all of it is masked."""
    path = sorted((sample_data / SUPERNOVA).iterdir())[0]
    outcome = PacketDecoder().decode(changed(path, cutoutDifference=None))
    assert isinstance(outcome, Stamped)
    assert isinstance(outcome.fact, Observation)
    assert outcome.fact.difference.num_valid == 0 < outcome.fact.science.num_valid
    outcome = PacketDecoder().decode(changed(path, cutoutDifference=None, cutoutScience=None, cutoutTemplate=None))
    assert isinstance(outcome, Stamped)
    assert isinstance(outcome.fact, Observation)
    assert outcome.fact.num_valid == 0
    assert outcome.fact.diff_flux_njy > 0.0


def test_broken_cutouts_and_truncation(sample_data: Path) -> None:
    """A real cutout that does not unzip, in a sound container, is bad_gzip; cut packets are named as such."""
    supernova = sorted((sample_data / SUPERNOVA).iterdir())[0].read_bytes()
    lsst = (sample_data / LSST_WIRE).read_bytes()
    broken = changed(sample_data / f"{AMPEL}/ztf_public_20180601/516401801315010009.avro")
    for payload, reason in (
        (broken, DeadLetterReason.BAD_GZIP),
        (supernova[:-100], DeadLetterReason.BAD_CONTAINER),
        (lsst[:-100], DeadLetterReason.BAD_AVRO),
        (lsst[:200], DeadLetterReason.BAD_AVRO),
    ):
        with pytest.raises(PacketError) as error:
            PacketDecoder().decode(payload)
        assert error.value.reason is reason


@pytest.mark.parametrize(("survey", "version", "num_stamps"), [("ztf", "4.02", 31), ("lsst", "10.0", 5)])
def test_copies_that_spark_wrote(sample_data: Path, survey: str, version: str, num_stamps: int) -> None:
    """Packets under the schema name topLevelRecord are their survey's, with the version it wrote into a field."""
    folder = sample_data / survey / "astrolabsoftware+fink-client" / "datatest"
    outcomes = [PacketDecoder().decode(packet.payload) for packet in ArchiveReader([folder], lambda damage: None)]
    assert {(o.identity.survey, o.identity.survey_version) for o in outcomes} == {(survey, version)}
    assert all(o.identity.schema_name.startswith("topLevelRecord") for o in outcomes)
    assert sum(isinstance(outcome, Stamped) for outcome in outcomes) == num_stamps


@pytest.fixture(scope="module")
def night(sample_data: Path) -> list[tuple[Mapping[str, Any], Observation]]:
    """Records and stamps of a Rubin night's static objects."""
    reader, decoder = PacketReader(), PacketDecoder()
    found = []
    for packet in ArchiveReader([sample_data / LSST_NIGHT], lambda damage: None):
        record = reader.read(packet.payload)
        outcome = decoder.decode_record(record)
        if isinstance(outcome, Stamped):
            assert isinstance(outcome.fact, Observation)
            found.append((record.record, outcome.fact))
    assert len(found) == 82
    return found


def test_lsst_flux_is_that_of_the_packet(night: list[tuple[Mapping[str, Any], Observation]]) -> None:
    """Over a night's bright sources, the difference stamp's flux under a Gaussian of the PSF's width is psfFlux."""
    rows, columns = np.mgrid[:32, :32] - 15.5
    ratios = []
    for _, fact in night:
        if abs(fact.diff_flux_njy) > 20 * fact.diff_flux_err_njy:
            assert fact.psf_fwhm_arcsec is not None
            sigma = fact.psf_fwhm_arcsec / 2.3548 / 0.2
            profile = np.exp(-(rows**2 + columns**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)
            ratios.append((fact.difference.pixels * profile).sum() / (profile**2).sum() / fact.diff_flux_njy)
    print(f"{len(ratios)} stamps, PSF flux over the packet's: median {np.median(ratios):.3f}")
    assert len(ratios) > 50
    assert np.median(ratios) == pytest.approx(1.0, abs=0.05)


def test_lsst_rotation_is_that_of_the_header(night: list[tuple[Mapping[str, Any], Observation]]) -> None:
    """The rotation taken from the matrix is the header's ROTPA within 2 degrees, whatever the visit."""
    angles = [read_hdus(record["cutoutScience"], limit=1)[0].number("ROTPA") for record, _ in night]
    turned = np.array([fact.rotation_deg for _, fact in night]) - np.array(angles, float)
    assert np.abs((turned + 180) % 360 - 180).max() < 2.0
    assert np.ptp(np.array(angles, float)) > 40.0


def test_neighbours_line_up(night: list[tuple[Mapping[str, Any], Observation]]) -> None:
    """Around a source seen in two visits, what surrounds it correlates better on the grid than on the detector."""
    seen: dict[tuple[str, str], list[tuple[Mapping[str, Any], Observation]]] = {}
    for record, fact in night:
        seen.setdefault((fact.object_id, fact.band), []).append((record, fact))
    pairs = [visits for visits in seen.values() if len(visits) == 2]
    better = []
    for (first_record, first), (second_record, second) in pairs:
        raw = [read_hdus(record["cutoutScience"], limit=1)[0].pixels for record in (first_record, second_record)]
        side = min(image.shape[0] for image in raw)
        on_detector = ring_correlation([middle(image, side) for image in raw], np.ones((side, side), np.bool_))
        both = first.science.valid & second.science.valid
        on_grid = ring_correlation([first.science.pixels, second.science.pixels], both)
        better.append(on_grid - on_detector)
    print(f"{len(pairs)} pairs, correlation gained: {np.round(better, 3)}")
    assert len(pairs) >= 3
    assert min(better) > 0.0


def middle(image: np.ndarray, side: int) -> np.ndarray:
    """The ``side`` pixels in the middle of both axes."""
    start = (image.shape[0] - side) // 2
    return image[start : start + side, start : start + side]


def ring_correlation(images: list[np.ndarray], usable: np.ndarray) -> float:
    """Of the pixels more than six from the middle."""
    offset = (usable.shape[0] - 1) / 2
    rows, columns = np.mgrid[: usable.shape[0], : usable.shape[1]] - offset
    ring = usable & (np.hypot(rows, columns) > 6)
    return float(np.corrcoef(images[0][ring], images[1][ring])[0, 1])
