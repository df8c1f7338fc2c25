"""install.sh and uninstall.sh, for real, into a directory instead of /: nothing of this machine is touched."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def make_wheel(folder: Path, version: str) -> Path:
    """The package as a wheel, without a build tool, so that nothing is downloaded."""
    wheel = folder / f"fleetd-{version}-py3-none-any.whl"
    info = f"fleetd-{version}.dist-info"
    with zipfile.ZipFile(wheel, "w") as out:
        for path in sorted((ROOT / "fleetd").rglob("*.py")):
            text = path.read_text()
            if path == ROOT / "fleetd" / "__init__.py":
                text += f'\n__version__ = "{version}"\n'
            out.writestr(str(path.relative_to(ROOT)), text)
        out.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: fleetd\nVersion: {version}\n")
        out.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        out.writestr(f"{info}/entry_points.txt", "[console_scripts]\nfleetd = fleetd.__main__:main\n")
        out.writestr(f"{info}/RECORD", "")
    return wheel


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("wheels")
    return make_wheel(folder, "7.0.1"), make_wheel(folder, "7.0.2")


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A Python whose virtual environments find the libraries of the one that runs the tests."""
    wrapper = tmp_path / "python"
    wrapper.write_text(
        f"""#!/bin/sh
"{sys.executable}" "$@" || exit
if [ "$1 $2" = "-m venv" ]; then
    for packages in "$3"/lib/python3.*/site-packages; do
        echo "{sysconfig.get_path("purelib")}" >"$packages/borrowed.pth"
    done
fi
"""
    )
    wrapper.chmod(0o755)
    return wrapper


def script(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PIP_", "FLEETD_", "PYTHON"))}
    return subprocess.run(
        [str(DEPLOY / name), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        stdin=subprocess.DEVNULL,
        env=clean | {"PIP_NO_INDEX": "1"},
    )


def tree(root: Path) -> dict[str, tuple[int, int]]:
    return {
        str(p.relative_to(root)): (stat.S_IMODE(p.lstat().st_mode), p.lstat().st_mtime_ns)
        for p in root.rglob("*")
        if "fleetd-releases" not in p.parts
    }


@pytest.mark.long
@pytest.mark.slow
def test_install_upgrade_and_uninstall(tmp_path: Path, wheels: tuple[Path, Path], python: Path) -> None:
    root = tmp_path / "root"
    first = script("install.sh", "--root", root, "--python", python, "--source", wheels[0])
    assert first.returncode == 0, first.stderr
    assert "7.0.1 is installed" in first.stdout
    assert "Next: the API key" in first.stdout
    key, config = root / "etc/fleetd/paperspace-api-key", root / "etc/fleetd/fleetd.toml"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(config.stat().st_mode) == 0o644
    assert stat.S_IMODE(config.parent.stat().st_mode) == 0o755
    assert (root / "etc/systemd/system/fleetd.service").read_text() == (DEPLOY / "fleetd.service").read_text()
    command = root / "usr/local/bin/fleetd"
    assert stat.S_IMODE(command.stat().st_mode) == 0o755
    assert 'exec /opt/fleetd/bin/fleetd "$@"' in command.read_text()
    release = (root / "opt/fleetd").readlink()
    assert release.parent == Path("/opt/fleetd-releases"), "a link that holds in the image as well"
    assert fleetd(root, "check", "-c", str(config)).returncode == 0, "what is installed is a valid config"

    key.write_text("secret")
    config.write_text(config.read_text() + "# mine\n")
    again = script("install.sh", "--root", root, "--python", python, "--source", wheels[1])
    assert again.returncode == 0, again.stderr
    assert "7.0.2 is installed" in again.stdout
    assert "Next" not in again.stdout
    assert "7.0.2" in fleetd(root, "version").stdout
    assert key.read_text() == "secret"
    assert config.read_text().endswith("# mine\n")
    assert len(list((root / "opt/fleetd-releases").iterdir())) == 2, "the release before it is kept"

    third = script("install.sh", "--root", root, "--python", python, "--source", wheels[1])
    assert third.returncode == 0, third.stderr
    assert len(list((root / "opt/fleetd-releases").iterdir())) == 2, "and none before that"

    assert script("uninstall.sh", "--root", root).returncode == 0
    assert sorted(str(p.relative_to(root)) for p in root.rglob("*") if not p.is_dir()) == [
        "etc/fleetd/fleetd.toml",
        "etc/fleetd/paperspace-api-key",
    ]
    purged = script("uninstall.sh", "--root", root, "--purge")
    assert purged.returncode == 0
    assert "Its machines are not." in purged.stdout
    assert [p for p in root.rglob("*") if not p.is_dir()] == []


@pytest.mark.slow
def test_a_version_that_does_not_accept_the_config_changes_nothing(
    tmp_path: Path, wheels: tuple[Path, Path], python: Path
) -> None:
    root = tmp_path / "root"
    assert script("install.sh", "--root", root, "--python", python, "--source", wheels[0]).returncode == 0
    config = root / "etc/fleetd/fleetd.toml"
    config.write_text(config.read_text() + "\n[fleets.training]\ntarget = -1\n")
    before = tree(root)
    failed = script("install.sh", "--root", root, "--python", python, "--source", wheels[1])
    assert failed.returncode != 0
    assert "fleets.training.target" in failed.stderr
    assert "nothing has been changed" in failed.stderr
    assert tree(root) == before
    assert "7.0.1" in fleetd(root, "version").stdout
    assert len(list((root / "opt/fleetd-releases").iterdir())) == 1


def test_what_cannot_be_installed_leaves_nothing_behind(tmp_path: Path, python: Path) -> None:
    root = tmp_path / "root"
    failed = script("install.sh", "--root", root, "--python", python, "--source", tmp_path / "no-such.whl")
    assert failed.returncode != 0
    assert [p for p in root.rglob("*") if not p.is_dir()] == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--python", "/bin/false"), "is not Python 3.11 or newer"),
        (("--speed", "9"), "no such option"),
        (("--source",), "what?"),
    ],
)
def test_wrong_usage_is_said_before_anything_is_done(
    tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    failed = script("install.sh", "--root", tmp_path / "root", *arguments)
    assert failed.returncode == 1
    assert complaint in failed.stderr
    assert not (tmp_path / "root").exists()


def test_a_directory_of_somebody_elses_is_not_replaced(tmp_path: Path, python: Path) -> None:
    (tmp_path / "root/opt/fleetd").mkdir(parents=True)
    failed = script("install.sh", "--root", tmp_path / "root", "--python", python)
    assert failed.returncode == 1
    assert "is in the way" in failed.stderr


def fleetd(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command of the release in use; in ``root`` its link points to nowhere, as /opt is not there."""
    release = Path(f"{root}{(root / 'opt/fleetd').readlink()}")
    return subprocess.run(
        [str(release / "bin/fleetd"), *arguments], capture_output=True, text=True, check=False, timeout=60
    )
