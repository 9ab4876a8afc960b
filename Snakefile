# Multi-stage training: train -> promote -> train ...; analyze and report are leaves.
# What each stage is comes from config.yaml; `snakemake -n` shows what would run, and why.

import sys


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"


rule all:
    input:
        # Every declared file: a removed one in the middle would otherwise be "Nothing to be done".
        [
            f"{OUT}/{run}/{stage}/{name}"
            for run in CONFIG.runs
            for stage in CONFIG.runs[run].stages
            for name in (
                "train.json",
                "checkpoint.json",
                "analysis.json",
                "analysis.md",
            )
        ],
        [f"{OUT}/{run}/report.html" for run in CONFIG.runs],
        f"{OUT}/index.html",


include: "workflow/rules/train.smk"
include: "workflow/rules/analyze.smk"


onstart:
    # Before anything is submitted. sys.exit, because an exception here would print our own lines of code.
    if refusals := PLANS.refusals(
        workflow.dag.needrun_jobs(),
        workflow.dag.get_job_group,
        limited=workflow.non_local_exec,
    ):
        sys.exit(f"trainrelay: nothing was started.\n{refusals}")
