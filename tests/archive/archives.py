"""Archives for tests."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence

import fastavro

from schemas.synthetic import generate_packets


def packets(num_objects: int = 3, num_frames: int = 2, *, seed: int = 1) -> list[bytes]:
    """Simulated packets in time order."""
    return [p.payload for p in generate_packets(seed=seed, num_objects=num_objects, num_frames=num_frames)]


def container(payloads: Sequence[bytes], *, codec: str = "null", block_bytes: int = 16_000) -> bytes:
    """One Avro container of all the packets' records, in blocks of about ``block_bytes``."""
    readers = [fastavro.reader(io.BytesIO(payload)) for payload in payloads]
    records = [next(reader) for reader in readers]
    buffer = io.BytesIO()
    fastavro.writer(buffer, readers[0].writer_schema, records, codec=codec, sync_interval=block_bytes)
    return buffer.getvalue()


def tar(members: Mapping[str, bytes], *, mode: str = "w") -> bytes:
    """A tar of the members (``mode`` "w:gz": compressed)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode, format=tarfile.GNU_FORMAT) as archive:  # type: ignore[call-overload]
        for name, payload in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(payload)
            archive.addfile(info, io.BytesIO(payload))
    return buffer.getvalue()


def kcat(payloads: Sequence[bytes]) -> bytes:
    """What ``kcat -f '%R%s'`` writes."""
    return b"".join(len(payload).to_bytes(4, "big") + payload for payload in payloads)
