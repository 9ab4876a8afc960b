"""config.yaml as frozen values, and where everything is.

Everything behind `parse` may rely on: known keys, known stages, an acyclic `init_from`, no two stages writing
to one place.
"""

from trainrelay.config.file import SNAPSHOTS, load_as, load_config, load_plain, save_snapshot
from trainrelay.config.models import Config, Resources, Stage, TrainerSettings
from trainrelay.config.parse import parse, schema
from trainrelay.config.places import StagePaths, overview_path, report_path, stage_paths, trainer_root
from trainrelay.config.site import SITE_VARIABLE, Site, load_site
