"""The examination: what it sees, what it makes of it, and that the exit code says so."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import torch

from editinfinity.config.load import load_config
from editinfinity.doctor import (
    Finding,
    Severity,
    configuration,
    format_findings,
    machine,
    run_checks,
    slurm,
    weights,
    works,
)
from editinfinity.doctor import packages as packages_of
from editinfinity.models import dispatch
from editinfinity.planning.user_environment import Replacement
from editinfinity.presets import preset
from tests.bad_input.corpus import sound_case
from tests.workflow.project import ROOT

GIB = 2**30


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One case, to be edited by the model that needs no weights."""
    monkeypatch.chdir(tmp_path)
    sound_case(tmp_path / "data" / "case")
    (tmp_path / "config.yaml").write_text("model: tiny\ndevice: cpu\n", encoding="utf-8")
    return tmp_path


def faults(findings: list[Finding]) -> list[str]:
    return [f"{f.subject}: {f.text}" for f in findings if f.severity is Severity.FAULT]


def notes(findings: list[Finding]) -> list[str]:
    return [f"{f.subject}: {f.text}" for f in findings if f.severity is Severity.NOTE]


def test_a_sound_folder_fits_one_screen_and_works(folder: Path) -> None:
    findings = run_checks(folder)
    assert faults(findings) == []
    shown = format_findings(findings, width=80)
    assert len(shown.splitlines()) <= 24
    assert shown.endswith("A run would work.")
    for subject in ("Python", "packages", "configuration", "weights", "GPU", "gpu limit", "writing",
                    "SLURM"):  # fmt: skip
        assert subject in shown
    assert "1 cases, 1 edits" in shown
    assert not (folder / "results").exists()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("model: tiny\nuse_lorra: 1", "did you mean use_lora?"),
        ("model: tiny\ncfg: [4", "line 2"),
        ("model: tiny\ncases: [cas]", "did you mean case?"),
        ("model: infinity_2b", "infinity_2b"),
        ("model: tiny\ndevice: cuda:7", "cuda:7 does not exist"),
        ("model: tiny\ntrain_lora: 0", "there is no"),
    ],
)
def test_what_would_stop_a_run_is_a_fault(folder: Path, settings: str, said: str) -> None:
    (folder / "config.yaml").write_text(settings, encoding="utf-8")
    findings = run_checks(folder)
    assert any(said in line for line in faults(findings)), format_findings(findings)
    assert not works(findings)


@pytest.mark.slow
def test_the_command_says_it_by_its_exit_code(folder: Path) -> None:
    command = [sys.executable, "-m", "editinfinity", "doctor"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.rstrip().endswith("A run would work.")
    (folder / "results").write_text("in the way")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 1
    assert "results: cannot be written to (Not a directory)" in " ".join(done.stdout.split())
    assert "A run would fail; faults: 2." in done.stdout


def test_a_faulty_case_is_a_note(folder: Path) -> None:
    next((folder / "data" / "case" / "image").glob("original*")).unlink()
    findings = run_checks(folder)
    assert works(findings)
    assert any("has no original_image" in line for line in notes(findings))


def test_in_a_folder_without_cases_it_says_what_works_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    findings = run_checks(tmp_path)
    assert not works(findings)
    assert "only run needs cases; edit, batch and app work without" in "".join(notes(findings))


def test_checksums(tmp_path: Path) -> None:
    config = load_config({"model": "bundled", "model_dir": str(tmp_path)})
    assert any("has no transformer" in line for line in faults(list(weights.check_weights(config))))
    sums = ""
    for name in ("tokenizer.safetensors", "transformer.safetensors"):
        (tmp_path / name).write_text(name)
        sums += f"{hashlib.sha256(name.encode()).hexdigest()}  {name}\n"
    assert any("no checksums" in line for line in notes(list(weights.check_weights(config))))
    (tmp_path / "SHA256SUMS").write_text(sums)
    told = list(weights.check_weights(config))
    assert faults(told) == notes(told) == []
    assert "2 checksums match" in told[-1].text
    (tmp_path / "transformer.safetensors").write_text("damaged")
    (line,) = faults(list(weights.check_weights(config)))
    assert "transformer.safetensors: does not match its checksum" in line


def test_the_bundled_weights_are_as_recorded() -> None:
    told = list(weights.check_weights(load_config({"model": "bundled"})))
    assert faults(told) == notes(told) == []
    assert "3 files" in told[-1].text and "3 checksums match" in told[-1].text


def test_packages_of_other_versions_and_missing_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    assert faults(list(packages_of.check_packages())) == []
    real = metadata.version

    def version(name: str) -> str:
        if name == "peft":
            return "0.2"
        if name == "typer":
            raise metadata.PackageNotFoundError
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    told = faults(list(packages_of.check_packages()))
    assert len(told) == 2
    assert any("peft is 0.2, not " in line and "pip install 'peft" in line for line in told)
    assert any("typer is missing; pip install 'typer" in line for line in told)


@pytest.mark.parametrize(
    ("free", "severity"), [(1, Severity.FAULT), (6, Severity.NOTE), (70, Severity.OK)]
)
def test_memory_of_a_card_against_the_model(
    free: float, severity: Severity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Card")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (int(free * GIB), 80 * GIB))
    monkeypatch.setattr(dispatch, "kernels_obstacle", lambda device: "no compiler: install one")
    finding, kernels = machine.check_gpus(load_config({"model": "infinity_2b"}))
    assert finding.severity is severity, finding
    assert f"{free:.1f} of 80.0 GiB free" in finding.text
    assert kernels.severity is Severity.NOTE and "no compiler" in kernels.text


@pytest.mark.parametrize("installed", [True, False])
def test_the_attention_of_a_recent_card(monkeypatch: pytest.MonkeyPatch, installed: bool) -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    from editinfinity.models.fused import flash_attention

    monkeypatch.setattr(flash_attention, "is_installed", lambda: installed)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "Card")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (79 * GIB, 80 * GIB))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: (9, 0))
    monkeypatch.setattr(dispatch, "kernels_obstacle", lambda device: None)
    _, attention = machine.check_gpus(load_config({"model": "infinity_2b"}))
    expected = "is installed" if installed else "pip install 'editinfinity[flash]'"
    assert attention.severity is Severity.OK and expected in attention.text


def test_weights_of_the_presets() -> None:
    # 2.2 billion parameters, nearly all of them in blocks of two bytes each.
    assert 4 * GIB < machine.weights_bytes(preset("infinity_2b")) < 6 * GIB
    assert machine.weights_bytes(preset("tiny")) < GIB / 100


def test_the_cap_of_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (finding,) = configuration.check_gpu_limit(ROOT)
    assert finding.text.startswith("GPU jobs at a time: 1 ")
    monkeypatch.setattr(configuration, "workflow_root", lambda: tmp_path)
    assert [f.severity for f in configuration.check_gpu_limit(tmp_path)] == [Severity.FAULT]
    profile = tmp_path / "profiles" / "default" / "config.yaml"
    profile.parent.mkdir(parents=True)
    for text, severity in (
        ("resources: {gpu: 4}", Severity.OK),
        ("resources:\n  - mem_mb=1", Severity.FAULT),
        ("[", Severity.FAULT),
    ):
        profile.write_text(text)
        assert [f.severity for f in configuration.check_gpu_limit(tmp_path)] == [severity], text


def test_without_slurm_there_is_nothing_to_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [(f.text, f.severity) for f in slurm.check_slurm(tmp_path)] == [
        ("not installed", Severity.OK)
    ]


def test_a_lock_is_a_note(folder: Path) -> None:
    locks = folder / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    (locks / "0.output.lock").touch()
    assert any("--unlock" in line for line in notes(run_checks(folder)))


def test_the_environment_of_the_user_is_told() -> None:
    replaced = [Replacement("USER", "7", "USER: this user has no name; 7 is used as the name")]
    told = notes(list(machine.check_environment(replaced, {"SNAKEMAKE_PROFILE": "cluster"})))
    assert told[0] == "environment: USER: this user has no name; 7 is used as the name"
    assert "to run snakemake itself" in told[1]
    assert told[2].startswith("environment: SNAKEMAKE_PROFILE is cluster: snakemake uses that ")
    (fine,) = machine.check_environment([], {})
    assert fine.severity is Severity.OK


def test_a_missing_folder_for_sockets_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Path:
        raise OSError("/tmp is closed")

    monkeypatch.setattr(machine, "private_folder", refuse)
    (told,) = notes(list(machine.check_environment([], {})))
    assert "(/tmp is closed)" in told and "set TMPDIR to a short path" in told
