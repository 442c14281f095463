"""A loaded bundle as a ``Scorer``: tokens from the cache or encoded, then all members' logits, in fixed shapes.

Letters as in ``model.batch``. On the CPU everything is float32 and the bytes of a result are a function of the
sequence, the bundle, the torch build and the number of threads. On CUDA the networks run under bfloat16 autocast, in
CUDA graphs: probabilities there agree with the CPU's to CUDA_TOLERANCE.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.batch import TokenGroup, TokenInputs, gather_inputs, token_days
from model.bundle import Bundle, load_bundle
from model.bundle_store import resolve_bundle
from model.calibration import log_reweight, temperatures
from model.cuda_graphs import graphed
from model.ensemble import Ensemble, build_members, combine
from model.fixed_shapes import (
    SEQUENCES_PER_CHUNK,
    TOKENS_PER_CHUNK,
    PlaceCheck,
    length_bucket,
    rows_agree,
    sample_inputs,
)
from model.scores import LOW_CONFIDENCE, NOVEL, Eligibility, Scores
from model.token_cache import Token, TokenCache
from schemas.errors import BundleError
from schemas.sequence import StampSequence
from schemas.view import ViewRule

DEFAULT_CACHE_BYTES: Final = 512 * 1024 * 1024
CUDA_TOLERANCE: Final = 2e-2
FloatArray = NDArray[np.float32]
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """One sequence as the runtime sees it: its tokens, their cache keys, their days, its length bucket."""

    sequence: StampSequence
    groups: list[TokenGroup]
    keys: list[bytes]
    days_T: FloatArray
    bucket: int


class Runtime:
    """Scores sequences with one bundle. Implements ``model.scores.Scorer``; see the module's docstring."""

    def __init__(
        self,
        bundle: Bundle,
        ensemble: Ensemble,
        *,
        prior: Mapping[str, float] | None = None,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
    ) -> None:
        self.bundle = bundle
        self.ensemble = ensemble
        self.cache = TokenCache(cache_bytes)
        self.num_tokens_encoded = 0
        self._places = PlaceCheck()
        self._log_reweight_C = log_reweight(bundle.spec.class_prior, prior)
        self._encode: Callable[..., tuple[Tensor, ...]] = self._encode_tensors
        self._classify: Callable[..., tuple[Tensor, ...]] = ensemble.classify
        if ensemble.device != "cpu":
            self._encode, self._classify = graphed(self._encode), graphed(self._classify)

    @property
    def bundle_id(self) -> str:
        """name + version + manifest hash."""
        return self.bundle.bundle_id

    @property
    def view_rule(self) -> ViewRule:
        """Which facts the bundle wants to see."""
        return self.bundle.spec.view_rule

    @property
    def eligibility(self) -> Eligibility:
        """When a sequence is long enough."""
        return self.bundle.spec.eligibility_rule

    @property
    def device(self) -> str:
        """The device in use: ``cpu`` or ``cuda``."""
        return self.ensemble.device

    @property
    def cache_owner(self) -> str:
        """What, besides a token's key, its bits depend on: the name under which a saved cache is found again."""
        backend = torch.backends.cpu.get_cpu_capability()
        return f"{self.bundle_id} torch {torch.__version__} {self.device} {backend} {torch.get_num_threads()} threads"

    def score(self, sequences: Sequence[StampSequence]) -> list[Scores]:
        """One result a sequence, in order. ValueError for a sequence without frames, BundleError for another grid."""
        results = []
        for sequence, (logits_KC, pooled_KF) in zip(sequences, self.features(sequences), strict=True):
            results.append(self._judge(len(sequence), logits_KC, pooled_KF))
        return results

    def features(self, sequences: Sequence[StampSequence]) -> list[tuple[FloatArray, FloatArray]]:
        """Uncalibrated logits [K, C] and pooled features [K, F] of each sequence, in order."""
        plans = [self._plan(sequence) for sequence in sequences]
        tokens = self._tokens_of(plans)
        results: list[tuple[FloatArray, FloatArray] | None] = [None] * len(plans)
        for bucket in sorted({plan.bucket for plan in plans}):
            rows = [row for row, plan in enumerate(plans) if plan.bucket == bucket]
            num_slots = len(plans[rows[0]].groups[0].slots)
            size = self._places.chunk_size(
                ("classify", bucket), SEQUENCES_PER_CHUNK, partial(self._sequence_places_agree, bucket, num_slots)
            )
            for chunk in _chunks(rows, size):
                answers = self._classify_chunk([plans[row] for row in chunk], tokens, bucket, size)
                for row, answer in zip(chunk, answers, strict=True):
                    results[row] = answer
        return [result for result in results if result is not None]

    def replay_golden(self) -> None:
        """BundleError when the golden sequences are not answered as stored. Also warms up the shapes they use."""
        golden = self.bundle.golden
        answers = self.features(golden.sequences)
        scores = [
            self._judge(len(sequence), *answer, reweight=False)
            for sequence, answer in zip(golden.sequences, answers, strict=True)
        ]
        probabilities = np.stack([score.probabilities_K for score in scores])
        novelty = np.array([score.novelty for score in scores], np.float32)
        if self.device == "cpu":
            golden.check(np.stack([logits for logits, _ in answers]), probabilities, novelty)
        elif not np.all(np.abs(probabilities - golden.probabilities_NC) <= CUDA_TOLERANCE):
            raise BundleError(f"golden check: probabilities on {self.device} differ by more than {CUDA_TOLERANCE}")

    def _plan(self, sequence: StampSequence) -> _Plan:
        if sequence.grid_id != self.bundle.spec.grid_id:
            raise BundleError(
                f"grid check: bundle {self.bundle_id} is for grid {self.bundle.spec.grid_id}, "
                f"{sequence.survey}:{sequence.object_id} is on {sequence.grid_id}"
            )
        network = self.ensemble.network
        groups = network.group_frames(sequence)
        if not len(sequence) or not groups:
            raise ValueError(f"{sequence.survey}:{sequence.object_id} has no frame that the bundle reads")
        keys = [len(group.slots).to_bytes(2) + group.key for group in groups]
        bucket = network.fixed_tokens or length_bucket(len(groups))
        return _Plan(sequence, groups, keys, token_days(sequence, groups), bucket)

    def _tokens_of(self, plans: Sequence[_Plan]) -> dict[bytes, Token]:
        """All tokens of the plans by key. Held here until the call ends, whatever the cache drops meanwhile."""
        tokens: dict[bytes, Token] = {}
        missing: dict[int, dict[bytes, tuple[StampSequence, TokenGroup]]] = {}
        for plan in plans:
            for key, group in zip(plan.keys, plan.groups, strict=True):
                if key in tokens:
                    continue
                token = self.cache.get(key)
                if token is not None:
                    tokens[key] = token
                else:
                    missing.setdefault(len(group.slots), {})[key] = (plan.sequence, group)
        for num_slots, items in missing.items():
            size = self._places.chunk_size(
                ("encode", num_slots), TOKENS_PER_CHUNK, partial(self._token_places_agree, num_slots)
            )
            for keys in _chunks(list(items), size):
                inputs = gather_inputs([items[key] for key in keys], num_slots=num_slots, num_tokens=size)
                (tokens_GKD,) = self._encode(*_tensors(inputs))
                array = tokens_GKD.float().cpu().numpy()
                for row, key in enumerate(keys):
                    tokens[key] = array[row].copy()
                    self.cache.put(key, tokens[key])
            self.num_tokens_encoded += len(items)
        return tokens

    def _classify_chunk(
        self, plans: Sequence[_Plan], tokens: Mapping[bytes, Token], bucket: int, size: int
    ) -> list[tuple[FloatArray, FloatArray]]:
        tokens_KBTD = np.zeros(
            (self.ensemble.num_members, size, bucket, self.ensemble.network.token_size), np.float32
        )
        mask_BT, days_BT = np.zeros((size, bucket), np.bool_), np.zeros((size, bucket), np.float32)
        for row in range(size):
            plan = plans[min(row, len(plans) - 1)]  # an empty place repeats a sequence: no special values inside
            count = len(plan.keys)
            mask_BT[row, :count], days_BT[row, :count] = True, plan.days_T
            for column, key in enumerate(plan.keys):
                tokens_KBTD[:, row, column] = tokens[key]
        logits_BKC, pooled_BKF = self._classify(*map(torch.from_numpy, (tokens_KBTD, mask_BT, days_BT)))
        logits, pooled = logits_BKC.float().cpu().numpy(), pooled_BKF.float().cpu().numpy()
        return [(logits[row].copy(), pooled[row].copy()) for row in range(len(plans))]

    def _judge(
        self, num_frames: int, logits_KC: FloatArray, pooled_KF: FloatArray, *, reweight: bool = True
    ) -> Scores:
        spec = self.bundle.spec
        temperature = float(temperatures(spec.calibration.log_temperature, [num_frames])[0])
        opinion = combine(logits_KC, temperature, self._log_reweight_C if reweight else np.zeros_like(logits_KC[0]))
        novelty = self.bundle.novelty.score(pooled_KF)
        reason: str | None = None
        if spec.thresholds.max_novelty is not None and not novelty <= spec.thresholds.max_novelty:
            reason = NOVEL
        elif float(opinion.probabilities_C.max()) < spec.thresholds.min_probability:
            reason = LOW_CONFIDENCE
        return Scores(
            probabilities_K=opinion.probabilities_C.astype(np.float32),
            spread_K=opinion.spread_C.astype(np.float32),
            mutual_information=opinion.mutual_information,
            novelty=novelty,
            abstain_reason=reason,
        )

    def _encode_tensors(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        return (self.ensemble.encode(TokenInputs(*tensors)),)

    def _token_places_agree(self, num_slots: int, size: int) -> bool:
        return rows_agree(lambda rows: self._encode(*rows), _tensors(sample_inputs(size, num_slots)))

    def _sequence_places_agree(self, bucket: int, num_slots: int, size: int) -> bool:
        random = torch.Generator().manual_seed(20230401)
        (tokens_GKD,) = self._encode(*_tensors(sample_inputs(TOKENS_PER_CHUNK, num_slots)))
        chosen_BT = torch.randint(TOKENS_PER_CHUNK, (size, bucket), generator=random)
        days_BT = torch.rand((size, bucket), generator=random).sort(descending=True).values * 100.0
        rows = (tokens_GKD.cpu()[chosen_BT], torch.ones((size, bucket), dtype=torch.bool), days_BT)

        def call(rows: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            tokens_BTKD, mask_BT, days_BT = rows
            return self._classify(tokens_BTKD.permute(2, 0, 1, 3).contiguous(), mask_BT, days_BT)

        return rows_agree(call, rows)


def load_scorer(
    path: Path | str,
    *,
    device: str = "cpu",
    threads: int | None = None,
    prior: Mapping[str, float] | None = None,
    cache_bytes: int = DEFAULT_CACHE_BYTES,
    grid_id: str | None = None,
) -> Runtime:
    """A bundle (directory, store with a promoted one, or name of a shipped one), verified and ready.

    device: ``cpu``, ``cuda`` or ``auto``; where there is no CUDA the CPU is used, and ``Scorer.device`` says so.
    threads: of torch, for the whole process; None leaves them. prior: a weight a class, None for the bundle's own.
    cache_bytes: bound of the token cache. grid_id: refuse a bundle of another grid. BundleError says which check
    failed, the replay of the golden tensors being the last.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    bundle = load_bundle(resolve_bundle(path), grid_id=grid_id)
    use_cuda = device != "cpu" and torch.cuda.is_available()
    runtime = build_runtime(bundle, device="cuda" if use_cuda else "cpu", prior=prior, cache_bytes=cache_bytes)
    try:
        runtime.replay_golden()
    except BundleError as error:
        raise BundleError(f"{bundle.folder}: {error}") from error
    return runtime


def build_runtime(
    bundle: Bundle,
    *,
    device: str = "cpu",
    prior: Mapping[str, float] | None = None,
    cache_bytes: int = DEFAULT_CACHE_BYTES,
) -> Runtime:
    """The runtime of a loaded bundle, its golden tensors not yet replayed. BundleError when a weight does not fit."""
    members = build_members(bundle.spec.network, bundle.states)
    network = members[0]
    unread = set(bundle.spec.bands) - set(getattr(network.config, "bands", bundle.spec.bands))
    if unread:
        raise BundleError(
            f"band check: the network does not read {', '.join(sorted(unread))}, which the bundle names"
        )
    expected = (len(members), network.pooled_size)
    if bundle.novelty.means_KCF.shape[::2] != expected:
        raise BundleError(
            f"novelty check: fitted for {bundle.novelty.means_KCF.shape[::2]}, the members have {expected}"
        )
    return Runtime(bundle, Ensemble(members, device=device), prior=prior, cache_bytes=cache_bytes)


def _tensors(inputs: TokenInputs) -> tuple[Tensor, ...]:
    return tuple(getattr(inputs, field.name) for field in fields(inputs))


def _chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
