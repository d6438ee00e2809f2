"""On another clone, unpacked records are sources: Snakemake draws and neither trains nor runs."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from seqlab.provenance.pack import pack
from seqlab.provenance.unpack import unpack
from seqlab.provenance.unpacked import unpacked

SNAKEFILE = """
import shlex, sys
from seqlab.provenance.unpacked import is_unpacked

RECORD = "results/laptop/toy/order/runs/{cell}/seed-{seed}/record.json"
TOY = f"{shlex.quote(sys.executable)} toy.py"


def unless_unpacked(output, path):
    def paths(wildcards):
        if is_unpacked(".", "laptop", output.format(**wildcards)):
            return []
        return path.format(**wildcards)

    return paths


rule all:
    input:
        "figures/fig2.txt",


rule train:
    input:
        "resources/corpus.txt",
    output:
        model=directory("results/laptop/models/{cell}"),
    shell:
        "{TOY} train {input} {output.model}"


rule run:
    input:
        model=unless_unpacked(RECORD, "results/laptop/models/{cell}"),
    output:
        record=RECORD,
    params:
        code=config.get("code", "c1"),
    shell:
        "{TOY} run {input.model} {output.record} {wildcards.cell} {wildcards.seed}"


rule collect:
    input:
        expand(RECORD, cell=["a", "b"], seed=[0, 1]),
    output:
        "results/laptop/toy/order/table.csv",
    shell:
        "{TOY} collect results/laptop/toy/order/runs {output}"


rule draw:
    input:
        "results/laptop/toy/order/table.csv",
    output:
        "figures/fig2.txt",
    shell:
        "{TOY} draw {input} {output}"
"""

TOY = """
import sys
from pathlib import Path
from seqlab.provenance.lineage import record_lineage
from seqlab.provenance.record import Arm, Metric, Record, write_record

step, given, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
with open("executed", "a") as stream:
    stream.write(step + "\\n")
out.parent.mkdir(parents=True, exist_ok=True)
if step == "train":
    out.mkdir()
    (out / "model.safetensors").write_text(given.read_text())
elif step == "run":
    value = len((given / "model.safetensors").read_text()) + int(sys.argv[5])
    metric = Metric(value=value, unit="ms", provenance="measured")
    write_record(out, Record(study="toy", experiment="order", cell={"name": sys.argv[4]},
        seed=int(sys.argv[5]), arms={"dense": Arm(metrics={"x": metric})}, environment={}))
else:
    files = sorted(given.rglob("record.json")) if given.is_dir() else [given]
    out.write_text("".join(path.read_text() for path in files))
environment = {"git": {"commit": None, "dirty": None}, "python": "3", "packages": {},
    "machine": {"cpu_model": "Toy", "cores": 1}}
record_lineage(f"toy {step}", "{}", "c1", {"in": [given]}, {"out": out}, environment,
    started=0.0, seconds=1.0)
"""


def make_clone(root: Path) -> Path:
    (root / "resources").mkdir(parents=True)
    (root / "resources/corpus.txt").write_text("corpus")
    (root / "Snakefile").write_text(SNAKEFILE)
    (root / "toy.py").write_text(textwrap.dedent(TOY))
    return root


def snakemake(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "2", "--scheduler", "greedy", *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def executed(root: Path) -> list[str]:
    path = root / "executed"
    lines = sorted(path.read_text().split()) if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


@pytest.mark.slow
def test_unpacked_records_start_no_training_and_no_run(tmp_path: Path) -> None:
    pod = make_clone(tmp_path / "pod")
    snakemake(pod)
    assert executed(pod) == ["collect", "draw"] + ["run"] * 4 + ["train"] * 2
    pack(pod, "laptop", tmp_path / "pod.tar.gz")

    laptop = make_clone(tmp_path / "laptop")
    unpack(tmp_path / "pod.tar.gz", laptop)
    assert len(unpacked(laptop, "laptop")) == 4
    snakemake(laptop)
    assert executed(laptop) == ["collect", "draw"]
    drawn = (laptop / "figures/fig2.txt").read_text()
    assert drawn == (pod / "figures/fig2.txt").read_text()

    # Another code or a newer corpus reruns nothing that came from the archive ...
    (laptop / "resources/corpus.txt").write_text("another corpus")
    snakemake(laptop, "--config", "code=c2")
    assert executed(laptop) == []

    # ... a record that is gone is made again, by what it needs and nothing else.
    (laptop / "results/laptop/toy/order/runs/a/seed-1/record.json").unlink()
    snakemake(laptop)
    assert executed(laptop) == ["collect", "draw", "run", "train"]
    assert "Nothing to be done" in snakemake(laptop)
