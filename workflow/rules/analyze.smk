# Leaves: a better analysis or report never schedules a training.


rule analyze:
    input:
        f"{OUT}/{{run}}/{{stage}}/train.json",
    output:
        json=f"{OUT}/{{run}}/{{stage}}/analysis.json",
        text=f"{OUT}/{{run}}/{{stage}}/analysis.md",
    log:
        f"{OUT}/{{run}}/{{stage}}/analyze.log",
    localrule: True
    conda:
        "../../envs/controller.yaml"
    params:
        where="{run}/{stage}",
        command=lambda w, input: COMMAND,
        config=lambda w, input: PLANS.config_file(),
    message:
        "{params.where}: reads and judges the logs: {output.text}"
    # Beside it the checkpoint is promoted, for which the next stage waits.
    shell:
        "exec nice {params.command} analyze --stage {params.where:q} --configfile {params.config:q} --log {log:q}"


rule report:
    input:
        lambda w: dag.report_input(CONFIG, w.run),
    output:
        report(
            f"{OUT}/{{run}}/report.html",
            caption="../report/report.rst",
            category="Training",
            labels={"run": "{run}"},
        ),
    log:
        f"{OUT}/{{run}}/report.log",
    localrule: True
    conda:
        "../../envs/controller.yaml"
    params:
        command=lambda w, input: COMMAND,
        config=lambda w, input: PLANS.config_file(),
    message:
        "{wildcards.run}: writes the report: {output}"
    shell:
        "exec {params.command} report {wildcards.run:q} --configfile {params.config:q} --log {log:q}"


rule overview:
    input:
        [f"{OUT}/{run}/report.html" for run in CONFIG.runs],
    output:
        report(
            f"{OUT}/index.html",
            caption="../report/overview.rst",
            category="Training",
            labels={"run": "all runs"},
        ),
    log:
        f"{OUT}/overview.log",
    localrule: True
    conda:
        "../../envs/controller.yaml"
    params:
        command=lambda w, input: COMMAND,
        config=lambda w, input: PLANS.config_file(),
    message:
        "writes the page of all runs: {output}"
    shell:
        "exec {params.command} overview --configfile {params.config:q} --log {log:q}"
