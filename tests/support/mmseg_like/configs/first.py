optimizer = dict(type="SGD", lr=0.05, momentum=0.9)
optimizer_config = dict(grad_clip=dict(max_norm=5))
lr_config = dict(policy="poly", power=0.9, min_lr=1e-4, by_epoch=False)
runner = dict(type="IterBasedRunner", max_iters=40)
checkpoint_config = dict(by_epoch=False, interval=8, max_keep_ckpts=2)
evaluation = dict(interval=8, save_best="mIoU")
log_config = dict(interval=2, hooks=[dict(type="TextLoggerHook", by_epoch=False)])
data = dict(samples_per_gpu=2, length=160)
dist_params = dict(backend="nccl")
log_level = "INFO"
load_from = None
resume_from = None
workflow = [("train", 1)]
cudnn_benchmark = True
custom_hooks = [dict(type="Injected")]
