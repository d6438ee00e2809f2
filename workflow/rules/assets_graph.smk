"""Shared assets: graphs, networks trained on them, and image models.

Inputs: a folder of the user's, or the hub (assets_graph and assets_image_model only).
Outputs: results/{scale}/assets/{graphs,graph_networks,image_models}/.
Steps, in order: graph, train_graph_network; image_model.
"""


wildcard_constraints:
    graph=names_at_every_scale("assets", lambda s: s.graphs),
    network=names_at_every_scale("assets", lambda s: s.graph_networks),
    image_model=names_at_every_scale("assets", lambda s: s.image_models),


rule assets_graph:
    output:
        folder=directory("results/{scale}/assets/graphs/{graph}"),
    log:
        "logs/{scale}/assets/graph/{graph}.log",
    benchmark:
        "logs/{scale}/assets/graph/{graph}.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=4000,
        runtime=120,
    params:
        spec=spec("assets", "graph"),
        code=code("assets", "graph"),
    shell:
        "python -m seqlab assets graph"
        " --spec {params.spec:q} --code {params.code}"
        " --out {output.folder:q}"
        " > {log:q} 2>&1"


rule assets_train_graph_network:
    input:
        graph=graph_of_network,
    output:
        folder=directory("results/{scale}/assets/graph_networks/{network}"),
    log:
        "logs/{scale}/assets/train_graph_network/{network}.log",
    benchmark:
        "logs/{scale}/assets/train_graph_network/{network}.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: graph_training_threads
    resources:
        gpu=gpus,
        mem_mb=8000,
        runtime=240,
    params:
        spec=spec("assets", "train_graph_network"),
        code=code("assets", "train_graph_network"),
        device=config["device"],
        state="state/{scale}/assets/train_graph_network/{network}",
    shell:
        "python -m seqlab assets train_graph_network"
        " --spec {params.spec:q} --code {params.code} --device {params.device}"
        " --gpus {resources.gpu}"
        " --graph {input.graph:q}"
        " --state {params.state:q} --out {output.folder:q}"
        " > {log:q} 2>&1"


rule assets_image_model:
    output:
        folder=directory("results/{scale}/assets/image_models/{image_model}"),
    log:
        "logs/{scale}/assets/image_model/{image_model}.log",
    benchmark:
        "logs/{scale}/assets/image_model/{image_model}.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=4000,
        runtime=120,
    params:
        spec=spec("assets", "image_model"),
        code=code("assets", "image_model"),
    shell:
        "python -m seqlab assets image_model"
        " --spec {params.spec:q} --code {params.code}"
        " --out {output.folder:q}"
        " > {log:q} 2>&1"
