"""Changes of the fixtures' checkpoint in every form, and the weights that the library of each form computes with them.

    python make_loras.py FIXTURES     # e.g. worker/tests/parity; needs peft and lycoris-lora beside make_fixtures.py's

Writes into FIXTURES/loras: one file per form (and folders of `PeftModel.save_pretrained`), `merged.safetensors` with
the changed tensors, by `FILE|STRENGTH|COMPONENT.TENSOR`, and `cases.json` with `cases/`: whole requests of diffusers
whose weights were changed by lycoris.

The references: lycoris-lora's `forward` for LoCon, LoHa, LoKr and DoRA (the weight is what it does with one-hot
inputs: `get_merged_weight` of 4.1.3 applies alpha / rank twice for LoHa and LoKr), its `make_weight` for whole changes
and norms; peft's `merge_and_unload`; diffusers' `fuse_lora` for its old names. Only the strength of DoRA other than 1,
and DoRA beside another LoRA, are formulas of this file: lycoris and peft scale a part of it.
"""

import json
import sys
from pathlib import Path

import make_fixtures as mf
import torch
from lycoris.modules.full import FullModule
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from lycoris.modules.norms import NormModule
from safetensors.torch import save_file

STRENGTH = 0.7
ATTENTION = "down_blocks.1.attentions.0.transformer_blocks.0.attn1."
CROSS = "down_blocks.1.attentions.0.transformer_blocks.0.attn2."
FEED = "down_blocks.1.attentions.0.transformer_blocks.0.ff.net.0.proj"
CONV = "down_blocks.1.resnets.0.conv1"
SQUARE = "mid_block.resnets.0.conv2"
ONE = "down_blocks.1.resnets.0.conv_shortcut"
NORM = "down_blocks.1.attentions.0.norm"
LAYER_NORM = "down_blocks.1.attentions.0.transformer_blocks.0.norm1"

LINEAR = [ATTENTION + "to_q", CROSS + "to_k", FEED]
# Form, its class, its options, its layers.
FORMS = [
    ("lora", LoConModule, {"lora_dim": 3, "alpha": 1.5}, LINEAR),
    ("locon", LoConModule, {"lora_dim": 3, "alpha": 2.0}, [CONV, ONE]),
    ("locon_mid", LoConModule, {"lora_dim": 3, "alpha": 2.0, "use_tucker": True}, [CONV, SQUARE]),
    ("rslora", LoConModule, {"lora_dim": 3, "alpha": 2.0, "rs_lora": True}, LINEAR),
    ("loha", LohaModule, {"lora_dim": 2, "alpha": 1.0}, LINEAR),
    ("loha_conv", LohaModule, {"lora_dim": 2, "alpha": 1.0}, [CONV, ONE]),
    ("loha_tucker", LohaModule, {"lora_dim": 2, "alpha": 1.0, "use_tucker": True}, [CONV, SQUARE]),
    ("lokr", LokrModule, {"lora_dim": 1, "alpha": 0.5}, LINEAR),
    ("lokr_both", LokrModule, {"lora_dim": 1, "alpha": 0.5, "decompose_both": True}, LINEAR),
    ("lokr_whole", LokrModule, {"lora_dim": 4, "alpha": 0.5, "full_matrix": True}, [*LINEAR, CONV]),
    ("lokr_factor", LokrModule, {"lora_dim": 2, "alpha": 1.0, "factor": 2}, [*LINEAR, CONV]),
    ("lokr_conv", LokrModule, {"lora_dim": 1, "alpha": 0.5}, [CONV, SQUARE]),
    ("lokr_tucker", LokrModule, {"lora_dim": 1, "alpha": 0.5, "use_tucker": True}, [CONV, SQUARE]),
    ("dora_rows", LoConModule, {"lora_dim": 3, "alpha": 1.5, "weight_decompose": True}, [*LINEAR, CONV]),
    ("dora_columns", LoConModule,
     {"lora_dim": 3, "alpha": 1.5, "weight_decompose": True, "wd_on_out": False}, [*LINEAR, CONV]),
    ("dora_loha", LohaModule, {"lora_dim": 2, "alpha": 1.0, "weight_decompose": True}, [*LINEAR, CONV]),
    ("dora_lokr", LokrModule, {"lora_dim": 1, "alpha": 0.5, "weight_decompose": True, "wd_on_out": False}, LINEAR),
    ("diff", FullModule, {}, [ATTENTION + "to_out.0", CONV]),
    ("norm", NormModule, {}, [NORM, LAYER_NORM]),
]


def randomised(kind, layer, options, generator):
    """A module with random numbers: changes about as large as the weight."""
    module = kind("x", layer, 1.0, **options)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            numbers = torch.randn(parameter.shape, generator=generator)
            if name == "dora_scale":
                parameter.mul_(1 + 0.3 * numbers.abs())
            else:
                parameter.copy_(numbers * (0.1 if kind in (FullModule, NormModule) else 0.4))
    if "dora_scale" in module.__dict__:
        # `nn.Parameter(..).float()` is no parameter any more if it was float already.
        module.dora_scale = module.dora_scale.detach() * 1.2
    return module.eval()


def stored(module):
    """What the library writes."""
    if isinstance(module, FullModule):
        named = {"diff": module.weight, "diff_b": module.bias}
    elif isinstance(module, NormModule):
        named = {"w_norm": module.w_norm, "b_norm": module.b_norm}
    else:
        named = module.custom_state_dict()
    return {name: tensor.detach().clone().contiguous() for name, tensor in named.items() if tensor is not None}


@torch.no_grad()
def merged(module, layer, strength):
    """The changed weight and bias (`None` if it is not changed)."""
    if isinstance(module, (FullModule, NormModule)):
        return module.make_weight(strength, "cpu")
    module.multiplier = strength
    shape = layer.weight.shape
    count = shape[1:].numel()
    inputs = torch.eye(count).reshape(count, *shape[1:])
    zeros = torch.zeros_like(inputs)
    out = module(inputs) - module(zeros)
    if len(shape) == 4:
        middle = shape[-1] // 2
        out = out[:, :, middle, middle]
    return out.T.reshape(shape), None


def kohya(name):
    return "lora_unet_" + name.replace(".", "_")


def of_lycoris(unet, out, result):
    generator = torch.Generator().manual_seed(5)
    layers = dict(unet.named_modules())
    kept = {}
    for form, kind, options, names in FORMS:
        state = {}
        for name in names:
            layer = layers[name]
            module = randomised(kind, layer, options, generator)
            state.update({f"{kohya(name)}.{part}": tensor for part, tensor in stored(module).items()})
            dora = options.get("weight_decompose")
            whole = merged(module, layer, 1.0)
            for strength in (1.0, STRENGTH):
                weight, bias = whole if strength == 1.0 or dora else merged(module, layer, strength)
                if dora and strength != 1.0:
                    weight = layer.weight + strength * (weight - layer.weight)
                key = f"{form}.safetensors|{strength}|unet.{name}"
                result[f"{key}.weight"] = weight
                if bias is not None:
                    result[f"{key}.bias"] = bias
            kept[form, name] = module
        save_file(state, out / f"{form}.safetensors")

    # DoRA beside a LoRA of strength 0.5: the changes are summed, then DoRA gives its rows their lengths.
    for name in LINEAR:
        layer, plain, dora = layers[name], kept["lora", name], kept["dora_rows", name]
        changed = layer.weight + 0.5 * plain.get_diff_weight()[0] + dora.get_diff_weight()[0]
        lengths = changed.norm(dim=1, keepdim=True)
        key = f"lora.safetensors+dora_rows.safetensors|0.5+1.0|unet.{name}.weight"
        result[key] = changed / lengths * dora.dora_scale


def of_peft(load, out, result):
    """Folders of `PeftModel.save_pretrained`: alphas are in `adapter_config.json` alone."""
    from peft import LoHaConfig, LoKrConfig, LoraConfig, get_peft_model
    unet_layers = [*LINEAR, CONV]
    text_layers = ["encoder.layers.0.self_attn.q_proj", "encoder.layers.1.mlp.fc1"]
    attention = unet_layers[0]
    cases = [
        ("peft_lora", "unet", unet_layers,
         LoraConfig(r=2, lora_alpha=3, alpha_pattern={attention: 1}, rank_pattern={attention: 4})),
        ("peft_rslora", "unet", unet_layers, LoraConfig(r=3, lora_alpha=2, use_rslora=True)),
        ("peft_dora", "unet", unet_layers, LoraConfig(r=2, lora_alpha=3, use_dora=True)),
        ("peft_loha", "unet", unet_layers, LoHaConfig(r=2, alpha=3)),
        ("peft_loha_tucker", "unet", [CONV, SQUARE], LoHaConfig(r=2, alpha=3, use_effective_conv2d=True)),
        ("peft_lokr", "unet", unet_layers, LoKrConfig(r=2, alpha=3)),
        ("peft_lokr_whole", "unet", LINEAR, LoKrConfig(r=8, alpha=3)),
        ("peft_lora_bias", "unet", [FEED, CONV], LoraConfig(r=2, lora_alpha=3, lora_bias=True)),
        ("peft_text", "text_encoder", text_layers, LoraConfig(r=2, lora_alpha=3)),
        ("peft_text_2", "text_encoder_2", text_layers, LoraConfig(r=2, lora_alpha=3)),
    ]
    generator = torch.Generator().manual_seed(6)
    for folder, part, names, config in cases:
        base = load(part)
        found = [n for n, _ in base.named_modules() if any(n == w or n.endswith("." + w) for w in names)]
        assert len(found) == len(names), (folder, found)
        config.target_modules = set(found)
        model = get_peft_model(base, config)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "magnitude" in name:
                    parameter.mul_(1 + 0.3 * torch.rand(parameter.shape, generator=generator))
                elif any(p in name for p in ("lora_", "hada_", "lokr_")):
                    parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
        model.save_pretrained(out / folder)
        (out / folder / "README.md").unlink(missing_ok=True)
        settings = json.loads((out / folder / "adapter_config.json").read_text())
        settings["base_model_name_or_path"] = None
        settings["target_modules"] = sorted(settings["target_modules"])
        settings.pop("auto_mapping", None)
        (out / folder / "adapter_config.json").write_text(json.dumps(settings, indent=1, sort_keys=True) + "\n")
        state = model.merge_and_unload().state_dict()
        for name in found:
            tensors = ["weight", "bias"] if folder == "peft_lora_bias" else ["weight"]
            for tensor in tensors:
                key = f"{folder}/adapter_model.safetensors|1.0|{part}.{name}.{tensor}"
                result[key] = state[f"{name}.{tensor}"].detach().clone()


def of_diffusers(fixtures, out, result):
    """Old names of diffusers, which its current version still reads."""
    generator = torch.Generator().manual_seed(7)
    pipe = mf.load_pipe(fixtures)[0]
    layers = dict(pipe.unet.named_modules())
    state = {}
    for end in ("q", "k", "v", "out"):
        layer = layers[f"{ATTENTION}to_{end}" + (".0" if end == "out" else "")]
        outputs, inputs = layer.weight.shape
        place = f"unet.{ATTENTION}processor.to_{end}_lora"
        state[f"{place}.down.weight"] = 0.4 * torch.randn((2, inputs), generator=generator)
        state[f"{place}.up.weight"] = 0.4 * torch.randn((outputs, 2), generator=generator)
    save_file(state, out / "old_processor.safetensors")
    pipe.load_lora_weights(str(out), weight_name="old_processor.safetensors")
    pipe.fuse_lora(lora_scale=STRENGTH)
    pipe.unload_lora_weights()
    changed = pipe.unet.state_dict()
    for end in ("to_q", "to_k", "to_v", "to_out.0"):
        key = f"old_processor.safetensors|{STRENGTH}|unet.{ATTENTION}{end}.weight"
        result[key] = changed[f"{ATTENTION}{end}.weight"].detach().clone()


BASE = {"prompt": "a lighthouse in the storm, oil on canvas", "negative_prompt": "blurry", "steps": 2, "guidance_scale": 5.0,
        "height": 32, "width": 32, "preview_steps": []}


def whole_pictures(fixtures, out):
    """Requests whose weights lycoris changed: DoRA and LoKr in the attention, LoHa in the convolutions, whole changes of
    norms and biases, and LoRA in both text encoders."""
    norms = (torch.nn.GroupNorm, torch.nn.LayerNorm)
    text = LoConModule, {"lora_dim": 2, "alpha": 1.0}
    cases = [
        ("forms_dora", 31, lambda name, layer: (
            (LoConModule, {"lora_dim": 2, "alpha": 1.0, "weight_decompose": True, "wd_on_out": "attn1" in name})
            if "attn" in name else None)),
        ("forms_mixed", 32, lambda name, layer: (
            (NormModule, {}) if isinstance(layer, norms)
            else (LohaModule, {"lora_dim": 2, "alpha": 0.5}) if isinstance(layer, torch.nn.Conv2d) and ".resnets." in name
            else (LokrModule, {"lora_dim": 2, "alpha": 0.5, "factor": 4}) if "attn" in name
            else (FullModule, {}) if ".ff." in name or "embedding" in name or name == "conv_out" else None)),
    ]
    listed = []
    (out / "cases").mkdir(exist_ok=True)
    for name, seed, choose in cases:
        generator = torch.Generator().manual_seed(seed)
        pipe, taesd = mf.load_pipe(fixtures)[:2]
        state = {}

        def change(prefix, root, module_name, layer, kind, options):
            module = randomised(kind, layer, options, generator)
            if kind is not LoConModule:
                for parameter in module.parameters():
                    parameter.data.mul_(0.5)
            place = prefix + (root + module_name).replace(".", "_")
            state.update({f"{place}.{part}": tensor.half() for part, tensor in stored(module).items()})
            # The numbers of the file are float16.
            for parameter in [*module.parameters(), *module.buffers()]:
                parameter.data = parameter.data.half().float()
            if "dora_scale" in module.__dict__:
                module.dora_scale = module.dora_scale.detach().half().float()
            weight, bias = merged(module, layer, 1.0)
            return weight.detach(), None if bias is None else bias.detach()

        parts = [("lora_unet_", "", pipe.unet, choose)]
        for i, encoder in enumerate((pipe.text_encoder, pipe.text_encoder_2)):
            root = "" if any(n.startswith("text_model.") for n, _ in encoder.named_modules()) else "text_model."
            parts.append((f"lora_te{i + 1}_", root, encoder, lambda n, layer: text if n.endswith("q_proj") else None))
        changed = []
        for prefix, root, model, chosen in parts:
            for module_name, layer in list(model.named_modules()):
                if isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d, *norms)) and (form := chosen(module_name, layer)):
                    kind, options = form
                    changed.append((layer, *change(prefix, root, module_name, layer, kind, options)))
        with torch.no_grad():
            for layer, weight, bias in changed:
                layer.weight.copy_(weight)
                if bias is not None:
                    layer.bias.copy_(bias)
        save_file(state, out / f"{name}.safetensors")
        case = {**BASE, "name": name, "seed": seed, "loras": [{"path": f"{name}.safetensors"}]}
        tensors, case["info"] = mf.run_case(pipe, taesd, dict(pipe.scheduler.config), case)
        assert all(tensor.isfinite().all() for tensor in tensors.values() if tensor.is_floating_point())
        save_file(tensors, out / "cases" / f"{name}.safetensors")
        listed.append(case)
        print(name, len(changed), "modules", len(tensors), "tensors")
    mf.dump_json(out / "cases.json", listed)


def main(fixtures):
    fixtures = Path(fixtures)
    out = fixtures / "loras"
    out.mkdir(exist_ok=True)
    result = {}
    of_lycoris(mf.load_pipe(fixtures)[0].unet, out, result)
    of_peft(lambda part: getattr(mf.load_pipe(fixtures)[0], part), out, result)
    of_diffusers(fixtures, out, result)
    save_file({key: tensor.detach().contiguous() for key, tensor in result.items()}, out / "merged.safetensors")
    print(len(result), "tensors")
    whole_pictures(fixtures, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
