"""A bundle is refused, with the check that failed named, unless every byte of it is as it was written."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save, save_file

from model.bundle import load_bundle
from model.bundle_files import MANIFEST_FILE, compact_weights, parse_tensors
from model.bundle_spec import BundleSpec
from model.card import write_card
from model.runtime import load_scorer
from schemas.errors import BundleError
from tests.model.bundle_samples import make_sequence, write_sample


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that loads."""
    folder = tmp_path_factory.mktemp("bundles") / "sample-1.0"
    write_sample(folder)
    return folder


@pytest.fixture
def bundle(sound: Path, tmp_path: Path) -> Path:
    """A copy of it to break."""
    folder = tmp_path / sound.name
    shutil.copytree(sound, folder)
    return folder


def seal(folder: Path) -> None:
    """Write the manifest anew, as someone who edits a bundle on purpose would."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST_FILE)
    lines = [f"{sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n" for path in paths]
    (folder / MANIFEST_FILE).write_text("".join(lines))


def edit_spec(folder: Path, change: Callable[[dict], None]) -> None:  # type: ignore[type-arg]
    """Change bundle.json and seal."""
    spec = json.loads((folder / "bundle.json").read_text())
    change(spec)
    (folder / "bundle.json").write_text(json.dumps(spec))
    seal(folder)


def test_a_card_is_lines_and_no_json(sound: Path) -> None:
    """Tables, lists of tables and what is in them are lines of a card, each under its name."""
    made = {"data": {"sets": [{"sha256": "ab", "made": {"by": "a test", "settings": {"seed": 4}}}]}}
    spec = load_bundle(sound).spec
    card = write_card(spec.model_copy(update={"training": made, "metrics": {}}), num_parameters=7)
    written = card[card.index("## Training") :].splitlines()
    assert written[2:] == [
        "* data",
        "  * sets",
        "    * 1",
        "      * sha256: ab",
        "      * made",
        "        * by: a test",
        "        * settings: seed 4",
    ]


def test_what_is_written_is_what_is_loaded(sound: Path) -> None:
    """The id is name, version and manifest hash; weights come back as float32 of what float16 kept."""
    bundle = load_bundle(sound, grid_id="ztf-1.01-32")
    digest = sha256((sound / MANIFEST_FILE).read_bytes()).hexdigest()
    assert bundle.bundle_id == f"sample-1.0-{digest[:16]}"
    assert load_scorer(sound).bundle_id == bundle.bundle_id
    assert all(value.dtype == torch.float32 for value in bundle.states[0].values() if value.is_floating_point())
    assert "Random weights, for tests." in bundle.card
    assert len(bundle.golden.sequences) == 2
    assert bundle.golden.sequences[1].mjd_L[3] == make_sequence(2, 7).mjd_L[3]


def test_equal_contents_give_equal_ids(sound: Path, tmp_path: Path) -> None:
    """The id is a function of the contents."""
    assert write_sample(tmp_path / "again") == load_bundle(sound).bundle_id


@pytest.mark.parametrize("path", ["members/001.safetensors", "golden.safetensors", "bundle.json", "CARD.md"])
def test_one_flipped_bit_is_refused(bundle: Path, path: str) -> None:
    """Every file is under the hash check."""
    content = bytearray((bundle / path).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / path).write_bytes(content)
    with pytest.raises(BundleError, match=f"hash check: {path}"):
        load_scorer(bundle)


@pytest.mark.parametrize("name", ["model.pt", "members/extra.pkl", "members/000.bin"])
def test_a_file_named_as_a_pickle_is_refused(bundle: Path, name: str) -> None:
    """Listed in the manifest or not, it is never opened."""
    (bundle / name).write_bytes(pickle.dumps({"w": 1}))
    with pytest.raises(BundleError, match="pickle check"):
        load_scorer(bundle)
    seal(bundle)
    with pytest.raises(BundleError, match="pickle check"):
        load_scorer(bundle)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_under_a_members_name_is_refused(bundle: Path, legacy: bool) -> None:
    """A torch.save file in place of a member is recognised by its first bytes, and nothing in it runs."""
    torch.save({"w": torch.zeros(2)}, bundle / "members/000.safetensors", _use_new_zipfile_serialization=not legacy)
    seal(bundle)
    with pytest.raises(BundleError, match=r"pickle check: members/000\.safetensors"):
        load_scorer(bundle)


@pytest.mark.parametrize("header_length", [0x0280, 0x0480, 0x0580])
def test_a_header_whose_length_looks_like_a_pickle_is_read(header_length: int) -> None:
    """A safetensors file starts with its header's length, little-endian; 0x0480 there is no pickle of protocol 4."""
    content = save({"w": torch.ones(2)})
    header = content[8 : 8 + int.from_bytes(content[:8], "little")].ljust(header_length)
    padded = len(header).to_bytes(8, "little") + header + content[8 + int.from_bytes(content[:8], "little") :]
    assert padded[:2] == bytes([0x80, header_length >> 8])
    assert torch.equal(parse_tensors(Path("b"), "members/000.safetensors", padded)["w"], torch.ones(2))


def test_garbage_under_a_members_name_is_refused(bundle: Path) -> None:
    """A file that is no safetensors file at all is named."""
    (bundle / "members/000.safetensors").write_bytes(b"not tensors")
    seal(bundle)
    with pytest.raises(BundleError, match="tensor check"):
        load_scorer(bundle)


def test_wrong_class_order_is_refused(bundle: Path) -> None:
    """Classes in another order would put every probability under a wrong name."""
    edit_spec(bundle, lambda spec: spec["classes"].reverse())
    with pytest.raises(BundleError, match="spec check: classes: class order is Variable"):
        load_scorer(bundle)


def test_golden_mismatch_is_refused(bundle: Path) -> None:
    """A changed weight under a fresh manifest is found by the replay."""
    path = bundle / "members/001.safetensors"
    state = load_file(path)
    state["output.bias"][0] += 0.01
    save_file(state, path)
    seal(bundle)
    with pytest.raises(BundleError, match="golden check: logits differ"):
        load_scorer(bundle)


def test_weights_that_do_not_fit_the_network_are_one_clear_line(bundle: Path) -> None:
    """A tensor that the network does not have is named, without torch's page of text."""
    path = bundle / "members/001.safetensors"
    save_file(load_file(path) | {"surplus": torch.zeros(1)}, path)
    seal(bundle)
    with pytest.raises(BundleError, match=r"weight check: member 1 .*surplus") as caught:
        load_scorer(bundle)
    assert "\n" not in str(caught.value)


def test_missing_and_extra_files_are_refused(bundle: Path) -> None:
    """The layout is closed."""
    (bundle / "notes.txt").write_text("hello")
    with pytest.raises(BundleError, match=r"manifest check: notes\.txt is not listed"):
        load_bundle(bundle)
    seal(bundle)
    with pytest.raises(BundleError, match=r"layout check: notes\.txt has no place"):
        load_bundle(bundle)
    (bundle / "notes.txt").unlink()
    (bundle / "members/001.safetensors").unlink()
    with pytest.raises(BundleError, match=r"members/001\.safetensors is listed but missing"):
        load_bundle(bundle)
    seal(bundle)
    with pytest.raises(BundleError, match="layout check: 1 member files"):
        load_bundle(bundle)


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "members/../bundle.json", "a\\b"])
def test_unsafe_paths_are_refused(bundle: Path, path: str) -> None:
    """The manifest cannot name a file outside the bundle."""
    with (bundle / MANIFEST_FILE).open("a") as manifest:
        manifest.write(f"{'0' * 64}  {path}\n")
    with pytest.raises(BundleError, match="path check"):
        load_bundle(bundle)


def test_links_are_refused(bundle: Path, sound: Path) -> None:
    """Not even a link to the right bytes."""
    (bundle / "CARD.md").unlink()
    (bundle / "CARD.md").symlink_to(sound / "CARD.md")
    with pytest.raises(BundleError, match=r"path check: CARD\.md is a link"):
        load_bundle(bundle)


def test_unknown_network_setting_and_grid_are_refused(bundle: Path) -> None:
    """Each with its own reason."""
    with pytest.raises(BundleError, match=r"grid check: .* ztf-1.01-32, not lsst-0.2-32"):
        load_bundle(bundle, grid_id="lsst-0.2-32")
    edit_spec(bundle, lambda spec: spec.update(bands=["g", "r", "i", "z"]))
    with pytest.raises(BundleError, match="band check: the network does not read z"):
        load_scorer(bundle)
    edit_spec(bundle, lambda spec: spec["network"].update(name="perceptron"))
    with pytest.raises(BundleError, match="network check: unknown network 'perceptron'"):
        load_scorer(bundle)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"class_prior": [0.5, 0.5, 0.5, 0.5]}, "class_prior sums to 2"),
        ({"bands": ["r", "g"]}, "bands r, g"),
        ({"name": "../evil"}, "is not made of"),
        ({"surprise": 1}, "surprise: no such key: expected one of format, name"),
        ({"format": 2}, "format"),
    ],
)
def test_a_faulty_spec_is_refused(bundle: Path, change: dict[str, object], reason: str) -> None:
    """bundle.json is validated, unknown keys included."""
    edit_spec(bundle, lambda spec: spec.update(change))
    with pytest.raises(BundleError, match=f"spec check: .*{reason}"):
        load_bundle(bundle)


def test_a_bundle_is_never_rewritten(sound: Path) -> None:
    """Writing over a bundle is refused."""
    with pytest.raises(BundleError, match="never rewritten"):
        write_sample(sound)


def test_weights_beyond_float16_are_refused_and_statistics_kept() -> None:
    """A kernel value that float16 cannot hold is an error; one-dimensional tensors stay float32."""
    with pytest.raises(BundleError, match="weight kernel"):
        compact_weights({"kernel": torch.full((2, 2), 1e6)})
    assert compact_weights({"running_var": torch.full((2,), 1e6)})["running_var"].dtype == torch.float32


def test_the_spec_survives_its_json(sound: Path) -> None:
    """bundle.json read and written again is the same bytes."""
    content = (sound / "bundle.json").read_bytes()
    assert BundleSpec.from_json(content, where="test").to_json() == content
