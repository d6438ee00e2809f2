"""Learned masks: HDS on the projections of trained models, its controls, and their quality.

Inputs: trained models and tokens of assets.smk.
Outputs: results/{scale}/codesign/masks/{model}/{variant}/trained, a plain model folder with
masks.json; results/{scale}/codesign/{masks/statistics.csv,tables/learned_masks.*}.
Steps, in order: train_masks, score_masks, analyse_masks, tabulate_learned_masks.
"""

MASKS = "results/{scale}/codesign/masks"
MASKS_WINDOWS = f"{MASKS}/{{model}}/windows.csv"


wildcard_constraints:
    variant=names_at_every_scale("codesign", lambda s: s.masks.variants),


rule codesign_train_masks:
    input:
        model="results/{scale}/assets/models/{model}/trained",
        tokens=tokens_of_model,
    output:
        folder=directory(f"{MASKS}/{{model}}/{{variant}}/trained"),
    log:
        "logs/{scale}/codesign/train_masks/{model}/{variant}.log",
    benchmark:
        "logs/{scale}/codesign/train_masks/{model}/{variant}.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: mask_threads
    resources:
        gpu=gpus,
        mem_mb=lambda wildcards: 96000 if wildcards.scale == "paper" else 6000,
        runtime=1440,
    params:
        spec=spec("codesign", "train_masks"),
        code=code("codesign", "train_masks"),
        device=config["device"],
        state="state/{scale}/codesign/train_masks/{model}/{variant}",
    shell:
        "python -m seqlab codesign train_masks"
        " --spec {params.spec:q} --code {params.code} --device {params.device}"
        " --gpus {resources.gpu}"
        " --model {input.model:q} --tokens {input.tokens:q}"
        " --state {params.state:q} --out {output.folder:q}"
        " > {log:q} 2>&1"


rule codesign_score_masks:
    input:
        model=unless_unpacked(
            MASKS_WINDOWS, "results/{scale}/assets/models/{model}/trained"
        ),
        tokens=unless_unpacked(MASKS_WINDOWS, tokens_of_model),
        trained=unless_unpacked(MASKS_WINDOWS, variants_of_model),
    output:
        windows=MASKS_WINDOWS,
    log:
        "logs/{scale}/codesign/score_masks/{model}.log",
    benchmark:
        "logs/{scale}/codesign/score_masks/{model}.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: mask_threads
    resources:
        gpu=gpus,
        mem_mb=lambda wildcards: 64000 if wildcards.scale == "paper" else 4000,
        runtime=720,
    params:
        spec=spec("codesign", "score_masks"),
        code=code("codesign", "score_masks"),
        device=config["device"],
    shell:
        "python -m seqlab codesign score_masks"
        " --spec {params.spec:q} --code {params.code} --device {params.device}"
        " --gpus {resources.gpu}"
        " --model {input.model:q} --tokens {input.tokens:q}"
        " --trained {input.trained:q} --windows {output.windows:q}"
        " > {log:q} 2>&1"


rule codesign_analyse_masks:
    input:
        windows=each(
            "codesign",
            lambda s: s.masks.models,
            f"{MASKS}/{{name}}/windows.csv",
        ),
    output:
        statistics=f"{MASKS}/statistics.csv",
    log:
        "logs/{scale}/codesign/analyse_masks.log",
    benchmark:
        "logs/{scale}/codesign/analyse_masks.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        spec=spec("codesign", "analyse_masks"),
        code=code("codesign", "analyse_masks"),
    shell:
        "python -m seqlab codesign analyse_masks"
        " --spec {params.spec:q} --code {params.code}"
        " --windows {input.windows:q} --statistics {output.statistics:q}"
        " > {log:q} 2>&1"


rule codesign_tabulate_learned_masks:
    input:
        statistics=f"{MASKS}/statistics.csv",
    output:
        csv="results/{scale}/codesign/tables/learned_masks.csv",
        md="results/{scale}/codesign/tables/learned_masks.md",
        tex="results/{scale}/codesign/tables/learned_masks.tex",
    log:
        "logs/{scale}/codesign/tabulate_learned_masks.log",
    benchmark:
        "logs/{scale}/codesign/tabulate_learned_masks.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        spec=spec("codesign", "tabulate_learned_masks"),
        code=code("codesign", "tabulate_learned_masks"),
    shell:
        "python -m seqlab codesign tabulate_learned_masks"
        " --spec {params.spec:q} --code {params.code}"
        " --statistics {input.statistics:q}"
        " --csv {output.csv:q} --md {output.md:q} --tex {output.tex:q}"
        " > {log:q} 2>&1"
