"""Numbered items, captions, claims, contact sheet, manifest and the settings of the run.

Inputs: figures, tables, facts and statistics of the studies; config/claims; workflow/report.
Outputs: figures/, results/tables/ (other scales in folders of their own), results/{scale}/*.json.
"""


wildcard_constraints:
    figure=choices(settings("paper", "laptop").names("figures")),
    table=choices(settings("paper", "laptop").names("tables")),
    study=choices(study_names()),


# Targets on the command line, at the configured scale: `figures`, and each number and alias.
rule figures:
    input:
        files_of_items(settings("paper", config["scale"]).figures),


for name in every_name():

    rule:
        name:
            name
        input:
            files_of_items([name]),


rule paper_number_figure:
    input:
        source=artefact("figures", "pdf", "png", "csv"),
    output:
        pdf="figures/{at}{figure}.pdf",
        png=report(
            "figures/{at}{figure}.png",
            caption="../report/figure.rst",
            category="Figures",
            labels={"item": "{figure}"},
        ),
        csv="figures/{at}{figure}.csv",
    log:
        "logs/{at}paper/number_figure/{figure}.log",
    benchmark:
        "logs/{at}paper/number_figure/{figure}.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        spec=spec("paper", "number_figure"),
        code=code("paper", "number_figure"),
    shell:
        "python -m seqlab paper number_figure"
        " --spec {params.spec:q} --code {params.code}"
        " --source {input.source:q}"
        " --pdf {output.pdf:q} --png {output.png:q} --csv {output.csv:q}"
        " > {log:q} 2>&1"


rule paper_number_table:
    input:
        source=artefact("tables", "csv", "md", "tex"),
    output:
        csv=report(
            "results/{at}tables/{table}.csv",
            caption="../report/table.rst",
            category="Tables",
            labels={"item": "{table}"},
        ),
        md="results/{at}tables/{table}.md",
        tex="results/{at}tables/{table}.tex",
    log:
        "logs/{at}paper/number_table/{table}.log",
    benchmark:
        "logs/{at}paper/number_table/{table}.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        spec=spec("paper", "number_table"),
        code=code("paper", "number_table"),
    shell:
        "python -m seqlab paper number_table"
        " --spec {params.spec:q} --code {params.code}"
        " --source {input.source:q}"
        " --csv {output.csv:q} --md {output.md:q} --tex {output.tex:q}"
        " > {log:q} 2>&1"


rule paper_write_caption:
    input:
        template=caption_template,
        facts=artefact("figures", "json"),
    output:
        caption="figures/{at}{figure}.rst",
    log:
        "logs/{at}paper/write_caption/{figure}.log",
    benchmark:
        "logs/{at}paper/write_caption/{figure}.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        spec=spec("paper", "write_caption"),
        code=code("paper", "write_caption"),
    shell:
        "python -m seqlab paper write_caption"
        " --spec {params.spec:q} --code {params.code}"
        " --template {input.template:q} --facts {input.facts:q} --caption {output.caption:q}"
        " > {log:q} 2>&1"


rule paper_judge_claims:
    input:
        claims="config/claims/{study}.yaml",
        tables=claim_tables,
    output:
        csv="results/{scale}/{study}/claims.csv",
        md="results/{scale}/{study}/claims.md",
        tex="results/{scale}/{study}/claims.tex",
    log:
        "logs/{scale}/paper/judge_claims/{study}.log",
    benchmark:
        "logs/{scale}/paper/judge_claims/{study}.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        spec=claims_spec,
        code=code("paper", "judge_claims"),
        device=config["device"],
    shell:
        "python -m seqlab paper judge_claims"
        " --spec {params.spec:q} --code {params.code} --device {params.device}"
        " --claims {input.claims:q} --tables {input.tables:q}"
        " --csv {output.csv:q} --md {output.md:q} --tex {output.tex:q}"
        " > {log:q} 2>&1"


rule paper_join_claims:
    input:
        tables=claims_of_studies,
    output:
        csv="results/{at}tables/claims.csv",
        md="results/{at}tables/claims.md",
        tex="results/{at}tables/claims.tex",
    log:
        "logs/{at}paper/join_claims.log",
    benchmark:
        "logs/{at}paper/join_claims.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        spec=spec("paper", "join_claims"),
        code=code("paper", "join_claims"),
    shell:
        "python -m seqlab paper join_claims"
        " --spec {params.spec:q} --code {params.code}"
        " --tables {input.tables:q}"
        " --csv {output.csv:q} --md {output.md:q} --tex {output.tex:q}"
        " > {log:q} 2>&1"


rule paper_draw_claims:
    input:
        table="results/{at}tables/claims.csv",
    output:
        pdf="figures/{at}claims.pdf",
        png="figures/{at}claims.png",
        csv="figures/{at}claims.csv",
    log:
        "logs/{at}paper/draw_claims.log",
    benchmark:
        "logs/{at}paper/draw_claims.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        spec=spec("paper", "draw_claims"),
        code=code("paper", "draw_claims"),
    shell:
        "python -m seqlab paper draw_claims"
        " --spec {params.spec:q} --code {params.code}"
        " --table {input.table:q}"
        " --pdf {output.pdf:q} --png {output.png:q} --csv {output.csv:q}"
        " > {log:q} 2>&1"


rule paper_draw_contact_sheet:
    input:
        figures=every_preview,
    output:
        pdf="figures/{at}contact_sheet{of}.pdf",
        png="figures/{at}contact_sheet{of}.png",
    log:
        "logs/{at}paper/draw_contact_sheet{of}.log",
    benchmark:
        "logs/{at}paper/draw_contact_sheet{of}.jsonl"
    wildcard_constraints:
        of=f"(?:_(?:{choices(study_names())}))?",
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        spec=spec("paper", "draw_contact_sheet"),
        code=code("paper", "draw_contact_sheet"),
    shell:
        "python -m seqlab paper draw_contact_sheet"
        " --spec {params.spec:q} --code {params.code}"
        " --figures {input.figures:q} --pdf {output.pdf:q} --png {output.png:q}"
        " > {log:q} 2>&1"


rule paper_merge_manifest:
    input:
        artefacts=lambda wildcards: (
            items_of_study(wildcards.of[:-1], wildcards.scale)
            if wildcards.of
            else every_artefact(wildcards.scale)
        ),
    output:
        manifest="results/{scale}/{of}manifest.json",
    log:
        "logs/{scale}/paper/{of}merge_manifest.log",
    benchmark:
        "logs/{scale}/paper/{of}merge_manifest.jsonl"
    wildcard_constraints:
        of=f"(?:(?:{choices(study_names())})/)?",
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        spec=spec("paper", "merge_manifest"),
        code=code("paper", "merge_manifest"),
    shell:
        "python -m seqlab paper merge_manifest"
        " --spec {params.spec:q} --code {params.code}"
        " --artefacts {input.artefacts:q} --manifest {output.manifest:q}"
        " > {log:q} 2>&1"


rule paper_write_run_config:
    output:
        config="results/{scale}/run_config.json",
    log:
        "logs/{scale}/paper/write_run_config.log",
    benchmark:
        "logs/{scale}/paper/write_run_config.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=1000,
        runtime=10,
    params:
        spec=run_config,
        code=code("paper", "write_run_config"),
    shell:
        "python -m seqlab paper write_run_config"
        " --spec {params.spec:q} --code {params.code}"
        " --out {output.config:q}"
        " > {log:q} 2>&1"
