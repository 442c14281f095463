"""The page of real objects: what a label is worth as a class."""

from __future__ import annotations

import pytest

from benchmarks.real_objects import LabelledObject, left_out, meaning
from train.label_table import read_mapping


@pytest.mark.parametrize(
    ("label", "own_class", "expected"),
    [
        ("SN Ia (SN 2021rhu)", "SNIa", "SNIa"),
        ("BYDraV*", "", "Variable"),
        ("Type2Cep", "", "Variable"),
        ("GCVS XM", "Variable", "Variable"),
        ("TDE AT 2023wdb", "(TDE)", "unknown"),
        ("Fail 503", "", "ignore"),
        ("Inexistent", "", "ignore"),
        ("Supernova", "", "ignore"),
        ("YSO_Candidate", "", "ignore"),
        ("HB*", "Variable", "ignore"),
        ("GCVS Blurb", "", None),
    ],
)
def test_a_label_is_a_class_or_says_nothing_and_is_never_guessed(
    label: str, own_class: str, expected: str | None
) -> None:
    """Types go by the mapping, types that it lacks by the samples' own class; a failed look-up, a candidate and a
    supernova without a type say nothing; a name that nothing knows is no class, and not ``unknown`` either."""
    assert meaning(label, own_class, read_mapping()) == expected


def test_every_object_that_is_left_out_is_counted_once_with_its_reason() -> None:
    """Failed look-ups, candidates and the rest, with their labels."""
    labels = ("Fail 503", "AG?", "QSO_Candidate", "Supernova", "Supernova")
    items = [LabelledObject("ztf", str(number), label, "", "ignore") for number, label in enumerate(labels)]
    assert left_out(items)[2:] == [
        "| the look-up failed | 1 | Fail 503 1 |",
        "| candidates, not confirmed | 2 | AG? 1, QSO_Candidate 1 |",
        "| types that do not say which class it is | 2 | Supernova 2 |",
    ]
