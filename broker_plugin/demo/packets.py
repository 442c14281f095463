"""What the demo feeds the worker: real alerts where there are any, and those of simulated objects."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Final

from schemas.archive.packet import Damage
from schemas.archive.reader import ArchiveReader
from schemas.decode import PacketDecoder
from schemas.errors import RecordError
from schemas.observation import log_key

# SN 2021rhu, 34 alerts of ZTF over 65 days, and 107 alerts of LSSTCam's first nights
REAL_PACKETS: Final = (
    "ztf/mwvgroup+Pitt-Google-Broker/SuperNNova/ZTF21abiuvdk",
    "lsst/astrolabsoftware+fink-tutorials/converted/ftransfer_lsst_2026-03-10.v10_0.avro",
)
DEFAULT_FOLDER: Final = "../shared/data"


@dataclass(frozen=True, slots=True)
class DrawnObject:
    """A simulated object. alerts: (MJD, packet) in time order."""

    survey: str
    object_id: str
    true_class: str
    alerts: tuple[tuple[float, bytes], ...]


@dataclass(frozen=True, slots=True)
class DemoPackets:
    """payloads: in the order they are sent; num_real of them come first. drawn: the class by object key, simulated
    objects only."""

    payloads: tuple[bytes, ...]
    num_real: int
    drawn: dict[bytes, str]


def gather(objects: Sequence[DrawnObject]) -> DemoPackets:
    """Real packets if the ``sample_folder`` has them, then those of the simulated objects; either in time order, so
    that probabilities develop as they did then."""
    decoder = PacketDecoder()
    real = tuple(sorted(_real(), key=lambda payload: decoder.read_header(payload).identity.mjd or 0.0))
    alerts = sorted((alert for item in objects for alert in item.alerts), key=itemgetter(0))
    simulated = tuple(payload for _, payload in alerts)
    drawn = {log_key(item.survey, item.object_id): item.true_class for item in objects}
    return DemoPackets(real + simulated, len(real), drawn)


def sample_folder() -> Path:
    """Where real alert packets lie, if they do: CONVENTION_SAMPLE_DATA, by default ../shared/data."""
    return Path(os.environ.get("CONVENTION_SAMPLE_DATA") or DEFAULT_FOLDER)


def _real() -> Iterator[bytes]:
    paths = [path for name in REAL_PACKETS if (path := sample_folder() / name).exists()]
    return (packet.payload for packet in ArchiveReader(paths, _refuse)) if paths else iter(())


def _refuse(damage: Damage) -> None:
    raise RecordError(f"sample packets: {damage}")
