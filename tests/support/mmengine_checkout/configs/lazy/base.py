from mmengine.dataset import DefaultSampler
from mmengine.hooks import CheckpointHook, LoggerHook
from mmengine.runner import EpochBasedTrainLoop, ValLoop

default_scope = None
default_hooks = dict(
    logger=dict(type=LoggerHook, interval=2), checkpoint=dict(type=CheckpointHook, interval=1)
)
env_cfg = dict(dist_cfg=dict(backend="nccl"))
model_wrapper_cfg = dict(type="MMDistributedDataParallel", device_ids=None)
train_cfg = dict(type=EpochBasedTrainLoop, max_epochs=5, val_interval=1)
val_cfg = dict(type=ValLoop)
dataset = dict(type="ToyData", length=16)
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type=DefaultSampler, shuffle=True),
    dataset=dataset,
)
val_dataloader = dict(
    batch_size=2,
    num_workers=0,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dataset,
)
