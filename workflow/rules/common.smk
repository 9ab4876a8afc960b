# The configuration, validated once, and what every rule needs of it.

if "runs" not in config:

    configfile: "config.yaml"


from trainrelay import dag
from trainrelay.training import launch_id
from trainrelay.config import save_snapshot
from trainrelay.training.context import StageContext
from trainrelay.training.request import cores

launch_id.begin(workflow.configfiles)
CONFIG = dag.load(config, workflow.configfiles)
CONFIG_FILE = str(save_snapshot(CONFIG))
COMMAND = dag.command()
OUT = dag.out(CONFIG)
PLANS = dag.Plans(CONFIG, workflow.configfiles)


wildcard_constraints:
    run=dag.one_of(CONFIG.runs),
    stage=dag.one_of(CONFIG.stage_names),


localrules:
    all,
