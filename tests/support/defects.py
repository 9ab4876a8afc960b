"""Defects that the tests must find: each a small edit of our own code, and the test that fails because of it.

A defect is what a hurried change could do and a reader could overlook. `old` stands exactly once in its file.
"""

from __future__ import annotations

from dataclasses import dataclass

LIBRARY = "workflow/src/trainrelay"
EXECUTOR = "workflow/src/snakemake_executor_plugin_submitit"


@dataclass(frozen=True)
class Defect:
    """One planted edit. `breaks` says in one sentence what goes wrong; `test` is a pytest node id."""

    name: str
    breaks: str
    file: str
    old: str
    new: str
    test: str


DEFECTS = (
    # ------------------------------------------------------------------ how a training ended
    Defect(
        "unfinished-counts-as-done",
        "A trainer that exits 0 without its last epoch is taken for a finished training.",
        f"{LIBRARY}/supervise/classify.py",
        "return _unfinished(evidence)",
        'return End("done", "the trainer exited 0")',
        "tests/unit/supervise/test_classify.py::test_exit_0_without_the_final_checkpoint_is_unfinished",
    ),
    Defect(
        "exit-status-ignored",
        "Whatever status the launcher ends with is judged as 0.",
        f"{LIBRARY}/supervise/attempt.py",
        "        trainer.status(),\n        stop_requested",
        "        0,\n        stop_requested",
        "tests/unit/supervise/test_train.py::test_relaunch_resumes_after_the_newest_checkpoint",
    ),
    Defect(
        "nan-in-losses-not-found",
        "Only an infinite loss is a finding; NaN passes.",
        f"{LIBRARY}/diagnose/checks/finiteness.py",
        "if not math.isfinite(value)]",
        "if math.isinf(value)]",
        "tests/unit/diagnose/test_checks.py::test_nan_and_inf_block_with_their_first_place",
    ),
    # ------------------------------------------------------------------ resuming
    Defect(
        "resume-from-the-oldest",
        "A relaunch goes on from the oldest sound checkpoint and repeats nearly everything.",
        f"{LIBRARY}/checkpoint/soundness.py",
        "for epoch, path in candidates:",
        "for epoch, path in reversed(candidates):",
        "tests/unit/checkpoint/test_soundness.py"
        "::test_the_newest_of_sound_ones_is_chosen_and_nothing_is_skipped",
    ),
    Defect(
        "resume-not-proved",
        "A trainer that ignores the resume and starts from zero is believed.",
        f"{LIBRARY}/supervise/resume.py",
        "self._pending = asked is not None",
        "self._pending = False",
        "tests/unit/supervise/test_resume.py::test_step_before_the_resumed_line_is_a_start_from_zero",
    ),
    Defect(
        "silence-about-the-resume-believed",
        "A log that says nothing at all of the resume counts as its proof.",
        f"{LIBRARY}/supervise/outcome.py",
        "watch.proof.missing() if status == 0 and not stop_requested else None",
        "None",
        "tests/unit/supervise/test_train.py::test_resume_without_a_word_is_not_believed",
    ),
    # ------------------------------------------------------------------ identity
    Defect(
        "comment-in-the-identity",
        "The trainer config counts as text, so that a comment trains anew.",
        f"{LIBRARY}/command/mmcv_config.py",
        'settings.update({f"{name}: {key}": text for key, text in _settings(tree)})',
        'settings.update({f"{name}: {key}": text for key, text in _settings(tree)} '
        '| {f"{name}: text": path.read_text()})',
        "tests/unit/command/test_mmcv_config.py::test_comments_formatting_and_docstrings_change_nothing",
    ),
    Defect(
        "docstring-in-the-identity",
        "A docstring in a trainer config trains anew.",
        f"{LIBRARY}/command/mmcv_config.py",
        "isinstance(statement.value, ast.Constant)",
        "isinstance(statement.value, ast.Name)",
        "tests/unit/command/test_mmcv_config.py::test_comments_formatting_and_docstrings_change_nothing",
    ),
    Defect(
        "backend-in-the-identity",
        "Another communication backend trains anew, though the weights do not depend on it.",
        f"{LIBRARY}/signature.py",
        '"trainer kind": run.trainer.kind,',
        '"trainer kind": run.trainer.kind, "backends": " > ".join(stage.backends),',
        "tests/unit/test_signature.py::test_what_leaves_the_weights_alone_is_not_in_it",
    ),
    Defect(
        "epochs-in-the-ingredients",
        "Raised epochs train anew instead of going on.",
        f"{LIBRARY}/signature.py",
        "parts = {**_of_stage(config.runs[run], settings, trainer.default_seed(facts))}",
        'parts = {"epochs": str(settings.epochs)}',
        "tests/unit/test_signature.py::test_what_leaves_the_weights_alone_is_not_in_it",
    ),
    Defect(
        "changed-identity-resumes",
        "A training whose learning rate changed goes on from the old weights.",
        f"{LIBRARY}/state.py",
        'return State("changed", "what it is trained from has changed", tuple(changes))',
        "return _unfinished(facts)",
        "tests/unit/test_state.py::test_a_change_is_noticed_before_anything_is_resumed",
    ),
    Defect(
        "changed-training-not-set-aside",
        "A changed training starts in the old one's folder and writes over it.",
        f"{LIBRARY}/cli/train.py",
        'if judged.kind == "changed" or _other_start(facts, digest):',
        "if _other_start(facts, digest):",
        "tests/unit/cli/test_train_stage.py::test_a_changed_training_is_set_aside_before_another_is_started",
    ),
    Defect(
        "foreign-work-dir-is-fresh",
        "A work dir with somebody else's checkpoints is trained into.",
        f"{LIBRARY}/state.py",
        "if facts.left_behind:",
        "if facts.left_behind and facts.attempts:",
        "tests/unit/cli/test_train_stage.py::test_a_foreign_work_dir_is_refused_and_left_alone",
    ),
    Defect(
        "retrain-guard-ignored",
        "Any number of GPU-hours is set aside without a person's word.",
        f"{LIBRARY}/plan.py",
        "if facts.gpu_h <= config.retrain_guard_gpu_h or retrain_accepted(facts):",
        "if facts.gpu_h >= 0 or retrain_accepted(facts):",
        "tests/unit/test_plan.py::test_more_gpu_hours_than_the_guard_are_not_set_aside",
    ),
    Defect(
        "unknown-keys-allowed",
        "A misspelt key of the config is ignored in silence.",
        f"{LIBRARY}/config/models.py",
        'extra="forbid"',
        'extra="ignore"',
        "tests/unit/config/test_config.py::test_a_problem_names_place_value_and_remedy",
    ),
    # ------------------------------------------------------------------ processes and records
    Defect(
        "only-the-launcher-is-ended",
        "Ranks in sessions of their own outlive a stop and hold the GPUs.",
        f"{LIBRARY}/alive.py",
        "if one.parent in whole} - whole",
        "if one.parent in whole and one.parent == os.getpid()} - whole",
        "tests/unit/supervise/test_process.py::test_every_process_is_found_and_ended",
    ),
    Defect(
        "launcher-not-written-down",
        "A trainer whose environment was cleared is not found again after its supervisor's SIGKILL.",
        f"{LIBRARY}/supervise/launcher.py",
        "roll.began(process.pid)",
        "roll.look()",
        "tests/unit/supervise/test_one_trainer.py::test_a_trainer_whose_environment_was_cleared_is_followed",
    ),
    Defect(
        "attempt-beside-what-does-not-end",
        "An attempt begins while a process of the one before waits inside the kernel or is frozen.",
        f"{LIBRARY}/supervise/recover.py",
        "    refuse_beside_living(job.stage_dir, job.name)\n    settle_elsewhere",
        "    settle_elsewhere",
        "tests/unit/supervise/test_one_trainer.py"
        "::test_no_attempt_follows_while_a_process_of_the_last_one_does_not_end",
    ),
    Defect(
        "sigterm-not-heard",
        "A SIGTERM ends the supervisor alone and leaves its trainer running.",
        f"{LIBRARY}/supervise/stop.py",
        "(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)",
        "(signal.SIGINT, signal.SIGHUP)",
        "tests/unit/supervise/test_train.py::test_signal_ends_the_training_resumably",
    ),
    Defect(
        "record-written-only-at-the-end",
        "A supervisor that dies leaves no word of the attempt whose trainer still runs.",
        f"{LIBRARY}/supervise/attempts.py",
        "write_json(aside / RECORD, record)",
        "pass",
        "tests/unit/supervise/test_train.py::test_record_lies_on_disk_before_the_trainer_starts",
    ),
    Defect(
        "other-host-counts-as-dead",
        "An open attempt on another node is taken for lost, and a second trainer starts beside it.",
        f"{LIBRARY}/state.py",
        'not in ("gone", "rebooted")',
        'in ("runs", "stopped")',
        "tests/unit/test_state.py::TestSupervisor::test_on_another_host_it_may_live",
    ),
    Defect(
        "renamed-before-synced",
        "A power cut leaves an empty record or checkpoint under the right name.",
        f"{LIBRARY}/files.py",
        "yield file\n                sync(file)",
        "yield file",
        "tests/unit/test_files.py::test_file_then_name_then_folder_are_synced_in_this_order",
    ),
    # ------------------------------------------------------------------ checkpoints and promotion
    Defect(
        "unsafe-global-allowed",
        "A checkpoint that runs code when torch loads it is handed on.",
        f"{LIBRARY}/checkpoint/allowed.py",
        'return f"{module}.{name}" in _ALLOWED',
        "return bool(module and name)",
        "tests/unit/checkpoint/test_hostile.py"
        "::test_a_real_payload_anywhere_in_a_checkpoint_is_named_and_does_not_run",
    ),
    Defect(
        "non-finite-weights-not-seen",
        "A checkpoint full of NaN is called finite.",
        f"{LIBRARY}/checkpoint/inspection.py",
        "finite=first is None,",
        "finite=True,",
        "tests/unit/checkpoint/test_inspection.py"
        "::test_one_bad_value_in_any_floating_type_is_found_and_named",
    ),
    Defect(
        "non-finite-weights-handed-on",
        "A checkpoint that is known to hold a NaN passes the last check before its promotion.",
        f"{LIBRARY}/checkpoint/soundness.py",
        "if not facts.finite:",
        "if not facts.tensors:",
        "tests/unit/checkpoint/test_soundness.py"
        "::test_a_failed_check_names_the_checkpoint_the_check_and_what_to_type",
    ),
    Defect(
        "sha-not-checked",
        "A checkpoint that changed since its training ended is handed on.",
        f"{LIBRARY}/checkpoint/promotion.py",
        "_checked(copied, source, expected_sha256)",
        "pass",
        "tests/unit/checkpoint/test_promotion.py"
        "::test_a_source_that_changed_since_its_training_is_refused_and_nothing_changes",
    ),
    Defect(
        "gate-dropped",
        "Blocking findings do not keep a checkpoint from the next stage.",
        f"{LIBRARY}/cli/promote.py",
        "_gate(facts, source, _blocking(config, facts), accepted)",
        "_gate(facts, source, [], accepted)",
        "tests/unit/cli/test_promote_stage.py::test_a_blocking_finding_keeps_the_checkpoint_where_it_is",
    ),
    Defect(
        "previous-not-kept",
        "The file that a promotion replaces is gone.",
        f"{LIBRARY}/checkpoint/promotion.py",
        "_keep(target, _kept_as(target, owned))",
        "pass",
        "tests/unit/checkpoint/test_promotion.py"
        "::test_our_own_earlier_promotion_is_replaced_and_kept_as_previous",
    ),
    Defect(
        "foreign-target-replaced",
        "A file at the promotion target that a person put there is replaced.",
        f"{LIBRARY}/checkpoint/promotion.py",
        "if overwrite or found in owned:",
        "if overwrite or found:",
        "tests/unit/checkpoint/test_promotion.py"
        "::test_a_target_that_we_did_not_write_is_refused_with_what_to_type",
    ),
    # ------------------------------------------------------------------ the DAG
    Defect(
        "work-dir-declared",
        "Snakemake deletes all checkpoints of a training that fails.",
        "workflow/rules/train.smk",
        'train.json",\n        log:',
        'train.json",\n            directory(f"{OUT}/{{run}}/{stage_name}/work_dir"),\n        log:',
        "tests/workflow/test_rules.py::test_declared_outputs_are_small_files_and_never_a_trainings_memory",
    ),
    Defect(
        "file-not-asked-for",
        "A checkpoint.json that was removed is nothing to be done.",
        "Snakefile",
        '"checkpoint.json",',
        "",
        "tests/workflow/test_rules.py::test_all_asks_for_every_declared_file",
    ),
    Defect(
        "loop-variable-used-late",
        "Every training's shell line names the last stage.",
        "workflow/rules/train.smk",
        "train {params.where:q}",
        "train {wildcards.run}/{stage_name}",
        "tests/workflow/test_rules.py::test_each_shell_line_names_its_own_stage",
    ),
    Defect(
        "gpus-for-nothing",
        "A complete training whose train.json is written again queues for its GPUs.",
        f"{LIBRARY}/dag.py",
        '0 if current(config, w.run, stage).kind == "complete" else runs[w.run]["gpu"]',
        'runs[w.run]["gpu"]',
        "tests/unit/test_dag.py::test_a_training_asks_for_its_gpus_until_it_is_complete_and_then_for_none",
    ),
    Defect(
        "siblings-share-their-gpus",
        "Two trainings that start from one are put into one job, which has the GPUs once.",
        f"{LIBRARY}/dag.py",
        "if len(names) > 1",
        "if len(names) > 2",
        "tests/unit/test_dag.py::test_trainings_that_would_run_at_once_in_one_job_are_refused",
    ),
    # ------------------------------------------------------------------ the second trainer kind
    Defect(
        "any-epoch-proves-a-resume",
        "A trainer that has no line for it and starts from zero counts as resumed.",
        f"{LIBRARY}/supervise/resume.py",
        "if self._by_epoch and seen.epoch == self._asked.epoch + 1:",
        "if self._by_epoch:",
        "tests/unit/supervise/test_resume.py::test_any_other_first_epoch_is_no_proof",
    ),
    Defect(
        "checkpoint-names-count-from-1",
        "checkpoint0004.pth, saved after five epochs, is taken for that of the fourth.",
        f"{LIBRARY}/command/metriclogger.py",
        "(int(match[1]) + 1, 1, path)",
        "(int(match[1]), 1, path)",
        "tests/unit/command/test_metriclogger.py"
        "::test_checkpoints_count_finished_epochs_and_what_is_written_over_comes_second",
    ),
    Defect(
        "defaults-are-no-identity",
        "Another default in the training script does not train anew.",
        f"{LIBRARY}/command/argparse_config.py",
        'settings={f"config: {name}": _text(argument) for name, argument in found.items()},',
        "",
        "tests/unit/command/test_metriclogger.py"
        "::test_a_changed_default_changes_what_the_training_is_and_a_comment_does_not",
    ),
    Defect(
        "mistyped-arguments-pass",
        "A mistyped argument is found by the trainer, after the GPUs were waited for.",
        f"{LIBRARY}/command/metriclogger.py",
        "    yield from _undeclared(request)\n",
        "",
        "tests/unit/command/test_metriclogger.py::test_what_the_script_cannot_be_told_is_a_sentence",
    ),
    Defect(
        "a-thread-per-core-in-each-rank",
        "Snakemake's count of cores becomes the number of threads of every rank.",
        "workflow/rules/train.smk",
        "unset OMP_NUM_THREADS MKL_NUM_THREADS",
        "unset",
        "tests/workflow/test_keypoints.py::test_killed_in_an_epoch_it_resumes_in_that_epoch_by_itself",
    ),
    Defect(
        "negative-cross-entropy-is-health",
        "A cross-entropy below zero is no warning.",
        f"{LIBRARY}/diagnose/checks/__init__.py",
        "    negative_cross_entropy,\n",
        "",
        "tests/unit/cli/test_explain_guide.py::test_what_goes_in_comes_out_explained",
    ),
    # ------------------------------------------------------------------ the report
    Defect(
        "html-not-escaped",
        "A metric's name from a log becomes markup in the report.",
        f"{LIBRARY}/report/html.py",
        "autoescape=True,",
        "autoescape=False,",
        "tests/unit/report/test_report_html.py::test_hostile_names_are_text_wherever_they_stand",
    ),
    # ------------------------------------------------------------------ supervision
    Defect(
        "second-comm-failure-stays-on-the-rung",
        "A rung that fails twice is tried for ever.",
        f"{LIBRARY}/supervise/decide.py",
        "for attempt in counted) > 1:",
        "for attempt in counted) > 99:",
        "tests/unit/supervise/test_decide.py::test_second_failure_of_communication_leaves_the_rung",
    ),
    Defect(
        "crash-loop-without-end",
        "Attempts that bring nothing go on for as long as the allocation lasts.",
        f"{LIBRARY}/supervise/decide.py",
        "if isinstance(step, Again) and barren >= most_without_checkpoint:",
        "if isinstance(step, Again) and barren > 10 * most_without_checkpoint:",
        "tests/unit/supervise/test_session.py::test_a_crash_loop_without_a_new_checkpoint_ends_after_k_attempts",
    ),
    Defect(
        "comm-text-hides-the-crash",
        "The first exception of the log is the cause, though it is only the echo of a rank that crashed.",
        f"{LIBRARY}/supervise/classify.py",
        "dead, own = dead_ranks(evidence.lines), _own_failure(exceptions)",
        "dead, own = dead_ranks(evidence.lines), _own_failure(exceptions[:1])",
        "tests/unit/supervise/test_classify.py"
        "::test_exception_of_another_rank_is_the_cause_though_it_is_printed_later",
    ),
    Defect(
        "moving-counter-not-believed",
        "An owner on another host that beats is taken over all the same.",
        f"{LIBRARY}/supervise/lease/rules.py",
        "    if seen.moved:\n",
        "    if seen.moved and seen.quiet_s < 0:\n",
        "tests/unit/supervise/lease/test_lease_rules.py::test_counter_that_moves_is_alive",
    ),
    Defect(
        "own-absence-counts-as-silence",
        "An observer that was suspended together with the owner takes its own sleep for the owner's death.",
        f"{LIBRARY}/supervise/lease/rules.py",
        "or _gap(before, look):",
        ":",
        "tests/unit/supervise/lease/test_lease_rules.py::test_gap_of_the_observer_begins_the_observation_again",
    ),
    Defect(
        "token-not-checked-before-a-write",
        "A fenced owner writes until its next beat.",
        f"{LIBRARY}/supervise/lease/held.py",
        "        self._look()\n        if self._lost is not None:\n            raise Fenced(self._lost)",
        "        if self._lost is not None:\n            raise Fenced(self._lost)",
        "tests/unit/supervise/lease/test_lease_fencing.py::test_guard_looks_before_the_next_beat",
    ),
    Defect(
        "claim-below-the-highest-is-a-lease",
        "Who was suspended on its way to the lease believes to have it beside the owner.",
        f"{LIBRARY}/supervise/lease/taking.py",
        " and highest(self.folder) == claim.token:",
        ":",
        "tests/unit/supervise/lease/test_lease_fencing.py::test_late_claim_below_the_highest_is_no_lease",
    ),
    Defect(
        "reused-pid-is-the-owner",
        "Another process that was given a dead owner's pid holds the lease for ever.",
        f"{LIBRARY}/alive.py",
        "if ticks != found.ticks or found.gone:",
        "if found.gone:",
        "tests/unit/test_alive.py::test_pid_given_again_is_another_process",
    ),
    Defect(
        "silence-of-slurm-is-death",
        "A job that Slurm cannot be asked about counts as ended.",
        f"{LIBRARY}/supervise/lease/slurm.py",
        "if not states or not states <= _GONE | _LOST:",
        "if not states <= _GONE | _LOST:",
        "tests/unit/supervise/lease/test_lease_slurm.py::test_no_answer_is_unknown",
    ),
    Defect(
        "former-run-keeps-the-lease",
        "A training on a node that Slurm lost keeps out the requeued job that is to go on with it.",
        f"{LIBRARY}/supervise/lease/taking.py",
        'return "lost" if owner.slurm_restarts < self.slurm_restarts else "unknown"',
        'return "unknown"',
        "tests/unit/supervise/lease/test_lease_acquire.py"
        "::test_later_run_of_a_requeued_job_takes_over_from_the_former_run",
    ),
    Defect(
        "old-owners-checkpoints-count",
        "What a fenced owner's trainer saves after the takeover is resumed from.",
        f"{LIBRARY}/work_dirs.py",
        "if epoch <= takeover.after_epoch:",
        "if epoch:",
        "tests/unit/test_work_dirs.py::test_what_the_old_owner_writes_after_the_takeover_does_not_count",
    ),
    Defect(
        "takeover-shares-the-work-dir",
        "Two trainers write into one work dir where an owner that was believed dead still lives.",
        f"{LIBRARY}/cli/train.py",
        "            write_json(facts.paths.identity, _taken(facts, facts.identity, lease))\n",
        "            _taken(facts, facts.identity, lease)\n",
        "tests/unit/cli/test_takeover.py::test_it_writes_to_a_work_dir_of_its_own_and_reads_the_old_one",
    ),
    Defect(
        "watchdog-counts-its-own-sleep",
        "A suspended job is ended as hung when it comes back.",
        f"{LIBRARY}/supervise/watchdog/policy.py",
        "passed_s = min(passed_s, MOST_PER_CALL_S)",
        "passed_s = max(passed_s, MOST_PER_CALL_S)",
        "tests/unit/supervise/watchdog/test_hang_policy.py::test_an_absent_supervisor_never_causes_a_hang",
    ),
    Defect(
        "stack-signal-without-a-look",
        "The signal that asks for stacks ends a process that does not catch it.",
        f"{LIBRARY}/supervise/watchdog/dumps.py",
        "return _held(pid) if _catches(pid) else None",
        "return _held(pid)",
        "tests/unit/supervise/watchdog/test_stacks.py::test_process_that_took_the_handler_away_survives",
    ),
    Defect(
        "launcher-dies-of-sigusr2",
        "Slurm's warning before the time limit ends the launcher and orphans its ranks.",
        f"{LIBRARY}/supervise/process.py",
        'with log.open("ab") as output, _ignored_by_children(signal.SIGUSR2):',
        'with log.open("ab") as output:',
        "tests/unit/supervise/test_process.py::test_launcher_ignores_sigusr2",
    ),
    Defect(
        "orphaned-trainer-is-ended",
        "A trainer that goes on although its supervisor died is killed and started again.",
        f"{LIBRARY}/supervise/session.py",
        "orphan = orphaned(self._job)",
        "orphan = None",
        "tests/unit/supervise/test_session.py::test_a_trainer_whose_supervisor_died_is_followed_to_its_end",
    ),
    Defect(
        "fallback-is-silent",
        "A slower backend is used and nobody is told.",
        f"{LIBRARY}/supervise/probe/climb.py",
        'say(f"warning: falls back to {result.rung}: {told(result)}" if number > 1 else told(result))',
        "say(told(result))",
        "tests/unit/supervise/probe/test_climb.py::test_a_fallback_is_said_with_its_reason_and_its_log",
    ),
    # ------------------------------------------------------------------ jobs of Slurm
    Defect(
        "completed-is-success",
        "A job that Slurm calls COMPLETED counts as done, though it left no result.",
        f"{EXECUTOR}/status.py",
        'return Verdict("failed", "Slurm calls it COMPLETED, but it left no result")',
        'return Verdict("success", "")',
        "tests/plugin/test_status.py::test_nothing_that_slurm_says_is_a_success",
    ),
    Defect(
        "sacct-outvotes-squeue",
        "A requeued job that waits is taken for ended, because sacct shows its former run.",
        f"{EXECUTOR}/status.py",
        "if seen.queue.state and seen.queue.state not in ENDED:",
        'if seen.queue.state == "RUNNING":',
        "tests/plugin/test_status.py::test_sacct_shows_the_former_run_of_a_requeued_job",
    ),
    Defect(
        "finished-is-requeued",
        "A training that finished although it was warned trains once more.",
        f"{EXECUTOR}/command.py",
        "    if code == 0:\n",
        "    if code == 0 and not stopped:\n",
        "tests/plugin/test_command.py::test_what_was_finished_all_the_same_is_done",
    ),
    Defect(
        "requeued-before-the-trainer-ended",
        "A job is requeued while its trainer still writes.",
        f"{EXECUTOR}/command.py",
        "        stop.wait()\n",
        "",
        "tests/plugin/test_command.py::test_a_trainer_that_outlives_its_snakemake_is_waited_for",
    ),
    Defect(
        "live-job-not-found",
        "A relaunched controller submits a second training beside the live one.",
        f"{EXECUTOR}/identity.py",
        "known.digest == digest",
        "known.digest is digest",
        "tests/plugin/test_identity.py::test_the_live_job_with_the_same_digest_is_found",
    ),
    Defect(
        "a-person-may-not-try-again",
        "Attempts of earlier calls count, so a relaunch by a person gives up at once.",
        f"{LIBRARY}/supervise/earlier.py",
        "launch and attempt.launch == launch",
        "launch",
        "tests/unit/supervise/test_earlier.py::test_only_the_newest_attempts_of_the_same_launch_count",
    ),
    Defect(
        "legs-in-vain-go-on",
        "A time limit shorter than the checkpoint interval is requeued for ever.",
        f"{LIBRARY}/supervise/session.py",
        "if final := in_vain(self._past, self._job.most_without_checkpoint):",
        "if final := in_vain([], self._job.most_without_checkpoint):",
        "tests/unit/supervise/test_session.py::test_jobs_of_one_call_in_vain_end_it",
    ),
    Defect(
        "short-limit-not-refused",
        "A time limit in which no checkpoint can be saved is submitted all the same.",
        f"{LIBRARY}/plan.py",
        "needed_s <= limit_min * 60:",
        "needed_s <= limit_min * 3600:",
        "tests/unit/test_plan.py"
        "::test_a_time_limit_below_the_checkpoint_interval_is_refused_with_the_key_to_set",
    ),
    Defect(
        "legs-of-one-job-are-one",
        "train.json tells a job that was requeued as one leg.",
        f"{LIBRARY}/legs.py",
        "key=lambda attempt: attempt.slurm",
        "key=lambda attempt: attempt.slurm and attempt.slurm.job_id",
        "tests/unit/test_legs.py::test_each_run_of_a_job_is_a_leg_with_all_its_attempts",
    ),
)
