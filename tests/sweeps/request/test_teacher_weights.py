"""TeacherWeights teachers: which files are found for which network, and what is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from sweeps.request.teacher_weights import TeacherWeights, check, find
from trainables.data.counts import ImageCounts
from trainables.datasets import count_images
from trainables.errors import UserError
from trainables.models import build
from trainables.models.checkpoint import save_weights


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def found(folder: Path, *networks: str) -> dict[str, str]:
    return {given.network: str(given.path.relative_to(folder)) for given in find(folder, networks, "digits")}


@pytest.mark.parametrize(
    "name",
    [
        "resnet8.pth",
        "resnet8.pt",
        "resnet8",
        "resnet8_best.pth",
        "resnet8-seed1.pth.tar",
        "resnet8_energykd",
        "ResNet8.PTH",
        "resnet8_r0.2",
        "resnet8_vanilla/ckpt_epoch_240.pth",
        "resnet8_vanilla/resnet8_last.pth",
    ],
)
def test_usual_names_are_found(tmp_path: Path, name: str) -> None:
    touch(tmp_path, name)
    given = find(tmp_path, ["resnet8"], "digits")
    assert given == (TeacherWeights("resnet8", tmp_path / name, hashlib.sha256(name.encode()).hexdigest(), "digits"),)


def test_similar_networks_are_never_confused(tmp_path: Path) -> None:
    touch(tmp_path, "resnet8x4_best.pth", "wrn_16_1.pth", "wrn_40_2_x.pth", "resnet110.pth", "resnet32x4_vanilla/a.pth")
    networks = ("resnet8", "resnet8x4", "wrn_16_2", "wrn_16_1", "wrn_40_2", "resnet110", "resnet32", "resnet32x4")
    assert found(tmp_path, *networks) == {
        "resnet8x4": "resnet8x4_best.pth",
        "wrn_16_1": "wrn_16_1.pth",
        "wrn_40_2": "wrn_40_2_x.pth",
        "resnet110": "resnet110.pth",
        "resnet32x4": "resnet32x4_vanilla/a.pth",
    }


def test_what_is_no_weights_is_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "vgg8.pth", "vgg8.json", "vgg8_log.txt", ".vgg8.pth", "vgg8.pth.md5", "vgg8_vanilla/notes.md")
    assert found(tmp_path, "vgg8") == {"vgg8": "vgg8.pth"}


def test_the_communitys_last_epoch_is_taken_from_its_folder(tmp_path: Path) -> None:
    touch(tmp_path, "resnet56_vanilla/ckpt_epoch_240.pth", "resnet56_vanilla/ckpt_epoch_120.pth")
    assert found(tmp_path, "resnet56") == {"resnet56": "resnet56_vanilla/ckpt_epoch_240.pth"}


@pytest.mark.parametrize("names", [("vgg8.pth", "vgg8_best.pth"), ("vgg8.pth", "vgg8_vanilla/ckpt_epoch_240.pth")])
def test_two_candidates_are_refused_by_name(tmp_path: Path, names: tuple[str, str]) -> None:
    touch(tmp_path, *names)
    with pytest.raises(UserError) as caught:
        find(tmp_path, ["vgg8"], "digits")
    assert all(name in str(caught.value) for name in names)


def test_a_folder_without_any_of_the_teachers_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "vgg13.pth")
    with pytest.raises(UserError, match=r"no weights of vgg8, resnet8: name a teacher's file"):
        find(tmp_path, ["vgg8", "resnet8"], "digits")


def test_one_file_is_one_teachers(tmp_path: Path) -> None:
    touch(tmp_path, "anything")
    assert find(tmp_path / "anything", ["vgg13"], "digits")[0].path == tmp_path / "anything"
    with pytest.raises(UserError, match=r"one file, but these pairs have 2 teachers \(vgg13, vgg8\): give a folder"):
        find(tmp_path / "anything", ["vgg13", "vgg8"], "digits")


def test_a_missing_place_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        find(tmp_path / "nothing", ["vgg13"], "digits")


def test_weights_that_fit_pass_and_others_are_told_by_their_keys(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_weights(build("resnet8", 10), tmp_path / "resnet8.pth")
    check(find(tmp_path, ["resnet8"], "digits"), {"digits": count_images("digits", None)})
    with pytest.raises(UserError, match="10 classes, and 100 are needed"):
        check(find(tmp_path, ["resnet8"], "digits"), {"digits": ImageCounts(100, 16, (1,) * 100, 1)})
    with pytest.raises(UserError, match=r"does not fit resnet14: layer1\.1\.conv1\.weight is missing"):
        check(find(tmp_path / "resnet8.pth", ["resnet14"], "digits"), {"digits": count_images("digits", None)})


def test_parts_of_one_file_are_no_choice(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"resnet20-0000{number}-of-00002.bin").write_bytes(b"")
    with pytest.raises(UserError, match="they are parts of one file: join them into one"):
        find(tmp_path, ["resnet20"], "digits")
