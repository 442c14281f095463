"""A finished bundle against the light-curve control on the very objects of its recipe.

    python -m train.compare.bundle_control BUNDLE --data runs/ztf/data --output docs/comparison/control-ztf

The control is an ensemble too, a member a fold, trained on the bundle's training objects, its prior and temperature
fitted on the bundle's calibration objects as the bundle's are. Both are scored on the test objects at the same
triggers. Writes OUTPUT.json and OUTPUT.md; both call the figures simulated where the objects are.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from model.bundle import Bundle, load_bundle
from model.bundle_spec import BundleSpec
from model.bundle_store import resolve_bundle
from model.calibration import fit_temperature, member_probabilities, temperatures
from schemas.errors import SettingsError
from train.bootstrap import draw_resamples, resampled_f1, verdict
from train.calibrate import answers, fit_prior_share, log_prior_shift
from train.compare.light_curves import LightCurveControl
from train.measure import ALL_FRAMES, probabilities, triggers_by_length
from train.prepare import load_sets, sequence_folders
from train.recipe import Recipe, parse_recipe
from train.samples import Sampler
from train.scores import figures

RESAMPLES: Final = 2000
SHOWN: Final = ("macro_f1", "log_loss_nat", "ece")

Asked = list[tuple[int, int]]
Floats = NDArray[np.float64]


class FittedControl:
    """The control's members with the prior and the temperature of the calibration part."""

    def __init__(self, sampler: Sampler, recipe: Recipe, *, triggers: int, log_shift_C: Floats) -> None:
        self._sampler = sampler
        self._members = []
        for fold in range(recipe.ensemble.folds):
            member = LightCurveControl(recipe.network.bands, seed=recipe.seed + fold)
            member.fit(sampler, sampler.data.fold(fold)[0], triggers=triggers)
            self._members.append(member)
        asked = sampler.random_triggers(sampler.data.calibration, recipe.calibration.triggers)
        logits, frames = self._logits(asked), _frames(sampler, asked)
        truth = sampler.data.truth(np.array([row for row, _ in asked], np.int64))
        self._shift = fit_prior_share(logits, truth, frames, log_shift_C) * log_shift_C
        self._temperature = fit_temperature(
            logits + self._shift, truth, frames, degree=recipe.calibration.temperature_degree
        )

    def probabilities(self, asked: Asked) -> Floats:
        """Calibrated mean over the members, [N, C]."""
        frames = _frames(self._sampler, asked)
        members = member_probabilities(self._logits(asked) + self._shift, temperatures(self._temperature, frames))
        return np.asarray(members.mean(axis=0))

    def _logits(self, asked: Asked) -> NDArray[np.float32]:
        return np.stack([member.logits(self._sampler, asked) for member in self._members])


def compare(bundle: Bundle, data_folders: Sequence[Path], *, triggers: int) -> dict[str, Any]:
    """Both on the test objects: figures, and the macro-F1 difference (bundle minus control) with its 95% interval
    (paired bootstrap over objects). SettingsError when the sets are not those that the bundle was trained on."""
    recipe = parse_recipe(dict(_table(bundle.spec.training, "recipe")), where=bundle.bundle_id)
    data, said = load_sets(sequence_folders(data_folders), None)
    known = _table(bundle.spec.training, "data").get("sets")
    if [entry["sha256"] for entry in said] != [entry["sha256"] for entry in known or []]:
        raise SettingsError(f"{bundle.bundle_id} was trained on other sets than {', '.join(map(str, data_folders))}")
    sampler = Sampler(data.eligible(recipe.rule(data.grid_id), recipe.view.min_frames), recipe)
    control = FittedControl(sampler, recipe, triggers=triggers, log_shift_C=log_prior_shift(bundle.spec))
    prefixes = {}
    for name, asked in _questions(bundle.spec, sampler).items():
        truth = sampler.data.truth(np.array([row for row, _ in asked], np.int64))
        found = probabilities(bundle.spec, answers(bundle.spec, bundle.states, sampler, asked))
        prefixes[name] = _scored(truth, found, control.probabilities(asked))
    return {
        "bundle_id": bundle.bundle_id,
        "observed": bool(sampler.data.observed.any()),
        "made": [entry["made"] for entry in said],
        "training_objects": int(sum(len(sampler.data.fold(0)[part]) for part in (0, 1))),
        "control_triggers_an_object": triggers,
        "resamples": RESAMPLES,
        "prefixes": prefixes,
    }


def _table(of: Any, key: str) -> dict[str, Any]:
    found = of.get(key)
    if not isinstance(found, dict):
        raise SettingsError(f"the bundle does not say its training.{key}: take one made by train")
    return found


def _questions(spec: BundleSpec, sampler: Sampler) -> dict[str, Asked]:
    rows = sampler.data.test
    asked: dict[str, Asked] = {
        "all": [(int(row), ALL_FRAMES) for row in rows],
        "random": sampler.random_triggers(rows, 1),
    }
    return asked | {str(length): pairs for length, pairs in triggers_by_length(spec, sampler, rows).items()}


def _scored(truth_N: NDArray[np.int64], bundle_NC: Floats, control_NC: Floats) -> dict[str, Any]:
    resamples = draw_resamples(len(truth_N), RESAMPLES, np.random.default_rng(0))
    scored = {"bundle": figures(truth_N, bundle_NC), "control": figures(truth_N, control_NC)}
    first, second = (resampled_f1(resamples, truth_N, found.argmax(axis=1)) for found in (bundle_NC, control_NC))
    difference = scored["bundle"]["macro_f1"] - scored["control"]["macro_f1"]
    return {"num_objects": len(truth_N), **scored, "macro_f1_difference": verdict(difference, first - second)}


def _frames(sampler: Sampler, asked: Asked) -> NDArray[np.int64]:
    return np.array([len(sampler.visible(row, length)) for row, length in asked], np.int64)


def markdown(found: dict[str, Any]) -> str:
    """For people."""
    lines = [
        f"# {found['bundle_id']} against its light curves\n",
        f"{'Observed' if found['observed'] else 'Simulated'} objects. The light-curve control was trained on the "
        f"same {found['training_objects']} objects and calibrated as the bundle is; the test objects are those of "
        "the bundle's card. `all`: the last trigger; `random`: one trigger an object.\n",
        "| frames | objects | "
        + " | ".join(f"{name} {who}" for name in ("macro F1", "log loss", "ECE") for who in ("bundle", "control"))
        + " | macro F1, bundle minus control (95%) |",
        "|---|---|" + "---|" * 7,
    ]
    for name, part in found["prefixes"].items():
        values = " | ".join(f"{part[who][key]:.3f}" for key in SHOWN for who in ("bundle", "control"))
        difference = part["macro_f1_difference"]
        low, high = difference["interval"]
        told = f"{difference['difference']:+.3f} ({low:+.3f} to {high:+.3f}) {difference['verdict']}"
        lines.append(f"| {name} | {part['num_objects']} | {values} | {told} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--data", type=Path, action="append", required=True, metavar="DIR")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="without suffix")
    parser.add_argument("--triggers", type=int, default=8, metavar="N", help="of a training object; default 8")
    parser.add_argument("--threads", type=int, default=None, metavar="N")
    args = parser.parse_args()
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    found = compare(load_bundle(resolve_bundle(args.bundle)), args.data, triggers=args.triggers)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    args.output.with_suffix(".md").write_text(markdown(found), encoding="utf-8")
    print(markdown(found))  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
