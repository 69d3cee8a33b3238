"""As many threads as the process may use: control groups of both versions, and the user's own word."""

from __future__ import annotations

from pathlib import Path

import pytest

from gemma_cli.engines.local.threads import choose, cpu_quota


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("_", ".", 1)).write_text(content + "\n")


@pytest.mark.parametrize(
    ("content", "quota"),
    [
        ("200000 100000", 2.0),
        ("150000 100000", 1.5),
        ("max 100000", None),
        ("0 0", None),
        ("", None),
        ("two", None),
        ("-1 100000", None),
    ],
)
def test_version_2(tmp_path: Path, content: str, quota: float | None) -> None:
    group(tmp_path / "groups" / "a" / "b", cpu_max=content)
    (tmp_path / "cgroup").write_text("0::/a/b\n")
    assert cpu_quota(tmp_path / "groups", tmp_path / "cgroup") == quota


def test_the_least_of_the_groups_around_it(tmp_path: Path) -> None:
    group(tmp_path / "groups" / "a" / "b", cpu_max="800000 100000")
    group(tmp_path / "groups" / "a", cpu_max="300000 100000")
    group(tmp_path / "groups", cpu_max="max 100000")
    (tmp_path / "cgroup").write_text("0::/a/b\n")
    assert cpu_quota(tmp_path / "groups", tmp_path / "cgroup") == 3


def test_inside_a_container_the_path_of_the_host_does_not_exist(tmp_path: Path) -> None:
    group(tmp_path / "groups", cpu_max="200000 100000")
    (tmp_path / "cgroup").write_text("0::/docker/0123\n")
    assert cpu_quota(tmp_path / "groups", tmp_path / "cgroup") == 2


@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
def test_version_1(tmp_path: Path, mount: str) -> None:
    folder = tmp_path / "groups" / mount / "docker"
    folder.mkdir(parents=True)
    (folder / "cpu.cfs_quota_us").write_text("250000\n")
    (folder / "cpu.cfs_period_us").write_text("100000\n")
    (tmp_path / "cgroup").write_text("5:memory:/docker\n4:cpu,cpuacct:/docker\n")
    assert cpu_quota(tmp_path / "groups", tmp_path / "cgroup") == 2.5
    (folder / "cpu.cfs_quota_us").write_text("-1\n")
    assert cpu_quota(tmp_path / "groups", tmp_path / "cgroup") is None


def test_without_control_groups(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path, tmp_path / "cgroup") is None
    (tmp_path / "cgroup").write_text("odd\n\n::\n")
    assert cpu_quota(tmp_path, tmp_path / "cgroup") is None


def test_who_decides() -> None:
    assert choose(64, False, 2.0).count == 2
    assert choose(64, False, 1.5).count == 2
    assert choose(64, False, 0.1).count == 1
    assert choose(64, False, None).count == choose(64, False, 100.0).count == 64
    assert choose(8, True, 2.0).count == 8
    assert "container may use only 2" in choose(64, False, 2.0).reason
