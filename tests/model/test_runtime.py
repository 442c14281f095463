"""A sequence's bytes depend on the sequence alone: not on neighbours, place in the chunk, or cached tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from model import registry
from model.batch import collate
from model.bundle_writer import draft_bundle
from model.ensemble import build_members
from model.fixed_shapes import SEQUENCES_PER_CHUNK, length_bucket, rows_agree
from model.registry import network_names
from model.runtime import Runtime, build_runtime, load_scorer
from model.scores import LOW_CONFIDENCE, NOVEL, Scores
from schemas.errors import BundleError
from schemas.observation import Observation
from schemas.sequence import StampSequence
from tests.model.bundle_samples import (
    as_sequence,
    make_novelty,
    make_observations,
    make_sequence,
    make_spec,
    make_states,
    write_sample,
)

MAX_FRAMES = 99
SMALL = {"convention_2023": {"max_frames": 9}}


def make_runtime(name: str, *, num_members: int = 2, cache_bytes: int = 1 << 28, **changes: object) -> Runtime:
    """A runtime of random weights, no files."""
    config = SMALL.get(name, {})
    size = registry.create(name, **config).pooled_size
    spec = make_spec(name, config, num_members, **changes)
    return build_runtime(
        draft_bundle(spec, make_states(name, config, num_members), make_novelty(num_members, size)),
        cache_bytes=cache_bytes,
    )


def as_bytes(score: Scores) -> bytes:
    """Everything a result says, as bytes."""
    numbers = np.array([score.mutual_information, score.novelty])
    return (
        score.probabilities_K.tobytes()
        + score.spread_K.tobytes()
        + numbers.tobytes()
        + repr(score.abstain_reason).encode()
    )


@pytest.fixture(scope="module")
def sequences() -> list[StampSequence]:
    """Eleven sequences of one to nine frames: several buckets, more than one chunk."""
    return [make_sequence(seed, frames) for seed, frames in enumerate([5, 6, 7, 5, 6, 1, 9, 2, 5, 6, 7], start=10)]


@pytest.mark.parametrize("name", network_names())
def test_bytes_depend_on_the_sequence_alone(name: str, sequences: Sequence[StampSequence]) -> None:
    """Alone, in any order, among others, cached or not, with a cache of one token: the same bytes."""
    plain = make_runtime(name, cache_bytes=0)
    alone = [as_bytes(plain.score([sequence])[0]) for sequence in sequences]
    assert len(set(alone)) > 1, "all sequences alike: the test would not see a mix-up"
    assert [as_bytes(score) for score in plain.score(sequences)] == alone
    assert [as_bytes(score) for score in plain.score(sequences[::-1])] == alone[::-1]
    cached = make_runtime(name)
    for _ in range(2):
        assert [as_bytes(score) for score in cached.score(sequences)] == alone
    assert cached.cache.num_hits > 0
    small = make_runtime(name, cache_bytes=20_000)
    assert [as_bytes(score) for score in small.score(sequences)] == alone
    for place in range(SEQUENCES_PER_CHUNK):
        others = [sequences[1]] * place + [sequences[0]] + [sequences[8]] * (SEQUENCES_PER_CHUNK - 1 - place)
        assert as_bytes(cached.score(others)[place]) == alone[0]


@pytest.mark.parametrize("name", network_names())
def test_runtime_equals_the_plain_network(name: str, sequences: Sequence[StampSequence]) -> None:
    """Cached, fused, padded, chunked: logits within 1e-5 of the network as it is trained, in eval mode; of their
    size, where that is above 1."""
    runtime = make_runtime(name)
    runtime.features(sequences[:3])
    got = np.stack([logits for logits, _ in runtime.features(sequences)])
    members = build_members(runtime.bundle.spec.network, runtime.bundle.states)
    for index, member in enumerate(members):
        member.eval()
        with torch.inference_mode():
            expected = member(collate(member, sequences)).logits_BK.numpy()
        assert np.abs(got[:, index] - expected).max() <= 1e-5 * max(1.0, float(np.abs(expected).max()))


def grow(name: str, views: Sequence[Sequence[Observation]]) -> list[int]:
    """Tokens encoded for each of successive views of one object, every answer checked against the uncached one."""
    cached, plain = make_runtime(name, num_members=1), make_runtime(name, num_members=1, cache_bytes=0)
    encoded = []
    for view in views:
        sequence, before = as_sequence(list(view)), cached.num_tokens_encoded
        assert as_bytes(cached.score([sequence])[0]) == as_bytes(plain.score([sequence])[0])
        encoded.append(cached.num_tokens_encoded - before)
    return encoded


@pytest.mark.parametrize("name", [name for name in network_names() if name != "convention_2023"])
def test_late_frame_eviction_and_long_object_use_the_cache(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A late frame, the 100th frame at a bound of 99, and a 300-frame object: equal answers, few tokens encoded."""
    frames = make_observations(77, 100)
    late = [*frames[:20], *frames[21:60]]
    full, with_late = grow(name, [late, frames[:60]])
    first, evicted = grow(name, [frames[:MAX_FRAMES], frames[1:]])
    long = make_observations(78, 300)
    begun, grown = grow(name, [long[:299], long])
    with capsys.disabled():
        shares = (with_late / full, evicted / first, grown / begun)
        print(
            f"\n{name}: share of tokens recomputed: late frame {shares[0]:.3f}, eviction {shares[1]:.3f}, "
            f"300th frame {shares[2]:.3f}"
        )
    assert with_late <= 3
    assert evicted <= 3
    assert grown <= 2


def test_published_grouping_encodes_the_newest_token_until_it_is_full(capsys: pytest.CaptureFixture[str]) -> None:
    """convention_2023 groups from the view's first frame: one new token a frame, all of them past the bound, and all
    behind a late one. A 300-frame object is the newest frames that the network takes."""
    long = make_observations(80, 300)
    late = [*long[:4], *long[5:9]]
    full, with_late, first, evicted, begun, grown = grow(
        "convention_2023", [late, long[:9], long[20:29], long[21:30], long[290:299], long[291:300]]
    )
    with capsys.disabled():
        print(
            f"\nconvention_2023: share of tokens recomputed: late frame {with_late / full:.3f}, "
            f"eviction {evicted / first:.3f}, 300th frame {grown / begun:.3f}"
        )
    assert (with_late, evicted, grown) == (2, 3, 3)
    frames = make_observations(79, 12)
    counts = grow("convention_2023", [frames[:6], frames[:7], frames[:9], frames[1:10]])
    assert counts == [3, 1, 1, 3]  # 2 and the empty token; the seventh frame's; the same with nine; all at eviction


def test_golden_is_replayed_and_prior_applied(tmp_path: Path) -> None:
    """load_scorer replays under the stated prior, whatever prior the setting asks for."""
    write_sample(tmp_path / "b", num_members=1)
    plain = load_scorer(tmp_path / "b", device="auto" if not torch.cuda.is_available() else "cpu")
    leaning = load_scorer(tmp_path / "b", prior={"AGN": 97.0, "SNIa": 1.0, "SNOther": 1.0, "Variable": 1.0})
    sequence = make_sequence(3, 5)
    assert leaning.score([sequence])[0].probabilities_K[0] > plain.score([sequence])[0].probabilities_K[0]
    assert plain.device == "cpu"
    assert plain.view_rule.grid_id == "ztf-1.01-32"
    assert plain.eligibility.min_frames == 1


def test_abstention_has_two_reasons() -> None:
    """Below the probability threshold low_confidence; above the novelty threshold novel, which comes first."""
    sequence = make_sequence(3, 5)
    unsure = make_runtime("convention_2023", thresholds={"min_probability": 1.0}).score([sequence])[0]
    assert (unsure.abstain_reason, unsure.predicted_class) == (LOW_CONFIDENCE, None)
    strange = make_runtime("convention_2023", thresholds={"min_probability": 1.0, "max_novelty": 0.0})
    assert strange.score([sequence])[0].abstain_reason == NOVEL
    assert make_runtime("convention_2023").score([sequence])[0].predicted_class is not None


def test_another_grid_and_an_empty_sequence_are_refused() -> None:
    """A sequence the bundle was not trained for never gets a probability."""
    runtime = make_runtime("convention_2023", grid_id="lsst-0.2-32")
    with pytest.raises(BundleError, match="grid check"):
        runtime.score([make_sequence(3, 5)])
    assert runtime.score([]) == []


def test_a_shape_whose_places_differ_is_found() -> None:
    """The check that fixed shapes rest on sees a result that depends on place, and one that depends on neighbours."""
    rows = (torch.arange(8.0)[:, None] + torch.rand(8, 3),)
    assert rows_agree(lambda rows: (rows[0] * 2,), rows)
    assert not rows_agree(lambda rows: (rows[0] + torch.arange(8.0)[:, None] * 1e-6,), rows)
    assert not rows_agree(lambda rows: (rows[0] + rows[0].mean(),), rows)


def test_length_bucket_holds_the_sequence() -> None:
    """Never too short, never more than half again and two."""
    for count in range(1, 1000):
        assert count <= length_bucket(count) <= 1.5 * count + 2
