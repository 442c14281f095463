"""Hand-made and random delivered records."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from broker_plugin.evaluation.records import DeliveredRecord, Delivery
from schemas.bands import BANDS
from schemas.classification import CLASS_NAMES, Classification, Status

FIRST_MJD = 60000.0


def make_record(
    object_id: str,
    probabilities: Sequence[float] | None,
    *,
    num_frames: int,
    last_mjd: float,
    status: Status | None = None,
    frames_per_band: dict[str, int] | None = None,
    novelty: float | None = None,
    flux_njy: float | None = 1e5,
    ingest_time: float | None = None,
    publish_time: float | None = None,
    first_mjd: float = FIRST_MJD,
    bundle_id: str = "test-1-abcd",
) -> DeliveredRecord:
    """One record; probabilities None means too short."""
    status = status or (Status.TOO_SHORT if probabilities is None else Status.CLASSIFIED)
    rounded = None if probabilities is None else tuple(float(np.float32(p)) for p in probabilities)
    reason = {Status.TOO_SHORT: "frames", Status.ABSTAINED: "low_confidence", Status.CLASSIFIED: None}[status]
    classified = status is Status.CLASSIFIED and rounded is not None
    return DeliveredRecord(
        Classification(
            survey="ztf",
            object_id=object_id,
            ra=150.0,
            dec=2.0,
            newest_source_id=f"{object_id}-{num_frames}",
            status=status,
            reason=reason,
            predicted_class=CLASS_NAMES[int(np.argmax(rounded))] if classified and rounded else None,
            probabilities=rounded,
            spread=None if rounded is None else (0.125,) * len(CLASS_NAMES),
            mutual_information=None if rounded is None else 0.25,
            novelty=None if novelty is None else float(np.float32(novelty)),
            num_frames=num_frames,
            frames_per_band=dict.fromkeys(BANDS, 0) | (frames_per_band or {"g": num_frames}),
            first_mjd=first_mjd,
            last_mjd=last_mjd,
            view_digest="ab" * 16,
            bundle_id=bundle_id,
            plugin_version="0.1.0",
        ),
        Delivery(
            trigger_source_id=f"{object_id}-{num_frames}",
            trigger_mjd=last_mjd,
            trigger_band="g",
            trigger_flux_njy=flux_njy,
            trigger_flux_err_njy=None if flux_njy is None else 500.0,
            log_offset=num_frames,
            ingest_time=ingest_time,
            publish_time=publish_time,
        ),
    )


def random_records(
    num_objects: int, seed: int, *, num_epochs: int = 12, sharpness: float = 1.0, outside_every: int = 0
) -> tuple[list[DeliveredRecord], dict[str, str]]:
    """Records whose probabilities lean to the truth the more frames there are, with the truth's labels.

    Every epoch goes round the objects, so that their records are interleaved. outside_every: every so manieth object
    is of a class outside the taxonomy and has a larger novelty. Of an object's records the first is too short.
    """
    rng = np.random.default_rng(seed)
    truth = rng.integers(len(CLASS_NAMES), size=num_objects)
    outside = np.array([outside_every > 0 and i % outside_every == 0 for i in range(num_objects)])
    labels = {f"obj{i:04d}": "TDE" if outside[i] else CLASS_NAMES[int(truth[i])] for i in range(num_objects)}
    length = rng.integers(3, num_epochs + 1, size=num_objects)
    records: list[DeliveredRecord] = []
    for epoch in range(num_epochs):
        for i in range(num_objects):
            if epoch >= length[i]:
                continue
            logits = rng.normal(size=len(CLASS_NAMES))
            logits[truth[i]] += 0.0 if outside[i] else sharpness * np.log1p(epoch)
            probabilities = np.exp(logits) / np.exp(logits).sum()
            abstains = probabilities.max() < 0.4
            records.append(
                make_record(
                    f"obj{i:04d}",
                    None if epoch == 0 else probabilities.tolist(),
                    num_frames=epoch + 1,
                    last_mjd=FIRST_MJD + 1.7 * epoch,
                    status=Status.ABSTAINED if epoch and abstains else None,
                    frames_per_band={"g": epoch // 2 + 1, "r": (epoch + 1) // 2},
                    novelty=None if epoch == 0 else float(rng.normal() + 1.5 * outside[i]),
                    flux_njy=float(10 ** rng.uniform(3.0, 6.0)),
                    ingest_time=1000.0 + len(records) * 0.01,
                    publish_time=1000.02 + len(records) * 0.01,
                )
            )
    return records, labels
