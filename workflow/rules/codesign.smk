"""Co-design study: does re-optimising a memory layout after changing a model make it faster?

Inputs: trained models, tokens and baselines of assets.smk.
Outputs: results/{scale}/codesign/{figures,tables}/quantization_order.*, statistics, summary.csv.
Steps, in order: run, collect, analyse, draw and tabulate.
"""


include: "codesign_controls.smk"
include: "codesign_counters.smk"
include: "codesign_experiments.smk"
include: "codesign_masks.smk"
include: "codesign_synthetic.smk"
include: "codesign_targets.smk"


QUANTIZATION = "results/{scale}/codesign/quantization"
QUANTIZATION_FACTS = "results/{scale}/codesign/figures/quantization_order.json"
QUANTIZATION_RUN = f"{QUANTIZATION}/runs/{{model}}/seed-{{seed}}"


rule codesign_run_quantization:
    input:
        model=unless_unpacked(
            f"{QUANTIZATION_RUN}/record.json",
            "results/{scale}/assets/models/{model}/trained",
        ),
        tokens=unless_unpacked(f"{QUANTIZATION_RUN}/record.json", tokens_of_model),
    output:
        record=f"{QUANTIZATION_RUN}/record.json",
        samples=f"{QUANTIZATION_RUN}/samples.npz",
    log:
        "logs/{scale}/codesign/run_quantization/{model}/seed-{seed}.log",
    benchmark:
        "logs/{scale}/codesign/run_quantization/{model}/seed-{seed}.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: timing_cores
    resources:
        gpu=gpus,
        # At paper scale the float64 affinities of one model of 2.8 B parameters alone take 27 GB.
        mem_mb=lambda wildcards: 96000 if wildcards.scale == "paper" else 4000,
        runtime=720,
    params:
        spec=spec("codesign", "run_quantization"),
        code=code("codesign", "run_quantization"),
        device=config["device"],
    shell:
        "python -m seqlab codesign run_quantization"
        " --spec {params.spec:q} --code {params.code} --device {params.device}"
        " --gpus {resources.gpu}"
        " --model {input.model:q} --tokens {input.tokens:q}"
        " --record {output.record:q} --samples {output.samples:q}"
        " > {log:q} 2>&1"


rule codesign_collect_quantization:
    input:
        records=each(
            "codesign",
            lambda s: s.quantization.runs(),
            f"{QUANTIZATION}/runs/{{name}}/record.json",
        ),
    output:
        table=f"{QUANTIZATION}/observations.csv",
    log:
        "logs/{scale}/codesign/collect_quantization.log",
    benchmark:
        "logs/{scale}/codesign/collect_quantization.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        spec=spec("codesign", "collect_quantization"),
        code=code("codesign", "collect_quantization"),
        runs=f"{QUANTIZATION}/runs",
    # The folder, not every record: a shell command is limited to 128 KiB.
    shell:
        "python -m seqlab codesign collect_quantization"
        " --spec {params.spec:q} --code {params.code}"
        " --runs {params.runs:q} --table {output.table:q}"
        " > {log:q} 2>&1"


rule codesign_analyse_quantization:
    input:
        table=f"{QUANTIZATION}/observations.csv",
    output:
        statistics=f"{QUANTIZATION}/statistics.csv",
        summary=f"{QUANTIZATION}/summary.csv",
    log:
        "logs/{scale}/codesign/analyse_quantization.log",
    benchmark:
        "logs/{scale}/codesign/analyse_quantization.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        spec=spec("codesign", "analyse_quantization"),
        code=code("codesign", "analyse_quantization"),
    shell:
        "python -m seqlab codesign analyse_quantization"
        " --spec {params.spec:q} --code {params.code}"
        " --table {input.table:q}"
        " --statistics {output.statistics:q} --summary {output.summary:q}"
        " > {log:q} 2>&1"


rule codesign_draw_quantization:
    input:
        statistics=f"{QUANTIZATION}/statistics.csv",
    output:
        pdf="results/{scale}/codesign/figures/quantization_order.pdf",
        png="results/{scale}/codesign/figures/quantization_order.png",
        csv="results/{scale}/codesign/figures/quantization_order.csv",
    log:
        "logs/{scale}/codesign/draw_quantization.log",
    benchmark:
        "logs/{scale}/codesign/draw_quantization.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        spec=spec("codesign", "draw_quantization"),
        code=code("codesign", "draw_quantization"),
    shell:
        "python -m seqlab codesign draw_quantization"
        " --spec {params.spec:q} --code {params.code}"
        " --statistics {input.statistics:q}"
        " --pdf {output.pdf:q} --png {output.png:q} --csv {output.csv:q}"
        " > {log:q} 2>&1"


rule codesign_tabulate_quantization:
    input:
        statistics=f"{QUANTIZATION}/statistics.csv",
        table=f"{QUANTIZATION}/observations.csv",
    output:
        csv="results/{scale}/codesign/tables/quantization_order.csv",
        md="results/{scale}/codesign/tables/quantization_order.md",
        tex="results/{scale}/codesign/tables/quantization_order.tex",
    log:
        "logs/{scale}/codesign/tabulate_quantization.log",
    benchmark:
        "logs/{scale}/codesign/tabulate_quantization.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        spec=spec("codesign", "tabulate_quantization"),
        code=code("codesign", "tabulate_quantization"),
    shell:
        "python -m seqlab codesign tabulate_quantization"
        " --spec {params.spec:q} --code {params.code}"
        " --statistics {input.statistics:q} --table {input.table:q}"
        " --csv {output.csv:q} --md {output.md:q} --tex {output.tex:q}"
        " > {log:q} 2>&1"


rule codesign_facts_quantization:
    input:
        models=unless_unpacked(
            QUANTIZATION_FACTS,
            each(
                "codesign",
                lambda s: s.quantization.models,
                "results/{scale}/assets/models/{name}/trained",
            ),
        ),
        baselines=unless_unpacked(
            QUANTIZATION_FACTS,
            baselines_of_models("codesign", lambda s: s.quantization.models),
        ),
        statistics=unless_unpacked(QUANTIZATION_FACTS, f"{QUANTIZATION}/statistics.csv"),
    output:
        facts=QUANTIZATION_FACTS,
    log:
        "logs/{scale}/codesign/facts_quantization.log",
    benchmark:
        "logs/{scale}/codesign/facts_quantization.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        spec=facts_spec("codesign", "facts_quantization"),
        code=code("codesign", "facts_quantization"),
    shell:
        "python -m seqlab codesign facts_quantization"
        " --spec {params.spec:q} --code {params.code}"
        " --models {input.models:q} --baselines {input.baselines:q}"
        " --statistics {input.statistics:q} --facts {output.facts:q}"
        " > {log:q} 2>&1"
