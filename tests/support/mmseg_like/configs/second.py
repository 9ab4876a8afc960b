_base_ = "first.py"

optimizer = dict(lr=0.01)
