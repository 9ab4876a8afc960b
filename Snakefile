# Multi-stage training: train -> promote -> train ...; analyze and report are leaves.
# What each stage is comes from config.yaml; `snakemake -n` shows what would run, and why.

report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"


rule all:
    input:
        [
            f"{OUT}/{run}/{stage}/{name}.json"
            for run in CONFIG.runs
            for stage in CONFIG.runs[run].stages
            for name in ("train", "checkpoint", "analysis")
        ],
        [f"{OUT}/{run}/report.html" for run in CONFIG.runs],


include: "workflow/rules/train.smk"
include: "workflow/rules/analyze.smk"


onstart:
    PLANS.refuse(workflow.dag.needrun_jobs())
