#!/usr/bin/env python3
"""Trains the demo checkpoint from random weights on two CPU cores.

    python train_demo.py                 all phases; one whose result is there is skipped
    python train_demo.py --only vae unet

Phases: tokenizer, vae, latents, unet (with both text encoders; writes the pipeline), decoder, taesd.
Needs torch, diffusers, transformers, safetensors and numpy.
"""

import argparse
import dataclasses
import os
import time

import autoencoder
import denoiser
import tokenizer
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from training import Settings

# Each phase and the file that says it is done.
PHASES = {
    "tokenizer": (tokenizer.make, "{out}/tokenizer/vocab.json"),
    "vae": (autoencoder.train_vae, "{cache}/vae/config.json"),
    "latents": (denoiser.cache_latents, "{cache}/latents0.pt"),
    "unet": (denoiser.train_unet, "{cache}/unet.done"),
    "decoder": (autoencoder.train_decoder, "{cache}/decoder.done"),
    "taesd": (autoencoder.train_taesd, "{out}/taesd/config.json"),
}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PHASES, help="run these phases, done or not")
    for field in dataclasses.fields(Settings):
        if field.name != "rank":
            flag = "--" + field.name.replace("_", "-")
            parser.add_argument(flag, type=type(field.default), default=field.default)
    arguments = vars(parser.parse_args())
    return arguments.pop("only"), Settings(**arguments)


def run_in_worker(rank, phase, settings, store):
    settings.rank = rank
    torch.set_num_threads(1)
    torch.manual_seed(settings.seed)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=settings.workers)
    PHASES[phase][0](settings)
    dist.barrier()
    dist.destroy_process_group()


def main():
    only, settings = parse_arguments()
    os.makedirs(settings.cache, exist_ok=True)
    os.makedirs(settings.out, exist_ok=True)
    for phase, (run, mark) in PHASES.items():
        done = os.path.exists(mark.format(out=settings.out, cache=settings.cache))
        if phase not in only if only else done:
            continue
        started = time.time()
        if phase == "tokenizer":
            run(settings)
        else:
            store = os.path.abspath(f"{settings.cache}/store.{os.getpid()}.{phase}")
            mp.spawn(run_in_worker, (phase, settings, store), nprocs=settings.workers)
        settings.log(f"phase {phase}: {(time.time() - started) / 60:.1f} min")


if __name__ == "__main__":
    main()
