model = dict(type="ToyModel", width=8)
