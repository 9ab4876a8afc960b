_base_ = "./track_map.py"

custom_imports = {"imports": ["injected_faults"], "allow_failed_imports": False}
custom_hooks = [{"type": "InjectedFaults"}]
