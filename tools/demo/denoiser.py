"""Training of the UNet together with both text encoders, on latents that are computed once."""

import copy
import time

import autoencoder
import numpy as np
import scenes
import tokenizer
import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from training import SCALING_FACTOR, Clock, Mean, set_learning_rate, to_tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

SIZE = 128
TEXT_WIDTH = 64
TIME_WIDTH = 32


def cache_latents(settings):
    """Each process draws and encodes its own share of the pictures."""
    vae, tokenizers = autoencoder.load(settings), tokenizer.load(settings)
    rng, batch = np.random.default_rng(300 + settings.rank), 16
    latents, captions, started = [], [], time.time()
    with torch.no_grad():
        for k in range(settings.pictures // batch // settings.workers):
            pictures, words = zip(*(scenes.sample(rng, SIZE) for _ in range(batch)))
            captions += words
            x = to_tensor(np.stack(pictures)).to(memory_format=torch.channels_last)
            latents.append((vae.encode(x).latent_dist.mean * SCALING_FACTOR).half())
            if k % 100 == 0:
                settings.log(f"latents {k * batch} {(k + 1) * batch / (time.time() - started):.0f}/s")
    data = {"latents": torch.cat(latents), "ids": tokenizer.encode(tokenizers, captions)}
    torch.save(data, f"{settings.cache}/latents{settings.rank}.pt")


def _text_encoder(kind, activation, vocabulary):
    encoder = kind(
        CLIPTextConfig(
            hidden_act=activation,
            vocab_size=vocabulary,
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            # SDXL reads the last but one.
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=77,
            projection_dim=TEXT_WIDTH,
            bos_token_id=vocabulary - 2,
            eos_token_id=vocabulary - 1,
            pad_token_id=vocabulary - 1,
        )
    )
    for name, parameter in encoder.named_parameters():
        if "embedding" in name:
            torch.nn.init.normal_(parameter, std=0.3 if "token" in name else 0.1)
    return encoder


def _unet():
    unet = UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(32, 64, 128),
        layers_per_block=1,
        transformer_layers_per_block=(1, 1, 1),
        attention_head_dim=(1, 2, 4),
        cross_attention_dim=2 * TEXT_WIDTH,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=TIME_WIDTH,
        projection_class_embeddings_input_dim=TEXT_WIDTH + 6 * TIME_WIDTH,
        norm_num_groups=16,
    )
    torch.nn.init.zeros_(unet.conv_out.weight)
    torch.nn.init.zeros_(unet.conv_out.bias)
    return unet.to(memory_format=torch.channels_last)


def _scheduler():
    return EulerDiscreteScheduler.from_config(
        {
            "num_train_timesteps": 1000,
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "prediction_type": "epsilon",
            "timestep_spacing": "leading",
            "steps_offset": 1,
            "interpolation_type": "linear",
            "use_karras_sigmas": False,
            # Of no use to this class, but others take them: clip_sample is true in DDIMScheduler where it is absent.
            "clip_sample": False,
            "set_alpha_to_one": False,
            "sample_max_value": 1.0,
            "skip_prk_steps": True,
        }
    )


class _Average:
    """Exponential mean of the weights: what is saved."""

    def __init__(self, parameters, keep):
        self.parameters, self.keep, self.steps = parameters, keep, 0
        self.shadow = [p.detach().clone() for p in parameters]

    def update(self):
        self.steps += 1
        keep = min(self.keep, (1 + self.steps) / (10 + self.steps))
        torch._foreach_mul_(self.shadow, keep)
        torch._foreach_add_(self.shadow, [p.detach() for p in self.parameters], alpha=1 - keep)

    def swap(self):
        """Exchanges the live weights for the mean, or back."""
        for parameter, shadow in zip(self.parameters, self.shadow):
            live = parameter.detach().clone()
            parameter.data.copy_(shadow)
            shadow.copy_(live)


class _Batches:
    """Shuffled latents with their ids, for ever."""

    def __init__(self, settings, tokenizers, generator):
        data = torch.load(f"{settings.cache}/latents{settings.rank}.pt")
        self.latents, self.ids = data["latents"], data["ids"]
        self.empty = [ids[0].long() for ids in tokenizer.encode(tokenizers, [""])]
        self.generator, self.size = generator, settings.batch // settings.workers
        self.dropout = settings.caption_dropout
        self.order, self.next = torch.empty(0, dtype=torch.long), 0

    def take(self):
        """Latents, ids of both tokenizers, and which captions are to be zeros (a negative prompt of None)."""
        if self.next + self.size > len(self.order):
            self.order, self.next = torch.randperm(len(self.latents), generator=self.generator), 0
        chosen = self.order[self.next : self.next + self.size]
        self.next += self.size
        latents = self.latents[chosen].float()
        latents = latents + 0.02 * torch.randn(latents.shape, generator=self.generator)
        ids = [ids[chosen].long() for ids in self.ids]
        u = torch.rand(self.size, generator=self.generator)
        for i in range(2):
            ids[i][u < self.dropout / 3] = self.empty[i]
        return latents, ids, (u >= self.dropout / 3) & (u < self.dropout)


def train_unet(settings):
    torch.manual_seed(settings.seed)
    tokenizers = tokenizer.load(settings)
    vocabulary = len(tokenizers[0])
    first = _text_encoder(CLIPTextModel, "quick_gelu", vocabulary)
    second = _text_encoder(CLIPTextModelWithProjection, "gelu", vocabulary)
    unet = _unet()
    parameters = [*first.parameters(), *second.parameters(), *unet.parameters()]
    optimiser = torch.optim.AdamW(
        parameters, lr=settings.learning_rate, betas=(0.9, 0.99), weight_decay=0.01, foreach=True
    )
    average, clock = _Average(parameters, settings.ema), Clock(settings.unet_minutes)
    generator = torch.Generator().manual_seed(500 + settings.rank)
    batches = _Batches(settings, tokenizers, generator)
    alphas, error, step = _scheduler().alphas_cumprod, Mean(0.99), 0
    while clock.progress < 1:
        latents, ids, zeroed = batches.take()
        count = len(latents)
        keep = 1 - zeroed[:, None].float()
        hidden = first(ids[0], output_hidden_states=True).hidden_states[-2]
        output = second(ids[1], output_hidden_states=True)
        context = torch.cat([hidden, output.hidden_states[-2]], -1) * keep[..., None]
        pooled = output.text_embeds * keep
        time_ids = torch.tensor([[SIZE, SIZE, 0, 0, SIZE, SIZE]]).float().repeat(count, 1)
        # Now and then another original size, so that the size conditioning is not a constant.
        odd = torch.rand(count, generator=generator) < 0.1
        sizes = torch.rand(int(odd.sum()), 1, generator=generator) * 960 + 64
        time_ids[odd, 0:2] = sizes.round().expand(-1, 2)
        # One timestep from each part of the range: less variance than drawing them freely.
        parts = torch.randperm(count, generator=generator) + torch.rand(count, generator=generator)
        t = (parts / count * 1000).long().clamp(0, 999)
        noise = torch.randn(latents.shape, generator=generator)
        # A shift of whole pictures: without it, backgrounds tend to gray.
        noise = noise + settings.offset_noise * torch.randn(count, 4, 1, 1, generator=generator)
        a = alphas[t][:, None, None, None]
        noisy = (a.sqrt() * latents + (1 - a).sqrt() * noise).to(memory_format=torch.channels_last)
        added = {"text_embeds": pooled, "time_ids": time_ids}
        predicted = unet(noisy, t, context, added_cond_kwargs=added, return_dict=False)[0]
        # Min-SNR weighting (Hang et al. 2023).
        ratio = a.flatten() / (1 - a.flatten())
        squares = (predicted - noise).square().mean((1, 2, 3))
        loss = (squares * ratio.clamp(max=settings.snr_gamma) / ratio).mean()
        set_learning_rate(optimiser, clock.learning_rate(settings.learning_rate))
        optimiser.zero_grad()
        loss.backward()
        clock.sync(parameters)
        optimiser.step()
        average.update()
        error.add(loss.item())
        step += 1
        if step % 50 == 0:
            settings.log(f"unet {step} loss {error.value:.4f} {clock.progress:.0%}")
        if settings.rank == 0 and (step % 250 == 0 or clock.progress >= 1):
            average.swap()
            _save(settings, first, second, unet)
            average.swap()
    if settings.rank == 0:
        torch.save({"steps": step, "loss": error.value}, f"{settings.cache}/unet.done")


def _save(settings, first, second, unet):
    """Writes the pipeline in float16, as it is published."""

    def half(module):
        return copy.deepcopy(module).to(memory_format=torch.contiguous_format).half()

    tokenizers = tokenizer.load(settings)
    StableDiffusionXLPipeline(
        vae=half(AutoencoderKL.from_pretrained(f"{settings.cache}/vae")),
        text_encoder=half(first),
        text_encoder_2=half(second),
        tokenizer=tokenizers[0],
        tokenizer_2=tokenizers[1],
        unet=half(unet),
        scheduler=_scheduler(),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    ).save_pretrained(settings.out)
    # save_pretrained writes tokenizer.json alone; vocabulary and merges are what everybody reads.
    tokenizer.make(settings)
