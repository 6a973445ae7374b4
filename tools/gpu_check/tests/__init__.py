"""Tests of `scripts/gpu-check`: python3 -m unittest discover -s tools/gpu_check/tests -t tools"""
