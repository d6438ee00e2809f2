"""A checkout to run literal commands in, by this interpreter and without a network."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from seqlab.reference import load_config
from seqlab.workflow import Settings, study_names

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Checkout:
    """A copy of this repository in a folder of its own, run by this interpreter."""

    path: Path

    def run(
        self, *command: str, check: bool = True, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the checkout; `snakemake` and `python` are this interpreter's."""
        result = subprocess.run(
            self.argv(*command),
            cwd=self.path,
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=1200,
        )
        if check and result.returncode:
            pytest.fail(
                f"{' '.join(command)} exited {result.returncode}\n{result.stdout}\n{result.stderr}"
            )
        return result

    def start(self, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a command in a process group of its own."""
        return subprocess.Popen(
            self.argv(*command),
            cwd=self.path,
            env=self.environment(**environment),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def argv(self, *command: str) -> list[str]:
        if command[0] == "snakemake":
            return [sys.executable, "-m", "snakemake", *command[1:]]
        if command[0] == "python":
            return [sys.executable, *command[1:]]
        return list(command)

    def environment(self, **changes: str) -> dict[str, str]:
        """Return an environment in which `seqlab` is this checkout's."""
        base = {k: v for k, v in os.environ.items() if not k.startswith(("COV_", "COVERAGE"))}
        return (
            base
            | {
                "PYTHONPATH": str(self.path / "src"),
                "XDG_CACHE_HOME": str(self.path / ".cache"),
            }
            | changes
        )

    def with_ncu(self, page: Path) -> str:
        """Return a PATH on which `ncu` runs what it is to profile and prints a recorded page."""
        tool = self.path / "tools" / "ncu"
        tool.parent.mkdir(exist_ok=True)
        tool.write_text(
            "#!/bin/sh\n"
            'while [ "$1" != --metrics ]; do shift; done; shift 2\n'
            f'"$@" || exit 1\ncat {shlex.quote(str(page))}\n'
        )
        tool.chmod(0o755)
        return os.pathsep.join((str(tool.parent), self.environment()["PATH"]))

    def jobs(self, *arguments: str) -> set[str]:
        """Return the rules that a dry run would execute."""
        out = self.run("snakemake", "-n", *arguments).stdout
        return planned_rules(out)


def target_rules() -> set[str]:
    """Return the rules that only ask for files of others: names on the command line."""
    settings = Settings(load_config(ROOT))
    paper = settings("paper", "laptop")
    names = {"all", "figures", *paper.names("figures"), *paper.names("tables")}
    for study in study_names():
        names |= {f"{study}_all", *settings(study, "laptop").targets}
    return names


def planned_rules(dry_run: str) -> set[str]:
    """Return the rules of a dry run's job table."""
    lines = dry_run.splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("Job stats:")]
    if not starts:
        return set()
    rules = set()
    for line in lines[starts[0] + 3 :]:
        fields = line.split()
        if len(fields) != 2 or not fields[1].isdigit():
            break
        rules.add(fields[0])
    return rules - {"total"}


def copy_checkout(target: Path) -> Checkout:
    """Copy what git tracks, or would track, with its working-tree content."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        source, destination = ROOT / name, target / name
        if not source.exists():
            continue
        destination.parent.mkdir(parents=True, exist_ok=True)
        if source.is_symlink():
            destination.symlink_to(os.readlink(source))
        else:
            shutil.copy2(source, destination)
    _link_caches(target)
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run([*git, "init", "-q"], cwd=target, check=True)
    subprocess.run([*git, "add", "-A"], cwd=target, check=True)
    subprocess.run([*git, "commit", "-q", "-m", "test: checkout"], cwd=target, check=True)
    return Checkout(target)


def _link_caches(target: Path) -> None:
    """Give a checkout what has been compiled of the same sources; times are kept, so it is valid.

    Numba's cache lies beside the sources: every checkout compiled its kernels anew without this.
    """
    for compiled in (ROOT / "src").rglob("__pycache__/*"):
        if compiled.suffix not in (".nbi", ".nbc", ".pyc"):
            continue
        destination = target / compiled.relative_to(ROOT)
        destination.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(compiled, destination)
        except OSError:
            shutil.copy2(compiled, destination)
