"""Checks and measures a worker on one device: the parts of `scripts/gpu-check`."""
