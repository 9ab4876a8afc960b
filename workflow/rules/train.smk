# One train and one promote rule per stage name, so that --until train_STAGE, --forcerun and
# --set-resources work by name and the rule graph has no cycle.

for stage_name in CONFIG.stage_names:

    rule:
        name:
            f"train_{stage_name}"
        input:
            lambda w, s=stage_name: dag.earlier(CONFIG, w.run, s),
        output:
            f"{OUT}/{{run}}/{stage_name}/train.json",
        wildcard_constraints:
            run=dag.one_of(CONFIG.runs_with(stage_name)),
        params:
            *dag.signature_params(CONFIG, stage_name),
            # A shell line is formatted when its job runs: the loop's own variable is the last stage by then.
            where=f"{{run}}/{stage_name}",
            # Depends on input, so a change of it triggers nothing: it only tells.
            plan=lambda w, input, resources, s=stage_name: PLANS.message(w.run, s, resources),
        threads: lambda w, s=stage_name: dag.threads(CONFIG, w.run, s)
        resources:
            **dag.resources(CONFIG, stage_name),
        message:
            "{params.plan}"
        shell:
            "exec {TRAINRELAY} train {params.where} --configfile {CONFIG_FILE:q}"

    rule:
        name:
            f"promote_{stage_name}"
        input:
            f"{OUT}/{{run}}/{stage_name}/train.json",
        output:
            f"{OUT}/{{run}}/{stage_name}/checkpoint.json",
        wildcard_constraints:
            run=dag.one_of(CONFIG.runs_with(stage_name)),
        params:
            where=f"{{run}}/{stage_name}",
        localrule: True
        message:
            "{params.where}: verifies and hands on the checkpoint: {output}"
        shell:
            "exec {TRAINRELAY} promote {params.where} --configfile {CONFIG_FILE:q}"
