"""For other programs: alert packets to image sequences, and sequences to classifications, without Kafka or state.

    from broker_plugin.api import classify_sequences, sequences_of

    for said in classify_sequences(sequences_of(packets)):
        print(said.object_id, said.status, said.predicted_class, said.probabilities)

Both go through the worker's own code, and a sequence gets the bytes that a worker would publish for it. Nothing is
kept between calls but the loaded bundles.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from broker_plugin.messages import LogMessage
from broker_plugin.store.facts import StoredFact, read_stored_fact
from broker_plugin.store.triggers import LoadedBundle
from broker_plugin.version import plugin_version
from broker_plugin.worker.scoring import classify_sequences as classify_with
from model.bundle_spec import BundleSpec
from model.bundle_store import read_spec, resolve_bundle, shipped_bundles
from model.runtime import load_scorer
from schemas.avro import AvroRecord
from schemas.classification import Classification
from schemas.cuts import Cuts
from schemas.decode import PacketDecoder
from schemas.errors import BundleError
from schemas.observation import Observation, log_key, read_fact
from schemas.outcome import Stamped
from schemas.sequence import StampSequence, build_sequence
from schemas.view import select_view, view_digest


def sequences_of(
    packets: Iterable[bytes | AvroRecord], *, bundle: Path | str | None = None, cuts: Cuts | None = None
) -> list[StampSequence]:
    """The image sequences of the objects in ``packets``, in the order in which objects first appear.

    packets: alert packets of any supported survey, as bytes or already read from Avro; their order does not matter,
    and one that comes twice counts once. Each object has the frames that its bundle reads: of its bands, at most so
    many and so old, without withdrawn ones; an object that none of them shows is left out. bundle: as in
    ``classify_sequences``. cuts: which packets are left out; by default those of ZTF programs other than 1 and of
    known moving objects.

    PacketError, which says what is wrong with it, for a packet that cannot be read.
    """
    decoder = PacketDecoder(cuts=cuts)
    facts: dict[bytes, list[StoredFact]] = {}
    for offset, packet in enumerate(packets):
        outcome = decoder.decode_record(packet) if isinstance(packet, AvroRecord) else decoder.decode(packet)
        if isinstance(outcome, Stamped):
            key = log_key(outcome.fact.survey, outcome.fact.object_id)
            stored = read_stored_fact(LogMessage(0, offset, key, outcome.fact.to_bytes()))
            facts.setdefault(key, []).append(stored)
    found = (_sequence(key, held, bundle) for key, held in facts.items())
    return [sequence for sequence in found if sequence is not None]


def classify_sequences(
    sequences: Sequence[StampSequence], bundle: Path | str | None = None, *, device: str = "cpu"
) -> list[Classification]:
    """What the ensemble says of each sequence, in order: classified, abstained (with its reason) or too_short, which
    has no probabilities; that is not the same as probability 0.

    bundle: a bundle's directory, a bundle store, or the name of a shipped bundle; by default the shipped one of each
    sequence's grid. It is verified and loaded at its first use and then kept. device: ``cpu``, ``cuda`` or ``auto``.

    BundleError when there is no such bundle, it is damaged, or it is for another grid.
    """
    bundles = [_loaded(str(_path_for(sequence.grid_id, bundle)), device) for sequence in sequences]
    for sequence, loaded in zip(sequences, bundles, strict=True):
        if loaded.rule.grid_id != sequence.grid_id:
            raise BundleError(
                f"grid check: bundle {loaded.scorer.bundle_id} is for grid {loaded.rule.grid_id}, "
                f"{sequence.survey}:{sequence.object_id} is on {sequence.grid_id}"
            )
    return classify_with(sequences, bundles, plugin_version=plugin_version())


def _sequence(key: bytes, held: Sequence[StoredFact], bundle: Path | str | None) -> StampSequence | None:
    grids = [fact.key.grid_id for fact in held if not fact.key.is_withdrawal]
    if not grids:
        return None
    rule = _spec(str(_path_for(grids[-1], bundle))).view_rule
    chosen = select_view([fact.key for fact in held], rule, at_offset=max(fact.key.first_offset for fact in held))
    if not chosen:
        return None
    payloads = {fact.key.digest: fact.payload for fact in held}
    # read back as the worker reads the stamp log, whose planes are rounded
    observations = [fact for k in chosen if isinstance(fact := read_fact(payloads[k.digest]), Observation)]
    survey, _, object_id = key.decode().partition(":")
    digests = [k.digest for k in chosen]
    return build_sequence(survey, object_id, rule.grid_id, observations, digests, view_digest=view_digest(chosen))


def _path_for(grid_id: str, bundle: Path | str | None) -> Path:
    if bundle is not None:
        return resolve_bundle(bundle)
    for path in shipped_bundles():
        if _spec(str(path)).grid_id == grid_id:
            return path
    raise BundleError(f"no shipped bundle is for grid {grid_id}: name one")


@lru_cache(maxsize=32)
def _spec(path: str) -> BundleSpec:
    return read_spec(Path(path))


@lru_cache(maxsize=8)
def _loaded(path: str, device: str) -> LoadedBundle:
    scorer = load_scorer(path, device=device)
    return LoadedBundle(scorer, scorer.view_rule, scorer.eligibility)
