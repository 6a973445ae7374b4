"""What diffusers' samplers compute, step by step.

    python make_samplers.py FIXTURES        # e.g. worker/tests/parity; needs torchsde and make_fixtures.py's needs

Writes into FIXTURES/samplers: `steps.json` and `steps.safetensors`, in which every sampler takes its steps with
recorded predictions in place of a UNet and recorded noise in place of a generator; and `cases.json` with `cases/`,
whole requests with the fixtures' checkpoint. `DPMSolverSDEScheduler` gets its noise from two draws per step here
instead of torchsde's tree: the distribution is the same.
"""

import contextlib
import importlib
import inspect
import json
import math
import sys
from pathlib import Path

import diffusers
import make_fixtures as mf
import torch
from safetensors.torch import save_file

SHAPE = (1, 4, 3, 2)
SDXL = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000,
        "steps_offset": 1, "timestep_spacing": "leading", "clip_sample": False, "set_alpha_to_one": False,
        "skip_prk_steps": True}
V = {"prediction_type": "v_prediction"}
ZERO = {**V, "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
KARRAS, EXPONENTIAL, BETA = ({f"use_{name}_sigmas": True} for name in ("karras", "exponential", "beta"))
SDE = {"algorithm_type": "sde-dpmsolver++"}
DMD2 = {"timesteps": [999, 749, 499, 249]}
AYS = {"sigmas": [14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113, 0.0]}

# class: variants of its configuration, each with a number of steps and perhaps the step it begins at.
VARIANTS = {
    "DEISMultistepScheduler": [({}, 8), (V, 6), (KARRAS, 20), ({"solver_order": 3}, 16), ({"solver_order": 3, **V}, 7),
                               (EXPONENTIAL, 7), (BETA, 7), ({}, 8, 3)],
    "DDPMScheduler": [({}, 8), (V, 6), ({}, 50), ({"variance_type": "fixed_large"}, 5), (ZERO, 6),
                      ({"timesteps": [999, 700, 350, 20, 0]}, 5), ({}, 8, 3), ({"clip_sample": True}, 4)],
    "PNDMScheduler": [({}, 8), (V, 6), ({"timestep_spacing": "linspace"}, 7), ({}, 1), ({}, 2), ({}, 8, 3),
                      ({"set_alpha_to_one": True, "timestep_spacing": "trailing"}, 5)],
    "LMSDiscreteScheduler": [({}, 8), (V, 6), (KARRAS, 8), (EXPONENTIAL, 7), (BETA, 7), ({}, 8, 3),
                             ({"timestep_spacing": "linspace", "prediction_type": "sample"}, 5)],
    "KDPM2DiscreteScheduler": [({}, 8), (V, 6), (KARRAS, 8), (EXPONENTIAL, 7), (BETA, 7), ({}, 1), ({}, 8, 6)],
    "KDPM2AncestralDiscreteScheduler": [({}, 8), (V, 6), (KARRAS, 8), (EXPONENTIAL, 7), (BETA, 7), ({}, 1), ({}, 8, 6)],
    "DPMSolverSinglestepScheduler": [({}, 8), (V, 7), (KARRAS, 8), ({"solver_order": 3}, 9), ({"solver_order": 3}, 10),
                                     ({"solver_order": 3, "solver_type": "heun"}, 11), ({"solver_order": 1}, 4),
                                     ({"solver_type": "heun", **V}, 6), (SDE, 6), ({**SDE, "solver_order": 3}, 9),
                                     ({**SDE, "solver_order": 3, "solver_type": "heun"}, 9), ({}, 8, 3),
                                     ({"final_sigmas_type": "sigma_min"}, 6), (EXPONENTIAL, 7), (BETA, 7),
                                     ({"timesteps": [999, 700, 350, 20]}, 4)],
    "DPMSolverSDEScheduler": [({}, 8), (V, 6), (KARRAS, 8), (EXPONENTIAL, 7), (BETA, 7), ({}, 1), ({}, 8, 6)],
    "TCDScheduler": [({}, 4), (V, 4), ({"eta": 0.3}, 4), ({"eta": 1.0}, 8), ({"eta": 0.3, **ZERO}, 4),
                     ({"eta": 0.3, **DMD2}, 4), ({"eta": 0.3}, 8, 3)],
    "EDMEulerScheduler": [({}, 8), ({**V, "sigma_max": 120.0, "sigma_data": 1.0}, 6),
                          ({"sigma_schedule": "exponential"}, 7), ({"final_sigmas_type": "sigma_min"}, 5),
                          ({"s_churn": 2.0, "s_noise": 1.003}, 5), ({}, 8, 3)],
    "EDMDPMSolverMultistepScheduler": [({}, 8), (V, 6), ({"solver_order": 3}, 16), (SDE, 6),
                                       ({"sigma_schedule": "exponential", "solver_type": "heun"}, 7),
                                       ({"final_sigmas_type": "sigma_min"}, 5), ({}, 8, 3)],
    # What the classes of before can do since.
    "EulerDiscreteScheduler": [(BETA, 8), (DMD2, 4), (AYS, 10), ({"s_churn": 3.0, "s_tmin": 0.1, "s_tmax": 10.0}, 8),
                               ({"s_churn": 3.0, **V}, 6)],
    "DDIMScheduler": [({"eta": 0.5}, 8), ({"eta": 1.0, **V}, 8)],
    "DPMSolverMultistepScheduler": [(BETA, 8), ({"timesteps": [999, 845, 730, 587, 443, 310, 193, 116, 53, 13]}, 10)],
    "UniPCMultistepScheduler": [(BETA, 8)],
    "HeunDiscreteScheduler": [(BETA, 7), (DMD2, 4)],
    "LCMScheduler": [(DMD2, 4)],
}
ARGUMENTS = ("timesteps", "sigmas", "eta", "s_churn", "s_tmin", "s_tmax", "s_noise")


class Bank:
    """Recorded noise, in order."""

    def __init__(self, tensors):
        self.tensors, self.next = tensors, 0

    def draw(self, *_args, **_kwargs):
        self.next += 1
        return self.tensors[self.next - 1].clone()


class TwoDraws:
    """Brownian motion as one draw for the first half of a step and one for the second."""

    def __init__(self, bank):
        self.bank, self.first = bank, None

    def __call__(self, start, end):
        start, end = float(start), float(end)
        if self.first is None:
            self.first = (self.bank.draw(), start - end)
            return self.first[0]
        (noise, length), self.first = self.first, None
        whole = start - end
        return (noise * math.sqrt(length) + self.bank.draw() * math.sqrt(whole - length)) / math.sqrt(whole)


@contextlib.contextmanager
def recorded(scheduler, bank):
    module = importlib.import_module(type(scheduler).__module__)
    saved = getattr(module, "randn_tensor", None)
    module.randn_tensor = bank.draw
    try:
        yield
    finally:
        if saved is None:
            del module.randn_tensor
        else:
            module.randn_tensor = saved


def run(name, config, steps, first, bank, predictions):
    """The tensors of one sampler's run."""
    given = {key: config[key] for key in ARGUMENTS if key in config}
    settings = {key: value for key, value in config.items() if key not in ARGUMENTS}
    base = {} if name.startswith("EDM") else SDXL
    kind = getattr(diffusers, name)
    known = set(inspect.signature(kind.__init__).parameters)
    scheduler = kind(**{key: value for key, value in {**base, **settings}.items() if key in known})
    lists = {key: given.pop(key) for key in ("timesteps", "sigmas") if key in given}
    scheduler.set_timesteps(**(lists or {"num_inference_steps": steps}))
    timesteps = scheduler.timesteps
    if first and hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first)
    out = {"timesteps": timesteps.double()}
    if hasattr(scheduler, "sigmas"):
        out["sigmas"] = scheduler.sigmas.double()
    out["init_noise_sigma"] = torch.tensor(float(scheduler.init_noise_sigma), dtype=torch.float64)
    latents = predictions[-1] * float(scheduler.init_noise_sigma)
    added = scheduler.add_noise(predictions[-2], predictions[-3], timesteps[first:first + 1])
    trace, scales, pictures = [latents], [], []
    if first:
        trace = [latents := added.clone()]
    out["added"] = added
    with recorded(scheduler, bank):
        for step, timestep in enumerate(timesteps[first:]):
            if name == "DPMSolverSDEScheduler" and step == 0:
                scheduler.noise_sampler = TwoDraws(bank)
            scaled = scheduler.scale_model_input(torch.ones_like(latents), timestep)
            scales.append(scaled.flatten()[0])
            accepted = inspect.signature(scheduler.step).parameters
            # The pipeline passes eta 0, also to TCD, whose own default is 0.3.
            extra = {key: value for key, value in {"eta": 0.0, **given}.items() if key in accepted}
            stepped = scheduler.step(predictions[step], timestep, latents, **extra)
            latents = stepped.prev_sample
            trace.append(latents)
            if getattr(stepped, "pred_original_sample", None) is not None:
                pictures.append(stepped.pred_original_sample)
    out["latents"], out["scales"] = torch.stack(trace), torch.stack(scales)
    if pictures:
        out["denoised"] = torch.stack(pictures)
    assert all(tensor.isfinite().all() for tensor in out.values()), (name, config)
    return out


def steps(out):
    generator = torch.Generator().manual_seed(7)
    predictions = torch.randn((60, *SHAPE), generator=generator)
    noise = torch.randn((60, *SHAPE), generator=generator)
    tensors, index = {"predictions": predictions, "noise": noise}, []
    for name, variants in VARIANTS.items():
        for number, (config, count, *first) in enumerate(variants):
            first = first[0] if first else 0
            case = f"{name}.{number}"
            bank = Bank(noise)
            for key, tensor in run(name, config, count, first, bank, predictions).items():
                tensors[f"{case}.{key}"] = tensor.contiguous()
            base = {} if name.startswith("EDM") else SDXL
            index.append({"name": case, "steps": count, "first": first, "draws": bank.next,
                          "config": {**base, **config, "_class_name": name}})
    save_file(tensors, out / "steps.safetensors")
    with open(out / "steps.json", "w") as file:
        file.write("[\n" + ",\n".join(json.dumps(case) for case in index) + "\n]\n")
    print(len(index), "runs")


BASE = {"prompt": "a lighthouse in the storm, oil on canvas", "negative_prompt": "blurry", "guidance_scale": 5.0,
        "height": 32, "width": 32, "preview_steps": [1]}
CASES = [
    {**BASE, "name": "deis5_karras", "seed": 31, "steps": 5,
     "scheduler": {"_class_name": "DEISMultistepScheduler", "use_karras_sigmas": True}},
    {**BASE, "name": "pndm5", "seed": 32, "steps": 5, "scheduler": {"_class_name": "PNDMScheduler"}},
    {**BASE, "name": "lms6_v", "seed": 33, "steps": 6,
     "scheduler": {"_class_name": "LMSDiscreteScheduler", "prediction_type": "v_prediction"}},
    {**BASE, "name": "tcd4_eta", "seed": 34, "steps": 4, "guidance_scale": 1.0, "eta": 0.3,
     "scheduler": {"_class_name": "TCDScheduler"}},
    {**BASE, "name": "euler4_sigmas", "seed": 35, "steps": 4, "sigmas": [14.6, 5.0, 2.0, 0.6, 0.0]},
    {**BASE, "name": "dmd4_timesteps", "seed": 36, "steps": 4, "guidance_scale": 1.0, **DMD2,
     "scheduler": {"_class_name": "LCMScheduler"}},
    {**BASE, "name": "edm5_normalised", "seed": 38, "steps": 5, "preview_steps": [],
     "scheduler": {"_class_name": "EDMDPMSolverMultistepScheduler"}},
    {**BASE, "name": "edm4_img2img", "seed": 39, "steps": 6, "preview_steps": [], "pipeline": "img2img",
     "strength": 0.7,
     "scheduler": {"_class_name": "EDMEulerScheduler", "prediction_type": "v_prediction"}},
    {**BASE, "name": "ddpm5", "seed": 37, "steps": 5, "scheduler": {"_class_name": "DDPMScheduler"}},
]


# The autoencoder's configuration in the cases with EDM: as Playground v2.5, with other numbers.
EDM_VAE = {"latents_mean": [-0.4, 0.2, 0.3, -0.1], "latents_std": [1.5, 0.8, 1.2, 0.9], "scaling_factor": 0.5}


def cases(fixtures, out):
    pipe, taesd = mf.load_pipe(fixtures)[:2]
    base_cfg = dict(pipe.scheduler.config)
    (out / "cases").mkdir(exist_ok=True)
    for case in CASES:
        own = dict(pipe.vae.config)
        if case["name"].startswith("edm"):
            pipe.vae.register_to_config(**EDM_VAE)
        tensors, info = mf.run_case(pipe, taesd, base_cfg, case)
        pipe.vae.register_to_config(**{key: own.get(key) for key in EDM_VAE})
        if case["name"].startswith("edm") and case.get("pipeline"):
            mean, std = (torch.tensor(EDM_VAE[key]).view(1, 4, 1, 1) for key in ("latents_mean", "latents_std"))
            drawn = tensors["image_latents"] / EDM_VAE["scaling_factor"]
            tensors["image_latents"] = (drawn - mean) * EDM_VAE["scaling_factor"] / std
        case["info"] = info
        save_file(tensors, out / "cases" / f"{case['name']}.safetensors")
        print(case["name"], len(tensors), "tensors")
    mf.dump_json(out / "cases.json", CASES)


def main(fixtures):
    out = Path(fixtures) / "samplers"
    out.mkdir(exist_ok=True)
    torch.set_num_threads(2)
    steps(out)
    cases(fixtures, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
