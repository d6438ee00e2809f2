"""Experiments on the workbench: one rule per kind of step, for all of them.

Inputs: trained models with the data they are measured on.
Outputs: results/{scale}/codesign/{experiment}/statistics.csv; {figures,tables}/{artefact}.*.
The step of an experiment has its name: run_main, analyse_main; that of an artefact, the artefact's.
"""

EXPERIMENT = "results/{scale}/codesign/{experiment}"
EXPERIMENT_RUN = f"{EXPERIMENT}/runs/{{cell}}/seed-{{seed}}"


wildcard_constraints:
    experiment=names_at_every_scale("codesign", lambda s: s.experiments),
    cell=names_at_every_scale(
        "codesign", lambda s: [c for e in s.experiments.values() for c in e.cells()]
    ),
    artefact=names_at_every_scale(
        "codesign",
        lambda s: [a for e in s.experiments.values() for a in (*e.figures, *e.tables)],
    ),


rule codesign_run_experiment:
    input:
        assets=unless_unpacked(f"{EXPERIMENT_RUN}/record.json", assets_of_cell),
    output:
        record=f"{EXPERIMENT_RUN}/record.json",
        samples=f"{EXPERIMENT_RUN}/samples.npz",
    log:
        "logs/{scale}/codesign/run_{experiment}/{cell}/seed-{seed}.log",
    benchmark:
        "logs/{scale}/codesign/run_{experiment}/{cell}/seed-{seed}.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: timing_cores
    resources:
        gpu=gpus,
        mem_mb=lambda wildcards: 96000 if wildcards.scale == "paper" else 6000,
        runtime=720,
    params:
        step=step_of("run", "experiment"),
        spec=study_step_spec("codesign", "run", "experiment"),
        code=study_step_code("codesign", "run", "experiment"),
        device=config["device"],
    shell:
        "python -m seqlab codesign {params.step}"
        " --spec {params.spec:q} --code {params.code} --device {params.device}"
        " --gpus {resources.gpu}"
        " --assets {input.assets:q}"
        " --record {output.record:q} --samples {output.samples:q}"
        " > {log:q} 2>&1"


rule codesign_collect_experiment:
    input:
        records=lambda wildcards: [
            f"results/{wildcards.scale}/codesign/{wildcards.experiment}/runs/{run}/record.json"
            for run in experiment_of(wildcards).runs()
        ],
    output:
        table=f"{EXPERIMENT}/observations.csv",
    log:
        "logs/{scale}/codesign/collect_{experiment}.log",
    benchmark:
        "logs/{scale}/codesign/collect_{experiment}.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        spec=spec("codesign", "collect_records"),
        code=code("codesign", "collect_records"),
        runs=f"{EXPERIMENT}/runs",
    # The folder, not every record: a shell command is limited to 128 KiB.
    shell:
        "python -m seqlab codesign collect_records"
        " --spec {params.spec:q} --code {params.code}"
        " --runs {params.runs:q} --table {output.table:q}"
        " > {log:q} 2>&1"


rule codesign_analyse_experiment:
    input:
        table=f"{EXPERIMENT}/observations.csv",
    output:
        statistics=f"{EXPERIMENT}/statistics.csv",
    log:
        "logs/{scale}/codesign/analyse_{experiment}.log",
    benchmark:
        "logs/{scale}/codesign/analyse_{experiment}.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        step=step_of("analyse", "experiment"),
        spec=study_step_spec("codesign", "analyse", "experiment"),
        code=study_step_code("codesign", "analyse", "experiment"),
    shell:
        "python -m seqlab codesign {params.step}"
        " --spec {params.spec:q} --code {params.code}"
        " --table {input.table:q} --statistics {output.statistics:q}"
        " > {log:q} 2>&1"


rule codesign_draw_experiment:
    input:
        statistics=of_experiment(f"{EXPERIMENT}/statistics.csv"),
        observations=of_experiment(f"{EXPERIMENT}/observations.csv"),
    output:
        pdf="results/{scale}/codesign/figures/{artefact}.pdf",
        png="results/{scale}/codesign/figures/{artefact}.png",
        csv="results/{scale}/codesign/figures/{artefact}.csv",
    log:
        "logs/{scale}/codesign/draw_{artefact}.log",
    benchmark:
        "logs/{scale}/codesign/draw_{artefact}.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        step=step_of("draw", "artefact"),
        spec=study_step_spec("codesign", "draw", "artefact"),
        code=study_step_code("codesign", "draw", "artefact"),
    shell:
        "python -m seqlab codesign {params.step}"
        " --spec {params.spec:q} --code {params.code}"
        " --statistics {input.statistics:q} --observations {input.observations:q}"
        " --pdf {output.pdf:q} --png {output.png:q} --csv {output.csv:q}"
        " > {log:q} 2>&1"


rule codesign_tabulate_experiment:
    input:
        statistics=of_experiment(f"{EXPERIMENT}/statistics.csv"),
        observations=of_experiment(f"{EXPERIMENT}/observations.csv"),
    output:
        csv="results/{scale}/codesign/tables/{artefact}.csv",
        md="results/{scale}/codesign/tables/{artefact}.md",
        tex="results/{scale}/codesign/tables/{artefact}.tex",
    log:
        "logs/{scale}/codesign/tabulate_{artefact}.log",
    benchmark:
        "logs/{scale}/codesign/tabulate_{artefact}.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        step=step_of("tabulate", "artefact"),
        spec=study_step_spec("codesign", "tabulate", "artefact"),
        code=study_step_code("codesign", "tabulate", "artefact"),
    shell:
        "python -m seqlab codesign {params.step}"
        " --spec {params.spec:q} --code {params.code}"
        " --statistics {input.statistics:q} --observations {input.observations:q}"
        " --csv {output.csv:q} --md {output.md:q} --tex {output.tex:q}"
        " > {log:q} 2>&1"


rule codesign_facts_experiment:
    input:
        statistics=of_experiment(f"{EXPERIMENT}/statistics.csv"),
    output:
        facts="results/{scale}/codesign/figures/{artefact}.json",
    log:
        "logs/{scale}/codesign/facts_{artefact}.log",
    benchmark:
        "logs/{scale}/codesign/facts_{artefact}.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        spec=spec("codesign", "state_facts"),
        code=code("codesign", "state_facts"),
    shell:
        "python -m seqlab codesign state_facts"
        " --spec {params.spec:q} --code {params.code}"
        " --statistics {input.statistics:q} --facts {output.facts:q}"
        " > {log:q} 2>&1"
