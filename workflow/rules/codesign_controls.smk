"""Layout controls: a product that no layout can change, and one that a layout must change.

Inputs: none; weights and graphs are drawn.
Outputs: results/{scale}/codesign/figures/layout_controls.*, controls/statistics.csv.
Steps, in order: run, collect, analyse, draw, state facts.
"""

CONTROLS = "results/{scale}/codesign/controls"
CONTROLS_RUN = f"{CONTROLS}/runs/seed-{{seed}}"


rule codesign_run_controls:
    output:
        record=f"{CONTROLS_RUN}/record.json",
        samples=f"{CONTROLS_RUN}/samples.npz",
    log:
        "logs/{scale}/codesign/run_controls/seed-{seed}.log",
    benchmark:
        "logs/{scale}/codesign/run_controls/seed-{seed}.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: timing_cores
    resources:
        gpu=0,
        mem_mb=3000,
        runtime=30,
    params:
        spec=spec("codesign", "run_controls"),
        code=code("codesign", "run_controls"),
    shell:
        "python -m seqlab codesign run_controls"
        " --spec {params.spec:q} --code {params.code}"
        " --record {output.record:q} --samples {output.samples:q}"
        " > {log:q} 2>&1"


rule codesign_collect_controls:
    input:
        records=each(
            "codesign",
            lambda s: range(s.controls.seeds),
            f"{CONTROLS}/runs/seed-{{name}}/record.json",
        ),
    output:
        table=f"{CONTROLS}/observations.csv",
    log:
        "logs/{scale}/codesign/collect_controls.log",
    benchmark:
        "logs/{scale}/codesign/collect_controls.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        spec=spec("codesign", "collect_controls"),
        code=code("codesign", "collect_controls"),
        runs=f"{CONTROLS}/runs",
    shell:
        "python -m seqlab codesign collect_controls"
        " --spec {params.spec:q} --code {params.code}"
        " --runs {params.runs:q} --table {output.table:q}"
        " > {log:q} 2>&1"


rule codesign_analyse_controls:
    input:
        table=f"{CONTROLS}/observations.csv",
    output:
        statistics=f"{CONTROLS}/statistics.csv",
    log:
        "logs/{scale}/codesign/analyse_controls.log",
    benchmark:
        "logs/{scale}/codesign/analyse_controls.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        spec=spec("codesign", "analyse_controls"),
        code=code("codesign", "analyse_controls"),
    shell:
        "python -m seqlab codesign analyse_controls"
        " --spec {params.spec:q} --code {params.code}"
        " --table {input.table:q} --statistics {output.statistics:q}"
        " > {log:q} 2>&1"


rule codesign_draw_controls:
    input:
        statistics=f"{CONTROLS}/statistics.csv",
    output:
        pdf="results/{scale}/codesign/figures/layout_controls.pdf",
        png="results/{scale}/codesign/figures/layout_controls.png",
        csv="results/{scale}/codesign/figures/layout_controls.csv",
    log:
        "logs/{scale}/codesign/draw_controls.log",
    benchmark:
        "logs/{scale}/codesign/draw_controls.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        spec=spec("codesign", "draw_controls"),
        code=code("codesign", "draw_controls"),
    shell:
        "python -m seqlab codesign draw_controls"
        " --spec {params.spec:q} --code {params.code}"
        " --statistics {input.statistics:q}"
        " --pdf {output.pdf:q} --png {output.png:q} --csv {output.csv:q}"
        " > {log:q} 2>&1"


rule codesign_facts_controls:
    input:
        statistics=f"{CONTROLS}/statistics.csv",
    output:
        facts="results/{scale}/codesign/figures/layout_controls.json",
    log:
        "logs/{scale}/codesign/facts_controls.log",
    benchmark:
        "logs/{scale}/codesign/facts_controls.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        spec=spec("codesign", "facts_controls"),
        code=code("codesign", "facts_controls"),
    shell:
        "python -m seqlab codesign facts_controls"
        " --spec {params.spec:q} --code {params.code}"
        " --statistics {input.statistics:q} --facts {output.facts:q}"
        " > {log:q} 2>&1"
