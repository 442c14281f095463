"""A finished bundle against the light-curve control on the very objects of its recipe.

    python -m train.compare.bundle_control BUNDLE --data runs/ztf/data --output docs/comparison/control-ztf

The control is an ensemble too, a member a fold, trained on the bundle's training objects, its prior and temperature
fitted on the bundle's calibration objects as the bundle's are. Where the members have boosted trees, what the
networks alone and the trees alone say is scored as well, each with a prior and a temperature of its own. All are
scored at the same triggers, of the test objects of the recipe or, with ``--test``, of objects that nobody has looked
at. Writes OUTPUT.json and OUTPUT.md; both call the figures simulated where the objects are.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from model.bundle import Bundle, load_bundle
from model.bundle_spec import BundleSpec
from model.bundle_store import resolve_bundle
from model.calibration import fit_temperature, member_probabilities, temperatures
from model.convention import Convention
from model.ensemble import build_members
from model.scores import CLASSES
from schemas.errors import SettingsError
from train.bootstrap import draw_resamples, resampled_f1, verdict
from train.calibrate import answers, fit_prior_share, log_prior_shift
from train.compare.light_curves import LightCurveControl
from train.dataset import DataSet
from train.measure import ALL_FRAMES, triggers_by_length
from train.module_command import run_module, whole_number
from train.prepare import load_sets, sequence_folders
from train.recipe import Recipe, parse_recipe
from train.retrain import refuse_known
from train.samples import Sampler
from train.scores import figures
from train.splits import CALIBRATION, FOLDS
from train.trained_objects import object_hash, record_of
from train.trees import batches

RESAMPLES: Final = 2000
NAMES: Final = {"macro_f1": "macro F1", "log_loss_nat": "log loss", "ece": "ECE"}
SHOWN: Final = tuple(NAMES)

Asked = list[tuple[int, int]]
Floats = NDArray[np.float64]
Logits = NDArray[np.float32]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """What is added to members' logits, and the coefficients of their temperature."""

    shift_C: Floats
    log_temperature: tuple[float, ...]

    def probabilities(self, logits_KNC: Logits, frames_N: Integers) -> Floats:
        """Calibrated mean over the members, [N, C]."""
        temperature = temperatures(self.log_temperature, frames_N)
        return np.asarray(member_probabilities(logits_KNC + self.shift_C, temperature).mean(axis=0))


def fit_calibration(
    logits_KNC: Logits, truth_N: Integers, frames_N: Integers, recipe: Recipe, log_shift_C: Floats
) -> Calibration:
    """From logits of the calibration part."""
    shift = fit_prior_share(logits_KNC, truth_N, frames_N, log_shift_C) * log_shift_C
    degree = recipe.calibration.temperature_degree
    return Calibration(shift, fit_temperature(logits_KNC + shift, truth_N, frames_N, degree=degree))


class Speakers:
    """All whose logits are compared: ``bundle``; ``control``, a member a fold; where the members have trees, the
    ``network`` and the ``trees`` of each, as trained on equally many of every class."""

    def __init__(self, bundle: Bundle, sampler: Sampler, recipe: Recipe, *, triggers: int) -> None:
        self._bundle = bundle
        self._control = []
        for fold in range(recipe.ensemble.folds):
            member = LightCurveControl(recipe.network.bands, seed=recipe.seed + fold)
            member.fit(sampler, sampler.data.fold(fold)[0], triggers=triggers)
            self._control.append(member)
        built = build_members(bundle.spec.network, bundle.states)
        members = [member for member in built if isinstance(member, Convention)]
        self._members = [member for member in members if member.trees is not None]
        share = bundle.spec.training.get("share_of_log_prior_added", 0.0)
        self._added_C = float(str(share)) * log_prior_shift(bundle.spec)

    def logits(self, sampler: Sampler, asked: Asked) -> dict[str, Logits]:
        """logits_KNC of each."""
        whole = answers(self._bundle.spec, self._bundle.states, sampler, asked).logits_KNC
        said = {"bundle": whole, "control": np.stack([member.logits(sampler, asked) for member in self._control])}
        if self._members:
            said["trees"] = self._trees(sampler, asked)
            said["network"] = (whole - said["trees"] - self._added_C).astype(np.float32)  # logits are a sum
        return said

    @torch.inference_mode()
    def _trees(self, sampler: Sampler, asked: Asked) -> Logits:
        parts = []
        for batch in batches(self._members[0], sampler, asked):
            features = self._members[0].light_curve_features(batch)
            parts.append(np.stack([member.trees(features).numpy() for member in self._members if member.trees]))
        return np.concatenate(parts, axis=1)


def compare(
    bundle: Bundle, data_folders: Sequence[Path], *, triggers: int, test_folders: Sequence[Path] = ()
) -> dict[str, Any]:
    """All on the test objects: figures, and the macro-F1 difference of the bundle minus each other with its 95%
    interval (paired bootstrap over objects). SettingsError when the sets are not those that the bundle was trained
    on, or an object to score on is one that it was trained, stopped or calibrated on: one of these sets, simulated or
    observed, by its name, or an observed one of an earlier training."""
    spec = bundle.spec
    recipe = parse_recipe(dict(_table(spec.training, "recipe")), where=bundle.bundle_id)
    data, said = load_sets(sequence_folders(data_folders), None)
    known = _table(spec.training, "data").get("sets")
    if [entry["sha256"] for entry in said] != [entry["sha256"] for entry in known or []]:
        raise SettingsError(f"{bundle.bundle_id} was trained on other sets than {', '.join(map(str, data_folders))}")
    sampler = scored_on = _sampler(data, recipe)
    test_said = None
    if test_folders:
        test, test_said = load_sets(sequence_folders(test_folders), None)
        if test.grid_id != spec.grid_id:
            raise SettingsError(f"the test sets are of grid {test.grid_id}, the bundle of {spec.grid_id}")
        refuse_known(test, test.test, bundle.bundle_id, _known(bundle, data))
        scored_on = _sampler(test, recipe)
    speakers = Speakers(bundle, sampler, recipe, triggers=triggers)
    asked = sampler.random_triggers(sampler.data.calibration, recipe.calibration.triggers)
    facts = (_truth(sampler, asked), _frames(sampler, asked), recipe, log_prior_shift(spec))
    said_there = speakers.logits(sampler, asked)
    calibrated = {name: fit_calibration(logits, *facts) for name, logits in said_there.items() if name != "bundle"}
    calibrated["bundle"] = Calibration(np.zeros(len(CLASSES)), spec.calibration.log_temperature)
    prefixes = {}
    for name, asked in _questions(spec, scored_on).items():
        logits, frames = speakers.logits(scored_on, asked), _frames(scored_on, asked)
        found = {who: calibrated[who].probabilities(logits[who], frames) for who in logits}
        prefixes[name] = _scored(_truth(scored_on, asked), found)
    return {
        "bundle_id": bundle.bundle_id,
        "observed": bool(scored_on.data.observed.any()),
        "made": [entry["made"] for entry in said],
        "tested_on": None if test_said is None else [entry["made"] for entry in test_said],
        "training_objects": int(sum(len(sampler.data.fold(0)[part]) for part in (0, 1))),
        "control_triggers_an_object": triggers,
        "resamples": RESAMPLES,
        "prefixes": prefixes,
    }


def _known(bundle: Bundle, data: DataSet) -> dict[str, Any]:
    """The bundle's record of observed objects, with the simulated ones of its sets, whose names follow from the
    seed."""
    record = record_of(bundle.bundle_id, bundle.spec.training)
    used = data.of_split(*FOLDS, CALIBRATION)
    simulated = "".join(object_hash(data.survey, data.object_id(int(row))) for row in used)
    return {**record, "hashes": record["hashes"] + simulated}


def _sampler(data: DataSet, recipe: Recipe) -> Sampler:
    return Sampler(data.eligible(recipe.rule(data.grid_id), recipe.view.min_frames), recipe)


def _truth(sampler: Sampler, asked: Asked) -> Integers:
    return sampler.data.truth(np.array([row for row, _ in asked], np.int64))


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


def _scored(truth_N: Integers, found: dict[str, Floats]) -> dict[str, Any]:
    resamples = draw_resamples(len(truth_N), RESAMPLES, np.random.default_rng(0))
    scored: dict[str, Any] = {name: figures(truth_N, said_NC) for name, said_NC in found.items()}
    drawn = {name: resampled_f1(resamples, truth_N, said_NC.argmax(axis=1)) for name, said_NC in found.items()}
    differences = {
        name: verdict(scored["bundle"]["macro_f1"] - scored[name]["macro_f1"], drawn["bundle"] - drawn[name])
        for name in found
        if name != "bundle"
    }
    return {"num_objects": len(truth_N), **scored, "macro_f1_difference": differences}


def _frames(sampler: Sampler, asked: Asked) -> Integers:
    return np.array([len(sampler.visible(row, length)) for row, length in asked], np.int64)


def markdown(found: dict[str, Any]) -> str:
    """For people."""
    tested = "the test objects are those of the bundle's card"
    if found["tested_on"]:
        tested = f"the test objects were made for this alone ({json.dumps(found['tested_on'])})"
    lines = [
        f"# {found['bundle_id']} against its light curves\n",
        f"{'Observed' if found['observed'] else 'Simulated'} objects. The light-curve control was trained on the "
        f"same {found['training_objects']} objects and calibrated as the bundle is; {tested}. "
        "`all`: the last trigger; `random`: one trigger an object.\n",
        *_rows(found["prefixes"], ("bundle", "control"), SHOWN),
    ]
    if any("trees" in part for part in found["prefixes"].values()):
        lines.append(
            "\nThe bundle's members without their trees, and the trees alone, each calibrated as the bundle is:\n"
        )
        lines += _rows(found["prefixes"], ("bundle", "trees", "network"), SHOWN[:2])
    return "\n".join(lines) + "\n"


def _rows(prefixes: dict[str, Any], who: tuple[str, ...], shown: tuple[str, ...]) -> list[str]:
    columns = [f"{NAMES[key]} {name}" for key in shown for name in who]
    columns += [f"macro F1, bundle minus {name} (95%)" for name in who[1:]]
    lines = [f"| frames | objects | {' | '.join(columns)} |", "|---|---|" + "---|" * len(columns)]
    for length, part in prefixes.items():
        cells = [f"{part[name][key]:.3f}" for key in shown for name in who]
        for name in who[1:]:
            difference = part["macro_f1_difference"][name]
            low, high = difference["interval"]
            cells.append(f"{difference['difference']:+.3f} ({low:+.3f} to {high:+.3f}) {difference['verdict']}")
        lines.append(f"| {length} | {part['num_objects']} | {' | '.join(cells)} |")
    return lines


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--data", type=Path, action="append", required=True, metavar="DIR")
    parser.add_argument(
        "--test", type=Path, action="append", default=[], metavar="DIR", help="score on these objects"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="without suffix")
    parser.add_argument(
        "--triggers", type=whole_number, default=8, metavar="N", help="of a training object; default 8"
    )
    parser.add_argument("--threads", type=whole_number, default=None, metavar="N")
    args = parser.parse_args()
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    bundle = load_bundle(resolve_bundle(args.bundle))
    found = compare(bundle, args.data, triggers=args.triggers, test_folders=args.test)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    args.output.with_suffix(".md").write_text(markdown(found), encoding="utf-8")
    print(markdown(found))  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(run_module(main))
