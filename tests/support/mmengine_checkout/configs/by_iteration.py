_base_ = "first.py"

train_cfg = dict(_delete_=True, type="IterBasedTrainLoop", max_iters=40, val_interval=8)
param_scheduler = [dict(type="PolyLR", power=0.9, eta_min=1e-4, begin=0, end=40, by_epoch=False)]
train_dataloader = dict(sampler=dict(type="InfiniteSampler"))
default_hooks = dict(
    checkpoint=dict(by_epoch=False, interval=8, max_keep_ckpts=2, save_best="toy/error", rule="less")
)
