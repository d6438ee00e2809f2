"""Shared assets: corpora, tokenizers, encoded corpora, baselines and models of several studies.

Inputs: resources/, a folder of the user's, or the hub (assets_corpus and assets_init_* only).
Outputs: results/{scale}/assets/{corpora,tokenizers,tokens,baselines,models,examples,classifiers}/.
Steps, in order: corpus, init_model, tokenizer, tokens, baselines, train_model;
for sentence classifiers: corpus, init_model, tokenizer, examples, train_classifier.
"""


wildcard_constraints:
    corpus=names_at_every_scale("assets", lambda s: s.corpora),
    tokenizer=names_at_every_scale("assets", lambda s: s.tokenizers),
    model=names_at_every_scale("assets", lambda s: s.models),
    classifier=names_at_every_scale("assets", lambda s: s.classifiers),


rule assets_corpus:
    input:
        resource=resource_folder,
    output:
        folder=directory("results/{scale}/assets/corpora/{corpus}"),
    log:
        "logs/{scale}/assets/corpus/{corpus}.log",
    benchmark:
        "logs/{scale}/assets/corpus/{corpus}.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=4000,
        runtime=60,
    params:
        spec=spec("assets", "corpus"),
        code=code("assets", "corpus"),
    shell:
        "python -m seqlab assets corpus"
        " --spec {params.spec:q} --code {params.code}"
        " --resource {input.resource:q} --out {output.folder:q}"
        " > {log:q} 2>&1"


rule assets_init_model:
    input:
        tokenizer=initial_tokenizer,
    output:
        folder=directory("results/{scale}/assets/models/{model}/init"),
    log:
        "logs/{scale}/assets/init_model/{model}.log",
    benchmark:
        "logs/{scale}/assets/init_model/{model}.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=16000,
        runtime=240,
    params:
        spec=spec("assets", "init_model"),
        code=code("assets", "init_model"),
    shell:
        "python -m seqlab assets init_model"
        " --spec {params.spec:q} --code {params.code}"
        " --tokenizer {input.tokenizer:q} --out {output.folder:q}"
        " > {log:q} 2>&1"


rule assets_tokenizer:
    input:
        corpus=tokenizer_origin("corpus"),
        model=tokenizer_origin("model"),
    output:
        folder=directory("results/{scale}/assets/tokenizers/{tokenizer}"),
    log:
        "logs/{scale}/assets/tokenizer/{tokenizer}.log",
    benchmark:
        "logs/{scale}/assets/tokenizer/{tokenizer}.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=4000,
        runtime=60,
    params:
        spec=spec("assets", "tokenizer"),
        code=code("assets", "tokenizer"),
    shell:
        "python -m seqlab assets tokenizer"
        " --spec {params.spec:q} --code {params.code}"
        " --corpus {input.corpus:q} --model {input.model:q} --out {output.folder:q}"
        " > {log:q} 2>&1"


rule assets_tokens:
    input:
        corpus="results/{scale}/assets/corpora/{corpus}",
        tokenizer="results/{scale}/assets/tokenizers/{tokenizer}",
    output:
        folder=directory("results/{scale}/assets/tokens/{corpus}/{tokenizer}"),
    log:
        "logs/{scale}/assets/tokens/{corpus}/{tokenizer}.log",
    benchmark:
        "logs/{scale}/assets/tokens/{corpus}/{tokenizer}.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=4000,
        runtime=120,
    params:
        spec=spec("assets", "tokens"),
        code=code("assets", "tokens"),
    shell:
        "python -m seqlab assets tokens"
        " --spec {params.spec:q} --code {params.code}"
        " --corpus {input.corpus:q} --tokenizer {input.tokenizer:q} --out {output.folder:q}"
        " > {log:q} 2>&1"


rule assets_baselines:
    input:
        corpus="results/{scale}/assets/corpora/{corpus}",
        tokens="results/{scale}/assets/tokens/{corpus}/{tokenizer}",
    output:
        table="results/{scale}/assets/baselines/{corpus}/{tokenizer}.json",
    log:
        "logs/{scale}/assets/baselines/{corpus}/{tokenizer}.log",
    benchmark:
        "logs/{scale}/assets/baselines/{corpus}/{tokenizer}.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=4000,
        runtime=120,
    params:
        spec=spec("assets", "baselines"),
        code=code("assets", "baselines"),
    shell:
        "python -m seqlab assets baselines"
        " --spec {params.spec:q} --code {params.code}"
        " --corpus {input.corpus:q} --tokens {input.tokens:q} --out {output.table:q}"
        " > {log:q} 2>&1"


rule assets_train_model:
    input:
        init="results/{scale}/assets/models/{model}/init",
        tokens=tokens_of_model,
        tokenizer=tokenizer_of_model,
    output:
        folder=directory("results/{scale}/assets/models/{model}/trained"),
    log:
        "logs/{scale}/assets/train_model/{model}.log",
    benchmark:
        "logs/{scale}/assets/train_model/{model}.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: training_threads
    resources:
        gpu=gpus,
        mem_mb=8000,
        runtime=1440,
    params:
        spec=spec("assets", "train_model"),
        code=code("assets", "train_model"),
        device=config["device"],
        state="state/{scale}/assets/train_model/{model}",
    shell:
        "python -m seqlab assets train_model"
        " --spec {params.spec:q} --code {params.code} --device {params.device}"
        " --gpus {resources.gpu}"
        " --init {input.init:q} --tokens {input.tokens:q} --tokenizer {input.tokenizer:q}"
        " --state {params.state:q} --out {output.folder:q}"
        " > {log:q} 2>&1"


rule assets_init_classifier:
    input:
        tokenizer=initial_classifier_tokenizer,
    output:
        folder=directory("results/{scale}/assets/classifiers/{classifier}/init"),
    log:
        "logs/{scale}/assets/init_classifier/{classifier}.log",
    benchmark:
        "logs/{scale}/assets/init_classifier/{classifier}.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=8000,
        runtime=120,
    params:
        spec=spec("assets", "init_classifier"),
        code=code("assets", "init_model"),
    shell:
        "python -m seqlab assets init_model"
        " --spec {params.spec:q} --code {params.code}"
        " --tokenizer {input.tokenizer:q} --out {output.folder:q}"
        " > {log:q} 2>&1"


rule assets_examples:
    input:
        corpus="results/{scale}/assets/corpora/{corpus}",
        tokenizer="results/{scale}/assets/tokenizers/{tokenizer}",
    output:
        folder=directory("results/{scale}/assets/examples/{corpus}/{tokenizer}"),
    log:
        "logs/{scale}/assets/examples/{corpus}/{tokenizer}.log",
    benchmark:
        "logs/{scale}/assets/examples/{corpus}/{tokenizer}.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: 1
    resources:
        gpu=0,
        mem_mb=4000,
        runtime=60,
    params:
        spec=spec("assets", "examples"),
        code=code("assets", "examples"),
    shell:
        "python -m seqlab assets examples"
        " --spec {params.spec:q} --code {params.code}"
        " --corpus {input.corpus:q} --tokenizer {input.tokenizer:q} --out {output.folder:q}"
        " > {log:q} 2>&1"


rule assets_train_classifier:
    input:
        init="results/{scale}/assets/classifiers/{classifier}/init",
        examples=examples_of_classifier,
        corpus=corpus_of_classifier,
    output:
        folder=directory("results/{scale}/assets/classifiers/{classifier}/trained"),
    log:
        "logs/{scale}/assets/train_classifier/{classifier}.log",
    benchmark:
        "logs/{scale}/assets/train_classifier/{classifier}.jsonl"
    conda:
        "../../envs/cpu.yaml"
    threads: classifier_threads
    resources:
        gpu=gpus,
        mem_mb=16000,
        runtime=720,
    params:
        spec=spec("assets", "train_classifier"),
        code=code("assets", "train_classifier"),
        device=config["device"],
        state="state/{scale}/assets/train_classifier/{classifier}",
    shell:
        "python -m seqlab assets train_classifier"
        " --spec {params.spec:q} --code {params.code} --device {params.device}"
        " --gpus {resources.gpu}"
        " --init {input.init:q} --examples {input.examples:q} --corpus {input.corpus:q}"
        " --state {params.state:q} --out {output.folder:q}"
        " > {log:q} 2>&1"
