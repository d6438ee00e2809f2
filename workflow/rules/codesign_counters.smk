"""Hardware counters of single arms on a GPU; built by their paths, no table waits for them.

Inputs: trained models with the data they are measured on.
Outputs: results/{scale}/codesign/profile/{architecture}/{kernel}/{arm}/seed-{seed}/record.json, with the
raw page of Nsight Compute beside it.
"""

PROFILE = "results/{scale}/codesign/profile/{architecture}/{kernel}/{arm}/seed-{seed}"


wildcard_constraints:
    architecture=names_at_every_scale("codesign", lambda s: s.workbench.architectures),
    kernel=r"[a-z0-9]+",
    arm=r"[a-zA-Z0-9_]+",


rule codesign_profile_arm:
    input:
        assets=assets_of_profile,
    output:
        record=f"{PROFILE}/record.json",
        samples=f"{PROFILE}/samples.npz",
        page=f"{PROFILE}/page.csv",
    log:
        "logs/{scale}/codesign/profile_arm/{architecture}/{kernel}/{arm}/seed-{seed}.log",
    benchmark:
        "logs/{scale}/codesign/profile_arm/{architecture}/{kernel}/{arm}/seed-{seed}.jsonl"
    conda:
        "../../envs/cpu.yaml"
    # The profiler counts what the whole device does: nothing may run beside it.
    threads: workflow.cores
    resources:
        gpu=gpus,
        mem_mb=lambda wildcards: 96000 if wildcards.scale == "paper" else 6000,
        runtime=60,
    params:
        spec=spec("codesign", "profile_arm"),
        code=code("codesign", "profile_arm"),
        device=config["device"],
    shell:
        "python -m seqlab codesign profile_arm"
        " --spec {params.spec:q} --code {params.code} --device {params.device}"
        " --gpus {resources.gpu}"
        " --assets {input.assets:q}"
        " --record {output.record:q} --samples {output.samples:q} --page {output.page:q}"
        " > {log:q} 2>&1"
