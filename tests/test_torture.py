"""A little of `make torture`: kills, full disks, limits of memory, and damage to every reader."""

import pytest

from torture import COMMANDS, READERS, Torture, can_mount


@pytest.fixture(scope="module")
def it(tmp_path_factory):
    return Torture(tmp_path_factory.mktemp("torture"), seed=1)


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_it_ends_with_the_same_bytes_when_it_is_run_again(it, name):
    assert it.kills(name, 2).wrong == []


@pytest.mark.parametrize("name", ["reconstruct", "train", "import"])
def test_on_a_full_disk_there_is_a_whole_result_or_one_line(it, name):
    if not can_mount(it.folder):
        pytest.skip("no file system can be mounted here")
    assert it.disks(name, 2).wrong == []


def test_without_memory_there_is_one_line(it):
    assert it.limits("reconstruct", 2).wrong == []


@pytest.mark.parametrize("name", READERS)
def test_damage_is_one_line(it, name):
    assert it.damages(name, 12).wrong == []
