_base_ = ["../_base_/datasets/scenes.py", "../_base_/default_runtime.py"]

plugin = True
plugin_dir = "driving/"

model = dict(
    type="DrivingModel",
    dims=32,
    end_to_end=True,  # motion, occupancy and planning heads
    freeze_bev_encoder=True,
    loss_past_traj_weight=0.1,
)
optimizer = dict(type="AdamW", lr=1e-3, weight_decay=0.01, fused=True)
optimizer_config = dict(grad_clip=dict(max_norm=35, norm_type=2))
lr_config = dict(
    policy="CosineAnnealing",
    warmup="linear",
    warmup_iters=20,
    warmup_ratio=1.0 / 3,
    min_lr_ratio=1e-3,
)
total_epochs = 4
evaluation = dict(interval=2)
runner = dict(type="EpochBasedRunner", max_epochs=total_epochs)
load_from = "ckpts/track_map.pth"
find_unused_parameters = True
