# The configuration, validated once, and what every rule needs of it.

import re

from snakemake.logging import logger

from trainrelay import dag
from trainrelay.training import launch_id
from trainrelay.training.context import StageContext
from trainrelay.training.request import cores

if workflow.is_main_process and "runs" not in config:
    dag.check("config.yaml")

    configfile: "config.yaml"


# After our own sentence, this only repeats the command; the job's error with its log file follows anyway.
logger.addFilter(
    lambda record: not re.search(
        r"(?s)^RuleException:.* -m trainrelay .* exit status (2|3|4|75)\.$",
        str(record.msg),
    )
)
launch_id.begin(workflow.configfiles)
# A job reads what was submitted: it may start, or start again, after an edit of these files.
if workflow.is_main_process:
    CONFIG = dag.load(config, workflow.configfiles)
    workflow.overwrite_configfiles.clear()
else:
    CONFIG = dag.submitted(config)
COMMAND = dag.command()
OUT = dag.out(CONFIG)
PLANS = dag.Plans(CONFIG, workflow.configfiles)

if workflow.is_main_process:
    PLANS.submit()


envvars:
    "TRAINRELAY_LAUNCH",
    "TRAINRELAY_SITE",
    "TRAINRELAY_SUBMITTED",


wildcard_constraints:
    run=dag.one_of(CONFIG.runs),
    stage=dag.one_of(CONFIG.stage_names),


localrules:
    all,
