"""What the demo feeds the worker: real alerts where there are any, and simulated ones of objects it can know."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from schemas.archive.packet import Damage
from schemas.archive.reader import ArchiveReader
from schemas.decode import PacketDecoder
from schemas.errors import RecordError
from schemas.observation import log_key
from schemas.synthetic import SimulatedObject, draw_object

# SN 2021rhu, 34 alerts of ZTF over 65 days, and 107 alerts of LSSTCam's first nights
REAL_PACKETS: Final = (
    "ztf/mwvgroup+Pitt-Google-Broker/SuperNNova/ZTF21abiuvdk",
    "lsst/astrolabsoftware+fink-tutorials/converted/ftransfer_lsst_2026-03-10.v10_0.avro",
)
DEFAULT_FOLDER: Final = "../shared/data"
SEED: Final = 20230401
NUM_FRAMES: Final = (16, 32)
NUM_NIGHTS: Final = (24, 60)
# of five objects, three are ZTF's
SURVEYS: Final = ("ztf", "lsst", "ztf", "lsst", "ztf")


@dataclass(frozen=True, slots=True)
class DemoPackets:
    """payloads: in the order they are sent; num_real of them come first. drawn: the class by object key, simulated
    objects only."""

    payloads: tuple[bytes, ...]
    num_real: int
    drawn: dict[bytes, str]


def gather(num_objects: int) -> DemoPackets:
    """Real packets if the ``sample_folder`` has them; ``num_objects`` simulated objects in time
    order, since the shipped bundles know no others."""
    decoder = PacketDecoder()
    # in time order, so that probabilities develop as they did then
    real = tuple(sorted(_real(), key=lambda payload: decoder.read_header(payload).identity.mjd or 0.0))
    objects = [_draw(index) for index in range(num_objects)]
    plan = sorted((o.exposures[f].mjd, i, f) for i, o in enumerate(objects) for f in range(len(o.exposures)))
    simulated = tuple(objects[index].packet(frame) for _, index, frame in plan)
    return DemoPackets(real + simulated, len(real), {log_key(o.survey, o.object_id): o.true_class for o in objects})


def sample_folder() -> Path:
    """Where real alert packets lie, if they do: CONVENTION_SAMPLE_DATA, by default ../shared/data."""
    return Path(os.environ.get("CONVENTION_SAMPLE_DATA") or DEFAULT_FOLDER)


def _real() -> Iterator[bytes]:
    paths = [path for name in REAL_PACKETS if (path := sample_folder() / name).exists()]
    return (packet.payload for packet in ArchiveReader(paths, _refuse)) if paths else iter(())


def _refuse(damage: Damage) -> None:
    raise RecordError(f"sample packets: {damage}")


def _draw(index: int) -> SimulatedObject:
    fewest, most = NUM_FRAMES
    survey = SURVEYS[index % len(SURVEYS)]
    return draw_object(survey, seed=SEED, index=index, min_frames=fewest, max_frames=most, num_nights=NUM_NIGHTS)
