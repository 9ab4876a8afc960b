"""What the rules ask: thin views of config, signature, state and plan for Snakemake's lambdas."""

from __future__ import annotations

import gc
import os
import re
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from trainrelay.config import (
    SITE_VARIABLE,
    Config,
    load_plain,
    load_site,
    parse,
    save_snapshot,
    stage_paths,
)
from trainrelay.errors import Refusal, SlurmError, TrainrelayError
from trainrelay.preflight.cluster import chain_limit, conf_kept_back
from trainrelay.preflight.knowledge import refuse_wrong_knowledge
from trainrelay.records import KEYS
from trainrelay.slurm.ask import installed
from trainrelay.slurm.cluster import JobLimits, job_limits, partitions
from trainrelay.slurm.flags import slurm_resources
from trainrelay.system.files import one_reading, read_once
from trainrelay.system.hints import TYPED_VARIABLE, typed, use_config, with_configfile
from trainrelay.system.say import say
from trainrelay.text import printable, printable_lines
from trainrelay.training.bad_nodes import to_exclude
from trainrelay.training.code_version import CodeVersion, code_version
from trainrelay.training.context import StageContext
from trainrelay.training.launch_id import LAUNCH_VARIABLE, OF_CONTROLLER
from trainrelay.training.notify import tell, tell_of_failed_job
from trainrelay.training.plan import BEGINS, StagePlan, plan
from trainrelay.training.state import current
from trainrelay.training.submitted import CODE, SUBMITTED_VARIABLE, of_this_job, submit

_HANDED_ON = "epoch handed on"


def load(data: Mapping[str, Any], files: Iterable[str]) -> Config:
    """The config as Snakemake merged it; its files are read again for duplicate keys."""
    names = list(files)
    plain = [check(name) for name in names]
    with _exit_without_traceback():
        config = parse(data, names[-1] if names else "--config")
    if not plain or not (plain[-1] == data or _says(plain[-1], config)):
        # No file of yours says this: it is a part of one, or --config changed it. Messages name what does.
        os.environ[TYPED_VARIABLE] = str(save_snapshot(config))
    return config


def _says(data: Any, config: Config) -> bool:
    with suppress(TrainrelayError):
        return parse(data, "") == config
    return False


def check(name: str) -> Any:
    """Before Snakemake reads a config: it would build an alias bomb, or print a mistake as a traceback."""
    with _exit_without_traceback():
        return load_plain(Path(name))


def submitted(data: MutableMapping[str, Any]) -> Config:
    """Inside of a job: the config that it was submitted with, also as Snakemake's own."""
    with _exit_without_traceback():
        if (found := of_this_job()) is None:
            raise Refusal(f"this job was not told what was submitted ({SUBMITTED_VARIABLE}); run: snakemake")
        data.update(found.config)
        return parse(found.config, "the submitted config")


@contextmanager
def _exit_without_traceback() -> Iterator[None]:
    # An exception that comes through a Snakefile is printed with our own lines of code.
    try:
        yield
    except TrainrelayError as error:
        sys.exit(printable_lines(f"trainrelay: {error}"))


def command() -> str:
    """trainrelay as a shell word list that works without an activated environment."""
    return f"{shlex.quote(sys.executable)} -m trainrelay"


def out(config: Config) -> str:
    """The output folder as Snakemake spells it in every file name."""
    return str(Path(config.out))


def one_of(names: Iterable[str]) -> str:
    """A wildcard constraint."""
    return "|".join(re.escape(name) for name in names)


def train_input(config: Config, run: str, stage: str) -> list[str]:
    """The input of train: the earlier stage's promoted checkpoint."""
    parent = config.stage(run, stage).init_from
    return [str(stage_paths(config, run, parent).checkpoint)] if parent else []


def report_input(config: Config, run: str) -> list[str]:
    """The input of report: every stage's analysis and promoted checkpoint."""
    paths = [stage_paths(config, run, stage) for stage in config.in_order(run)]
    return [str(file) for stage in paths for file in (stage.analysis, stage.checkpoint)]


def promotion_param(config: Config, run: str, stage: str) -> str:
    """A param of promote: another target, or the best by another metric, is written again."""
    settings = config.stage(run, stage)
    target = f"promotion target = {settings.promotion.target if settings.promotion else None}"
    return printable(f"{target}, {settings.best}" if settings.best else target)


class Plans:
    """The plan of every stage, made once for a whole workflow."""

    def __init__(self, config: Config, files: Iterable[str]) -> None:
        self._config = config
        self._configfile = typed(next((Path(name) for name in reversed(list(files))), None))
        with _exit_without_traceback(), one_reading():
            self._site = read_once(load_site)
            self._plans = {(planned.at.run, planned.at.stage): planned for planned in plan(config)}
        self._snapshot, self._submitted = save_snapshot(config), Path()
        # By file: as a module its rules may have other names.
        self._files = {str(planned.at.paths.train): where for where, planned in self._plans.items()}
        self._began_s = time.time()
        gc.freeze()  # all of this stays, and Snakemake makes so many objects that it would be looked at often

    def submit(self) -> None:
        """What the jobs of this workflow train from now on, whatever is edited until they start."""
        os.environ[SITE_VARIABLE] = str(save_snapshot(self._site, "site"))
        self._submitted = submit(self._config, self._parts)

    @cached_property
    def _parts(self) -> dict[str, dict[str, str]]:
        """Each stage's ingredients, and its code as it was at the start."""
        codes = {root: code_version(root) for root in {planned.at.root for planned in self._plans.values()}}
        known = {root: {CODE: one.name} for root, one in codes.items() if isinstance(one, CodeVersion)}
        return {p.at.name: {**p.ingredients, **known.get(p.at.root, {})} for p in self._plans.values()}

    def config_file(self) -> str:
        """What the commands of the rules read; it and what was submitted return if .snakemake was removed."""
        if not self._submitted.exists():
            self.submit()
        if not self._snapshot.exists():
            save_snapshot(self._config)
        return str(self._snapshot)

    def signature_params(self, stage: str) -> list[Callable[[Any], str]]:
        """One param per ingredient of any run's stage of this name, so that Snakemake prints what changed."""
        parts = {run: self._ingredients(run, stage) for run in self._config.runs_with(stage)}
        keys = dict.fromkeys(key for readable in parts.values() for key in readable)
        # Snakemake compares the set of values: what a run does not have repeats one that it has.
        return [lambda w, key=key: parts[w.run].get(key, parts[w.run][_HANDED_ON]) for key in keys]  # type: ignore[misc]

    def _ingredients(self, run: str, stage: str) -> dict[str, str]:
        settings = self._config.stage(run, stage)
        # By the names of earlier versions: others would run every rule once.
        promoted = {KEYS[settings.unit]: str(settings.asked), _HANDED_ON: str(settings.promoted_count)}
        parts = {**self._plans[run, stage].ingredients, **promoted}
        return {key: printable(f"{key} = {value}") for key, value in parts.items()}

    def resources(self, stage: str) -> dict[str, Callable[[Any], Any]]:
        """Resources of a train rule: those that some run's stage of this name sets."""
        config, plans = self._config, self._plans
        runs = {
            run: slurm_resources(config.stage(run, stage).resources, self._site, plans[run, stage].slurm.legs)
            for run in config.runs_with(stage)
        }
        keys = dict.fromkeys(key for values in runs.values() for key in values)
        found: dict[str, Callable[[Any], Any]] = {
            key: lambda w, key=key: runs[w.run].get(key)  # type: ignore[misc]
            for key in keys
        }
        # Both at submission, when the jobs before have ended: a node may have failed since, and a complete
        # stage must not queue for GPUs.
        found["slurm_extra"] = lambda w: self._site.without(
            to_exclude(StageContext(config, w.run, stage), self._site)[0]
        ).slurm_extra()
        found["gpu"] = lambda w: 0 if _is_complete(StageContext(config, w.run, stage)) else runs[w.run]["gpu"]
        return found

    def message(self, run: str, stage: str, resources: Mapping[str, Any]) -> str:
        """What `snakemake -n` prints of a training; minutes as set on the command line, too."""
        return self._printable(self._plans[run, stage].message(resources.get("runtime")))

    def hook_into(self, workflow: Any) -> None:
        """Lets Snakemake start nothing while a training is refused, tells `notify` what no job could tell,
        and begins a dry run with what matters; exits where it looks elsewhere for files.

        Not by `onstart:` and `onerror:`, which are not run of a module and replaced by those of yours.
        """
        folder = f"{out(self._config)}/"
        with _exit_without_traceback():
            if workflow.modifier.path_modifier.replace_prefix(folder) != folder:
                raise Refusal("as a module it takes no prefix and no replace_prefix; set out: in its config")
            if vars(workflow).setdefault("trainrelay_config", self._snapshot) != self._snapshot:
                raise Refusal("a Snakefile can use one config of it; write the runs of both into one config")
        _before(workflow, "onstart", self._start)
        _before(workflow, "onerror", self._tell_of_failed)
        workflow.logger_manager.logger.addFilter(partial(self._first_lines, workflow))

    def _start(self, workflow: Any) -> None:
        jobs, group_of = workflow.dag.needrun_jobs(), workflow.dag.get_job_group
        with _exit_without_traceback():
            refused = self.refusals(jobs, group_of, limited=workflow.non_local_exec)
            if os.environ.get(LAUNCH_VARIABLE, "").startswith(OF_CONTROLLER):  # nobody looks at its output
                for planned, why in refused:
                    tell(planned.at, Refusal(why))
            elif any(self._plans[where].action in BEGINS for where in self._wanted(jobs)):
                refuse_wrong_knowledge(self._config)
            if refused:
                raise Refusal("\n".join(["nothing was started.", *(why for _, why in refused)]))
        for remark in self._remarks(workflow):
            say(remark)
        use_config(self._configfile or self._snapshot)

    def _tell_of_failed(self, workflow: Any) -> None:
        failed = self._wanted(workflow.scheduler.failed)
        for at in (self._plans[where].at for where in failed):
            # In a group what begins with another's checkpoint was not due before that was promoted.
            if not (
                at.parent and (at.run, at.parent.stage) in failed and not at.parent.paths.checkpoint.exists()
            ):
                tell_of_failed_job(at, self._began_s)

    def _first_lines(self, workflow: Any, record: Any) -> bool:
        """A filter of Snakemake's log: of a dry run's table of jobs, before which is a line per training."""
        if workflow.dryrun and hasattr(record, "stats"):
            plans = [self._plans[where] for where in self._wanted(workflow.dag.needrun_jobs())]
            plans.sort(key=lambda planned: planned.action != "refuse")
            lines = [f"{p.at.name}: {p.doing}: {'; '.join(p.why)}\n" for p in plans]
            record.msg = self._printable("".join(lines)) + record.msg
        return True

    def _printable(self, text: str) -> str:
        return printable_lines(with_configfile(text, self._configfile))

    def _wanted(self, jobs: Iterable[Any]) -> dict[tuple[str, str], Any]:
        """The trainings among these jobs, by run and stage, each with its job or group of jobs."""
        files = {str(file): job for job in jobs for one in getattr(job, "jobs", [job]) for file in one.output}
        return {where: files[file] for file, where in self._files.items() if file in files}

    def refusals(
        self, jobs: Iterable[Any], group_of: Callable[[Any], Any], *, limited: bool
    ) -> list[tuple[StagePlan, str]]:
        """Why scheduled trainings must not start, one paragraph per training; empty if all may.

        `group_of`: with which others a job is one job of the cluster, None for by itself. `limited`: they
        become jobs of a cluster, which ends them at their time limit.
        """
        wanted = self._wanted(jobs)
        plans = [self._plans[where] for where in wanted]
        found = [(p, f"{p.at.name}: " + "\n  ".join(p.why)) for p in plans if p.action == "refuse"]
        found += [(p, f"{p.at.name}: {p.too_short}") for p in plans if limited and p.too_short]
        groups = {where: group_of(job) for where, job in wanted.items()}
        found += [(plans[0], line) for line in at_once(self._config, groups)]
        if limited and not found:
            found += [(plans[0], line) for line in self._too_long(groups)]
        return [(planned, self._printable(why)) for planned, why in found]

    def _too_long(self, groups: Mapping[tuple[str, str], Any]) -> Iterator[str]:
        """A sentence for each group that could never start as one job."""
        chains = {group: [self._plans[w] for w in groups if groups[w] is group] for group in groups.values()}
        chains.pop(None, None)
        with suppress(SlurmError):  # the submission says more
            known, limits = (partitions(), job_limits()) if chains and installed() else ([], JobLimits())
            for chain in chains.values():
                if what := chain_limit([planned.slurm for planned in chain], known, limits):
                    yield f"{', '.join(planned.at.name for planned in chain)}: {what}"

    def _remarks(self, workflow: Any) -> Iterator[str]:
        """What the profile says and does not do."""
        if workflow.executor_plugin.name == "slurm":
            yield from conf_kept_back(os.environ)
        names, groups = [f"train_{name}" for name in self._config.stage_names], workflow.group_settings
        if groups.overwrite_groups and not any(one.endswith(tuple(names)) for one in groups.overwrite_groups):
            yield f"each training is a job by itself: the profile's groups name none of {', '.join(names)}"


def _before(workflow: Any, event: str, ours: Callable[[Any], None]) -> None:
    """Ours runs before the hook of this event, also before one that a Snakefile of yours sets later."""
    register = getattr(workflow, event)

    def both(hook: Callable[[Any], object]) -> Callable[[Any], object]:
        def call(log: Any) -> None:
            ours(workflow)
            hook(log)

        return call

    setattr(workflow, f"_{event}", both(getattr(workflow, f"_{event}")))
    setattr(workflow, event, lambda hook: register(both(hook)))


def _is_complete(at: StageContext) -> bool:
    # Without an identity it is not, and nothing more need be read.
    return at.paths.identity.exists() and current(at).kind == "complete"


def at_once(config: Config, groups: Mapping[tuple[str, str], Any]) -> list[str]:
    """A sentence for trainings, by (run, stage), that one job of the cluster would start at the same time."""
    begun: dict[tuple[Any, Any], list[str]] = {}
    for where, group in groups.items():
        if group is not None:
            before = where[0], config.stage(*where).init_from or ""
            within = before if groups.get(before) is group else None
            begun.setdefault((group, within), []).append("/".join(where))
    return [
        f"{' and '.join(names)} would train at once in one job, on the same GPUs: only a chain can be one"
        " group; leave out the groups (snakemake --profile slurm)"
        for names in begun.values()
        if len(names) > 1
    ]
