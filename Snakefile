# Entry point of the workflow: settings, rule files, and what `snakemake` alone builds.
from snakemake.utils import min_version

min_version("9.27")

from seqlab.workflow import study_names


configfile: "config/config.yaml"
configfile: "config/assets.yaml"
configfile: "config/paper.yaml"


for study in study_names():

    configfile: f"config/studies/{study}.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/assets.smk"
include: "workflow/rules/assets_graph.smk"


for study in study_names():

    include: f"workflow/rules/{study}.smk"


include: "workflow/rules/paper.smk"


report: "workflow/report/workflow.rst"


rule all:
    default_target: True
    input:
        every_item(config["scale"]),


onstart:
    # Whenever a job has ended, Snakemake 9.27 starts one more timer that looks for jobs each second from then
    # on: after 150 jobs this takes a tenth of a core from what is timed. Only a limit on the rate of jobs needs
    # it, and a single machine has none.
    if workflow.local_exec:
        workflow.scheduler.job_rate_limiter = None


onsuccess:
    shell("python -m seqlab status --scale {config[scale]}")


onerror:
    shell("python -m seqlab status --scale {config[scale]}")
