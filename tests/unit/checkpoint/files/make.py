"""Wrote the files beside it, run once by each torch that their names tell: python make.py FOLDER."""

import sys

import torch

torch.manual_seed(0)
model = torch.nn.Linear(2, 1)
optimizer = torch.optim.Adam(model.parameters())
model(torch.ones(1, 2)).sum().backward()
optimizer.step()
torch.save(
    {
        "meta": {"epoch": 2, "iter": 20},
        "state_dict": model.state_dict(),
        "optimizer": optimizer.state_dict(),
    },
    "%s/torch-%s.pth" % (sys.argv[1], torch.__version__.split("+")[0]),  # noqa: UP031
)
