from mmengine.config import read_base
from mmengine.optim import OptimWrapper
from torch.optim import SGD

with read_base():
    from .base import *
    from .model import model

custom_imports = dict(imports=["toy"], allow_failed_imports=False)
train_cfg.update(max_epochs=2)
train_dataloader.update(dict(dataset=dict(length=24)))
model.merge(dict(width=4))
optim_wrapper = dict(type=OptimWrapper, optimizer=dict(type=SGD, lr=0.01))
val_evaluator = dict(type="ToyError")
