"""The boosted trees of a member: as scikit-learn fits them, part of a network like any other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.ensemble import GradientBoostingClassifier

import model
from broker_plugin.cli import main
from model.batch import collate
from model.boosted_trees import BoostedTrees
from model.convention import Convention
from model.fixed_shapes import SEQUENCES_PER_CHUNK
from model.light_curve import AGGREGATES_A_BAND, frame_table
from model.light_curve_features import NUM_COLOURS, NUM_FEATURES, light_curve_features
from model.preprocess import APERTURE_SIGMAS_PX, NUM_SCALARS, SCALARS_PER_PLANE
from model.runtime import load_scorer
from schemas.bands import NUM_BAND_IDS
from tests.model.bundle_samples import make_sequence
from tests.train.toy_sets import TINY, toy_recipe
from train.dataset import simulated
from train.members import Place, train_member
from train.pipeline import Provenance, train_bundle
from train.simulator.sequence_set import SequenceSet
from train.trees import fit_shares, fit_trees

NUM_SAMPLES = 400
ROUNDS = 6
PROVENANCE = Provenance({"sets": ["toy"]}, "train toy", "0.0")


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def ignore(*_: object) -> None:
    pass


def network_with(trees: int) -> Convention:
    """A tiny one, seeded, in eval mode."""
    torch.manual_seed(1)
    network = model.create("convention", **TINY, trees=trees)
    assert isinstance(network, Convention)
    return network.eval()


def made_up() -> tuple[np.ndarray, np.ndarray]:
    """Features [N, 5] of which two say the class."""
    random = np.random.default_rng(4)
    features = random.normal(size=(NUM_SAMPLES, 5)).astype(np.float32)
    return features, ((features[:, 1] > 0.3) * 2 + (features[:, 3] > -0.2)).astype(np.int64)


def fitted() -> BoostedTrees:
    """Trees of ROUNDS rounds on ``made_up``."""
    features, labels = made_up()
    trees = BoostedTrees(ROUNDS, 5, 4)
    recipe = toy_recipe(trees={"features": 3, "min_samples": 5})
    fit_trees(trees, features, labels, np.ones(NUM_SAMPLES), recipe=recipe, seed=2, progress=ignore)
    return trees


def test_hard_trees_say_what_scikit_learn_says() -> None:
    """With thresholds of no width the tensors give scikit-learn's decision function; with theirs nearly that, and the
    classes are found."""
    features, labels = made_up()
    trees = fitted()
    expected = GradientBoostingClassifier(
        n_estimators=ROUNDS, learning_rate=0.08, max_depth=4, subsample=0.5, max_features=3, min_samples_leaf=5,
        init="zero", random_state=2,
    ).fit(features, labels)  # fmt: skip
    soft = trees(torch.from_numpy(features)).numpy()
    trees.width.fill_(1e-9)
    hard = trees(torch.from_numpy(features)).numpy()
    np.testing.assert_allclose(hard, expected.decision_function(features), atol=1e-5)
    assert np.mean(soft.argmax(axis=1) == labels) > 0.95
    assert 1e-6 < np.abs(soft - hard).max() < 1.0


def test_a_last_bit_moves_the_answer_by_a_bit() -> None:
    """Features that differ by a few float32 last bits give logits within 1e-5, at the thresholds too."""
    trees = fitted()
    features = torch.from_numpy(made_up()[0])
    at_thresholds = trees.threshold[:, 0][:, None].expand(-1, 5)
    for asked in (features, at_thresholds):
        moved = (trees(asked + 3e-7) - trees(asked)).abs().max()
        assert moved < 1e-5


def test_unfitted_trees_say_nothing_and_padding_changes_nothing() -> None:
    """A network with trees that are not fitted answers as one without; fitted ones give each sequence the same answer
    alone and beside a longer one."""
    bare, network = network_with(0), network_with(2)
    assert network.trees is not None
    network.load_state_dict({**network.state_dict(), **bare.state_dict()})
    sequences = [make_sequence(1, 12), make_sequence(2, 5)]
    with torch.inference_mode():
        assert torch.equal(network(collate(network, sequences)).logits_BK, bare(collate(bare, sequences)).logits_BK)
        random = np.random.default_rng(3)
        network.trees.feature.copy_(torch.from_numpy(random.integers(0, NUM_FEATURES, network.trees.feature.shape)))
        network.trees.leaf.copy_(torch.from_numpy(random.normal(size=network.trees.leaf.shape)))
        together = network(collate(network, sequences)).logits_BK
        alone = torch.cat([network(collate(network, [sequence])).logits_BK for sequence in sequences])
        without = bare(collate(bare, sequences)).logits_BK
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0.0)
    assert (together - without).abs().max() > 0.1


@pytest.mark.parametrize("num_tokens", [3, 8, 33])
def test_the_place_in_a_chunk_changes_no_bit(num_tokens: int) -> None:
    """What trees are told and say of a sequence is the same to the last bit at every place of the runtime's chunk."""
    network = network_with(6)
    assert network.trees is not None
    random = np.random.default_rng(num_tokens)
    network.trees.feature.copy_(torch.from_numpy(random.integers(0, NUM_FEATURES, network.trees.feature.shape)))
    network.trees.leaf.copy_(torch.from_numpy(random.normal(size=network.trees.leaf.shape)))
    slots = torch.from_numpy(random.normal(size=(SEQUENCES_PER_CHUNK, num_tokens, 3, NUM_SCALARS + 1))).float()
    slots[..., -1] = torch.from_numpy(random.integers(0, 7, slots.shape[:-1]))
    mask = torch.from_numpy(random.random((SEQUENCES_PER_CHUNK, num_tokens)) < 0.8)
    days = torch.arange(num_tokens, 0, -1).float().expand_as(mask) * 1.37

    def features(order: torch.Tensor) -> torch.Tensor:
        return light_curve_features(frame_table(slots[order], mask[order], days[order]))

    first = features(torch.arange(SEQUENCES_PER_CHUNK))
    said = network.trees(first)
    for shift in range(1, SEQUENCES_PER_CHUNK):
        order = torch.arange(SEQUENCES_PER_CHUNK).roll(shift)
        moved = features(order)
        assert torch.equal(moved, first[order])
        assert torch.equal(network.trees(moved), said[order])


def test_features_say_what_they_are_called() -> None:
    """Number of frames, detections, von Neumann's ratio, rise and colour of a made-up sequence, from its scalars by
    numpy."""
    network = network_with(1)
    sequence = make_sequence(5, 14)
    batch = collate(network, [sequence])
    features = network.light_curve_features(batch)[0].numpy()
    assert features.shape == (NUM_FEATURES,)
    assert np.isfinite(features).all()
    tokens = network.encode_tokens(batch.inputs)[batch.index_BT[0]].detach()
    slots = torch.unflatten(tokens[:, network.map_values :], 1, (3, -1)).flatten(0, 1).numpy()
    slots = slots[slots[:, -1] > 0]
    assert len(slots) == 14
    every = features[: (NUM_FEATURES - NUM_COLOURS) // NUM_BAND_IDS]  # all bands together
    mean_difference_flux, log_count = 3, 20
    ratio, skewness, detections = AGGREGATES_A_BAND + 1, AGGREGATES_A_BAND + 9, AGGREGATES_A_BAND + 10
    flux = slots[:, SCALARS_PER_PLANE + len(APERTURE_SIGMAS_PX)]  # narrowest aperture of the difference plane
    variance = flux.var() + 1e-6
    assert every[mean_difference_flux] == pytest.approx(flux.mean(), abs=1e-5)
    assert every[log_count] == pytest.approx(0.2 * np.log1p(14), abs=1e-5)
    assert every[ratio] == pytest.approx(np.square(np.diff(flux)).mean() / variance, rel=1e-4)
    assert every[skewness] == pytest.approx(np.power(flux - flux.mean(), 3).mean() / variance**1.5, rel=1e-3)
    assert every[detections] == pytest.approx(np.mean(slots[:, 0] > 0.25 * np.arcsinh(5)), abs=1e-6)


def test_shares_find_the_better_of_two_and_use_both() -> None:
    """What knows nothing gets no share; two that each know something together do better than either."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 2000)
    truth = np.eye(4)[labels]
    first, second = (3 * truth + random.normal(0, 2, truth.shape) for _ in range(2))
    noise = random.normal(0, 2, truth.shape)
    weights = np.ones(2000)
    own, none = fit_shares(first, noise, labels, weights)
    assert own > 0.5
    assert none < 0.05
    shares = fit_shares(first, second, labels, weights)
    assert min(shares) > 0.5


def test_a_member_grows_its_trees_last(toy_set: Path, tmp_path: Path) -> None:
    """The network of a member with trees is trained as one without; on the validation objects both together lose no
    more than either alone; a finished member is read; the bundle loads, and replays its golden tensors."""
    data = simulated(SequenceSet(toy_set))
    bare = toy_recipe(optimiser={"steps": 20})
    recipe = toy_recipe(network={"config": {**TINY, "trees": 8}}, trees={"min_samples": 5}, optimiser={"steps": 20})
    told: list[str] = []
    without = train_member(bare, data, Place(0, 0), tmp_path / "bare", progress=ignore)
    member = train_member(
        recipe, data, Place(0, 0), tmp_path / "member", progress=lambda stage, step, loss: told.append(stage)
    )
    assert told.count("trees") == 8
    torch.testing.assert_close(member["stem.conv1.weight"], without["stem.conv1.weight"], atol=0.0, rtol=0.0)
    again = train_member(recipe, data, Place(0, 0), tmp_path / "member", progress=ignore)
    assert all(torch.equal(member[name], again[name]) for name in member)
    losses = json.loads((tmp_path / "member" / "member.json").read_text())["trees"]["validation_log_loss"]
    assert losses["both"] <= min(losses["network"], losses["trees"])
    trained = train_bundle(recipe, data, tmp_path / "run", PROVENANCE, say=ignore, progress=ignore)
    scorer = load_scorer(trained.bundle)
    assert scorer.bundle.spec.network.config["trees"] == 8
    metrics = trained.spec.metrics["all_frames"]
    assert metrics["macro_f1"] > 0.6  # type: ignore[index, call-overload, operator]


def test_fine_tuning_keeps_the_trees(toy_set: Path, tmp_path: Path) -> None:
    """A member that starts from another's weights has that one's trees, and other kernels."""
    data = simulated(SequenceSet(toy_set))
    recipe = toy_recipe(network={"config": {**TINY, "trees": 3}}, trees={"min_samples": 5})
    first = train_member(recipe, data, Place(0, 0), tmp_path / "first", progress=ignore)
    rows = data.rows.copy()
    rows["new"] = True
    tuned = train_member(
        recipe, replace(data, rows=rows), Place(0, 0), tmp_path / "tuned", start=first, progress=ignore
    )
    trees = [name for name in first if name.startswith("trees.")]
    assert len(trees) == 4
    assert all(torch.equal(first[name], tuned[name]) for name in trees)
    assert not torch.equal(first["stem.conv1.weight"], tuned["stem.conv1.weight"])


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("network.config.trees=-1", "trees must be a whole number, 0 or more, not -1"),
        ("network.config.trees=many", "trees must be a whole number, 0 or more, not 'many'"),
        ("network.name=cnn_gru", "network cnn_gru has no setting trees"),
    ],
)
def test_a_network_that_cannot_be_is_refused_before_anything_is_simulated(
    value: str, fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error says what is wrong with the recipe's network; nothing is written."""
    assert main(["train", "--recipe", "debug", "--output", str(tmp_path / "run"), "--with", value]) == 2
    assert fault in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
