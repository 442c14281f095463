"""Simulates a set: objects in processes, results written in order, so that the output is a function of the settings.

Sequences are made from the packets, through the decoders that the worker uses.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np

from schemas.decode import PacketDecoder
from schemas.observation import Observation
from schemas.outcome import Stamped
from train.simulator.objects import SetSettings, SimulatedObject, Stream, draw_object, peak_r_magnitude
from train.simulator.packet_file import PacketFile
from train.simulator.packets import packet
from train.simulator.sequence_set import PackedFrames, SequenceWriter, pack
from train.simulator.spectra import njy_to_magnitude
from train.simulator.survey_description import SurveyDescription

CHUNK: Final = 8
AHEAD: Final = 3  # chunks in flight a process
DETECTION: Final = 5.0
FEWEST_DETECTIONS: Final = 3
MOST_ATTEMPTS: Final = 60
TRUTH_COLUMNS: Final = (
    "object_id",
    "class",
    "label",
    "confirmed",
    "kind",
    "template",
    "split",
    "redshift",
    "peak_r",
    "host_r",
    "separation_arcsec",
    "ra",
    "dec",
    "num_frames",
)


@dataclass(frozen=True, slots=True)
class Outputs:
    """What to write into the folder."""

    folder: Path
    sequences: bool
    packets: bool


@dataclass(frozen=True, slots=True, eq=False)
class Produced:
    """One object as a process returns it. packets: (mjd, bytes), empty unless asked for."""

    truth: dict[str, Any]
    frames: PackedFrames | None
    packets: list[tuple[float, bytes]]


def planes_of(survey: SurveyDescription) -> tuple[str, ...]:
    """The planes that a survey's packets fill."""
    return ("science", "difference") if survey.has_difference else ("science",)


def simulate(
    settings: SetSettings, outputs: Outputs, *, workers: int, made: dict[str, Any], progress: Callable[[int], None]
) -> int:
    """Write the set; the number of packets. ``progress`` is told how many objects were added."""
    outputs.folder.mkdir(parents=True, exist_ok=True)
    total = settings.num_objects + settings.num_novel
    num_packets = 0
    with ExitStack() as stack:
        survey = settings.survey
        table = stack.enter_context((outputs.folder / "truth.csv").open("w", newline="", encoding="utf-8"))
        rows = csv.DictWriter(table, TRUTH_COLUMNS)
        rows.writeheader()
        sequences = packets = None
        if outputs.sequences:
            folder, planes = outputs.folder / "sequences", planes_of(survey)
            writer = SequenceWriter(folder, survey=survey.packet_survey, grid_id=survey.grid_id, planes=planes)
            sequences = stack.enter_context(writer)
        if outputs.packets:
            packets = stack.enter_context(PacketFile(outputs.folder / "packets.kcat"))
        for produced in _in_order(settings, outputs, total, workers):
            rows.writerow(_cells(produced.truth))
            num_packets += int(produced.truth["num_frames"])
            if sequences is not None and produced.frames is not None:
                truth = {_STORED.get(name, name): value for name, value in produced.truth.items()}
                sequences.add({n: v for n, v in truth.items() if n != "num_frames"}, produced.frames)
            if packets is not None:
                packets.add(produced.packets)
            progress(1)
        if sequences is not None:
            sequences.finish(made)
        if packets is not None:
            packets.finish()
    return num_packets


_STORED: Final = {"class": "true_class"}


def _in_order(settings: SetSettings, outputs: Outputs, total: int, workers: int) -> Iterator[Produced]:
    work = partial(produce, settings, sequences=outputs.sequences, packets=outputs.packets)
    if workers <= 1:
        for index in range(total):
            yield work(index)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting: deque[Future[list[Produced]]] = deque()
        for start in range(0, total, CHUNK):
            waiting.append(pool.submit(_chunk, work, range(start, min(start + CHUNK, total))))
            if len(waiting) >= AHEAD * workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


def _chunk(work: Callable[[int], Produced], indices: range) -> list[Produced]:
    return [work(index) for index in indices]


def produce(settings: SetSettings, index: int, *, sequences: bool, packets: bool) -> Produced:
    """Object ``index``: drawn, rendered, and made into what is asked for."""
    item, found = observe(settings, index)
    frames = None
    if sequences:
        decoder = PacketDecoder()
        frames = pack([_decoded(decoder, payload) for _, payload in found], planes_of(settings.survey))
    return Produced(truth_of(settings.survey, item, len(found)), frames, found if packets else [])


def observe(settings: SetSettings, index: int) -> tuple[SimulatedObject, list[tuple[float, bytes]]]:
    """An object and its packets with their times: all frames (matched) or its detections (natural).

    An object with fewer than three detections is drawn anew, within its class, in the natural form.
    """
    survey = settings.survey
    for attempt in range(MOST_ATTEMPTS):
        item = draw_object(settings, index, attempt=attempt)
        scene = item.scene(survey)
        last = attempt == MOST_ATTEMPTS - 1
        if settings.form == "natural" and not last and scene.expected_detections(DETECTION) < FEWEST_DETECTIONS:
            continue
        found = [
            (float(item.schedule.mjd[frame.index]), packet(survey, item, frame))
            for frame in scene.frames(settings.random(index, Stream.PIXELS, attempt))
            if settings.form == "matched" or abs(frame.flux_njy) >= DETECTION * frame.error_njy
        ]
        if last or settings.form == "matched" or len(found) >= FEWEST_DETECTIONS:
            break
    return item, found


def _decoded(decoder: PacketDecoder, payload: bytes) -> Observation:
    outcome = decoder.decode(payload)
    assert isinstance(outcome, Stamped), outcome
    assert isinstance(outcome.fact, Observation)
    return outcome.fact


def truth_of(survey: SurveyDescription, item: SimulatedObject, num_frames: int) -> dict[str, Any]:
    """The object's row of the truth table; NaN where it has no such thing."""
    source, reference = item.source, survey.reference_band
    host = np.nan if source.host is None else float(njy_to_magnitude(source.host.flux_njy_B[reference]))
    return {
        "object_id": item.object_id,
        "class": source.true_class,
        "label": item.label,
        "confirmed": item.confirmed,
        "kind": source.kind,
        "template": source.template,
        "split": item.split,
        "redshift": np.nan if source.redshift is None else source.redshift,
        "peak_r": peak_r_magnitude(item, survey),
        "host_r": host,
        "separation_arcsec": np.nan if source.separation_arcsec is None else source.separation_arcsec,
        "ra": item.ra,
        "dec": item.dec,
        "num_frames": num_frames,
    }


def _cells(truth: dict[str, Any]) -> dict[str, str]:
    def cell(value: object) -> str:
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, float):
            return "" if np.isnan(value) else f"{value:.6g}" if abs(value) < 1000 else f"{value:.6f}"
        return str(value)

    return {name: cell(value) for name, value in truth.items()}


def described(settings: SetSettings) -> dict[str, Any]:
    """The settings for set.json."""
    return asdict(settings) | {"survey": settings.survey.name}
