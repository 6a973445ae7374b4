"""The fixtures' checkpoint as people have it otherwise, and what diffusers computes with it.

    python make_variants.py FIXTURES        # e.g. worker/tests/parity; needs peft beside what make_fixtures.py needs

Writes into FIXTURES/variants: `model.safetensors` (one file in SGM naming, float16), `taesdxl/` (TAESD in its author's
naming), three LoRA files (kohya's SGM and diffusers block names, and peft's), and `cases.json` with `cases/` for LoRA,
inpainting and the single file. Each conversion is read back by diffusers itself: `from_single_file` must give the
weights that went in, `load_lora_weights` reads the LoRAs. The tables here are written apart from those of the worker.
"""

import json
import re
import sys
from pathlib import Path

import make_fixtures as mf
import torch
from safetensors.torch import load_file, save_file

RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
          "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
OUTER = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
         "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
         "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"}


def unet_name(name, config):
    """SGM's name of a tensor or module of the UNet."""
    per_level = config["layers_per_block"] + 1
    for ours, theirs in OUTER.items():
        if name == ours or name.startswith(ours + "."):
            return theirs + name[len(ours):]
    kind, rest = name.split("_", 1)
    if kind == "mid":
        part, number, inner = re.match(r"block\.(resnets|attentions)\.(\d+)\.(.*)", rest).groups()
        place = "middle_block.1" if part == "attentions" else f"middle_block.{2 * int(number)}"
    else:
        level, part, number, inner = re.match(r"blocks\.(\d+)\.(\w+)\.(\d+)\.(.*)", rest).groups()
        level, number = int(level), int(number)
        if part == "downsamplers":
            return f"input_blocks.{(level + 1) * per_level}.0.op.{inner.split('.', 1)[1]}"
        if part == "upsamplers":
            attention = config["up_block_types"][level].startswith("CrossAttn")
            return f"output_blocks.{(level + 1) * per_level - 1}.{2 if attention else 1}.{inner}"
        block = f"input_blocks.{1 + level * per_level + number}" if kind == "down" else f"output_blocks.{level * per_level + number}"
        place = f"{block}.{1 if part == 'attentions' else 0}"
    if part == "resnets":
        module, *end = inner.split(".")
        inner = ".".join([RESNET[module], *end])
    return f"{place}.{inner}"


def vae_name(name, levels):
    """SGM's name of a tensor of the autoencoder."""
    name = name.replace("mid_block.resnets.0", "mid.block_1").replace("mid_block.resnets.1", "mid.block_2")
    for ours, theirs in {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}.items():
        name = name.replace(f"mid_block.attentions.0.{ours}", f"mid.attn_1.{theirs}")
    name = re.sub(r"down_blocks\.(\d+)\.resnets", r"down.\1.block", name)
    name = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d+)\.resnets", lambda m: f"up.{levels - 1 - int(m[1])}.block", name)
    name = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"up.{levels - 1 - int(m[1])}.upsample", name)
    return name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")


def open_clip(state):
    """open_clip's tensors from those of transformers' CLIPTextModelWithProjection."""
    out = {}
    for name, tensor in state.items():
        name = name.removeprefix("text_model.")
        if name == "text_projection.weight":
            out["text_projection"] = tensor.T.contiguous()
        elif name == "embeddings.position_embedding.weight":
            out["positional_embedding"] = tensor
        elif name == "embeddings.token_embedding.weight":
            out["token_embedding.weight"] = tensor
        elif name.startswith("final_layer_norm"):
            out[name.replace("final_layer_norm", "ln_final")] = tensor
        elif name.startswith("encoder.layers."):
            layer, inner = re.match(r"encoder\.layers\.(\d+)\.(.*)", name).groups()
            for ours, theirs in {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "self_attn.out_proj": "attn.out_proj",
                                 "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}.items():
                if inner.startswith(ours):
                    out[f"transformer.resblocks.{layer}.{inner.replace(ours, theirs)}"] = tensor
            if ".q_proj." in f".{inner}":
                end = inner.rsplit(".", 1)[1]
                parts = [state[f"{prefix}encoder.layers.{layer}.self_attn.{p}_proj.{end}"]
                         for p in "qkv" for prefix in [name_prefix(state)]]
                out[f"transformer.resblocks.{layer}.attn.in_proj_{end}"] = torch.cat(parts)
    out["logit_scale"] = torch.tensor(4.6052)
    return out


def name_prefix(state):
    return "text_model." if any(name.startswith("text_model.") for name in state) else ""


def single_file(model, out):
    read = lambda part, stem: load_file(model / part / f"{stem}.fp16.safetensors")
    config = lambda part: json.loads((model / part / "config.json").read_text())
    unet, vae = read("unet", "diffusion_pytorch_model"), read("vae", "diffusion_pytorch_model")
    first, second = read("text_encoder", "model"), read("text_encoder_2", "model")
    state = {}
    for name, tensor in unet.items():
        state["model.diffusion_model." + unet_name(name, config("unet"))] = tensor
    levels = len(config("vae")["block_out_channels"])
    for name, tensor in vae.items():
        attention = ".attentions." in name and tensor.ndim == 2
        # 1x1 convolutions there
        state["first_stage_model." + vae_name(name, levels)] = tensor[:, :, None, None] if attention else tensor
    for name, tensor in first.items():
        name = name if name.startswith("text_model.") else f"text_model.{name}"
        state[f"conditioner.embedders.0.transformer.{name}"] = tensor
    for name, tensor in open_clip(second).items():
        state[f"conditioner.embedders.1.model.{name}"] = tensor
    # what such files carry besides
    state["conditioner.embedders.0.transformer.text_model.embeddings.position_ids"] = torch.arange(77)[None]
    state["model_ema.decay"], state["denoiser.sigmas"] = torch.tensor(0.9999), torch.linspace(0.03, 14.6, 1000)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, out)
    check_single_file(model, out, unet, vae)


def check_single_file(model, file, unet, vae):
    """diffusers' own reading of the file gives back what went in."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    for kind, part, own in ((UNet2DConditionModel, "unet", unet), (AutoencoderKL, "vae", vae)):
        read = kind.from_single_file(str(file), config=str(model), subfolder=part, torch_dtype=torch.float16)
        for name, tensor in read.state_dict().items():
            assert torch.equal(tensor, own[name]), (part, name)
        print(f"diffusers reads the same {part}: {len(own)} tensors")


def taesd_original(folder, out):
    """Decoder and encoder in their author's naming: the decoder counts its clamp as layer 0."""
    state = load_file(folder / "diffusion_pytorch_model.safetensors")
    out.mkdir(exist_ok=True)
    for part, shift in (("decoder", 1), ("encoder", 0)):
        named = {}
        for name, tensor in state.items():
            if name.startswith(part + ".layers."):
                number, rest = name.removeprefix(part + ".layers.").split(".", 1)
                named[f"{int(number) + shift}.{rest}"] = tensor
        save_file(named, out / f"taesdxl_{part}.safetensors")


def lora_matrices(shape, rank, generator, size):
    down = torch.randn((rank, *shape[1:]), generator=generator) / rank**0.5
    up_shape = (shape[0], rank) + (1,) * (len(shape) - 2)
    up = torch.randn(up_shape, generator=generator) * size
    return down, up


def loras(model, out):
    """Three files that change every kind of module each naming can name."""
    config = json.loads((model / "unet/config.json").read_text())
    unet = load_file(model / "unet/diffusion_pytorch_model.safetensors")
    encoders = [load_file(model / name / "model.safetensors") for name in ("text_encoder", "text_encoder_2")]
    kohya_name = lambda name: name.replace(".", "_")
    linear = lambda name: name.endswith(".weight") and re.search(r"attn\d\.to_(q|k|v|out\.0)|ff\.net|proj_(in|out)", name)
    text = lambda name: re.search(r"(q|k|v|out)_proj\.weight|fc\d\.weight", name)

    def kohya(seed, rank, unet_names, with_text):
        generator = torch.Generator().manual_seed(seed)
        state = {}

        def put(prefix, name, tensor):
            down, up = lora_matrices(tensor.shape, rank, generator, 0.05)
            state[f"{prefix}{kohya_name(name)}.lora_down.weight"] = down
            state[f"{prefix}{kohya_name(name)}.lora_up.weight"] = up
            state[f"{prefix}{kohya_name(name)}.alpha"] = torch.tensor(float(rank) / 2)

        for name, tensor in sorted(unet.items()):
            if linear(name):
                put("lora_unet_", unet_names(name.removesuffix(".weight")), tensor)
        for i, encoder in enumerate(encoders if with_text else []):
            for name, tensor in sorted(encoder.items()):
                if text(name):
                    name = "text_model." + name.removeprefix("text_model.")
                    put(f"lora_te{i + 1}_", name.removesuffix(".weight"), tensor)
        return state

    save_file(kohya(1, 2, lambda name: unet_name(name, config), True), out / "kohya_sgm.safetensors")
    save_file(kohya(2, 3, lambda name: name, False), out / "kohya_diffusers.safetensors")

    generator = torch.Generator().manual_seed(3)
    state = {}
    parts = [("unet", unet, linear), ("text_encoder", encoders[0], text), ("text_encoder_2", encoders[1], text)]
    for part, weights, wanted in parts:
        for name, tensor in sorted(weights.items()):
            if wanted(name):
                module = name.removesuffix(".weight")
                if part != "unet":
                    module = "text_model." + module.removeprefix("text_model.")
                down, up = lora_matrices(tensor.shape, 2, generator, 0.05)
                state[f"{part}.{module}.lora_A.weight"], state[f"{part}.{module}.lora_B.weight"] = down, up
    # convolutions, as LoCon trains them
    for name in ("conv_in", "down_blocks.0.resnets.0.conv1", "up_blocks.1.upsamplers.0.conv"):
        down, up = lora_matrices(unet[f"{name}.weight"].shape, 2, generator, 0.05)
        state[f"unet.{name}.lora_A.weight"], state[f"unet.{name}.lora_B.weight"] = down, up
    save_file(state, out / "peft.safetensors")


BASE = {"prompt": "a lighthouse in the storm, oil on canvas", "negative_prompt": "blurry", "steps": 3, "guidance_scale": 5.0,
        "height": 64, "width": 64, "preview_steps": [1]}
CASES = [
    {**BASE, "name": "lora_kohya_sgm", "seed": 11, "loras": [{"path": "kohya_sgm.safetensors", "scale": 0.8}]},
    {**BASE, "name": "lora_kohya_diffusers", "seed": 12, "loras": [{"path": "kohya_diffusers.safetensors"}]},
    {**BASE, "name": "lora_peft", "seed": 13, "loras": [{"path": "peft.safetensors", "scale": 1.0}]},
    {**BASE, "name": "lora_two", "seed": 14,
     "loras": [{"path": "peft.safetensors", "scale": 0.5}, {"path": "kohya_sgm.safetensors", "scale": -0.4}]},
    {**BASE, "name": "no_lora_after_lora", "seed": 14},
    {**BASE, "name": "inpaint_euler6_s07", "seed": 21, "steps": 6, "pipeline": "inpaint", "strength": 0.7},
    {**BASE, "name": "inpaint_eulera4_s1", "seed": 22, "steps": 4, "pipeline": "inpaint", "strength": 1.0,
     "scheduler": {"_class_name": "EulerAncestralDiscreteScheduler"}},
]


def cases(fixtures, out):
    pipe, taesd = mf.load_pipe(fixtures)[:2]
    base_cfg = dict(pipe.scheduler.config)
    (out / "cases").mkdir(exist_ok=True)
    for case in CASES:
        for i, lora in enumerate(case.get("loras", [])):
            pipe.load_lora_weights(str(out), weight_name=lora["path"], adapter_name=f"lora{i}")
        if case.get("loras"):
            weights = [lora.get("scale", 1.0) for lora in case["loras"]]
            pipe.set_adapters([f"lora{i}" for i in range(len(weights))], weights)
        tensors, info = mf.run_case(pipe, taesd, base_cfg, case)
        if case.get("loras"):
            pipe.unload_lora_weights()
        case["info"] = info
        save_file(tensors, out / "cases" / f"{case['name']}.safetensors")
        print(case["name"], len(tensors), "tensors")
    mf.dump_json(out / "cases.json", CASES)


def main(fixtures):
    fixtures = Path(fixtures)
    out = fixtures / "variants"
    out.mkdir(exist_ok=True)
    single_file(fixtures / "model", out / "model.safetensors")
    taesd_original(fixtures / "taesdxl", out / "taesdxl")
    loras(fixtures / "model", out)
    cases(fixtures, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
