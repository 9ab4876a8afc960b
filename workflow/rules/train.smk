# One train and one promote rule per stage name, so that --until train_STAGE, --forcerun and
# --set-resources work by name and the rule graph has no cycle.

for stage_name in CONFIG.stage_names:

    rule:
        name:
            f"train_{stage_name}"
        input:
            lambda w, s=stage_name: dag.train_input(CONFIG, w.run, s),
        output:
            f"{OUT}/{{run}}/{stage_name}/train.json",
        log:
            f"{OUT}/{{run}}/{stage_name}/train.log",
        wildcard_constraints:
            run=dag.one_of(CONFIG.runs_with(stage_name)),
        conda:
            "../../envs/controller.yaml"
        threads: lambda w, s=stage_name: cores(StageContext(CONFIG, w.run, s))
        resources:
            **PLANS.resources(stage_name),
        params:
            *PLANS.signature_params(stage_name),
            # A shell line is formatted when its job runs: the loop's own variable is the last stage by then.
            where=f"{{run}}/{stage_name}",
            # Functions of input are not among what triggers a rule again.
            plan=lambda w, input, resources, s=stage_name: PLANS.message(
                w.run, s, resources
            ),
            command=lambda w, input: COMMAND,
            config=lambda w, input: PLANS.config_file(),
        message:
            "{params.plan}"
        # Snakemake sets these to the job's cores, and each of its ranks would start as many threads.
        shell:
            "unset OMP_NUM_THREADS MKL_NUM_THREADS OPENBLAS_NUM_THREADS GOTO_NUM_THREADS NUMEXPR_NUM_THREADS; "
            "unset VECLIB_MAXIMUM_THREADS; "
            "exec {params.command} train {params.where:q} --configfile {params.config:q} --log {log:q}"

    rule:
        name:
            f"promote_{stage_name}"
        input:
            f"{OUT}/{{run}}/{stage_name}/train.json",
        output:
            f"{OUT}/{{run}}/{stage_name}/checkpoint.json",
        log:
            f"{OUT}/{{run}}/{stage_name}/promote.log",
        wildcard_constraints:
            run=dag.one_of(CONFIG.runs_with(stage_name)),
        localrule: True
        conda:
            "../../envs/controller.yaml"
        params:
            lambda w, s=stage_name: dag.promotion_param(CONFIG, w.run, s),
            where=f"{{run}}/{stage_name}",
            command=lambda w, input: COMMAND,
            config=lambda w, input: PLANS.config_file(),
        message:
            "{params.where}: verifies and promotes the checkpoint: {output}"
        shell:
            "exec {params.command} promote {params.where:q} --configfile {params.config:q} --log {log:q}"
