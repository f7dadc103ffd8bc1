"""A setting is declared in one place and used in another; everything else follows."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.workflow.project import BARE, ROOT, Project

DECLARATION = '''
    sharpness: Annotated[float, Number(above=0)] = edit(1.0)
    """Factor of the margin between the two values of a bit."""
'''
GROUPS, SAMPLER = "settings/groups.py", "editing/sampler.py"


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the project whose drawings have a setting more, and a case that is drawn."""
    project = Project.create(tmp_path_factory.mktemp("new") / "project", **BARE)
    package = project.folder / "editinfinity"
    declared = (package / GROUPS).read_text(encoding="utf-8")
    before, sampling, after = declared.partition("class SamplingSettings(SettingsGroup):")
    body, end, rest = after.partition("\n\n\n@dataclass")
    (package / GROUPS).write_text(before + sampling + body + DECLARATION + end + rest, "utf-8")
    used = (package / SAMPLER).read_text(encoding="utf-8")
    assert used.count("/ settings.tau") == 1
    used = used.replace("/ settings.tau", "* settings.sharpness / settings.tau")
    (package / SAMPLER).write_text(used, encoding="utf-8")
    shutil.copy2(ROOT / "config.yaml", project.folder)
    call(project, "-m", "editinfinity.config.generate")
    written = (project.folder / "config.yaml").read_text(encoding="utf-8")
    assert "\nsharpness: 1 # Factor of the margin between the two values of a bit\n" in written
    project.configure(**BARE)
    project.add_case("cat", mask=True)
    project.run()
    return project


def call(project: Project, *arguments: str, status: int = 0) -> str:
    """What Python says when it runs in the project's folder."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=project.folder, capture_output=True, text=True
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_it_reruns_what_uses_it_and_changes_the_picture(changed: Project, tmp_path: Path) -> None:
    project = changed.copy(tmp_path / "project")
    assert project.plan().pending("cat") == set()
    first = project.made()
    project.configure(**BARE, sharpness=0.01)
    assert project.plan().pending_rules("cat") == {"edit", "finish"}
    project.run()
    made = project.made()
    drawn = [name for name in made if name.startswith("cat/edit/edit/") and name.endswith(".json")]
    assert [json.loads(made[name])["sampling"]["sharpness"] for name in drawn] == [0.01]
    assert made["cat/edit.png"] != first["cat/edit.png"]


@pytest.mark.slow
def test_configuration_table_and_command_line_know_it(changed: Project) -> None:
    schema = yaml.safe_load((changed.folder / "schemas/config.schema.yaml").read_text("utf-8"))
    assert schema["properties"]["sharpness"]["exclusiveMinimum"] == 0
    fault = "sharpness: must be a number > 0, got 0; write e.g. sharpness: 1"
    assert fault in changed.call("-n", "--config", "sharpness=0", status=1).stderr
    assert "--sharpness" in call(changed, "-m", "editinfinity", "stage", "edit", "--help")
    picture = ["--image-features", "x", "--text-features", "x", "--output", "x.png"]
    stage = ["-m", "editinfinity", "stage", "edit", *picture, "--sharpness", "-1"]
    assert "sharpness: must be a number > 0, got -1.0" in call(changed, *stage, status=1)


@pytest.mark.slow
def test_python_and_the_documentation_know_it(changed: Project) -> None:
    said = call(
        changed,
        "-c",
        "from PIL import Image\n"
        "from editinfinity import EditInfinityPipeline\n"
        "pipe = EditInfinityPipeline.from_pretrained('tiny', device='cpu', threads=1)\n"
        "none = {'embedding_iterations': 0, 'lora_iterations': 0}\n"
        "inversion = pipe.invert(Image.new('RGB', (64, 64), 'tan'), 'a dog', **none)\n"
        "sharp, soft = (pipe.edit(inversion, 'a cat', sharpness=s) for s in (1, 0.01))\n"
        "print('other' if sharp.tobytes() != soft.tobytes() else 'same')\n"
        "try:\n    pipe.edit(inversion, 'a cat', sharpnes=1)\n"
        "except Exception as fault:\n    print(fault)\n",
    )
    assert said.splitlines()[-2:] == [
        "other",
        "sharpnes: is not a setting accepted here; did you mean sharpness?",
    ]
    hooks = ROOT / "docs" / "hooks.py"
    table = call(
        changed,
        "-c",
        "import importlib.util, pathlib\n"
        f"spec = importlib.util.spec_from_file_location('hooks', {str(hooks)!r})\n"
        "hooks = importlib.util.module_from_spec(spec)\nspec.loader.exec_module(hooks)\n"
        "print(hooks.settings_tables())\n",
    )
    assert "| `sharpness` | `1` | Factor of the margin" in table
