"""What diffusers' tiled autoencoder gives for the fixtures' VAE: decoded and encoded in tiles that do not divide the
picture evenly.

    python make_tiles.py worker/tests/parity

writes `tiles.safetensors` into that folder: for tiles of 4 and of 8 latents a side the inputs, the decoded picture and
the posterior. diffusers' own tiles follow from `sample_size`; smaller ones keep the file small.
"""

import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file

SEED = 131
# latents of a tile's side, height and width of the latents
GRIDS = ((4, 7, 10), (8, 7, 13))


def main(folder):
    vae = AutoencoderKL.from_pretrained(folder / "model" / "vae", torch_dtype=torch.float32).eval()
    scale = 2 ** (len(vae.config.block_out_channels) - 1)
    generator = torch.Generator().manual_seed(SEED)
    tensors = {}
    for side, height, width in GRIDS:
        vae.enable_tiling()
        vae.tile_latent_min_size, vae.tile_sample_min_size = side, side * scale
        latents = torch.randn(1, vae.config.latent_channels, height, width, generator=generator)
        picture = torch.randint(0, 256, (1, 3, height * scale, width * scale), generator=generator, dtype=torch.uint8)
        with torch.no_grad():
            decoded = vae.decode(latents / vae.config.scaling_factor).sample
            posterior = vae.encode(picture.float() / 255 * 2 - 1).latent_dist
            vae.disable_tiling()
            whole = vae.decode(latents / vae.config.scaling_factor).sample
        distance = float((decoded - whole).norm() / whole.norm())
        print(f"tiles of {side}: the picture is {distance:.3f} away from the whole one")
        tensors |= {f"{side}.latents": latents, f"{side}.decoded": decoded, f"{side}.picture": picture,
                    f"{side}.mean": posterior.mean, f"{side}.logvar": posterior.logvar}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "tiles.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(2)
    main(Path(sys.argv[1]))
