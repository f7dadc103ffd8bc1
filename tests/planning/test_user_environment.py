"""Homes, names and folders that do not work are replaced, and said."""

from __future__ import annotations

import getpass
import os
from pathlib import Path

import pytest

from editinfinity.planning import user_environment
from editinfinity.planning.user_environment import replace_unusable, without_snakemake_variables

NOT_WRITABLE = "/proc"  # not even for root


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Variables that work, of a user that the system knows."""
    monkeypatch.setattr(user_environment, "private_folder", lambda: tmp_path / "private")
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "XDG_CACHE_HOME", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return {"HOME": str(tmp_path / "home"), "USER": "me", "TMPDIR": str(tmp_path)}


def test_variables_that_work_are_left_alone(environment: dict[str, str]) -> None:
    before = dict(environment)
    assert replace_unusable(environment) == [] and environment == before


def test_a_user_without_a_name_gets_one(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(getpass, "getuser", unknown)
    del environment["USER"]
    done = replace_unusable(environment)
    assert environment["USER"] == environment["LOGNAME"] == str(os.getuid())
    assert [item.notice for item in done if item.notice] == [
        f"USER: this user has no name; {os.getuid()} is used as the name"
    ]


@pytest.mark.parametrize("home", [NOT_WRITABLE, f"{NOT_WRITABLE}/nowhere", "/" + "l" * 300])
def test_caches_go_elsewhere_if_the_home_cannot_be_written_to(
    environment: dict[str, str], home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", home)
    environment["HOME"] = home
    (said,) = (item.notice for item in replace_unusable(environment) if item.notice)
    assert said.startswith(f"caches: {home}/.cache cannot be written to; ")
    assert environment["XDG_CACHE_HOME"] == str(tmp_path / "private" / "cache")
    assert environment["TRITON_HOME"] == str(tmp_path / "private")
    # Weights stay where they are: a restart would delete those in the private folder.
    assert environment["HF_HOME"] == f"{home}/.cache/huggingface"
    assert environment["HOME"] == home


def test_a_cache_folder_of_the_user_is_enough(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", NOT_WRITABLE)
    environment |= {"HOME": NOT_WRITABLE, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert [item.name for item in replace_unusable(environment)] == ["TRITON_HOME"]


def test_a_user_without_a_home_gets_one(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    del environment["HOME"]
    done = next(iter(replace_unusable(environment)))
    assert environment["HOME"] == str(tmp_path / "private")
    assert done.notice.startswith("HOME: is not set; ") and done.notice.endswith("; set HOME")


@pytest.mark.parametrize("folder", [f"{NOT_WRITABLE}", "/nonexistent/tmp", "/dev/null"])
def test_temporary_files_go_elsewhere(environment: dict[str, str], folder: str) -> None:
    environment["TMPDIR"] = folder
    (done,) = replace_unusable(environment)
    assert Path(environment["TMPDIR"]).is_dir() and environment["TMPDIR"] != folder
    assert done.notice.startswith(f"TMPDIR: {folder} is not a folder that can be written to; ")


def test_snakemake_does_not_see_the_users_settings_of_it() -> None:
    environment = {"SNAKEMAKE_PROFILE": "x", "SNAKEMAKE_OUTPUT_CACHE": "y", "PATH": "/bin"}
    assert without_snakemake_variables(environment) == {"PATH": "/bin"}
