_base_ = "first.py"

optim_wrapper = dict(optimizer=dict(lr=0.01))
