"""What every study must have, and what keeps lists of the same thing equal."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from seqlab.errors import UserError
from seqlab.reference import load_config, write_reference
from seqlab.workflow import SCALES, Settings, step_module, study_names

ROOT = Path(__file__).resolve().parents[2]
RULE_FILES = sorted((ROOT / "workflow" / "rules").glob("*.smk"))
# Rules of the command line; those that settings name (numbers, aliases, subsets) stand in loops.
TARGETS = {"figures", "codesign_all", "archbench_all", "archbench_benchmark"}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def settings() -> Settings:
    return Settings(load_config(ROOT))


@pytest.mark.parametrize("study", study_names())
def test_a_study_has_all_its_files(study: str) -> None:
    for path in (
        f"src/seqlab/studies/{study}/README.md",
        f"src/seqlab/studies/{study}/steps/__init__.py",
        f"workflow/rules/{study}.smk",
        f"config/studies/{study}.yaml",
        f"config/claims/{study}.yaml",
    ):
        assert (ROOT / path).is_file(), f"study {study} lacks {path}"
    assert list(yaml.safe_load((ROOT / f"config/studies/{study}.yaml").read_text())) == [study]


def test_every_numbered_item_has_a_study_and_a_caption(settings: Settings) -> None:
    paper = settings("paper", "laptop")
    for number, item in {**paper.figures, **paper.tables}.items():
        assert item.study in study_names(), number
    for number in paper.figures:
        assert (ROOT / f"workflow/report/{number}.rst").is_file()


@pytest.mark.parametrize("study", study_names())
def test_what_reads_tables_alone_depends_on_no_kernel(study: str) -> None:
    """An edit of a kernel would redraw figures of unpacked records; torch takes 2 s to import."""
    kinds = ("collect_*", "analyse_*", "draw_*", "tabulate_*", "facts_*", "state_*")
    steps = ROOT / "src/seqlab/studies" / study / "steps"
    modules = [step_module(study, path.stem) for kind in kinds for path in steps.glob(f"{kind}.py")]
    assert len(modules) > 20
    command = f"import sys; import {', '.join(modules)}; print([*sys.modules])"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, check=True)
    loaded = ast.literal_eval(done.stdout.decode())
    assert not {"torch", "numba"} & set(loaded)
    assert not [name for name in loaded if name.startswith("seqlab.kernels")]


@pytest.mark.parametrize("scale", SCALES)
def test_settings_are_valid_at_every_scale(settings: Settings, scale: str) -> None:
    for group in ("assets", "paper", *study_names()):
        assert settings(group, scale).canonical()


def test_generated_documentation_is_current() -> None:
    assert write_reference(ROOT, check=True) == 0


@pytest.mark.parametrize("drift", ["a value in the configuration", "a page", "a page is missing"])
def test_documentation_that_drifted_is_found(drift: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "config", tmp_path / "config")
    write_reference(tmp_path, check=False)
    assert write_reference(tmp_path, check=True) == 0
    page = tmp_path / "docs/settings.md"
    match drift:
        case "a value in the configuration":
            config = tmp_path / "config/studies/codesign.yaml"
            text = config.read_text()
            config.write_text(re.sub(r"parity_seeds: \d+", "parity_seeds: 2", text, count=1))
            assert config.read_text() != text
        case "a page":
            page.write_text(page.read_text().replace("| laptop |", "| desktop |", 1))
        case _:
            page.unlink()
    with pytest.raises(UserError, match="out of date") as caught:
        write_reference(tmp_path, check=True)
    assert "docs/settings.md" in str(caught.value)


@pytest.mark.parametrize("name,extras", [("cpu", ()), ("gpu", ("gpu",))])
def test_conda_environments_equal_pyproject(name: str, extras: tuple[str, ...]) -> None:
    wanted = [*PROJECT["dependencies"]]
    for extra in extras:
        wanted += PROJECT["optional-dependencies"][extra]
    environment = yaml.safe_load((ROOT / f"envs/{name}.yaml").read_text())
    assert environment["dependencies"][-1]["pip"] == wanted


def test_every_dependency_is_pinned() -> None:
    pinned = {
        re.split(r"==", line)[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if line and not line.startswith("#")
    }
    declared = [*PROJECT["dependencies"]]
    for extra in ("dev", "peers"):
        declared += PROJECT["optional-dependencies"][extra]
    names = {re.split(r"[\[<>=]", name)[0].lower().replace("_", "-") for name in declared}
    assert names <= pinned


def _rules(path: Path) -> dict[str, str]:
    blocks = re.split(r"^rule (\w+):$", path.read_text(), flags=re.M)
    # A rule ends at the next line that is not indented.
    bodies = (re.split(r"^(?=\S)", block, flags=re.M)[0] for block in blocks[2::2])
    return dict(zip(blocks[1::2], bodies, strict=True))


@pytest.mark.parametrize("path", RULE_FILES, ids=lambda path: path.stem)
def test_rules_follow_the_house_rules(path: Path) -> None:
    text = path.read_text()
    assert text.startswith('"""'), "a rule file opens with its contract"
    for body in re.findall(r"^    rule:\n((?: {8}.*\n)*)", text, re.M):
        assert re.findall(r"^ {8}(\w+):", body, re.M) == ["name", "input"], "more than a target"
    for name, body in _rules(path).items():
        if name in TARGETS:
            assert re.findall(r"^    (\w+):", body, re.M) == ["input"], f"{name} is no mere target"
            continue
        # <study>.smk, or <study>_<experiment>.smk
        assert name.startswith(f"{path.stem.partition('_')[0]}_"), name
        for directive in (
            "output",
            "log",
            "benchmark",
            "conda",
            "threads",
            "resources",
            "params",
            "shell",
        ):
            assert re.search(rf"^    {directive}:", body, re.M), f"{name} lacks {directive}"
        for forbidden in ("run", "script", "message"):
            assert not re.search(rf"^    {forbidden}:", body, re.M), f"{name} uses {forbidden}"
        for resource in ("gpu", "mem_mb", "runtime"):
            assert f"{resource}=" in body, f"{name} asks for no {resource}"
        calls = re.findall(r"python -m seqlab (\w+) (\w+|\{params\.step\})", body)
        assert len(calls) == 1, f"{name} makes {len(calls)} calls"
        if calls[0][1] == "{params.step}":
            # The step has the name of what a wildcard names; the next test finds all of them.
            assert "step=step_of(" in body, name
        else:
            assert step_module(*calls[0]).endswith(f".{calls[0][1]}")


@pytest.mark.parametrize("scale", SCALES)
def test_every_experiment_has_its_steps(settings: Settings, scale: str) -> None:
    study = settings("codesign", scale)
    steps = [f"{verb}_{name}" for name in study.experiments for verb in ("run", "analyse")]
    for experiment in study.experiments.values():
        steps += [f"draw_{artefact}" for artefact in experiment.figures]
        steps += [f"tabulate_{artefact}" for artefact in experiment.tables]
    assert len(set(steps)) == len(steps)
    for step in steps:
        assert step_module("codesign", step).endswith(f".{step}")
    artefacts = [name for e in study.experiments.values() for name in {*e.figures, *e.tables}]
    assert len(set(artefacts)) == len(artefacts), "two experiments make one artefact"


def test_a_step_module_holds_the_step_of_its_name() -> None:
    for path in (ROOT / "src/seqlab/studies").glob("*/steps/*.py"):
        if path.stem != "__init__":
            names = {
                n.name for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef)
            }
            assert path.stem in names, path


def test_scripts_are_thin() -> None:
    scripts = sorted((ROOT / "scripts").iterdir())
    assert scripts
    for script in scripts:
        assert len(script.read_text().splitlines()) <= 10, script


def test_no_path_of_a_machine_and_no_registry_host() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    hosts = re.compile(
        r"pypi\.|files\.pythonhosted|registry\.npmjs|deb\.debian|/opt/wheels|/home/\w+/|\.\./shared"
    )
    own = {Path(__file__).name, "test_record.py"}
    for name in listed:
        path = ROOT / name
        if (
            not path.is_file()
            or path.name in own
            or path.suffix in (".xz", ".png", ".pdf", ".npz", ".safetensors")
        ):
            continue
        found = hosts.search(path.read_text("utf-8", errors="ignore"))
        assert found is None, f"{name}: {found}"
