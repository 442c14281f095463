"""The boosted trees of a member (``model.boosted_trees``): fitted on its fold once its network is trained.

A member then says a times what the network says plus b times what the trees say; a and b are fitted on the fold that
stopped the network, which neither has trained on, and are folded into the weights. Letters: N samples, S features, C
classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax
from torch import Tensor

from model import registry
from model.batch import SequenceBatch, collate
from model.boosted_trees import DEPTH, NUM_LEAVES, NUM_NODES, SOFTNESS, BoostedTrees
from model.convention import Convention
from model.scores import CLASSES
from train.recipe import NetworkPart, Recipe
from train.samples import Sampler

CHUNK: Final = 32
_NARROWEST: Final = 1e-4  # width of a feature that is the same in nearly all samples
_LEAF: Final = -1  # a child's number in scikit-learn where there is none

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
State = dict[str, Tensor]
Asked = list[tuple[int, int]]


class Grown(NamedTuple):
    """A member with its trees. about: for ``member.json``: share of network and trees, and the log loss of network,
    trees and both on the validation objects (mean of the classes' means, nat)."""

    weights: State
    about: dict[str, Any]


def bare_config(part: NetworkPart) -> dict[str, Any]:
    """The full config without trees: what is trained by gradients alone."""
    return part.full_config | ({"trees": 0} if part.trees else {})


def grow(
    recipe: Recipe,
    sampler: Sampler,
    weights: Mapping[str, Tensor],
    *,
    rows: Integers,
    validation: Integers,
    seed: int,
    progress: Callable[[int, float], None],
) -> Grown:
    """``weights`` of a trained network without trees, to those with. rows: the objects that the network was trained
    on. ``progress`` is told of each round and its training loss."""
    network = registry.create(recipe.network.name, **recipe.network.full_config)
    assert isinstance(network, Convention)
    assert network.trees is not None
    network.load_state_dict({**network.state_dict(), **weights})
    network.eval()
    settings = recipe.trees
    balance = recipe.optimiser.balance
    asked = sampler.random_triggers(rows, settings.triggers)
    features = np.concatenate(
        [network.light_curve_features(batch).numpy() for batch in batches(network, sampler, asked)]
    )
    labels, sample_weights = _labels(sampler, asked, balance=balance)
    fit_trees(
        network.trees,
        features,
        labels,
        sample_weights,
        recipe=recipe,
        seed=seed,
        progress=progress,
    )
    asked = sampler.random_triggers(validation, settings.triggers)
    bare, trees = _said(network, sampler, asked)
    labels, sample_weights = _labels(sampler, asked, balance=balance)
    share = fit_shares(bare, trees, labels, sample_weights)
    with torch.no_grad():
        network.output.weight.mul_(share[0])
        network.output.bias.mul_(share[0])
        network.trees.leaf.mul_(share[1])
    losses = {
        "network": _loss(bare, labels, sample_weights),
        "trees": _loss(trees, labels, sample_weights),
        "both": _loss(share[0] * bare + share[1] * trees, labels, sample_weights),
    }
    about = {"share_of_network": share[0], "share_of_trees": share[1], "validation_log_loss": losses}
    return Grown({name: value.clone() for name, value in network.state_dict().items()}, about)


def fit_trees(
    trees: BoostedTrees,
    features_NS: NDArray[np.float32],
    labels_N: Integers,
    weights_N: Floats,
    *,
    recipe: Recipe,
    seed: int,
    progress: Callable[[int, float], None],
) -> None:
    """Gradient boosting (Friedman 2001, stochastic: 2002) by scikit-learn, written into ``trees``. The shares of
    samples and features that each tree sees are the recipe's."""
    from sklearn.ensemble import GradientBoostingClassifier

    settings = recipe.trees

    def tell(done: int, model: Any, _: Any) -> bool:
        progress(done + 1, float(model.train_score_[done]))
        return False

    model = GradientBoostingClassifier(
        n_estimators=len(trees.leaf) // trees.num_classes,
        learning_rate=settings.learning_rate,
        max_depth=DEPTH,
        subsample=settings.samples,
        max_features=settings.features,
        min_samples_leaf=settings.min_samples,
        init="zero",
        random_state=seed,
    )
    model.fit(features_NS, labels_N, sample_weight=weights_N, monitor=tell)
    spread_S = features_NS.std(axis=0, dtype=np.float64)
    with torch.no_grad():
        trees.width.copy_(torch.from_numpy(np.maximum(SOFTNESS * spread_S, _NARROWEST)))
        for number, regressor in enumerate(model.estimators_.flat):  # [rounds, classes], as the module's rows are
            feature, threshold, leaf = complete(regressor.tree_)
            trees.feature[number] = torch.from_numpy(feature)
            trees.threshold[number] = torch.from_numpy(threshold)
            trees.leaf[number] = torch.from_numpy(settings.learning_rate * leaf)


def complete(tree: Any) -> tuple[NDArray[np.int16], Floats, Floats]:
    """A scikit-learn tree of at most DEPTH levels as a complete one: feature and threshold of its nodes, value of its
    leaves. Below a leaf that ends early every leaf has its value, so it does not matter what its nodes ask."""
    feature, threshold = np.zeros(NUM_NODES, np.int16), np.zeros(NUM_NODES)
    places = [0]
    for level in range(DEPTH):
        below = []
        for offset, place in enumerate(places):
            if tree.children_left[place] == _LEAF:
                below += [place, place]
                continue
            node = 2**level - 1 + offset
            feature[node], threshold[node] = tree.feature[place], tree.threshold[place]
            below += [int(tree.children_left[place]), int(tree.children_right[place])]
        places = below
    assert len(places) == NUM_LEAVES
    return feature, threshold, np.asarray(tree.value[places, 0, 0], np.float64)


def fit_shares(first_NC: Floats, second_NC: Floats, labels_N: Integers, weights_N: Floats) -> tuple[float, float]:
    """a, b of at least 0 with the smallest log loss of softmax(a first + b second); a convex problem."""

    def loss(shares: Floats) -> float:
        return _loss(shares[0] * first_NC + shares[1] * second_NC, labels_N, weights_N)

    found = minimize(loss, np.array([0.5, 0.5]), method="L-BFGS-B", bounds=[(0.0, 10.0)] * 2)
    return float(found.x[0]), float(found.x[1])


def _loss(logits_NC: Floats, labels_N: Integers, weights_N: Floats) -> float:
    chosen = log_softmax(logits_NC, axis=1)[np.arange(len(labels_N)), labels_N]
    return float(-np.average(chosen, weights=weights_N))


def _labels(sampler: Sampler, asked: Asked, *, balance: bool) -> tuple[Integers, Floats]:
    """Classes [N], and the objects' weights, mean 1; balance: every class counts as much as any other, as it does
    when the network is trained."""
    rows = np.array([row for row, _ in asked], np.int64)
    labels = sampler.data.labels(rows)
    weights: Floats = sampler.data.rows["weight"][rows].astype(np.float64)
    if balance:
        weights /= np.bincount(labels, minlength=len(CLASSES)).clip(1)[labels]
    return labels, np.asarray(weights / weights.mean())


def batches(network: Convention, sampler: Sampler, asked: Asked) -> Iterator[SequenceBatch]:
    """The sequences asked about, CHUNK at a time."""
    for start in range(0, len(asked), CHUNK):
        yield collate(network, [sampler.held_out(row, length) for row, length in asked[start : start + CHUNK]])


@torch.inference_mode()
def _said(network: Convention, sampler: Sampler, asked: Asked) -> tuple[Floats, Floats]:
    """Logits [N, C] of the network alone and of the trees alone."""
    assert network.trees is not None
    both, trees = [], []
    for batch in batches(network, sampler, asked):
        both.append(network(batch).logits_BK.double().numpy())
        trees.append(network.trees(network.light_curve_features(batch)).double().numpy())
    said = np.concatenate(trees)
    return np.concatenate(both) - said, said
