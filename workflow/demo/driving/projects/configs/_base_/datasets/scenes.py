dataset_type = "DrivingScenes"
data = dict(
    samples_per_gpu=4,
    workers_per_gpu=1,
    train=dict(type=dataset_type, length=240, seed=0),
    val=dict(type=dataset_type, length=64, seed=1),
    shuffler_sampler=dict(type="DistributedGroupSampler"),
)
