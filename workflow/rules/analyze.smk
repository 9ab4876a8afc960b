# Leaves: a better analysis or report never schedules a training.


rule analyze:
    input:
        f"{OUT}/{{run}}/{{stage}}/train.json",
    output:
        json=f"{OUT}/{{run}}/{{stage}}/analysis.json",
        text=f"{OUT}/{{run}}/{{stage}}/analysis.md",
    localrule: True
    message:
        "{wildcards.run}/{wildcards.stage}: reads and judges the logs: {output.text}"
    shell:
        "exec {TRAINRELAY} analyze --stage {wildcards.run}/{wildcards.stage} --configfile {CONFIG_FILE:q}"


rule report:
    input:
        lambda w: dag.reported(CONFIG, w.run),
    output:
        report(
            f"{OUT}/{{run}}/report.html",
            caption="../report/report.rst",
            category="Training",
            labels={"run": "{run}"},
        ),
    localrule: True
    message:
        "{wildcards.run}: writes the report: {output}"
    shell:
        "exec {TRAINRELAY} report {wildcards.run} --configfile {CONFIG_FILE:q}"
