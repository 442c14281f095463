"""The classify role without inference: stamps a second into a full store, 30-frame views, and rebuilding.

``python -m benchmarks.bench_store [--observations N]`` prints a table and, last, one line of JSON. One partition, in
a temporary folder. ``applied``: new frames of known objects that trigger nothing. ``triggered``: such frames that do,
each reading its view of 30 frames, with a scorer that answers at once. The ratio is to the 4,000 stamps a second that
are asked of ``applied``.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from broker_plugin.messages import LogMessage
from broker_plugin.settings.sections import ClassifySettings
from broker_plugin.store.stamp_store import StampStore
from broker_plugin.store.store_file import StoreIdentity
from broker_plugin.testing.scorers import make_rule
from broker_plugin.worker.classify_engine import ClassifyEngine
from model.scores import Eligibility, Scores
from schemas.observation import Plane, log_key
from schemas.records import codec
from schemas.sequence import StampSequence
from schemas.view import ViewRule

FRAMES = 30
BATCH = 256
REBUILD_BATCH = 2048
WANTED_PER_S = 4000.0
IDENTITY = StoreIdentity("cluster", "topic", "stamps", 0, 1)


@dataclass
class InstantScorer:
    """Answers without looking."""

    bundle_id: str = "instant-1-0"
    view_rule: ViewRule = field(default_factory=lambda: make_rule(max_frames=FRAMES, max_days=1e6))
    eligibility: Eligibility = field(default_factory=Eligibility)
    device: str = "cpu"

    def score(self, sequences: Sequence[StampSequence]) -> list[Scores]:
        quarter = np.full(4, 0.25, np.float32)
        return [Scores(quarter, quarter, 0.0, 0.0, None) for _ in sequences]


class Stamps:
    """Messages at ascending offsets: frames of objects in random order, two full noisy planes each."""

    def __init__(self, num_objects: int) -> None:
        self._random = random.Random(5)
        self._num_objects = num_objects
        pixels = np.random.default_rng(5).normal(0, 80, (32, 32)).astype(np.float32)
        self._plane = Plane(pixels, np.ones((32, 32), np.bool_), 80.0).to_record()
        self._offset = 0

    def take(self, count: int, *, band: str = "r") -> Iterator[LogMessage]:
        for _ in range(count):
            number = self._random.randrange(self._num_objects)
            yield LogMessage(0, self._offset, log_key("ztf", f"ZTF{number:08}"), self._payload(number, band))
            self._offset += 1

    def _payload(self, number: int, band: str) -> bytes:
        mjd = 59000.0 + self._offset * 1e-4
        return codec("observation").encode(
            {
                "survey": "ztf",
                "object_id": f"ZTF{number:08}",
                "source_id": str(2_000_000_000_000_000_000 + self._offset),
                "mjd": mjd,
                "night": int(mjd),
                "band": band,
                "ra": 10.0,
                "dec": 5.0,
                "diff_flux_njy": 1.0,
                "diff_flux_err_njy": 0.1,
                "reliability": 0.9,
                "programid": 1,
                "grid_id": "ztf-1.01-32",
                "resampler": "none-1",
                "rotation_deg": 0.0,
                "psf_fwhm_arcsec": 2.0,
                "science": self._plane,
                "difference": self._plane,
                "native": None,
            }
        )


def consume(
    engine: ClassifyEngine, store: StampStore, messages: list[LogMessage], *, size: int, restore: bool = False
) -> float:
    """Seconds to process and commit the messages in batches; with ``restore`` they only rebuild."""
    started = time.perf_counter()
    for start in range(0, len(messages), size):
        batch = messages[start : start + size]
        end = batch[-1].offset + 1
        engine.process(batch, {0: store}, {0: batch[0].offset}, restore_below={0: end if restore else 0})
        store.commit()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--observations", type=int, default=200_000, help="held before the rates are taken")
    held = parser.parse_args().observations
    stamps = Stamps(max(1, held // FRAMES))
    engine = ClassifyEngine([InstantScorer()], ClassifySettings(), log_topic="stamps", plugin_version="bench")
    with tempfile.TemporaryDirectory() as folder:
        store = StampStore(Path(folder) / "0.sqlite", IDENTITY, rules=engine.view_rules, holder="bench")
        rebuilt_s, done = 0.0, 0
        while done < held:  # a part at a time, so that the messages fit in memory
            part = list(stamps.take(min(20_000, held - done)))
            rebuilt_s += consume(engine, store, part, size=REBUILD_BATCH, restore=True)
            done += len(part)
        other_band = list(stamps.take(20_000, band="z"))
        applied_s = consume(engine, store, other_band, size=BATCH)
        triggers = list(stamps.take(4_000))
        triggered_s = consume(engine, store, triggers, size=BATCH)
        counts = store.counts()
        store.close()
    figures = {
        "held_observations": float(held),
        "rebuild_s_per_million": rebuilt_s / held * 1e6,
        "applied_per_s": len(other_band) / applied_s,
        "triggered_per_s": len(triggers) / triggered_s,
        "store_bytes_per_observation": counts["bytes"] / counts["facts"],
    }
    figures["applied_ratio"] = figures["applied_per_s"] / WANTED_PER_S
    for name, value in figures.items():
        print(f"{name:<30}{value:>14.1f}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
