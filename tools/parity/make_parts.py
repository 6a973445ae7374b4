"""What diffusers makes of jobs in parts: inpainting UNets with nine channels, `denoising_end` and `denoising_start`, the
refiner, `padding_mask_crop`, and a second pass at a larger size.

    python make_parts.py FIXTURES [CASE] # e.g. worker/tests/parity; needs what make_fixtures.py needs, and peft

Writes `cases.json`, `cases/`, `inpaint.safetensors` (the first convolution of an inpainting UNet; everything else is
the checkpoint's) and `refiner/` (a refiner's UNet and `model_index.json`; the second text encoder and its tokenizer,
the scheduler and the VAE are the checkpoint's) into FIXTURES/parts. A job in two parts is two calls of diffusers.
"""

import copy
import functools
import json
import sys
from pathlib import Path

import make_fixtures as mf
import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

BASE = {"prompt": "a lighthouse in the storm, oil on canvas", "negative_prompt": "blurry", "steps": 6,
        "guidance_scale": 5.0, "height": 48, "width": 40, "preview_steps": []}
INPAINT = {**BASE, "pipeline": "inpaint", "unet": "inpaint"}
KARRAS = {"_class_name": "DPMSolverMultistepScheduler", "use_karras_sigmas": True}
ANCESTRAL = {"_class_name": "EulerAncestralDiscreteScheduler"}
HEUN = {"_class_name": "HeunDiscreteScheduler"}
REFINER = {"path": "refiner"}
CASES = [
    {**INPAINT, "name": "nine_s1", "seed": 41, "strength": 1.0},
    {**INPAINT, "name": "nine_s06_batch2", "seed": 42, "strength": 0.6, "num_images_per_prompt": 2,
     "scheduler": KARRAS},
    {**INPAINT, "name": "nine_eulera_nocfg", "seed": 43, "strength": 1.0, "guidance_scale": 1.0, "steps": 4,
     "scheduler": ANCESTRAL, "height": 40, "preview_steps": [1]},
    {**INPAINT, "name": "nine_lora", "seed": 44, "strength": 0.9, "steps": 4,
     "loras": [{"path": "../variants/kohya_diffusers.safetensors", "scale": 0.7}]},
    {**BASE, "name": "end_euler", "seed": 51, "denoising_end": 0.7},
    {**BASE, "name": "end_heun", "seed": 52, "denoising_end": 0.55, "scheduler": HEUN},
    {**BASE, "name": "end_img2img", "seed": 53, "pipeline": "img2img", "strength": 0.8, "denoising_end": 0.6},
    {**BASE, "name": "start_dpmpp", "seed": 54, "pipeline": "img2img", "steps": 8, "denoising_start": 0.4,
     "scheduler": KARRAS, "given": "latents"},
    {**BASE, "name": "start_heun", "seed": 55, "pipeline": "img2img", "denoising_start": 0.45, "scheduler": HEUN,
     "given": "latents"},
    {**BASE, "name": "start_eulera_picture", "seed": 56, "pipeline": "img2img", "denoising_start": 0.5,
     "denoising_end": 0.9, "scheduler": ANCESTRAL},
    {**BASE, "name": "img2img_latents", "seed": 57, "pipeline": "img2img", "strength": 0.6, "given": "latents"},
    {**BASE, "name": "img2img_microcond", "seed": 58, "pipeline": "img2img", "strength": 0.5, "steps": 4,
     "original_size": [512, 768], "target_size": [1024, 1536], "crops_coords_top_left": [16, 32],
     "negative_original_size": [256, 256], "negative_crops_coords_top_left": [0, 8]},
    {**BASE, "name": "refiner_euler_nullneg", "seed": 61, "negative_prompt": None, "steps": 8, "denoising_end": 0.7,
     "refiner": REFINER, "preview_steps": [2, 6]},
    {**BASE, "name": "refiner_eulera_scores", "seed": 62, "denoising_end": 0.6, "num_images_per_prompt": 2,
     "height": 40, "scheduler": ANCESTRAL, "original_size": [512, 768], "target_size": [1024, 1536],
     "crops_coords_top_left": [16, 32], "clip_skip": 1,
     "refiner": {**REFINER, "aesthetic_score": 7.5, "negative_aesthetic_score": 1.25}},
    {**BASE, "name": "refiner_heun_nocfg", "seed": 63, "guidance_scale": 1.0, "denoising_end": 0.5,
     "refiner": REFINER, "scheduler": HEUN, "prompt_2": "a boat"},
    {**BASE, "name": "refiner_dpmpp", "seed": 64, "steps": 10, "denoising_end": 0.8, "refiner": REFINER,
     "scheduler": KARRAS, "negative_original_size": [256, 256], "negative_target_size": [512, 512],
     "negative_crops_coords_top_left": [0, 8]},
    {**BASE, "name": "refiner_embedding", "prompt": "a fox in kite-style, <Ink>", "seed": 66, "denoising_end": 0.6,
     "refiner": REFINER, "embeddings": [{"path": "../embeddings/kite-style.safetensors", "token": "kite-style"},
                                        {"path": "../embeddings/ink.safetensors", "token": "<Ink>"}]},
    {**BASE, "name": "refiner_alone", "seed": 65, "unet": "refiner", "pipeline": "img2img", "strength": 0.5,
     "negative_prompt": None, "negative_crops_coords_top_left": [0, 8], "aesthetic_score": 5.5},
    {**BASE, "name": "crop_euler", "seed": 71, "pipeline": "inpaint", "strength": 0.8, "steps": 5,
     "padding_mask_crop": 6, "image_size": [72, 96]},
    {**INPAINT, "name": "crop_nine", "seed": 72, "strength": 1.0, "steps": 4, "padding_mask_crop": 3,
     "image_size": [61, 83], "num_images_per_prompt": 2},
    {**BASE, "name": "hires_euler", "seed": 81, "steps": 4, "hires": {"scale": 1.5, "strength": 0.6, "steps": 5}},
    {**BASE, "name": "hires_eulera_batch2", "seed": 82, "steps": 3, "height": 40, "num_images_per_prompt": 2,
     "scheduler": ANCESTRAL, "hires": {"scale": 1.3, "strength": 0.7, "steps": 3}},
]

# The others' embeddings are those of other fixtures, and their pictures are stored in 8 bits alone.
WHOLE = ["nine_s1", "refiner_alone", "refiner_euler_nullneg"]


class Recorder:
    """The tensors of one or several calls of diffusers, with steps that count on."""

    def __init__(self, case, taesd):
        self.case, self.taesd, self.tensors, self.steps, self.log = case, taesd, {}, 0, []
        self.tables = {"timesteps": [], "sigmas": []}

    def call(self, pipe, sched, **kw):
        """Runs a pipeline and returns its images."""
        T, guided = self.tensors, self.case["guidance_scale"] > 1
        pipe.scheduler = sched
        unet_fwd, step_fn, dec_fn, enc_fn = pipe.unet.forward, sched.step, pipe.vae.decode, pipe.vae.encode
        own = [0]

        def unet(sample, t, **given):
            out = unet_fwd(sample, t, **given)
            if self.steps == 0:
                T["unet_in.0"], T["unet_out.0"] = sample.clone(), out[0].clone()
                embeds, added = given["encoder_hidden_states"], given["added_cond_kwargs"]
                half = embeds.shape[0] // 2 if guided else 0
                T["prompt_embeds"], T["pooled_prompt_embeds"] = embeds[half:].clone(), added["text_embeds"][half:].clone()
                if guided:
                    T["negative_prompt_embeds"] = embeds[:half].clone()
                    T["negative_pooled_prompt_embeds"] = added["text_embeds"][:half].clone()
                T["add_time_ids"] = added["time_ids"].clone()
            elif own[0] == 0:
                T["second_add_time_ids"] = given["added_cond_kwargs"]["time_ids"].clone()
                T["second_unet_in"] = sample.clone()
            return out

        def step(prediction, t, sample, **given):
            if self.steps == 0:
                T["init_latents"] = sample.clone()
            index = sched.step_index if getattr(sched, "step_index", None) is not None else (sched.begin_index or 0)
            x0 = mf.predicted_x0(sched, prediction, sample, t, index)
            out = step_fn(prediction, t, sample, **given)
            T[f"noise_pred.{self.steps}"], T[f"latents.{self.steps}"] = prediction.clone(), out[0].clone()
            self.preview(out[0], x0)
            self.tables["timesteps"].append(float(t))
            if hasattr(sched, "sigmas"):
                self.tables["sigmas"].append(float(sched.sigmas[index]))
                self.after = float(sched.sigmas[index + 1])
            self.steps += 1
            own[0] += 1
            return out

        def blended(_pipe, _i, _t, given):
            # with a UNet of four channels the step's own latents are not yet those of the picture where it is to stay
            T[f"latents.{self.steps - 1}"] = given["latents"].clone()
            return {}

        def decode(z, *args, **given):
            out = dec_fn(z, *args, **given)
            T["image"] = (out[0] if isinstance(out, tuple) else out.sample).clone()
            return out

        def encode(x, *args, **given):
            out = enc_fn(x, *args, **given)
            name = "encoder" if "encoder_input" not in T and self.steps == 0 else "second_encoder"
            if f"{name}_input" not in T:
                T[f"{name}_input"], T[f"{name}_mean"] = x.clone(), out.latent_dist.mean.clone()
                T[f"{name}_logvar"] = out.latent_dist.logvar.clone()
            return out

        pipe.unet.forward = functools.wraps(unet_fwd)(unet)
        sched.step = functools.wraps(step_fn)(step)
        pipe.vae.decode, pipe.vae.encode = decode, encode
        try:
            with mf.RecordRandn() as drawn:
                images = pipe(callback_on_step_end=blended, **kw).images
        finally:
            del pipe.unet.forward, pipe.vae.decode, pipe.vae.encode, sched.step
        self.log.append(drawn.log)
        return images

    def preview(self, latents, x0):
        if self.steps in self.case.get("preview_steps", []):
            self.tensors[f"preview.{self.steps}"] = self.taesd.decode(latents).sample
            self.tensors[f"pred_x0.{self.steps}"] = x0
            self.tensors[f"preview_x0.{self.steps}"] = self.taesd.decode(x0).sample

    def finish(self):
        self.tensors["timesteps"] = torch.tensor(self.tables["timesteps"])
        drop = [name for name in self.tensors if name.endswith(("encoder_input", "second_encoder_mean", "second_encoder_logvar"))]
        if self.case["name"] not in WHOLE:
            drop += [name for name in self.tensors if "prompt_embeds" in name or name == "image"]
        for name in drop:
            del self.tensors[name]
        return {name: tensor.detach().contiguous() for name, tensor in self.tensors.items()}


def prompts(case):
    kw = {name: case[name] for name in ("prompt", "negative_prompt", "guidance_scale")}
    kw["num_inference_steps"] = case["steps"]
    kw["num_images_per_prompt"] = case.get("num_images_per_prompt", 1)
    kw.update({name: case[name] for name in ("prompt_2", "clip_skip") if name in case})
    for name in ("original_size", "target_size", "crops_coords_top_left", "negative_original_size",
                 "negative_target_size", "negative_crops_coords_top_left"):
        if name in case:
            kw[name] = tuple(case[name])
    return kw


def draws(tensors, log, kinds):
    """Names what was drawn first; the rest is the sampler's."""
    for name, (_, tensor) in zip(kinds, log):
        if name:
            tensors[name] = tensor
    for i, (_, tensor) in enumerate(log[len(kinds):]):
        tensors[f"step_noise.{i}"] = tensor


def latents_of(pipe, height, width, seed):
    """Latents as a base model would hand them over: smooth, with some noise."""
    generator = torch.Generator().manual_seed(1000 + seed)
    return mf.smooth_latents(1, 4, height // 8, width // 8, seed) + 2 * torch.randn(1, 4, height // 8, width // 8, generator=generator)


@torch.no_grad()
def run(case, pipes, taesd, base_cfg):
    from diffusers import (StableDiffusionXLImg2ImgPipeline, StableDiffusionXLInpaintPipeline,
                           StableDiffusionXLPipeline)
    rec = Recorder(case, taesd)
    T = rec.tensors
    generator = torch.Generator("cpu").manual_seed(case["seed"])
    sched = lambda: mf.make_scheduler(base_cfg, case.get("scheduler"))
    kind = {"inpaint": StableDiffusionXLInpaintPipeline, "img2img": StableDiffusionXLImg2ImgPipeline}
    kind = kind.get(case.get("pipeline"), StableDiffusionXLPipeline)
    own = pipes[case.get("unet", "base")]
    if "embeddings" in case:
        pipes = with_embeddings(case, pipes)
        own = pipes["base"]
    pipe = kind(**own, add_watermarker=False, **({"requires_aesthetics_score": True} if case.get("unet") == "refiner" else {}))
    pipe.set_progress_bar_config(disable=True)
    kw = {**prompts(case), "generator": generator}
    kw.update({name: case[name] for name in ("denoising_start", "denoising_end", "padding_mask_crop", "aesthetic_score") if name in case})
    part = "denoising_end" in case
    kw["output_type"] = "latent" if part else "pil"
    height, width = case.get("image_size", (case["height"], case["width"]))
    kinds = ["noise"]
    if case.get("given") == "latents":
        T["input_latents"] = latents_of(pipe, case["height"], case["width"], case["seed"])
        kw.update(image=T["input_latents"].clone())
        kinds = [] if "denoising_start" in case else ["noise"]
    elif "pipeline" in case:
        picture = mf.test_image(height, width, case["seed"])
        T["input_image_u8"] = torch.from_numpy(picture)[None]
        kw.update(image=Image.fromarray(picture))
        kinds = ["encoder_noise"] if "denoising_start" in case else ["encoder_noise", "noise"]
    if case.get("pipeline") == "inpaint":
        mask = mf.test_mask(height, width)
        if "padding_mask_crop" in case:
            mask = np.roll(mask, (5, -4), (0, 1))
        T["input_mask_u8"] = torch.from_numpy(mask)[None]
        kw.update(mask_image=Image.fromarray(mask))
        nine_from_noise = case.get("unet") == "inpaint" and case["strength"] == 1.0
        kinds = ["noise", "encoder_noise"] if nine_from_noise else ["encoder_noise", "noise", None]
    if kind is not StableDiffusionXLImg2ImgPipeline:
        kw.update(height=case["height"], width=case["width"])
    if "strength" in case:
        kw["strength"] = case["strength"]
    for i, lora in enumerate(case.get("loras", [])):
        folder, name = str(Path(sys.argv[1]) / "variants"), Path(lora["path"]).name
        pipe.load_lora_weights(folder, weight_name=name, adapter_name=f"lora{i}")
        pipe.set_adapters([f"lora{i}"], [lora["scale"]])
    images = rec.call(pipe, sched(), **kw)
    if case.get("loras"):
        pipe.unload_lora_weights()
    log = rec.log[0]
    if "refiner" in case:
        refiner = StableDiffusionXLImg2ImgPipeline(**pipes["refiner"], add_watermarker=False, requires_aesthetics_score=True)
        refiner.set_progress_bar_config(disable=True)
        kw = {**prompts(case), "generator": generator, "image": images, "denoising_start": case["denoising_end"]}
        kw.update({name: case["refiner"][name] for name in ("aesthetic_score", "negative_aesthetic_score") if name in case["refiner"]})
        images = rec.call(refiner, sched(), output_type="pil", **kw)
        log = log + rec.log[1]
    draws(T, log, kinds)
    if "encoder_mean" in T and case.get("given") != "latents":
        T["image_latents"] = (T["encoder_mean"] + torch.exp(0.5 * T["encoder_logvar"]) * T["encoder_noise"]) * pipe.vae.config.scaling_factor
    if "hires" in case:
        hires = case["hires"]
        T["first_image_u8"] = torch.from_numpy(np.stack([np.array(image) for image in images]))
        size = [max(8, int(side * hires["scale"] / 8 + 0.5) * 8) for side in (case["width"], case["height"])]
        larger = [image.resize(size, Image.Resampling.LANCZOS) for image in images]
        second = StableDiffusionXLImg2ImgPipeline(**own, add_watermarker=False)
        second.set_progress_bar_config(disable=True)
        kw = {**prompts(case), "image": larger, "num_inference_steps": hires["steps"], "strength": hires["strength"],
              "generator": torch.Generator("cpu").manual_seed(case["seed"])}
        images = rec.call(second, sched(), output_type="pil", **kw)
    if not torch.is_tensor(images):
        T["image_u8"] = torch.from_numpy(np.stack([np.array(image) for image in images]))
    return rec.finish()


def with_embeddings(case, pipes):
    """Pipelines whose tokenizers and text encoders know the embeddings: a refiner has the second of them alone."""
    from diffusers import StableDiffusionXLPipeline
    names = ("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2")
    text = {name: copy.deepcopy(pipes["base"][name]) for name in names}
    pipe = StableDiffusionXLPipeline(**{**pipes["base"], **text}, add_watermarker=False)
    for entry in case["embeddings"]:
        tensors = load_file(Path(sys.argv[1]) / "embeddings" / Path(entry["path"]).name)
        for part, number in (("clip_l", ""), ("clip_g", "_2")):
            pipe.load_textual_inversion(tensors[part], token=entry["token"], text_encoder=text[f"text_encoder{number}"],
                                        tokenizer=text[f"tokenizer{number}"])
    second = {name: text[name] for name in names if name.endswith("_2")}
    return {**pipes, "base": {**pipes["base"], **text}, "refiner": {**pipes["refiner"], **second}}


class WithIds:
    """A UNet for `fit_unet` that takes another number of time ids."""

    def __init__(self, unet, count):
        self.unet, self.count, self.conv_out = unet, count, unet.conv_out

    def __call__(self, x, t, encoder_hidden_states, added_cond_kwargs):
        ids = added_cond_kwargs["time_ids"][:, :self.count].clone()
        ids[:, -1] = 6.0
        added = {**added_cond_kwargs, "time_ids": ids}
        return self.unet(x, t, encoder_hidden_states=encoder_hidden_states, added_cond_kwargs=added)


def nine_channels(unet, out):
    """The UNet with a first convolution for latents, mask and masked picture."""
    from diffusers import UNet2DConditionModel
    nine = UNet2DConditionModel.from_config({**unet.config, "in_channels": 9}).eval()
    state = unet.state_dict()
    extra = np.random.RandomState(9).standard_normal((state["conv_in.weight"].shape[0], 5, 3, 3)).astype(np.float32)
    state["conv_in.weight"] = torch.cat([state["conv_in.weight"], torch.from_numpy(extra * 0.03)], 1)
    nine.load_state_dict(state)
    save_file({"conv_in.weight": state["conv_in.weight"].contiguous()}, out / "inpaint.safetensors")
    return nine


@torch.no_grad()
def refiner_unet(pipe, out):
    from diffusers import UNet2DConditionModel
    width, pooled = pipe.text_encoder_2.config.hidden_size, pipe.text_encoder_2.config.projection_dim
    unet = UNet2DConditionModel(
        in_channels=4, out_channels=4, act_fn="silu", layers_per_block=2, norm_eps=1e-5, block_out_channels=(8, 8, 12, 12),
        attention_head_dim=(2, 2, 3, 3), transformer_layers_per_block=(1, 1, 1, 2), addition_time_embed_dim=8,
        norm_num_groups=4, sample_size=16,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        mid_block_type="UNetMidBlock2DCrossAttn", cross_attention_dim=width, use_linear_projection=True,
        addition_embed_type="text_time", projection_class_embeddings_input_dim=5 * 8 + pooled).float().eval()
    mf.init_model(unet, mf.UNET_GAINS, "parts/refiner")
    ids = pipe.tokenizer_2(mf.caption_list("fit-parts", 8), padding="max_length", max_length=77, truncation=True,
                           return_tensors="pt").input_ids
    encoded = pipe.text_encoder_2(ids, output_hidden_states=True)
    print("fit", mf.fit_unet(WithIds(unet, 5), encoded.hidden_states[-2], encoded.text_embeds, 2000))
    # Stored in half precision, and used as stored.
    unet = unet.half()
    unet.save_pretrained(out / "refiner" / "unet", safe_serialization=True)
    mf.dump_json(out / "refiner" / "model_index.json", {
        "_class_name": "StableDiffusionXLImg2ImgPipeline", "_diffusers_version": "0.19.0.dev0",
        "force_zeros_for_empty_prompt": False, "add_watermarker": None, "requires_aesthetics_score": True,
        "scheduler": ["diffusers", "EulerDiscreteScheduler"], "text_encoder": [None, None],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"], "tokenizer": [None, None],
        "tokenizer_2": ["transformers", "CLIPTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"]})
    return unet.float()


def stored_refiner(out):
    from diffusers import UNet2DConditionModel
    return UNet2DConditionModel.from_pretrained(out / "refiner" / "unet").float().eval()


def main(fixtures, only=""):
    fixtures = Path(fixtures)
    out = fixtures / "parts"
    (out / "cases").mkdir(parents=True, exist_ok=True)
    mf.quiet()
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    pipe, taesd = mf.load_pipe(fixtures)
    base_cfg = dict(pipe.scheduler.config)
    parts = {name: pipe.components[name] for name in
             ("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "unet", "scheduler")}
    alone = {**parts, "text_encoder": None, "tokenizer": None, "force_zeros_for_empty_prompt": False}
    pipes = {"base": parts, "inpaint": {**parts, "unet": nine_channels(pipe.unet, out)},
             "refiner": {**alone, "unet": refiner_unet(pipe, out) if not only else stored_refiner(out)}}
    listed = []
    for case in CASES:
        listed.append({name: value for name, value in case.items() if name not in ("unet", "given", "image_size")})
        if only not in ("", case["name"]):
            continue
        tensors = run(case, pipes, taesd, base_cfg)
        save_file(tensors, out / "cases" / f"{case['name']}.safetensors")
        last = tensors[max((name for name in tensors if name.startswith("latents.")), key=lambda name: int(name[8:]))]
        print(f"{case['name']:24s} {len(tensors):3d} tensors, latents std {last.std():.3f}", flush=True)
    mf.dump_json(out / "cases.json", listed)


if __name__ == "__main__":
    main(*sys.argv[1:])
