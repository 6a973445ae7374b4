"""What a checkpoint makes with ControlNets.

    python make_controlnets.py FIXTURES [CASES]  # e.g. worker/tests/parity; needs opencv-python-headless and
                                                 # make_fixtures.py's needs; CASES, a regular expression, are cases alone

Writes into FIXTURES/controlnets: two small ControlNets with random weights, `edges` (as large as the checkpoint's UNet
asks for), `small` (without attention and without text, blue first) and `union` (of three kinds of pictures); `cases.json` and `cases/`, requests with them;
`sgm_names.json`, SGM's name of each tensor of `edges`, from which diffusers reads them again; and `canny.safetensors`,
what OpenCV's `Canny` makes of pictures (`edges.NUMBER.LOW.HIGH` of `picture.NUMBER`).
"""

import json
import re
import sys
from pathlib import Path

import cv2
import make_fixtures as mf
import numpy as np
import torch
from diffusers import ControlNetModel, ControlNetUnionModel
from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
from safetensors.torch import save_file

GAINS = [(r"controlnet_(down|mid)_block", 0.6), (r"controlnet_cond_embedding\.conv_out", 0.5),
         (r"controlnet_cond_embedding", 1.6), *mf.UNET_GAINS]
UNION_GAINS = [(r"controlnet_(down|mid)_block", 0.3), (r"spatial_ch_projs", 0.5), (r"in_proj_weight", 1.5), *GAINS]
HINTS = (4, 6, 8, 12)


def picture(height, width, seed):
    """White lines on black with some grey, uint8 [h,w,3]; not the same in its three channels."""
    y, x = np.mgrid[:height, :width]
    rings = ((x - width // 3) ** 2 + (y - height // 2) ** 2) // (23 + seed) % 7 < 2
    stripes = (3 * x + (seed % 3 + 1) * y) % 19 < 4
    channels = [np.where(rings | stripes, 255, 8 * seed % 50), np.where(rings, 230, 20), np.where(stripes, 255, 0)]
    return np.stack(channels, -1).astype(np.uint8)


def nets(fixtures, out):
    unet = mf.load_pipe(fixtures)[0].unet
    edges = ControlNetModel.from_unet(unet, load_weights_from_unet=False, conditioning_embedding_out_channels=HINTS)
    config = {key: value for key, value in edges.config.items() if not key.startswith("_")}
    small = ControlNetModel.from_config({
        **config, "down_block_types": ("DownBlock2D",) * 3, "mid_block_type": "UNetMidBlock2D",
        "addition_embed_type": None, "addition_time_embed_dim": None, "projection_class_embeddings_input_dim": None,
        "controlnet_conditioning_channel_order": "bgr", "conditioning_embedding_out_channels": (3, 4, 6, 8)})
    union = ControlNetUnionModel.from_config({
        **config, "num_control_type": 3, "num_trans_channel": config["block_out_channels"][0],
        "num_proj_channel": config["block_out_channels"][0], "num_trans_head": 3, "num_trans_layer": 2})
    for name, net in (("edges", edges), ("small", small), ("union", union)):
        # `init_model` draws the tensors of modules
        tasks = net._parameters.pop("task_embedding", None)
        mf.init_model(net.float(), GAINS if tasks is None else UNION_GAINS, f"controlnet/{name}")
        if tasks is not None:
            drawn = np.random.RandomState(77).standard_normal(tuple(tasks.shape)).astype(np.float32)
            net.task_embedding = torch.nn.Parameter(torch.from_numpy(drawn))
        # float16 alone, to keep the folder small; in float32 both sides compute with the same rounded weights
        net.half().save_pretrained(out / name, variant="fp16")
    sgm = {sgm_name(name): tensor for name, tensor in edges.state_dict().items()}
    back = convert_controlnet_checkpoint(dict(sgm), edges.config)
    # diffusers 0.42.1 has a table of add_embedding's names and does not use it for ControlNets
    read = {name: tensor for name, tensor in edges.state_dict().items() if not name.startswith("add_embedding.")}
    assert back.keys() == read.keys(), set(back) ^ set(read)
    assert all(torch.equal(tensor, back[name]) for name, tensor in read.items())
    names = {name: sgm_name(name) for name in edges.state_dict()}
    with open(out / "sgm_names.json", "w") as file:
        json.dump(names, file, indent=0)
        file.write("\n")


RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
          "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}


def sgm_name(name):
    """SGM's name of a tensor of a ControlNet with three levels of two blocks."""
    def inner(resnet):
        part, _, leaf = resnet.partition(".")
        return f"{RESNET[part]}.{leaf}"

    parts = name.split(".")
    if parts[0] in ("time_embedding", "add_embedding"):
        place = {"time_embedding": "time_embed", "add_embedding": "label_emb.0"}[parts[0]]
        return f"{place}.{ {'linear_1': 0, 'linear_2': 2}[parts[1]] }.{parts[2]}"
    if parts[0] == "conv_in":
        return f"input_blocks.0.0.{parts[1]}"
    if parts[0] == "controlnet_cond_embedding":
        number = {"conv_in": 0, "conv_out": 14}.get(parts[1])
        number = 2 * int(parts[2]) + 2 if number is None else number
        return f"input_hint_block.{number}.{parts[-1]}"
    if parts[0] == "controlnet_down_blocks":
        return f"zero_convs.{parts[1]}.0.{parts[2]}"
    if parts[0] == "controlnet_mid_block":
        return f"middle_block_out.0.{parts[1]}"
    if parts[0] == "mid_block":
        rest = ".".join(parts[3:])
        return f"middle_block.1.{rest}" if parts[1] == "attentions" else f"middle_block.{2 * int(parts[2])}.{inner(rest)}"
    level, kind, index, rest = int(parts[1]), parts[2], int(parts[3]), ".".join(parts[4:])
    if kind == "downsamplers":
        return f"input_blocks.{3 * level + 3}.0.op.{parts[-1]}"
    block = 3 * level + 1 + index
    return f"input_blocks.{block}.1.{rest}" if kind == "attentions" else f"input_blocks.{block}.0.{inner(rest)}"


EDGES = {"path": "edges", "image": "control_u8"}
SMALL = {"path": "small", "image": "control_2_u8"}
UNION = {"path": "union", "image": "control_u8"}
UNION_2 = {"path": "union", "image": "control_2_u8"}
BASE = {"prompt": mf.P_FOX, "negative_prompt": mf.N_BAD, "guidance_scale": 5.0, "height": 48, "width": 40,
        "preview_steps": []}
CASES = [
    {**BASE, "name": "control_one", "seed": 41, "steps": 4, "controlnets": [EDGES]},
    {**BASE, "name": "control_two", "seed": 42, "steps": 6, "controlnets": [
        {**EDGES, "scale": 0.8, "start": 0.2, "end": 0.7}, {**SMALL, "scale": 1.5, "end": 0.5}]},
    {**BASE, "name": "control_img2img", "seed": 43, "steps": 8, "pipeline": "img2img", "strength": 0.6,
     "controlnets": [{**EDGES, "scale": 0.7, "start": 0.25, "end": 0.8}]},
    {**BASE, "name": "control_inpaint", "seed": 44, "steps": 6, "pipeline": "inpaint", "strength": 0.8,
     "controlnets": [{**SMALL, "end": 0.6}, {**EDGES, "scale": 1.2}]},
    {**BASE, "name": "control_heun", "seed": 45, "steps": 4, "controlnets": [{**EDGES, "start": 0.1, "end": 0.75}],
     "scheduler": {"_class_name": "HeunDiscreteScheduler"}},
    {**BASE, "name": "control_unguided", "seed": 46, "steps": 4, "guidance_scale": 1.0, "negative_prompt": None,
     "controlnets": [{**SMALL, "scale": 0.5}]},
    {**BASE, "name": "control_batch2", "seed": 47, "steps": 3, "num_images_per_prompt": 2, "height": 32,
     "scheduler": {"_class_name": "EulerAncestralDiscreteScheduler"}, "controlnets": [{**EDGES, "scale": 2.0}]},
    {**BASE, "name": "control_fp16weights", "seed": 48, "steps": 4, "weights": "fp16",
     "controlnets": [{**EDGES, "end": 0.5}, SMALL]},
    {**BASE, "name": "control_union", "seed": 50, "steps": 4, "controlnets": [
        {**UNION, "mode": 1, "scale": 0.9, "end": 0.8}]},
    {**BASE, "name": "control_union_two", "seed": 51, "steps": 5, "num_images_per_prompt": 2, "height": 32,
     "scheduler": {"_class_name": "EulerAncestralDiscreteScheduler"},
     "controlnets": [{**UNION, "mode": 2, "scale": 0.7}, {**UNION_2, "mode": 0, "start": 0.2}]},
    {**BASE, "name": "control_union_img2img", "seed": 52, "steps": 6, "pipeline": "img2img", "strength": 0.7,
     "controlnets": [{**UNION, "mode": 0}]},
    # The windows count the steps after `denoising_end` too.
    {**BASE, "name": "control_end", "seed": 53, "steps": 8, "denoising_end": 0.6, "controlnets": [
        {**EDGES, "start": 0.2, "end": 0.7}, {**SMALL, "end": 0.4}]},
    # The picture has another size, and is resized by Pillow.
    {**BASE, "name": "control_resized", "seed": 49, "steps": 2, "picture": [61, 83], "controlnets": [EDGES]},
]


def cases(fixtures, out, only):
    (out / "cases").mkdir(exist_ok=True)
    kinds = {"edges": ControlNetModel, "small": ControlNetModel, "union": ControlNetUnionModel}
    models = {name: kind.from_pretrained(out / name, variant="fp16", torch_dtype=torch.float32).eval()
              for name, kind in kinds.items()}
    index = []
    old = {case["name"]: case for case in json.loads((out / "cases.json").read_text())} if only else {}
    pipes = {weights: mf.load_pipe(fixtures, weights) for weights in ("fp32", "fp16")}
    for case in CASES:
        if only and not re.search(only, case["name"]):
            index.append(old[case["name"]])
            continue
        case = dict(case)
        size = case.pop("picture", (case["height"], case["width"]))
        given = [(models[control["path"]], picture(*size, case["seed"] + number))
                 for number, control in enumerate(case["controlnets"])]
        pipe, taesd = pipes[case.get("weights", "fp32")]
        plain = {key: value for key, value in case.items() if key != "controlnets"}
        tensors, info = mf.run_case(pipe, taesd, dict(pipe.scheduler.config), case, nets=given)
        without = mf.run_case(pipe, taesd, dict(pipe.scheduler.config), plain)[0]
        last = f"latents.{info['unet_steps'] - 1}"
        changed = float((tensors[last] - without[last]).norm() / without[last].norm())
        assert 0.05 < changed < 2 and tensors[last].isfinite().all(), (case["name"], changed)
        case["info"] = info
        save_file(tensors, out / "cases" / f"{case['name']}.safetensors")
        index.append(case)
        print(f"{case['name']:24s} latents {changed:.3f} away from those without ControlNets")
    mf.dump_json(out / "cases.json", index)


def canny(out):
    random = np.random.RandomState(5)
    noise = random.randint(0, 256, (23, 31, 3)).astype(np.uint8)
    soft = np.clip((cv2.GaussianBlur(noise, (5, 5), 0).astype(int) - 128) * 3 + 128, 0, 255).astype(np.uint8)
    pictures = [noise, soft, picture(40, 33, 3), mf.test_image(36, 50, 2), noise[:1], noise[:, :1], noise[:2, :3]]
    tensors = {}
    for number, rgb in enumerate(pictures):
        tensors[f"picture.{number}"] = torch.from_numpy(np.ascontiguousarray(rgb))
        for low, high in ((100, 200), (30, 500), (250, 250), (0, 0)):
            edges = cv2.Canny(cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY), low, high)
            tensors[f"edges.{number}.{low}.{high}"] = torch.from_numpy(edges)
    save_file(tensors, out / "canny.safetensors")
    print("canny:", {name: round(float((tensor > 0).float().mean()), 2) for name, tensor in tensors.items() if "edges" in name})


def main(fixtures, only=""):
    out = Path(fixtures) / "controlnets"
    out.mkdir(exist_ok=True)
    torch.set_num_threads(2)
    mf.quiet()
    if not only:
        canny(out)
    nets(fixtures, out)
    cases(fixtures, out, only)


if __name__ == "__main__":
    main(*sys.argv[1:])
