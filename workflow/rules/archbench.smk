"""The architecture benchmark: stored sets, learning rates, runs, tables and statistics.

Inputs: none but settings; every sequence is drawn from a seed.
Outputs: results/{scale}/archbench/{tests,rates,runs}/..., {part}/statistics.csv for each experiment.
Steps, in order: make_tests, choose_rate, train_variant or run_speed, collect_runs or
collect_records, analyse_<part>, draw_<figure>, tabulate_<table>.
"""

from seqlab.studies.archbench.architectures import BASELINES as ARCHBENCH_BASELINES
from seqlab.studies.archbench.architectures import MODERN as ARCHBENCH_MODERN
from seqlab.studies.archbench.benchmark import variable as archbench_variable
from seqlab.studies.archbench.spec import FIGURES as ARCHBENCH_FIGURES
from seqlab.studies.archbench.spec import PARTS as ARCHBENCH_PARTS
from seqlab.studies.archbench.spec import TABLES as ARCHBENCH_TABLE_NAMES

ARCHBENCH = "results/{scale}/archbench"
ARCHBENCH_RATE = f"{ARCHBENCH}/rates/{{task}}/{{variant}}/record.json"
# Parts whose runs are trained; the others are solvers, pilots and times.
ARCHBENCH_EXPERIMENTS = [
    part for part in ARCHBENCH_FIGURES if part not in ARCHBENCH_PARTS
]
ARCHBENCH_DRAWN = choices(
    [name for part in ARCHBENCH_EXPERIMENTS for name in ARCHBENCH_FIGURES[part]]
)
ARCHBENCH_TABLES = choices(
    [name for names in ARCHBENCH_TABLE_NAMES.values() for name in names]
)
ARCHBENCH_RUN = f"{ARCHBENCH}/runs/{{task}}/{{variant}}/seed-{{seed}}"


wildcard_constraints:
    task=names_at_every_scale("archbench", lambda s: s.tasks),
    part=choices([*ARCHBENCH_EXPERIMENTS, *ARCHBENCH_PARTS]),


rule archbench_make_tests:
    output:
        record=f"{ARCHBENCH}/tests/{{task}}/record.json",
        sets=f"{ARCHBENCH}/tests/{{task}}/sets.npz",
    log:
        "logs/{scale}/archbench/make_tests/{task}.log",
    benchmark:
        "logs/{scale}/archbench/make_tests/{task}.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=2000,
        runtime=30,
    params:
        spec=spec("archbench", "make_tests"),
        code=code("archbench", "make_tests"),
    shell:
        "python -m seqlab archbench make_tests"
        " --spec {params.spec:q} --code {params.code}"
        " --record {output.record:q} --sets {output.sets:q}"
        " > {log:q} 2>&1"


rule archbench_choose_rate:
    input:
        sets=unless_unpacked(ARCHBENCH_RATE, f"{ARCHBENCH}/tests/{{task}}/sets.npz"),
    output:
        record=ARCHBENCH_RATE,
    log:
        "logs/{scale}/archbench/choose_rate/{task}/{variant}.log",
    benchmark:
        "logs/{scale}/archbench/choose_rate/{task}/{variant}.jsonl"
    wildcard_constraints:
        variant=r"[a-z0-9_]+-(?:native|all|none)",
    conda:
        "../../envs/cpu.yaml"
    threads: archbench_threads
    resources:
        gpu=gpus,
        mem_mb=lambda wildcards: 16000 if wildcards.scale == "paper" else 2000,
        runtime=720,
    params:
        spec=spec("archbench", "choose_rate"),
        code=code("archbench", "choose_rate"),
        device=config["device"],
        state="state/{scale}/archbench/choose_rate/{task}/{variant}",
    shell:
        "python -m seqlab archbench choose_rate"
        " --spec {params.spec:q} --code {params.code} --device {params.device}"
        " --gpus {resources.gpu}"
        " --sets {input.sets:q} --state {params.state:q} --record {output.record:q}"
        " > {log:q} 2>&1"


rule archbench_train_variant:
    input:
        sets=unless_unpacked(
            f"{ARCHBENCH_RUN}/record.json", f"{ARCHBENCH}/tests/{{task}}/sets.npz"
        ),
        rate=archbench_rate,
    output:
        record=f"{ARCHBENCH_RUN}/record.json",
        samples=f"{ARCHBENCH_RUN}/samples.npz",
    log:
        "logs/{scale}/archbench/train_variant/{task}/{variant}/seed-{seed}.log",
    benchmark:
        "logs/{scale}/archbench/train_variant/{task}/{variant}/seed-{seed}.jsonl"
    wildcard_constraints:
        variant=r"[a-z0-9_]+-(?:native|all|none)",
    conda:
        "../../envs/cpu.yaml"
    threads: archbench_threads
    resources:
        gpu=gpus,
        mem_mb=lambda wildcards: 16000 if wildcards.scale == "paper" else 2000,
        runtime=720,
    params:
        spec=spec("archbench", "train_variant"),
        code=code("archbench", "train_variant"),
        device=config["device"],
        state="state/{scale}/archbench/train_variant/{task}/{variant}/seed-{seed}",
    shell:
        "python -m seqlab archbench train_variant"
        " --spec {params.spec:q} --code {params.code} --device {params.device}"
        " --gpus {resources.gpu}"
        " --sets {input.sets:q} --rate {input.rate:q} --state {params.state:q}"
        " --record {output.record:q} --samples {output.samples:q}"
        " > {log:q} 2>&1"


rule archbench_run_speed:
    output:
        record=f"{ARCHBENCH}/speed/runs/seed-{{seed}}/record.json",
        samples=f"{ARCHBENCH}/speed/runs/seed-{{seed}}/samples.npz",
    log:
        "logs/{scale}/archbench/run_speed/seed-{seed}.log",
    benchmark:
        "logs/{scale}/archbench/run_speed/seed-{seed}.jsonl"
    # First: beside training runs each would wait for them to end.
    priority: 1
    conda:
        "../../envs/cpu.yaml"
    threads: timing_cores
    resources:
        gpu=gpus,
        mem_mb=lambda wildcards: 16000 if wildcards.scale == "paper" else 4000,
        runtime=120,
    params:
        spec=spec("archbench", "run_speed"),
        code=code("archbench", "run_speed"),
        device=config["device"],
    shell:
        "python -m seqlab archbench run_speed"
        " --spec {params.spec:q} --code {params.code} --device {params.device}"
        " --gpus {resources.gpu}"
        " --record {output.record:q} --samples {output.samples:q}"
        " > {log:q} 2>&1"


rule archbench_collect_runs:
    input:
        records=archbench_records,
        sets=archbench_sets,
    output:
        table=f"{ARCHBENCH}/{{part}}/observations.csv",
        curves=f"{ARCHBENCH}/{{part}}/curves.csv",
    log:
        "logs/{scale}/archbench/collect_runs/{part}.log",
    benchmark:
        "logs/{scale}/archbench/collect_runs/{part}.jsonl"
    wildcard_constraints:
        part=choices(ARCHBENCH_EXPERIMENTS),
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        spec=spec("archbench", "collect_runs"),
        code=code("archbench", "collect_runs"),
        runs=f"{ARCHBENCH}/runs",
        tests=f"{ARCHBENCH}/tests",
    # The folders, not every record: a shell command is limited to 128 KiB.
    shell:
        "python -m seqlab archbench collect_runs"
        " --spec {params.spec:q} --code {params.code}"
        " --runs {params.runs:q} --tests {params.tests:q}"
        " --table {output.table:q} --curves {output.curves:q}"
        " > {log:q} 2>&1"


rule archbench_collect_records:
    input:
        records=archbench_records,
    output:
        table=f"{ARCHBENCH}/{{part}}/observations.csv",
    log:
        "logs/{scale}/archbench/collect_records/{part}.log",
    benchmark:
        "logs/{scale}/archbench/collect_records/{part}.jsonl"
    wildcard_constraints:
        part=choices(ARCHBENCH_PARTS),
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        spec=spec("archbench", "collect_records"),
        code=code("archbench", "collect_records"),
        runs=lambda wildcards: (
            f"results/{wildcards.scale}/archbench/"
            + settings("archbench", wildcards.scale).folder_of(wildcards.part)
        ),
    shell:
        "python -m seqlab archbench collect_records"
        " --spec {params.spec:q} --code {params.code}"
        " --runs {params.runs:q} --table {output.table:q}"
        " > {log:q} 2>&1"


rule archbench_analyse:
    input:
        table=f"{ARCHBENCH}/{{part}}/observations.csv",
        solvers=f"{ARCHBENCH}/tests/observations.csv",
    output:
        statistics="results/{scale}/archbench/{part}/statistics.csv",
    log:
        "logs/{scale}/archbench/analyse_{part}.log",
    benchmark:
        "logs/{scale}/archbench/analyse_{part}.jsonl"
    wildcard_constraints:
        part=choices(ARCHBENCH_EXPERIMENTS),
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1500,
        runtime=20,
    params:
        step=step_of("analyse", "part"),
        spec=study_step_spec("archbench", "analyse", "part"),
        code=study_step_code("archbench", "analyse", "part"),
    shell:
        "python -m seqlab archbench {params.step}"
        " --spec {params.spec:q} --code {params.code}"
        " --table {input.table:q} --solvers {input.solvers:q}"
        " --statistics {output.statistics:q}"
        " > {log:q} 2>&1"


# Pilots and times have no solvers to be held against.
rule archbench_analyse_records:
    input:
        table=f"{ARCHBENCH}/{{part}}/observations.csv",
    output:
        statistics="results/{scale}/archbench/{part}/statistics.csv",
    log:
        "logs/{scale}/archbench/analyse_{part}.log",
    benchmark:
        "logs/{scale}/archbench/analyse_{part}.jsonl"
    wildcard_constraints:
        part="speed|rates",
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1500,
        runtime=20,
    params:
        step=step_of("analyse", "part"),
        spec=study_step_spec("archbench", "analyse", "part"),
        code=study_step_code("archbench", "analyse", "part"),
    shell:
        "python -m seqlab archbench {params.step}"
        " --spec {params.spec:q} --code {params.code}"
        " --table {input.table:q} --statistics {output.statistics:q}"
        " > {log:q} 2>&1"


rule archbench_draw:
    input:
        statistics=of_archbench("figures", "statistics.csv"),
        observations=of_archbench("figures", "observations.csv"),
        curves=of_archbench("figures", "curves.csv"),
        solvers=f"{ARCHBENCH}/tests/observations.csv",
    output:
        pdf="results/{scale}/archbench/figures/{artefact}.pdf",
        png="results/{scale}/archbench/figures/{artefact}.png",
        csv="results/{scale}/archbench/figures/{artefact}.csv",
    log:
        "logs/{scale}/archbench/draw_{artefact}.log",
    benchmark:
        "logs/{scale}/archbench/draw_{artefact}.jsonl"
    wildcard_constraints:
        artefact=ARCHBENCH_DRAWN,
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1500,
        runtime=20,
    params:
        step=step_of("draw", "artefact"),
        spec=study_step_spec("archbench", "draw", "artefact"),
        code=study_step_code("archbench", "draw", "artefact"),
    shell:
        "python -m seqlab archbench {params.step}"
        " --spec {params.spec:q} --code {params.code}"
        " --statistics {input.statistics:q} --observations {input.observations:q}"
        " --curves {input.curves:q} --solvers {input.solvers:q}"
        " --pdf {output.pdf:q} --png {output.png:q} --csv {output.csv:q}"
        " > {log:q} 2>&1"


rule archbench_draw_speed:
    input:
        statistics=f"{ARCHBENCH}/speed/statistics.csv",
    output:
        pdf="results/{scale}/archbench/figures/{artefact}.pdf",
        png="results/{scale}/archbench/figures/{artefact}.png",
        csv="results/{scale}/archbench/figures/{artefact}.csv",
    log:
        "logs/{scale}/archbench/draw_{artefact}.log",
    benchmark:
        "logs/{scale}/archbench/draw_{artefact}.jsonl"
    wildcard_constraints:
        artefact=choices(ARCHBENCH_FIGURES["speed"]),
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1500,
        runtime=20,
    params:
        step=step_of("draw", "artefact"),
        spec=study_step_spec("archbench", "draw", "artefact"),
        code=study_step_code("archbench", "draw", "artefact"),
    shell:
        "python -m seqlab archbench {params.step}"
        " --spec {params.spec:q} --code {params.code}"
        " --statistics {input.statistics:q}"
        " --pdf {output.pdf:q} --png {output.png:q} --csv {output.csv:q}"
        " > {log:q} 2>&1"


rule archbench_tabulate:
    input:
        statistics=of_archbench("tables", "statistics.csv"),
        observations=of_archbench("tables", "observations.csv"),
    output:
        csv="results/{scale}/archbench/tables/{artefact}.csv",
        md="results/{scale}/archbench/tables/{artefact}.md",
        tex="results/{scale}/archbench/tables/{artefact}.tex",
    log:
        "logs/{scale}/archbench/tabulate_{artefact}.log",
    benchmark:
        "logs/{scale}/archbench/tabulate_{artefact}.jsonl"
    wildcard_constraints:
        artefact=ARCHBENCH_TABLES,
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1500,
        runtime=20,
    params:
        step=step_of("tabulate", "artefact"),
        spec=study_step_spec("archbench", "tabulate", "artefact"),
        code=study_step_code("archbench", "tabulate", "artefact"),
    shell:
        "python -m seqlab archbench {params.step}"
        " --spec {params.spec:q} --code {params.code}"
        " --statistics {input.statistics:q} --observations {input.observations:q}"
        " --csv {output.csv:q} --md {output.md:q} --tex {output.tex:q}"
        " > {log:q} 2>&1"


rule archbench_facts:
    input:
        statistics=of_archbench("figures", "statistics.csv"),
    output:
        facts="results/{scale}/archbench/figures/{artefact}.json",
    log:
        "logs/{scale}/archbench/facts_{artefact}.log",
    benchmark:
        "logs/{scale}/archbench/facts_{artefact}.jsonl"
    wildcard_constraints:
        artefact=choices(
            [name for names in ARCHBENCH_FIGURES.values() for name in names]
        ),
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1500,
        runtime=20,
    params:
        spec=spec("archbench", "state_facts"),
        code=code("archbench", "state_facts"),
    shell:
        "python -m seqlab archbench state_facts"
        " --spec {params.spec:q} --code {params.code}"
        " --statistics {input.statistics:q} --facts {output.facts:q}"
        " > {log:q} 2>&1"


rule archbench_export_benchmark:
    input:
        records=lambda wildcards: [
            f"{ARCHBENCH}/runs/{run}/record.json".format(scale=scale_of(wildcards))
            for run in archbench_export(wildcards).runs
        ],
    output:
        table="results/{at}benchmark_results.csv",
        plots=directory("results/{at}plots"),
    log:
        "logs/{at}archbench/export_benchmark.log",
    benchmark:
        "logs/{at}archbench/export_benchmark.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        spec=lambda wildcards: archbench_export(wildcards).canonical(),
        code=code("archbench", "export_benchmark"),
        runs=lambda wildcards: f"results/{scale_of(wildcards)}/archbench/runs",
    shell:
        "python -m seqlab archbench export_benchmark"
        " --spec {params.spec:q} --code {params.code}"
        " --runs {params.runs:q} --table {output.table:q} --plots {output.plots:q}"
        " > {log:q} 2>&1"


# What scripts/run_benchmark.py asks for; see `archbench_export`.
rule archbench_benchmark:
    input:
        "results/{}benchmark_results.csv".format(
            "" if config["scale"] == "laptop" else f"{config['scale']}/"
        ),


for phase, names in {
    "baseline": ARCHBENCH_BASELINES,
    "modern": ARCHBENCH_MODERN,
}.items():

    rule:
        name:
            f"archbench_{phase}"
        input:
            archbench_phase(names),


rule archbench_all:
    input:
        whole_study("archbench"),
