"""The token cache over a restart."""

from __future__ import annotations

from pathlib import Path

from broker_plugin.store.kept_tokens import KeptTokens
from model.runtime import load_scorer
from tests.model.bundle_samples import make_sequence, write_sample


def test_tokens_are_kept_over_a_restart(tmp_path: Path) -> None:
    """The second process encodes nothing that the first did, and says the same bytes; without a folder it does."""
    write_sample(tmp_path / "bundle", num_members=1)
    sequences = [make_sequence(seed, 6) for seed in range(3)]
    first = KeptTokens(tmp_path / "tokens")
    before = first.loading(load_scorer)(tmp_path / "bundle")
    said = [score.probabilities_K.tobytes() for score in before.score(sequences)]
    first.save()
    after = KeptTokens(tmp_path / "tokens").loading(load_scorer)(tmp_path / "bundle")
    encoded = after.num_tokens_encoded
    assert [score.probabilities_K.tobytes() for score in after.score(sequences)] == said
    assert after.num_tokens_encoded == encoded
    cold = KeptTokens(None).loading(load_scorer)(tmp_path / "bundle")
    encoded = cold.num_tokens_encoded
    cold.score(sequences)
    assert cold.num_tokens_encoded > encoded
