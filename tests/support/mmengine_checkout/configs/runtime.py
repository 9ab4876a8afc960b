default_scope = None
default_hooks = dict(
    logger=dict(type="LoggerHook", interval=2),
    checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=3),
)
env_cfg = dict(dist_cfg=dict(backend="nccl"))
model_wrapper_cfg = dict(type="MMDistributedDataParallel", device_ids=None)  # which a CPU takes
log_level = "INFO"
load_from = None
resume = False
custom_imports = dict(imports=["toy"], allow_failed_imports=False)
custom_hooks = [dict(type="Injected")]
