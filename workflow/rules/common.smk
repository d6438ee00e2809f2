"""Shared helpers, no rules: settings and fingerprints as params, paths, the default GPU limit."""

import json
import os
import sys
from pathlib import Path

from seqlab.provenance.unpacked import is_unpacked
from seqlab.workflow import SCALES, Settings, choices, code, require_checkout, spec_json

# `python` in a shell command is the interpreter that runs Snakemake, whether or not its
# environment is active.
os.environ.update(
    PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
)

# A step that runs other code than its fingerprint says would make every record a lie.
require_checkout(workflow.basedir)
settings = Settings(config)
settings("paper", config["scale"])

# One GPU job at a time unless `--resources gpu=N` says otherwise; without a limit Snakemake
# starts all of them at once.
workflow.global_resources.setdefault("gpu", 1)


wildcard_constraints:
    scale=choices(SCALES),
    # Numbered items of laptop scale stand in figures/, those of other scales in figures/<scale>/.
    at="(?:ci/|paper/)?",
    seed=r"[0-9]+",


def scale_of(wildcards):
    """Return the scale that wildcards name by a folder, or by the optional folder of an item."""
    if hasattr(wildcards, "scale"):
        return wildcards.scale
    return wildcards.at[:-1] or "laptop"


def spec(group, step):
    """Return a params function, exactly the settings that a step reads, as sorted JSON."""
    return lambda wildcards: spec_json(
        settings(group, scale_of(wildcards)), step, wildcards
    )


def timing_cores(wildcards):
    """Return the cores that a step which times something reserves.

    While it times it has the machine alone (`seqlab.quiet`). On a laptop two such steps prepare
    side by side; models of paper scale do not fit beside each other. At ci no time counts.
    """
    share = {"ci": 1, "laptop": workflow.cores // 2}
    return max(1, share.get(scale_of(wildcards), workflow.cores))


def archbench_threads(wildcards):
    """Return the threads that a run of the architecture benchmark is pinned to."""
    return settings("archbench", scale_of(wildcards)).threads


def gpus(wildcards):
    """Return the GPUs that a job asks for: one, unless the workflow runs on the CPU."""
    return int(config["device"] != "cpu" and scale_of(wildcards) == "paper")


def names_at_every_scale(group, pick):
    """Return a wildcard regex of the names that `pick(settings)` gives at any scale."""
    return choices({name for scale in SCALES for name in pick(settings(group, scale))})


def each(group, pick, template):
    """Return an input function: `template` for every `{name}` that `pick(settings)` gives."""

    def paths(wildcards):
        scale = scale_of(wildcards)
        names = pick(settings(group, scale))
        return [template.format(name=name, scale=scale) for name in names]

    return paths


def tokens_of_model(wildcards):
    """Return the encoded corpus that a model is trained and measured on."""
    model = settings("assets", scale_of(wildcards)).models[wildcards.model]
    return (
        f"results/{scale_of(wildcards)}/assets/tokens/{model.corpus}/{model.tokenizer}"
    )


def tokenizer_of_model(wildcards):
    """Return the tokenizer folder of a model."""
    scale = scale_of(wildcards)
    name = settings("assets", scale).models[wildcards.model].tokenizer
    return f"results/{scale}/assets/tokenizers/{name}"


def initial_tokenizer(wildcards):
    """Return the tokenizer that fixes a fresh model's vocabulary; fetched weights bring theirs."""
    model = settings("assets", scale_of(wildcards)).models[wildcards.model]
    return tokenizer_of_model(wildcards) if model.fresh else []


def classifier_settings(wildcards):
    """Return the settings of a sentence classifier."""
    return settings("assets", scale_of(wildcards)).classifiers[wildcards.classifier]


def initial_classifier_tokenizer(wildcards):
    """Return the tokenizer that fixes a fresh classifier's vocabulary; fetched ones bring theirs."""
    classifier = classifier_settings(wildcards)
    if not classifier.init.fresh:
        return []
    return f"results/{scale_of(wildcards)}/assets/tokenizers/{classifier.tokenizer}"


def corpus_of_classifier(wildcards):
    """Return the labelled corpus that a classifier is trained and scored on."""
    corpus = classifier_settings(wildcards).corpus
    return f"results/{scale_of(wildcards)}/assets/corpora/{corpus}"


def examples_of_classifier(wildcards):
    """Return the encoded labelled texts that a classifier is trained and measured on."""
    classifier = classifier_settings(wildcards)
    pair = f"{classifier.corpus}/{classifier.tokenizer}"
    return f"results/{scale_of(wildcards)}/assets/examples/{pair}"


def classifier_threads(wildcards):
    """Return the threads that a classifier's training is pinned to."""
    return classifier_settings(wildcards).training.threads


def training_threads(wildcards):
    """Return the threads that training is pinned to: a setting, because it changes the bits."""
    return (
        settings("assets", scale_of(wildcards)).models[wildcards.model].training.threads
    )


def graph_of_network(wildcards):
    """Return the graph folder that a graph network is trained on."""
    scale = scale_of(wildcards)
    name = settings("assets", scale).graph_networks[wildcards.network].graph
    return f"results/{scale}/assets/graphs/{name}"


def graph_training_threads(wildcards):
    """Return the threads that a graph network's training is pinned to."""
    networks = settings("assets", scale_of(wildcards)).graph_networks
    return networks[wildcards.network].training.threads


def resource_folder(wildcards):
    """Return the vendored folder a corpus comes from; nothing for a corpus of the user or the hub."""
    source = settings("assets", scale_of(wildcards)).corpora[wildcards.corpus].source
    kind, _, name = source.partition(":")
    return [f"resources/{name}"] if kind == "vendored" else []


def tokenizer_origin(kind):
    """Return an input function: the corpus or model a tokenizer is made from, if it is made from one."""
    folders = {
        "corpus": {"corpus": "corpora/{}"},
        "model": {"model": "models/{}/init", "classifier": "classifiers/{}/init"},
    }[kind]

    def paths(wildcards):
        scale = scale_of(wildcards)
        tokenizer = settings("assets", scale).tokenizers[wildcards.tokenizer]
        names = {field: getattr(tokenizer, field) for field in folders}
        return [
            f"results/{scale}/assets/{folders[field].format(name)}"
            for field, name in names.items()
            if name
        ]

    return paths


def baselines_of_models(group, pick):
    """Return an input function: the compression and n-gram baselines of each model's corpus."""

    def paths(wildcards):
        scale = scale_of(wildcards)
        models = settings("assets", scale).models
        pairs = {
            (models[name].corpus, models[name].tokenizer)
            for name in pick(settings(group, scale))
        }
        return [
            f"results/{scale}/assets/baselines/{corpus}/{tokenizer}.json"
            for corpus, tokenizer in sorted(pairs)
        ]

    return paths


def unless_unpacked(output, path):
    """Return an input function: `path`, or nothing where `output` came from another machine.

    Unpacked outputs are sources: no training is started to make the inputs that they once had.
    """

    def paths(wildcards):
        if is_unpacked(".", scale_of(wildcards), output.format(**wildcards)):
            return []
        return path(wildcards) if callable(path) else path.format(**wildcards)

    return paths


def artefact(kind, *suffixes):
    """Return an input function: the files of the study artefact that a number or alias stands for."""

    def paths(wildcards):
        scale = scale_of(wildcards)
        name = wildcards.get("figure") or wildcards.get("table")
        item = settings("paper", scale).item(kind, name)
        return [
            f"results/{scale}/{item.study}/{kind}/{item.artefact}.{suffix}"
            for suffix in suffixes
        ]

    return paths


def caption_template(wildcards):
    """Return the template of a figure's caption, by number or alias."""
    number = settings("paper", scale_of(wildcards)).number(wildcards.figure)
    return f"workflow/report/{number}.rst"


def claim_tables(wildcards):
    """Return the statistics that a study's claims are judged by."""
    scale, study = wildcards.scale, wildcards.study
    tables = settings(study, scale).claim_tables
    return [f"results/{scale}/{study}/{table}" for table in tables]


def claims_of_studies(wildcards):
    """Return the verdicts of every study."""
    scale = scale_of(wildcards)
    return [f"results/{scale}/{study}/claims.csv" for study in study_names()]


def facts_spec(group, step):
    """Return a params function: the settings of a step that names models, with their corpora."""

    def build(wildcards):
        models = settings("assets", scale_of(wildcards)).models
        facts = settings(group, scale_of(wildcards)).step_spec(step, wildcards)
        corpora = [
            f"{models[name].corpus}/{models[name].tokenizer}" for name in facts.models
        ]
        return facts.model_copy(update={"corpora": tuple(corpora)}).canonical()

    return build


def claims_spec(wildcards):
    """Return the spec of the step that judges claims: which model is measured on which corpus."""
    scale = scale_of(wildcards)
    assets = settings("assets", scale)
    models = {**assets.models, **assets.classifiers}
    corpora = {name: model.corpus for name, model in models.items()}
    corpora |= {name: network.graph for name, network in assets.graph_networks.items()}
    return json.dumps({"corpora": corpora, "scale": scale}, sort_keys=True)


def every_preview(wildcards):
    """Return the preview of every figure, the claims last, or of every figure of a study."""
    items, study = settings("paper", scale_of(wildcards)).figures, wildcards.of[1:]
    figures = [number for number, item in items.items() if study in ("", item.study)]
    figures += [] if study else ["claims"]
    return [f"figures/{wildcards.at}{figure}.png" for figure in figures]


def files_of_items(names, scale=config["scale"]):
    """Return the files of items by number or alias, of the configured scale unless told otherwise."""
    paper = settings("paper", scale)
    return [path for name in names for path in paper.files(name, scale)]


def every_name():
    """Return every number and alias."""
    paper = settings("paper", config["scale"])
    return [*paper.names("figures"), *paper.names("tables")]


def items_of_study(study, scale):
    """Return the files of every item of a study, its claims and the sheet of its figures."""
    paper, at = settings("paper", scale), "" if scale == "laptop" else f"{scale}/"
    items = {**paper.figures, **paper.tables}
    numbers = [number for number, item in items.items() if item.study == study]
    return [
        *files_of_items(numbers, scale),
        f"results/{scale}/{study}/claims.csv",
        f"figures/{at}contact_sheet_{study}.pdf",
    ]


def whole_study(study):
    """Return every item of a study at the configured scale, and the manifest of them."""
    scale = config["scale"]
    return [*items_of_study(study, scale), f"results/{scale}/{study}/manifest.json"]


def files_of_target(study, target):
    """Return an input function: a target's run records, and the items that need no other record."""

    def paths(wildcards):
        scale = config["scale"]
        chosen, paper = settings(study, scale), settings("paper", scale)
        drawn = chosen.drawn_from(target)
        numbers = [
            number
            for kind in ("figures", "tables")
            for number, item in getattr(paper, kind).items()
            if item.study == study and item.artefact in drawn[kind]
        ]
        records = [
            f"results/{scale}/{study}/{name}" for name in chosen.records_of(target)
        ]
        return [*records, *files_of_items(numbers)]

    return paths


def every_artefact(scale):
    """Return every numbered figure and table of a scale, and the claims."""
    at = "" if scale == "laptop" else f"{scale}/"
    paper = settings("paper", scale)
    return [
        *files_of_items([*paper.figures, *paper.tables], scale),
        f"figures/{at}claims.pdf",
        f"figures/{at}contact_sheet.pdf",
    ]


def run_config(wildcards):
    """Return the spec of the step that writes down the settings of every group."""
    groups = ("assets", *study_names(), "paper")
    merged = {
        group: settings(group, wildcards.scale).model_dump(mode="json")
        for group in groups
    }
    return json.dumps({"settings": json.dumps(merged, sort_keys=True)})


def every_item(scale):
    """Return what `snakemake` without a target builds at a scale."""
    return [
        *every_artefact(scale),
        f"results/{scale}/manifest.json",
        f"results/{scale}/run_config.json",
    ]


def experiment_of(wildcards):
    """Return settings of the experiment that wildcards name."""
    return settings("codesign", wildcards.scale).experiments[wildcards.experiment]


def step_of(verb, wildcard):
    """Return a params function: the step of a verb for what a wildcard names."""
    return lambda wildcards: f"{verb}_{wildcards[wildcard]}"


def study_step_spec(study, verb, wildcard):
    """Return a params function: the settings of the step of a verb for what a wildcard names."""
    return lambda wildcards: spec(study, f"{verb}_{wildcards[wildcard]}")(wildcards)


def study_step_code(study, verb, wildcard):
    """Return a params function: the fingerprint of that step."""
    return lambda wildcards: code(study, f"{verb}_{wildcards[wildcard]}")


def archbench_rate(wildcards):
    """Return the learning rate of a run, chosen on its task or on the one that it names."""
    study = settings("archbench", wildcards.scale)
    here = f"results/{wildcards.scale}/archbench"
    run = f"{here}/runs/{wildcards.task}/{wildcards.variant}/seed-{wildcards.seed}/record.json"
    rate = f"{here}/rates/{study.rate_task(wildcards.task)}/{wildcards.variant}/record.json"
    return unless_unpacked(run, rate)(wildcards)


def archbench_records(wildcards):
    """Return the records of a part of the architecture benchmark."""
    records = settings("archbench", wildcards.scale).records_of(wildcards.part)
    return [f"results/{wildcards.scale}/archbench/{record}" for record in records]


def archbench_sets(wildcards):
    """Return the stored sets that the runs of a part were tested on."""
    tasks = settings("archbench", wildcards.scale).experiments[wildcards.part].tasks
    return [
        f"results/{wildcards.scale}/archbench/tests/{task}/sets.npz" for task in tasks
    ]


def archbench_export(wildcards):
    """Return the settings of the export of the runs that are asked for.

    By `--config architectures=lstm,gru tasks=mqar`, or in the variables that
    scripts/run_benchmark.py sets.
    """
    scale = scale_of(wildcards)
    architectures, tasks = (
        str(config.get(name, os.environ.get(archbench_variable(name), "")))
        for name in ("architectures", "tasks")
    )
    return settings("archbench", scale).export_spec(scale, architectures, tasks)


def archbench_phase(names):
    """Return the records of the grid of some architectures, at the configured scale."""
    grid = settings("archbench", config["scale"]).grid
    known = tuple(name for name in names if name in grid.architectures)
    runs = grid.model_copy(update={"architectures": known}).runs()
    return [
        f"results/{config['scale']}/archbench/runs/{run}/record.json" for run in runs
    ]


def of_archbench(kind, file):
    """Return an input function: a file of the experiment that an artefact is drawn from."""

    def path(wildcards):
        study = settings("archbench", wildcards.scale)
        part = study.part_of(kind, wildcards.artefact)
        return f"results/{wildcards.scale}/archbench/{part}/{file}"

    return path


def assets_of_cell(wildcards):
    """Return the models of a cell's architectures, each followed by what it is measured on.

    What an experiment reads besides comes last.
    """
    bench = settings("codesign", wildcards.scale).workbench
    experiment = experiment_of(wildcards)
    paths = [
        path
        for name in experiment.architectures(wildcards.cell)
        for path in assets_of_architecture(wildcards.scale, bench.architectures[name])
    ]
    further = experiment.further_assets(bench, wildcards.cell)
    return paths + [f"results/{wildcards.scale}/{path}" for path in further]


def assets_of_profile(wildcards):
    """Return the model of an architecture, and what it is measured on."""
    bench = settings("codesign", wildcards.scale).workbench
    architecture = bench.architectures[wildcards.architecture]
    return assets_of_architecture(wildcards.scale, architecture)


def assets_of_architecture(scale, architecture):
    """Return the model folder of an architecture and the folder of its data."""
    assets, root = settings("assets", scale), f"results/{scale}/assets"
    name = architecture.asset
    if architecture.kind == "mamba":
        model = assets.models[name]
        tokens = f"{root}/tokens/{model.corpus}/{model.tokenizer}"
        return [f"{root}/models/{name}/trained", tokens]
    if architecture.kind == "bert":
        model = assets.classifiers[name]
        examples = f"{root}/examples/{model.corpus}/{model.tokenizer}"
        return [f"{root}/classifiers/{name}/trained", examples]
    if architecture.kind == "resnet":
        return [f"{root}/image_models/{name}"]
    graph = assets.graph_networks[name].graph
    return [f"{root}/graph_networks/{name}", f"{root}/graphs/{graph}"]


def of_experiment(template):
    """Return an input function: a path of the experiment that an artefact is drawn from."""

    def path(wildcards):
        study = settings("codesign", wildcards.scale)
        experiment = study.experiment_of(wildcards.artefact)
        return template.format(scale=wildcards.scale, experiment=experiment)

    return path


def variants_of_model(wildcards):
    """Return the trained variants of a model."""
    variants = settings("codesign", wildcards.scale).masks.variants
    folder = f"results/{wildcards.scale}/codesign/masks/{wildcards.model}"
    return [f"{folder}/{variant}/trained" for variant in variants]


def mask_threads(wildcards):
    """Return the threads that mask training is pinned to."""
    return settings("codesign", wildcards.scale).masks.threads
