"""Training of the autoencoder, of its sharper decoder, and of the preview decoder."""

import os

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, AutoencoderTiny
from training import (
    SCALING_FACTOR,
    Clock,
    Mean,
    crops,
    image_loss,
    picture_pool,
    set_learning_rate,
    to_tensor,
)


def load(settings):
    vae = AutoencoderKL.from_pretrained(f"{settings.cache}/vae").eval()
    return vae.to(memory_format=torch.channels_last)


def _make():
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(12, 24, 32, 48),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=1,
        sample_size=128,
        scaling_factor=SCALING_FACTOR,
        force_upcast=False,
    ).to(memory_format=torch.channels_last)


def _optimiser(parameters):
    return torch.optim.AdamW(parameters, lr=1e-3, betas=(0.9, 0.98), weight_decay=1e-4)


@torch.no_grad()
def _start_from_colours(vae):
    """Initialises to "a latent is the mean colour of its 8x8 cell".

    Channels 2c and 2c + 1 carry +colour and -colour down the residual stream (silu(x) - silu(-x) = x undoes the
    last nonlinearity), and a constant pair holds the last group norm steady. From PyTorch's own initialisation this
    network spends its first thousand steps learning to pass colours at all.
    """

    def carry(conv, y, x, gain=1.0):
        conv.weight[:6] = 0
        conv.bias[:6] = 0
        for i in range(6):
            conv.weight[i, i, y, x] = gain

    for module in vae.modules():
        kind = type(module).__name__
        if kind == "ResnetBlock2D":
            module.conv2.weight.mul_(0.05)
            module.conv2.weight[:6] = 0
            module.conv2.bias.zero_()
            if module.conv_shortcut is not None:
                carry(module.conv_shortcut, 0, 0)
        elif kind == "Downsample2D":
            carry(module.conv, slice(0, 2), slice(0, 2), 0.25)
        elif kind == "Upsample2D":
            carry(module.conv, 1, 1)
        elif kind == "Attention":
            module.to_out[0].weight.zero_()
            module.to_out[0].bias.zero_()
    ends = (
        (vae.encoder, vae.encoder.mid_block.resnets[-1], 5.0),
        (vae.decoder, vae.decoder.up_blocks[-1].resnets[-1], 4.0),
    )
    for part, last, constant in ends:
        first, channels = part.conv_in, part.conv_norm_out.num_channels
        first.weight[:6] = 0
        first.bias[:6] = 0
        last.conv2.bias[6], last.conv2.bias[7] = constant, -constant
        out = part.conv_out
        spare = out.weight[3].clone() if len(out.weight) > 3 else None
        out.weight.zero_()
        out.bias.zero_()
        for c in range(3):
            first.weight[2 * c, c, 1, 1], first.weight[2 * c + 1, c, 1, 1] = 1, -1
            out.weight[c, 2 * c, 1, 1] = constant * (2 / channels) ** 0.5 * 1.1
            out.weight[c, 2 * c + 1, 1, 1] = -out.weight[c, 2 * c, 1, 1]
        if spare is not None:
            out.weight[3] = spare * 3
    for conv in (vae.quant_conv, vae.post_quant_conv):
        conv.weight.zero_()
        conv.bias.zero_()
        for i in range(4):
            conv.weight[i, i] = 1
    vae.quant_conv.weight[4:, 4:, 0, 0] = 0.1 * torch.eye(4)
    # A narrow posterior to begin with.
    vae.quant_conv.bias[4:] = -5


@torch.no_grad()
def _fold_statistics(vae, pictures):
    """Folds mean and spread of the latents into the 1x1 convolutions: latent * SCALING_FACTOR is normal."""
    parts = np.array_split(pictures, 20)
    latents = torch.cat([vae.encode(to_tensor(part)).latent_dist.mean for part in parts])
    mean, spread = latents.mean((0, 2, 3)), latents.std((0, 2, 3))
    gain = 1 / (spread * SCALING_FACTOR)
    inwards, outwards = vae.quant_conv, vae.post_quant_conv
    inwards.weight[:4] *= gain[:, None, None, None]
    inwards.bias[:4] = (inwards.bias[:4] - mean) * gain
    inwards.bias[4:] += 2 * gain.log()
    outwards.bias += outwards.weight[:, :, 0, 0] @ mean
    outwards.weight /= gain[None, :, None, None]


def train_vae(settings):
    vae = _make()
    _start_from_colours(vae)
    rng = np.random.default_rng(100 + settings.rank)
    pools = [picture_pool(1500, 128, 11), picture_pool(300, 256, 12)]
    optimiser, clock, error, step = _optimiser(vae.parameters()), Clock(settings.vae_minutes), Mean(), 0
    while clock.progress < 1:
        set_learning_rate(optimiser, clock.learning_rate(2.5e-3))
        # Small parts first, whole pictures at the end: the group norms must see what they will be used on.
        if clock.progress > 0.85:
            x = crops(pools[:1], 1, 128, rng)
        elif clock.progress > 0.3:
            x = crops(pools, 5, 48, rng)
        else:
            x = crops(pools, 8, 32, rng)
        posterior = vae.encode(x).latent_dist
        made = vae.decode(posterior.sample()).sample
        divergence = 0.5 * (posterior.mean.square() + posterior.var - 1 - posterior.logvar).mean()
        loss = image_loss(made, x) + 3e-4 * min(1, clock.progress / 0.3) * divergence
        optimiser.zero_grad()
        loss.backward()
        clock.sync(vae.parameters())
        optimiser.step()
        error.add((made - x).abs().mean().item())
        step += 1
        if step % 50 == 0:
            settings.log(f"vae {step} l1 {error.value:.4f} kl {divergence.item():.2f} {clock.progress:.0%}")
    if settings.rank == 0:
        _fold_statistics(vae, pools[0][:200])
        vae.eval().save_pretrained(f"{settings.cache}/vae")


def train_decoder(settings):
    """Trains the decoder alone, on the latents that the denoiser has learnt."""
    vae = load(settings)
    rng = np.random.default_rng(900 + settings.rank)
    pools = [picture_pool(1500, 128, 13), picture_pool(150, 256, 14)]
    vae.requires_grad_(False)
    parameters = [*vae.decoder.parameters(), *vae.post_quant_conv.parameters()]
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimiser, clock, error, step = _optimiser(parameters), Clock(settings.decoder_minutes), Mean(), 0
    while clock.progress < 1:
        set_learning_rate(optimiser, clock.learning_rate(1.5e-3))
        x = crops(pools[:1], 1, 128, rng) if clock.progress > 0.7 else crops(pools, 4, 56, rng)
        with torch.no_grad():
            latents = vae.encode(x).latent_dist.mean
        made = vae.decode(latents + 0.04 / SCALING_FACTOR * torch.randn_like(latents)).sample
        optimiser.zero_grad()
        image_loss(made, x).backward()
        clock.sync(parameters)
        optimiser.step()
        error.add((made - x).abs().mean().item())
        step += 1
        if step % 100 == 0:
            settings.log(f"decoder {step} l1 {error.value:.4f} {clock.progress:.0%}")
    if settings.rank == 0:
        vae.to(memory_format=torch.contiguous_format).save_pretrained(f"{settings.cache}/vae")
        if os.path.isdir(f"{settings.out}/vae"):
            vae.half().save_pretrained(f"{settings.out}/vae")
        with open(f"{settings.cache}/decoder.done", "w", encoding="utf8") as mark:
            mark.write(str(error.value))


def train_taesd(settings):
    vae = load(settings)
    torch.manual_seed(7)
    rng = np.random.default_rng(800 + settings.rank)
    tiny = AutoencoderTiny(
        encoder_block_out_channels=(16,) * 4,
        decoder_block_out_channels=(16,) * 4,
        num_encoder_blocks=(1,) * 4,
        num_decoder_blocks=(1,) * 4,
        latent_channels=4,
        scaling_factor=1.0,
    ).to(memory_format=torch.channels_last)
    pools = [picture_pool(1500, 128, 11), picture_pool(200, 256, 12)]
    optimiser, clock, error, step = _optimiser(tiny.parameters()), Clock(settings.taesd_minutes), Mean(), 0
    while clock.progress < 1:
        set_learning_rate(optimiser, clock.learning_rate(2e-3))
        x = crops(pools, 4, 64, rng)
        with torch.no_grad():
            latents = vae.encode(x).latent_dist.mean * SCALING_FACTOR
        made = tiny.decoder(latents + 0.05 * torch.randn_like(latents))
        loss = image_loss(made, x) + 0.2 * F.smooth_l1_loss(tiny.encoder(x), latents)
        optimiser.zero_grad()
        loss.backward()
        clock.sync(tiny.parameters())
        optimiser.step()
        error.add((made - x).abs().mean().item())
        step += 1
        if step % 100 == 0:
            settings.log(f"taesd {step} l1 {error.value:.4f} {clock.progress:.0%}")
    if settings.rank == 0:
        tiny.to(memory_format=torch.contiguous_format).half().save_pretrained(f"{settings.out}/taesd")
