import pytest

from hffs.mount.mountinfo import Health, check_health, find_mount, parse_mountinfo, read_mounts

TABLE = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:35 / /mnt/my\040photos ro,nosuid,nodev,noexec - fuse.hffs hffs#a\040b ro,user_id=0
41 22 0:36 / /mnt/tab\011back\134slash rw master:1 propagate_from:2 - tmpfs tmpfs rw
"""


def test_lines_with_and_without_optional_fields_parse() -> None:
    root, photos, odd = parse_mountinfo(TABLE)
    assert (root.mountpoint, root.fs_type, root.source) == ("/", "ext4", "/dev/vda")
    assert photos.mountpoint == "/mnt/my photos"
    assert photos.fs_type == "fuse.hffs"
    assert photos.source == "hffs#a b"
    assert photos.device == "0:35"
    assert {"ro", "nosuid", "nodev", "noexec"} <= photos.options
    assert odd.mountpoint == "/mnt/tab\tback\\slash"


@pytest.mark.parametrize("line", ["", "garbage", "1 2 3", "1 2 3 4 5 6 7"])
def test_lines_of_no_known_shape_are_passed_over(line: str) -> None:
    assert parse_mountinfo(line) == []


def test_names_that_are_not_utf8_survive() -> None:
    line = b"1 0 0:1 / /mnt/\xff ro - fuse.hffs x ro".decode(errors="surrogateescape")
    assert parse_mountinfo(line)[0].mountpoint == "/mnt/\udcff"


def test_this_machine_has_a_proc_and_no_mount_on_a_made_up_path() -> None:
    assert any(mounted.mountpoint == "/proc" for mounted in read_mounts())
    assert find_mount("/no/such/mount") is None


def test_a_folder_that_answers_is_healthy() -> None:
    assert check_health("/") is Health.OK
