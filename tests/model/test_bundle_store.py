"""Promotion is one atomic step that a watcher sees once; the verbs of ``bundle`` do what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from broker_plugin.cli import main
from model.bundle_store import BundleWatcher, list_bundles, promote, promoted_name, resolve_bundle
from schemas.errors import BundleError
from tests.model.bundle_samples import write_sample


def test_watcher_sees_each_promotion_once(tmp_path: Path) -> None:
    """poll gives the new bundle after a promotion, then None; promoting the same again gives nothing."""
    first, second, store = tmp_path / "a-1", tmp_path / "a-2", tmp_path / "store"
    write_sample(first, num_members=1)
    write_sample(second, num_members=1, version="2.0")
    promote(first, store)
    watcher = BundleWatcher(store)
    assert watcher.current == store / "a-1"
    assert watcher.poll() is None
    promote(second, store)
    assert watcher.poll() == store / "a-2"
    assert watcher.poll() is None
    promote(second, store)
    assert watcher.poll() is None
    promote(first, store)
    assert watcher.poll() == store / "a-1"
    assert [path.name for path in list_bundles(store)] == ["a-1", "a-2"]


def test_a_broken_pointer_is_told_once_and_the_bundle_kept(tmp_path: Path) -> None:
    """The worker goes on with what it has."""
    first, store = tmp_path / "a-1", tmp_path / "store"
    write_sample(first, num_members=1)
    promote(first, store)
    watcher = BundleWatcher(store)
    (store / "promoted.json").write_text('{"bundle": "../a-1"}')
    with pytest.raises(BundleError, match="path check"):
        watcher.poll()
    assert watcher.poll() is None
    assert watcher.current == store / "a-1"


def test_a_name_stands_for_one_bundle(tmp_path: Path) -> None:
    """Another bundle under a name that the store has is refused, the pointer stays."""
    store = tmp_path / "store"
    write_sample(tmp_path / "x" / "a-1", num_members=1)
    write_sample(tmp_path / "y" / "a-1", num_members=1, version="2.0")
    promote(tmp_path / "x" / "a-1", store)
    with pytest.raises(BundleError, match="another bundle under this name"):
        promote(tmp_path / "y" / "a-1", store)
    assert promoted_name(store) == "a-1"


def test_a_path_that_is_no_bundle_is_one_clear_error(tmp_path: Path) -> None:
    """Missing, empty store, unknown shipped name."""
    for path in (tmp_path / "none", "no-such-shipped-bundle"):
        with pytest.raises(BundleError, match="no such bundle"):
            resolve_bundle(path)
    write_sample(tmp_path / "store" / "a-1", num_members=1)
    with pytest.raises(BundleError, match="without a promoted bundle"):
        resolve_bundle(tmp_path / "store")


def test_verbs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """verify, promote, list and inspect on one bundle, as JSON."""
    bundle, store = tmp_path / "a-1", tmp_path / "store"
    identity = write_sample(bundle, num_members=1)
    assert main(["bundle", "verify", str(bundle), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"bundle_id": identity, "verified": True, "num_golden": 2}
    assert main(["bundle", "promote", str(bundle), "--store", str(store), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["promoted"] == str(store / "a-1")
    assert main(["bundle", "list", "--store", str(store), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["bundle"], row["promoted"], row["grid_id"]) == ("a-1", True, "ztf-1.01-32")
    assert main(["bundle", "inspect", str(store)]) == 0
    assert identity in capsys.readouterr().out


def test_a_bad_bundle_is_not_promoted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 1, one line, no pointer."""
    bundle, store = tmp_path / "a-1", tmp_path / "store"
    write_sample(bundle, num_members=1)
    (bundle / "CARD.md").write_text("edited")
    assert main(["bundle", "promote", str(bundle), "--store", str(store)]) == 1
    assert "hash check: CARD.md" in capsys.readouterr().err
    assert not store.exists()
