"""What the rig decides before anything starts: where it may run, and with which configuration."""

from __future__ import annotations

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from slurm.rig import Rig, RigError, conf, machine, packages


def layout(folder: Path, cgroup: str | None = "cgroup/v1") -> conf.Layout:
    return conf.Layout(folder=folder, host="here", user="root", first_port=16817, cgroup=cgroup)


@pytest.mark.parametrize("cgroup", ["cgroup/v1", "cgroup/v2", None])
def test_no_parameter_is_empty(tmp_path: Path, cgroup: str | None) -> None:
    """One empty parameter breaks every client command."""
    planned = layout(tmp_path, cgroup)
    texts = (conf.slurm_conf(planned), conf.cgroup_conf(planned), conf.slurmdbd_conf(planned, "secret"))
    for text in texts:
        for line in text.splitlines():
            name, _, value = line.partition("=")
            assert line.startswith("#") or (name and value.strip()), line


def test_without_cgroups_slurm_follows_parents(tmp_path: Path) -> None:
    """Where no cgroup can be made, linuxproc tracks processes."""
    assert "ProctrackType=proctrack/linuxproc\n" in conf.slurm_conf(layout(tmp_path, None))
    assert "ProctrackType=proctrack/cgroup\n" in conf.slurm_conf(layout(tmp_path))


def test_the_cgroup_plugin_follows_what_is_mounted(tmp_path: Path) -> None:
    """Version 2 has a list of controllers at its root, version 1 one folder per controller."""
    (two := tmp_path / "two").mkdir()
    (two / "cgroup.controllers").touch()
    (one := tmp_path / "one/freezer").mkdir(parents=True)
    assert machine.cgroup_plugin(two) == "cgroup/v2"
    assert machine.cgroup_plugin(one.parent) == "cgroup/v1"
    assert machine.cgroup_plugin(tmp_path / "nothing") is None
    assert list(one.iterdir()) == []


def test_a_configuration_that_is_no_rigs_forbids_one(tmp_path: Path) -> None:
    """A cluster's slurm.conf, named by SLURM_CONF or in its usual place, is named in the sentence."""
    (own := tmp_path / "slurm.conf").touch()
    assert str(own) in str(machine.cluster_of_its_own(str(own)))


def test_a_rigs_configuration_is_known(tmp_path: Path) -> None:
    """A slurm.conf beside a rig's marker is a rig's, through a link too."""
    (rigs := tmp_path / "slurm.conf").touch()
    assert not machine.belongs_to_a_rig(rigs)
    (tmp_path / machine.MARKER).touch()
    (link := tmp_path / "link").symlink_to(rigs)
    assert machine.belongs_to_a_rig(rigs)
    assert machine.belongs_to_a_rig(link)


def test_a_link_of_somebody_else_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only this rig's link is replaced and removed, even where the other one leads nowhere."""
    system = tmp_path / "etc/slurm.conf"
    monkeypatch.setattr("slurm.rig.rig.SYSTEM_CONF", system)
    rig = Rig(tmp_path / "rig")
    rig.link()
    rig.link()
    assert system.readlink() == rig.conf
    rig.unlink()
    system.symlink_to(tmp_path / "not-mounted/slurm.conf")
    with pytest.raises(RigError, match="left alone"):
        rig.link()
    assert rig.down() == 0
    assert system.is_symlink()


def test_a_missing_program_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is installed unasked."""
    monkeypatch.setattr(packages, "PROGRAMS", ("no-such-slurmctld",))
    with pytest.raises(RigError, match=r"no-such-slurmctld.*make slurm-rig INSTALL=1"):
        packages.require(install_missing=False)


@pytest.mark.parametrize("name", ["with space", "a,b", "x" * 90])
def test_a_folder_that_slurm_would_misread_is_refused(tmp_path: Path, name: str) -> None:
    """Slurm's files know no quotes, and the path of a socket is short."""
    with pytest.raises(RigError, match="plain path"):
        Rig(tmp_path / name).check_folder()
    assert not (tmp_path / name).exists()


def test_two_rigs_that_boot_at_once_take_different_ports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one looks for its ports once the daemons of the first one listen."""
    taken: list[socket.socket] = []

    def bring_up(layout: conf.Layout, _say: object) -> None:
        time.sleep(0.3)
        taken.append(socket.create_server(("", layout.first_port)))

    monkeypatch.setattr(machine, "BOOT_LOCK", tmp_path / "lock", raising=False)
    monkeypatch.setattr("slurm.rig.boot.write_folder", lambda _: None)
    monkeypatch.setattr("slurm.rig.boot.bring_up", bring_up)
    for name in ("check_machine", "check_folder"):
        monkeypatch.setattr(Rig, name, lambda _: None)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda name: Rig(tmp_path / name).boot(), ("one", "two")))
    assert len({one.getsockname()[1] for one in taken}) == 2
    for one in taken:
        one.close()


def test_down_where_nothing_was_booted_does_nothing(tmp_path: Path) -> None:
    """No folder is made, no process ended."""
    rig = Rig(tmp_path / "never")
    assert rig.down() == 0
    assert not rig.folder.exists()
