"""The parts of `scripts/gpu-check`, which checks and measures Glimpse on one device."""
