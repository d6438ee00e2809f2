"""The paper graph of Figure 2 on a CPU, against a loopback hub with tiny checkpoints.

Every rule executes; the rows are marked as a rehearsal and reach no table.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from workflow_checkout import Checkout, target_rules

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hub.checkpoints import serve_rehearsal

PAGE = Path(__file__).resolve().parents[1] / "data/ncu_page.csv"

# Only sizes are changed: sources, tokenizer, rules and steps are those of paper scale.
OVERLAY = """
assets:
  scales:
    paper:
      models:
        mamba_2.8b: {training: {threads: 1, evaluate_length: 64}}
      graphs:
        ogbn_arxiv: {nodes: 200, edges: 900}
      graph_networks:
        gcn_arxiv: &network
          training: {hidden_size: 16, threads: 1, train: {steps: 20, evaluate_every: 10}}
        sage_arxiv: *network
      classifiers:
        bert_large_sst2:
          training: {batch: 4, threads: 1, train: {steps: 4, precision: fp32, evaluate_every: 2}}
codesign:
  scales:
    paper:
      quantization:
        models: [mamba_2.8b]
        schemes: [group32]
        bits: [8]
        seeds: 3
        parity_seeds: 2
        threads: 1
        affinity: {tokens: 256, window: 64}
        solver: {block: 32}
        quality: {windows: 2, length: 32}
        latency: {prefill_tokens: 32, prefill_repeats: 3, decode_repeats: 3, warmup_max: 3,
                  max_foreign_load: 64.0}
      controls:
        dense: {rows: 64, columns: 64, width: 16, block: 16, samples: 256}
        sparse: {nodes: 1024, edges: 4096, communities: 16, mixing: 0.1, width: 16}
        latency: {placements: 1, dense_repeats: 3, sparse_repeats: 3, warmup_max: 1,
                  max_foreign_load: 64.0}
        seeds: 3
      synthetic:
        nodes: [256]
        communities: [16]
        mixing: [0.2]
        degree: 12
        original: {nodes: 256, communities: 4, mixing: 0.656, degree: 36}
        capacities: [1, 4]
        fractions: 5
        steps: 4000
        seeds: 3
        shown: {graph: n256_k16_mu0.2_d12, block: 64, small_block: 16}
      workbench:
        architectures:
          mamba: {length: 32, block: 16, calibration: 2, traced: 2, repeats: 3, quality: 2}
          bert: {batch: 1, length: 16, block: 16, calibration: 4, traced: 2, repeats: 3, quality: 8}
          resnet: {batch: 1, length: 32, block: 16, calibration: 1, traced: 2, repeats: 3}
          gcn: {block: 16, repeats: 3}
          sage: {block: 16, repeats: 3}
        timing: {warmup_max: 1, max_foreign_load: 64.0, threads: 1}
      main: {seeds: 2, threads: 1}
      layouts:
        graph: {nodes: 512, edges: 2048, communities: 8, mixing: 0.1, width: 16, block: 32}
        seeds: 2
        graphs: 3
        layouts: 8
        layouts_per_graph: 8
        repeats: 3
        resamples: 200
        threads: 1
      sweeps:
        threads: 1
        layer: {lengths: [16, 32], calls: {work: 64, least: 3, most: 3}}
        batch: {length: 16, batches: [1, 2], wanted: [1, 2], calls: {work: 64, least: 3, most: 3}}
        bandwidth: {pairs: [[1, 16], [1, 32]], wanted: [[1, 16], [1, 32]], traced: 1,
                    calls: {work: 64, least: 3, most: 3}}
        width: {widths: [32, 48, 64, 96], tokens: 16, most_rows: 128,
                calls: {work: 1, least: 20, most: 50}}
        layer_seeds: 3
        seeds: 2
        resamples: 200
      ablations:
        methods: [identity, random, tsp, spectral_balanced]
        node_orders: [original, random, multilevel]
        rounds: [0, 1]
        blocks: [16, 32]
        clusters: [4, 16]
        clusters_reference: 4
        repeats: 3
        quality: 1
        seeds: 2
        threads: 1
      masks:
        models: [mamba_2.8b]
        train: {steps: 2}
        batch: 1
        length: 16
        threads: 1
        windows: 3
        evaluate_length: 16
        resamples: 100
      pareto: {sparsities: [0, 50], seeds: 2, repeats: 3, threads: 1, resamples: 100}
      paths: {sparsities: [50], seeds: 2, repeats: 3, threads: 1,
              match: {sparsity: 50, grid: [45, 55], refinements: 0, margin: 1.0}}
      intervention:
        graph: {nodes: 512, edges: 2048, communities: 8, mixing: 0.1, width: 16, block: 32}
        capacity_max: 67108864
        repeats: 3
        seeds: 2
        threads: 1
      backends: {architectures_measured: [mamba], compilers: [eager], repeats: 3, seeds: 2,
                 threads: 1}
      profiles: {architectures_measured: [mamba], repeats: 3, seeds: 2, threads: 1}
archbench:
  scales:
    paper:
      shape: {width: 16, layers: 1, layer_parameters: 3600}
      pilot: {rates: [1.0e-3], rungs: [0.5]}
      optimiser: {evaluations: 2}
      tasks:
        mqar: &few {steps: 4, batch: 2, sequences: 4, valid: 4, more: {trained: 4}}
        flip_flop: {steps: 4, batch: 2, sequences: 4, valid: 4,
                    more: {trained: 4, sparse: 4, length_x2_sparse: 4, length_x4_sparse: 4}}
        knapsack: *few
        marked_mqar: *few
        mqar_frozen: *few
        mqar_learned: *few
        mqar_subset: *few
        mqar_half: *few
        mqar_double: *few
        mqar_quadruple: *few
        flip_flop_few: *few
        flip_flop_some: *few
        flip_flop_many: *few
        knapsack_half: *few
        knapsack_double: *few
      grid: {architectures: [rope, deltanet], seeds: 2}
      factorial: {tasks: [marked_mqar], architectures: [rope, deltanet], seeds: 2}
      vocabulary: {tasks: [mqar_frozen, mqar_learned], architectures: [rope], seeds: 2}
      difficulty: {tasks: [mqar, mqar_double], architectures: [rope], seeds: 2}
      speed: {lengths: [32, 64], tokens: 128, repeats: 2, seeds: 2, max_foreign_load: 64.0}
"""


@pytest.mark.slow
def test_the_paper_graph_is_rehearsed(checkout: Checkout, tmp_path: Path) -> None:
    (checkout.path / "rehearsal.yaml").write_text(OVERLAY)
    arguments = ("--configfile", "rehearsal.yaml", "--config", "scale=paper", "device=cpu")
    planned = checkout.jobs(*arguments)
    # No time of a rehearsal counts: two runs may go side by side.
    runs = ("run_experiment", "run_quantization", "run_controls")
    side_by_side = ("--set-threads", *(f"codesign_{name}=1" for name in runs))
    with serve_rehearsal(tmp_path / "hub") as endpoint:
        checkout.run("snakemake", *arguments, *side_by_side, HF_ENDPOINT=endpoint)
    profile = "results/paper/codesign/profile/mamba/csr/linear_TP/seed-0/record.json"
    with_ncu = checkout.with_ncu(PAGE)
    checkout.run("snakemake", profile, *arguments, PATH=with_ncu)
    assert json.loads((checkout.path / profile).read_text())["rehearsal"]
    benchmark = ("--config", *arguments[3:], "--configfile", "rehearsal.yaml", "--cores", "2")
    checkout.run("python", "scripts/run_benchmark.py", "--tasks", "mqar", *benchmark)
    planned |= {"codesign_profile_arm", "archbench_export_benchmark"}
    listed = set(checkout.run("snakemake", "--list-rules").stdout.split())
    assert planned == listed - (target_rules() - {"all"}), "a rule was not executed"
    folder = checkout.path / "results/paper/codesign/quantization"
    records = [json.loads(path.read_text()) for path in folder.rglob("record.json")]
    assert len(records) == 3 and all(record["rehearsal"] for record in records)
    for table in ("observations", "statistics", "summary"):
        assert pd.read_csv(folder / f"{table}.csv").empty
    claims = pd.read_csv(checkout.path / "results/paper/tables/claims.csv")
    # Other figures fetch nothing, so what they say is said by real runs.
    verdicts = set(claims[claims["item"] == "fig2"]["verdict"])
    assert verdicts == {"not_run", "not_evaluable"}
    assert (checkout.path / "figures/paper/fig2.pdf").is_file()
    origin = json.loads(
        (checkout.path / "results/paper/assets/models/mamba_2.8b/trained/source.json").read_text()
    )
    assert origin["rehearsal"] and origin["source"] == "hub:state-spaces/mamba-2.8b-hf"
    for folder, source in (
        ("graph_networks/gcn_arxiv", "hub:ZhuofengLi/TEG-Datasets"),
        ("image_models/resnet50_imagenet", "hub:timm/resnet50.tv2_in1k"),
        ("classifiers/bert_large_sst2/trained", "hub:google-bert/bert-large-uncased"),
    ):
        path = checkout.path / "results/paper/assets" / folder / "source.json"
        origin = json.loads(path.read_text())
        assert origin["rehearsal"] and origin["source"] == source
    trained = checkout.path / "results/paper/assets/classifiers/bert_large_sst2/trained"
    summary = json.loads((trained / "training.json").read_text())
    assert summary["steps"] == 4 and len(summary["evaluations"]) == 2
