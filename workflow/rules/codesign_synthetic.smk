"""Figure 3: hit rate of a random walk over a community graph, by the layout of its nodes.

Inputs: none; graphs are drawn.
Outputs: results/{scale}/codesign/figures/synthetic_locality.*, synthetic/statistics.csv.
Steps, in order: run, collect, analyse, draw, state facts.
"""

SYNTHETIC = "results/{scale}/codesign/synthetic"
SYNTHETIC_RUN = f"{SYNTHETIC}/runs/seed-{{seed}}"


rule codesign_run_synthetic:
    output:
        record=f"{SYNTHETIC_RUN}/record.json",
        samples=f"{SYNTHETIC_RUN}/samples.npz",
    log:
        "logs/{scale}/codesign/run_synthetic/seed-{seed}.log",
    benchmark:
        "logs/{scale}/codesign/run_synthetic/seed-{seed}.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=2000,
        runtime=30,
    params:
        spec=spec("codesign", "run_synthetic"),
        code=code("codesign", "run_synthetic"),
    shell:
        "python -m seqlab codesign run_synthetic"
        " --spec {params.spec:q} --code {params.code}"
        " --record {output.record:q} --samples {output.samples:q}"
        " > {log:q} 2>&1"


rule codesign_collect_synthetic:
    input:
        records=each(
            "codesign",
            lambda s: range(s.synthetic.seeds),
            f"{SYNTHETIC}/runs/seed-{{name}}/record.json",
        ),
        samples=each(
            "codesign",
            lambda s: range(s.synthetic.seeds),
            f"{SYNTHETIC}/runs/seed-{{name}}/samples.npz",
        ),
    output:
        table=f"{SYNTHETIC}/observations.csv",
    log:
        "logs/{scale}/codesign/collect_synthetic.log",
    benchmark:
        "logs/{scale}/codesign/collect_synthetic.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        spec=spec("codesign", "collect_synthetic"),
        code=code("codesign", "collect_synthetic"),
        runs=f"{SYNTHETIC}/runs",
    shell:
        "python -m seqlab codesign collect_synthetic"
        " --spec {params.spec:q} --code {params.code}"
        " --runs {params.runs:q} --table {output.table:q}"
        " > {log:q} 2>&1"


rule codesign_analyse_synthetic:
    input:
        table=f"{SYNTHETIC}/observations.csv",
    output:
        statistics=f"{SYNTHETIC}/statistics.csv",
    log:
        "logs/{scale}/codesign/analyse_synthetic.log",
    benchmark:
        "logs/{scale}/codesign/analyse_synthetic.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        spec=spec("codesign", "analyse_synthetic"),
        code=code("codesign", "analyse_synthetic"),
    shell:
        "python -m seqlab codesign analyse_synthetic"
        " --spec {params.spec:q} --code {params.code}"
        " --table {input.table:q} --statistics {output.statistics:q}"
        " > {log:q} 2>&1"


rule codesign_draw_synthetic:
    input:
        table=f"{SYNTHETIC}/observations.csv",
        statistics=f"{SYNTHETIC}/statistics.csv",
    output:
        pdf="results/{scale}/codesign/figures/synthetic_locality.pdf",
        png="results/{scale}/codesign/figures/synthetic_locality.png",
        csv="results/{scale}/codesign/figures/synthetic_locality.csv",
    log:
        "logs/{scale}/codesign/draw_synthetic.log",
    benchmark:
        "logs/{scale}/codesign/draw_synthetic.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        spec=spec("codesign", "draw_synthetic"),
        code=code("codesign", "draw_synthetic"),
    shell:
        "python -m seqlab codesign draw_synthetic"
        " --spec {params.spec:q} --code {params.code}"
        " --table {input.table:q} --statistics {input.statistics:q}"
        " --pdf {output.pdf:q} --png {output.png:q} --csv {output.csv:q}"
        " > {log:q} 2>&1"


rule codesign_facts_synthetic:
    input:
        statistics=f"{SYNTHETIC}/statistics.csv",
    output:
        facts="results/{scale}/codesign/figures/synthetic_locality.json",
    log:
        "logs/{scale}/codesign/facts_synthetic.log",
    benchmark:
        "logs/{scale}/codesign/facts_synthetic.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        spec=spec("codesign", "facts_synthetic"),
        code=code("codesign", "facts_synthetic"),
    shell:
        "python -m seqlab codesign facts_synthetic"
        " --spec {params.spec:q} --code {params.code}"
        " --statistics {input.statistics:q} --facts {output.facts:q}"
        " > {log:q} 2>&1"
