"""Every fault, a function each; importing this package fills faults.fault.FAULTS in the order of the table.

To add one, write in the module of its kind (or in a new one, named below):

    @fault("rank-sigkilled", "one rank SIGKILLed", injected="SIGKILL in rank 1, epoch 2, iteration 3",
           must="killed; resumes by itself, completes", quick=True)
    def rank_sigkilled(bench: Bench) -> Measurement:
        bench.inject(kind="sigkill", rank=1, epoch=2, iteration=3)  # injected/injected_faults.py: KINDS
        launch = bench.train()                                      # or bench.snakemake(), bench.start(...)
        return bench.resumed(launch, "killed")                      # asserts, and measures

`bench` is a fresh project whose driving/stage1 trains 3 epochs of 4 iterations on two ranks. A row asserts
what is its own, with a message that says what was found. What holds for all is checked after each (play.py):
no process left, no finished checkpoint gone or changed, at most one epoch redone, never two trainers. Faults
that do not happen inside a rank call bench.injected_now() at their moment. Nothing may depend on how fast the
machine is. A row with on_rig=True gets a SlurmBench (slurm_bench.py), whose trainings are jobs of a real
Slurm. Columns are measured: what a row returns comes from records, stamps or what a command said.
"""

from importlib import import_module

ORDER = (
    "ranks",
    "hangs",
    "rungs",
    "ports",
    "supervisors",
    "leases",
    "checkpoints",
    "steps",
    "resources",
    "numbers",
    "mmengine",
    "script",
)
ON_RIG = (
    "slurm_controllers",
    "slurm_jobs",
    "slurm_legs",
    "slurm_submissions",
    "slurm_edits",
    "slurm_daemons",
    "slurm_nodes",
    "slurm_steps",
)

for _module in (*ORDER, *ON_RIG):
    import_module(f"faults.rows.{_module}")
