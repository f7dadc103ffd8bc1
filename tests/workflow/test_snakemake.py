"""The workflow as a user meets it: faults, dry runs, other ways to call it, and its summary."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from editinfinity.jobs.record import read_record
from editinfinity.planning.run_marker import MARKER, REPORT_TARGET, RunMarker
from tests.cases.test_cases import HOSTILE, WELCOME, write_table
from tests.workflow.project import BARE, CARRIED, ROOT, Project, Run, draw_image, write

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Three cases, as the original guide has them; nothing has run."""
    project = Project.create(tmp_path / "project")
    project.add_case("whole")
    project.add_case("user", mask=True)
    project.add_case("word", target_word="dog")
    return project


def planned(run: Run) -> Counter[str]:
    """How many jobs of each rule a dry run announces."""
    table = re.search(r"^job +count\n[- ]+\n(.*?)\n\n", run.stderr + run.stdout, re.M | re.S)
    assert table, run.stdout + run.stderr
    counts = Counter({name: int(count) for name, count in re.findall(r"(\w+) +(\d+)", table[1])})
    del counts["all"], counts["total"]
    return counts


def dry(project: Project, *arguments: str, **settings: Any) -> Counter[str]:
    project.configure(**settings)
    return planned(project.run("-n", *arguments))


def test_three_cases_side_by_side(project: Project) -> None:
    assert dry(project, train_textembedding_iter=2, train_lora_iter=6) == {
        "check": 3,
        "jsonl": 3,
        "image_features": 3,
        "text_features": 4,  # one of them plain, for the attention map
        "edit_text_features": 3,
        "train_textembedding": 3,
        "train_lora": 9,
        "attention_map": 1,
        "mask_pictures": 2,
        "kernel": 2,
        "edit": 3,
        "rendering": 3,
        "finish": 3,
    }


def test_editing_without_training_is_features_and_edit(project: Project) -> None:
    assert dry(project, method="training_free") == {
        "check": 3,
        "jsonl": 3,
        "image_features": 3,
        "text_features": 3,
        "edit_text_features": 3,
        "attention_map": 1,
        "mask_pictures": 2,
        "kernel": 2,
        "edit": 3,
        "rendering": 3,
        "finish": 3,
    }


def test_alternative_flows(project: Project) -> None:
    only_embedding = dry(project, train_lora=0, use_lora=0)
    assert (only_embedding["train_textembedding"], only_embedding["train_lora"]) == (3, 0)
    no_embedding = {"train_textembedding": 0, "use_textembedding": 0, "use_concat_embedding": 0}
    only_lora = dry(project, **no_embedding)
    assert (only_lora["train_textembedding"], only_lora["train_lora"]) == (0, 3)
    neither = dry(project, **BARE)
    assert neither == {
        "check": 3,
        "jsonl": 1,
        "image_features": 3,
        "text_features": 1,
        "edit_text_features": 3,
        "attention_map": 1,
        "mask_pictures": 2,
        "kernel": 2,
        "edit": 3,
        "rendering": 3,
        "finish": 3,
    }
    only_map = dry(project, cases=["word"], infer_function=1)
    assert only_map["attention_map"] == only_map["kernel"] == 1
    assert only_map["edit"] == only_map["train_lora"] == 0


def test_sweeps_share_checkpoints_and_kernels(project: Project) -> None:
    counts = dry(
        project,
        cases=["user"],
        train_lora_iter=6,
        use_lora_iter=[6, 2, 0],
        cfg=[3, 4.5],
        smoothing=["linear", "hard"],
    )
    assert counts["edit"] == 12
    assert counts["train_lora"] == 3
    assert counts["kernel"] == 2
    assert counts["finish"] == 1


def test_the_command_line_overrides_and_names_targets(project: Project) -> None:
    assert dry(project, "--config", "cases=[user]", "use_lora=0", "train_lora=0")["edit"] == 1
    swept = dry(project, "--config", "cases=[user]", "use_lora_iter=[2,0]", "cfg=[3,4.5]")
    assert swept["edit"] == 4
    picture = "results/user/edit/edit/embedding2-lora4on0-cfg3-tau0.5-seed1.png"
    counts = dry(project, picture)
    assert counts["train_lora"] == 2
    assert counts["edit"] == 1
    assert counts["finish"] == 0


def test_names_of_any_kind_make_a_dag(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project")
    for name in HOSTILE + WELCOME:
        project.add_case(name, **{f"{name.strip()}!": "a goat"} if name in WELCOME else {})
    run = project.run("-n")
    assert planned(run)["finish"] == 2 * len(WELCOME)
    assert len(re.findall(": skipped, ", run.stdout + run.stderr)) == len(HOSTILE)


def test_on_slurm_every_stage_with_a_gpu_is_in_its_cases_job() -> None:
    """One that is not would be a SLURM job of its own, of a sweep as many as it has variants."""
    rules = "".join(path.read_text("utf-8") for path in sorted((ROOT / "rules").glob("*.smk")))
    each = re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", rules, re.MULTILINE | re.DOTALL)
    profile = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text("utf-8"))
    grouped = {line.removesuffix("=case") for line in profile["groups"]}
    assert {name for name, body in each if "gpu=1" in body} <= grouped


def test_a_configuration_of_comments_alone_takes_all_defaults(project: Project) -> None:
    (project.folder / "config.yaml").write_text("# cases: [photo]\n", encoding="utf-8")
    run = project.run("-n", "--config", "model=tiny")
    assert planned(run)["finish"] == 3


FAULTS = {
    "setting": (
        {"train_lora_iter": "fifty"},
        'train_lora_iter: must be a whole number from 0 to 100000, got "',
    ),
    "key": ({"use_lorra": 1}, "use_lorra: is not a setting; did you mean use_lora?"),
    "case": ({"cases": ["usre"]}, "there is no folder data/usre; did you mean user?"),
    "data": ({"data": "dat"}, "data: there is no folder dat; make a case"),
    "results": ({"results": "config.yaml/mine"}, "results: config.yaml is not a folder"),
    "long weights": ({"clip_weights": 300 * "c", "metrics": 1}, "is not a folder"),
    "long results": ({"results": 300 * "r"}, "cannot be accessed"),
    "checkpoint": ({"train_lora": 0}, "train_lora: is 0 and use_lora is 1, but there is no "),
    "iterations": ({"use_lora_iter": 50}, "use_lora_iter: 50 is more than train_lora_iter: 2"),
    "table": ({"cases": "cases.tsv"}, "cases.tsv: there is no such file"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_the_configuration_is_one_line_and_no_traceback(
    project: Project, fault: str
) -> None:
    settings, said = FAULTS[fault]
    project.configure(**settings)
    run = project.run(status=1)
    lines = [line for line in run.stderr.splitlines() if "profile" not in line]
    assert len(lines) == 1, run.stderr
    assert said in lines[0]
    assert not run.jobs


def test_broken_yaml_and_unknown_targets_are_one_line(project: Project) -> None:
    (project.folder / "config.yaml").write_text("cfg: [1\n", encoding="utf-8")
    run = project.run("-n", status=1)
    assert "config.yaml: line 2: " in run.stderr
    assert "Traceback" not in run.stderr
    project.configure()
    for target, said in (
        ("results/user/edit/edit/embedding2-lora2-high.png", "is not a variant name"),
        ("results/user/hut.png", "there is no edit hut"),
        ("results/usr/edit.png", "there is no folder data/usr; did you mean user?"),
    ):
        run = project.run("-n", target, status=1)
        assert said in run.stderr
        assert "Traceback" not in run.stderr


def test_planning_needs_no_torch(project: Project, tmp_path: Path) -> None:
    heavy = ("torch", "transformers", "peft", "safetensors")
    for name in heavy:
        write(tmp_path / "poison" / name / "__init__.py", f"raise RuntimeError('{name} imported')")
    run = project.run("-n", env={"PYTHONPATH": str(tmp_path / "poison")})
    assert planned(run)["edit"] == 3
    # Nor pandas, which plugins of Snakemake's import for themselves.
    rules = (project.folder / "rules" / "common.smk").read_text("utf-8")
    modules = re.findall(r"^from (editinfinity[\w.]*) import", rules, re.M)
    code = f"""
import sys
from importlib import import_module
for name in {modules}:
    import_module(name)
import_module("editinfinity.cases.load").load_cases(
    import_module("editinfinity.config.load").load_config({{"model": "tiny"}})
)
sys.exit(", ".join({{*{heavy}, "pandas"}} & set(sys.modules)) or None)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project.folder, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr


def test_a_table_reaches_the_jobs(project: Project) -> None:
    """Real jobs, of the kind that needs no model."""
    draw_image(project.folder / "pictures" / "dög 1.png", seed=1)
    write_table(
        project.folder,
        "case\timage\tsource_prompt\tedit\tedit_prompt\tcfg",
        "my dög\tpictures/dög 1.png\ta dog\tred\ta red dog\t3",
        "my dög\tpictures/dög 1.png\ta dog\tblue\ta blue dog\t[3, 4.5]",
    )
    assert dry(project, cases="cases.tsv")["edit"] == 3
    jsonl = "results/my dög/splits/train.jsonl"
    run = project.run(jsonl)
    assert run.jobs == {"my dög/check", "my dög/jsonl"}
    content = (project.folder / jsonl).read_text("utf-8")
    assert "pictures/dög 1.png" in content
    assert "a dog" in content


def test_a_failing_case_leaves_the_others_alone_and_all_are_summed_up(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project", **BARE)
    good = "it's $HOME *?[b]; & 100%"
    project.add_case(good)
    (project.add_case("no image") / "image" / "original_image.jpg").unlink()
    bad_prompt = project.add_case("bad prompt") / "prompt" / "edit_image_prompt.txt"
    bad_prompt.write_bytes(b"\xff\xfe")
    run = project.run(status=1)
    assert (project.folder / "results" / good / "edit.png").exists()
    assert "Traceback" not in run.stderr

    table = run.stdout.strip().splitlines()
    assert table[0].split() == ["case", "edit", "outcome", "time", "open"]
    rows = {line[: line.index(" edit ")].strip(): line for line in table[1:4]}
    assert set(rows) == {good, "no image", "bad prompt"}
    told = re.escape(f"results/{good}/edit.png")
    assert re.search(rf" edited +\d[\d:.]* ?\w* +{told}$", rows[good])
    assert "failed" in rows["no image"]
    assert "original_image" in rows["no image"]
    assert "failed" in rows["bad prompt"]
    assert "edit_image_prompt.txt: is not UTF-8" in rows["bad prompt"]
    assert table[4] == "1 of 3 edits without an error"
    # The same lines came when they happened, and stand in the jobs' records and logs.
    for case in ("no image", "bad prompt"):
        logs = project.folder / "results" / case / "logs"
        record = read_record(logs, "check")
        assert record is not None and record.outcome is not None
        assert record.outcome.state == "failed" and record.outcome.message in run.stderr
        assert (logs / "check.log").read_text("utf-8").endswith(f"{record.outcome.message}\n")

    # What is mended is made, and no old fault is told again.
    write(bad_prompt, "a goat")
    run = project.run("--config", "cases=['bad prompt']")
    assert "edited" in run.stdout
    assert "failed" not in run.stdout


def test_the_profile_is_picked_up_by_itself(project: Project, tmp_path: Path) -> None:
    run = project.run("results/user/splits/train.jsonl")
    assert re.search(r"Provided resources: .*gpu.*1", run.stderr)
    # Also from another folder, where the workflow is called by its path.
    other = tmp_path / "other"
    shutil.copytree(project.folder / "data", other / "data")
    shutil.copy2(project.folder / "config.yaml", other)
    run = Project(other).run("results/user/splits/train.jsonl", "-s", "../project/Snakefile")
    assert re.search(r"Provided resources: .*gpu.*1", run.stderr)


def test_the_installed_package_carries_the_workflow(project: Project, tmp_path: Path) -> None:
    """As the wheel lays it out, called from a folder with only cases."""
    site, work = tmp_path / "site-packages", tmp_path / "work"
    shutil.copytree(project.folder / "editinfinity", site / "editinfinity")
    for name in CARRIED:
        if name != "editinfinity":
            source, target = project.folder / name, site / "editinfinity" / "_workflow" / name
            copy = shutil.copytree if source.is_dir() else shutil.copy2
            target.parent.mkdir(exist_ok=True)
            copy(source, target)
    shutil.copy2(ROOT / "config.yaml", site / "editinfinity" / "_workflow")
    shutil.copytree(project.folder / "data", work / "data")
    snakefile = site / "editinfinity" / "_workflow" / "Snakefile"
    installed = Project(work)
    run = installed.run(
        "results/user/splits/train.jsonl", "-s", str(snakefile), "--config", "cases=[user]"
    )
    assert run.jobs == {"user/check", "user/jsonl"}
    # Without a config.yaml it edits what there is, on the bundled model.
    planned = installed.run("-n", "-s", str(snakefile)).stdout
    assert all(f"results/{folder.name}/edit.png" in planned for folder in work.glob("data/*"))


@pytest.mark.parametrize("command", [["snakemake", "--lint"], ["snakefmt", "--check"]])
def test_lint_and_format(project: Project, command: list[str]) -> None:
    paths = ["Snakefile", "rules"] if command[0] == "snakefmt" else []
    done = subprocess.run(
        [sys.executable, "-m", *command, *paths],
        cwd=project.folder,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_has_what_rules_must_have() -> None:
    text = "\n".join(path.read_text("utf-8") for path in sorted((ROOT / "rules").glob("*.smk")))
    rules = dict(re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", text, re.M | re.S))
    on_model = {
        "image_features",
        "text_features",
        "edit_text_features",
        "train_textembedding",
        "train_lora",
        "attention_map",
        "prompt_map",
        "edit",
        "rendering",
        "metrics",
    }
    asking = {"pie_bench", "report"}  # targets by which others' outputs are asked for
    made = {"check", "jsonl", "mask_pictures", "kernel", "finish", "select"}
    assert set(rules) == on_model | asking | made | {"tell"}
    for name, body in rules.items():
        if name in asking:
            assert "output:" not in body
        if name not in on_model | made:
            continue
        for part in ("log", "benchmark", "conda", "message", "script", "params"):
            assert f"    {part}:\n" in body, f"{name} has no {part}"
        assert f'version=rule_version("{name}")' in body
        assert ("gpu=1" in body) == (name in on_model), name
        assert ("envs/editinfinity.yaml" in body) == (name in on_model), name
        assert "lambda" not in body
    # A photograph that has been begun is finished before the next one.
    on_the_way = ("check", "jsonl", "image_features", "text_features", "edit_text_features",
                  "train_textembedding", "train_lora", "attention_map", "kernel", "edit", "finish",
                  "metrics", "select")  # fmt: skip
    found = [re.search(r"^    priority: (\d+)$", rules[name], re.M) for name in on_the_way]
    priorities = [0 if each is None else int(each[1]) for each in found]
    assert priorities == sorted(set(priorities))


def test_slices_share_out_the_cases(tmp_path: Path) -> None:
    """How sets too large to plan at once are run; a bad case of one slice stops no other."""
    project = Project.create(tmp_path / "project", **BARE)
    for number in range(5):
        project.add_case(f"case {number}")
    made = [planned(project.run("-n", "--config", f"slice={part}/2"))["edit"] for part in (1, 2)]
    assert made == [2, 3]
    (project.folder / "data" / "case 0" / "prompt" / "edit_image_prompt.txt").unlink()
    project.run("results/case 0/check.json", "--config", "slice=1/5", status=1)
    run = project.run("results/case 4/splits/train.jsonl", "--config", "slice=5/5")
    assert run.jobs == {"case 4/check", "case 4/jsonl"}


def marks(project: Project) -> list[str]:
    """Files that say that a run's end was not told."""
    results = project.folder / "results"
    return [path.name for kind in (MARKER, REPORT_TARGET) for path in results.glob(f"{kind}*")]


def test_a_run_killed_while_it_told_its_end_tells_it_when_run_again(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project", **BARE)
    project.add_case("case", mask=True)
    first = project.run()
    made, results = project.made(), project.folder / "results"
    assert "contact_sheet.png" in made and not marks(project)
    RunMarker(results, ["case"]).create()  # as a kill then leaves things
    RunMarker(results, ["another"]).create()
    (results / "contact_sheet.png").unlink()
    (results / "report.html").unlink()
    assert dry(project, **BARE) == {"tell": 1}
    assert not (results / "contact_sheet.png").exists()
    again = project.run()
    assert not again.jobs
    RunMarker(results, ["another"]).remove()  # which is not this run's
    assert project.made() == made
    assert (results / "report.html").exists()
    assert again.stdout.splitlines()[0] == first.stdout.splitlines()[0]
    assert "Nothing to be done" in project.run().stderr


def test_a_run_has_its_mark_until_its_end_is_told(tmp_path: Path) -> None:
    project = Project.create(tmp_path / "project", **BARE)
    project.add_case("case")
    rules = project.folder / "rules" / "common.smk"
    said = rules.read_text("utf-8")
    (telling,) = re.findall(r"^    summary = end_of_run\(.*\n", said, re.M)
    kill = "    import os; os.kill(os.getpid(), signal.SIGKILL)\n"
    rules.write_text(said.replace(telling, kill), "utf-8")
    for _ in range(2):
        project.run("--rerun-incomplete", status=-9)
        assert marks(project)
        project.run("--unlock")
    rules.write_text(said, "utf-8")
    project.run()
    assert "contact_sheet.png" in project.made() and not marks(project)


def test_a_run_that_has_ended_waits_for_no_timer(tmp_path: Path) -> None:
    """Snakemake starts one each time it selects jobs, if their rate is limited."""
    project = Project.create(tmp_path / "project", **BARE)
    project.add_case("case")
    write(tmp_path / "sitecustomize.py", LONG_TIMERS)
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {"PYTHONPATH": os.pathsep.join(paths)}
    limit = ("--max-jobs-per-timespan", "50/1s")  # stricter than the default, which is dropped
    done = project.call(*limit, "results/case/check.json", env=environment)
    assert (project.folder / "results" / "case" / "check.json").exists()
    assert set(re.findall(r"timers: (\d)", done.stderr)) == {"0"}  # also those of jobs


LONG_TIMERS = """
import sys, threading

init = threading.Timer.__init__
threading.Timer.__init__ = lambda timer, interval, *more: init(timer, 20 * interval, *more)

def count():
    each = [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer)]
    print("timers:", sum(not timer.finished.is_set() for timer in each), file=sys.stderr)

threading._register_atexit(count)
"""


def test_a_case_is_made_once_however_its_name_is_spelled(tmp_path: Path) -> None:
    project, (nfc, nfd) = Project.create(tmp_path / "project", **BARE), ("caf\u00e9", "cafe\u0301")
    folder = project.add_case(nfd, target_word=nfc)
    write(folder / "prompt" / "original_image_prompt.txt", f"a {nfd} on a hill")
    chosen = ("--config", f"cases=[{nfc}]", f"overrides={{{nfc}: {{cfg: 3}}}}")
    project.run("--resources", "gpu=1", *chosen)
    made = project.made()
    assert f"{nfd}/edit.png" in made
    assert b'"cfg": 3' in made[next(name for name in made if re.search(r"cfg3.*\.json$", name))]

    # The same case again: from the command line or not, and after its folder was renamed.
    config = yaml.safe_load((project.folder / "config.yaml").read_text("utf-8"))
    project.configure(**{**config, "overrides": {nfd: {"cfg": 3}}})
    assert project.run("--resources", "gpu=1").jobs == frozenset()
    folder.rename(folder.with_name(nfc))
    assert project.run("--resources", "gpu=1").jobs == frozenset()
    assert project.made() == made
    write(folder.with_name(nfc) / "prompt" / "edit_image_prompt.txt", "a dog")
    assert {job.partition("/")[0] for job in project.run("--resources", "gpu=1").jobs} == {nfd}
    said = project.call("-n", f"results/{nfc}/edit.png", status=1).stderr
    assert r"write it in a shell as $'results/cafe\u0301'" in said
    assert "Traceback" not in said


def test_a_later_method_that_needs_a_source_prompt_says_so_in_a_line(tmp_path: Path) -> None:
    """The check has passed before, and does not run again."""
    project = Project.create(tmp_path / "project", **BARE)
    (project.add_case("one") / "prompt" / "original_image_prompt.txt").unlink()
    project.add_case("two")
    project.run()
    project.configure(**BARE, method="editmod")
    done = project.call(status=1)
    rows = [line.split(maxsplit=4) for line in done.stdout.splitlines() if "  edit  " in line][1:]
    assert [row[:3] for row in rows] == [["one", "edit", "failed"], ["two", "edit", "edited"]]
    assert rows[0][4].endswith(
        "source prompt: is empty, but editmod compares it with the edit prompt; write what the "
        "photograph shows (original_image_prompt.txt, or --source)"
    )
    assert "(Rule: check)" not in done.stderr and "Traceback" not in done.stderr
