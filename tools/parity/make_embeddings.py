"""What a checkpoint makes of embeddings (textual inversion).

    python make_embeddings.py FIXTURES     # e.g. worker/tests/parity; needs what make_fixtures.py needs, and peft

Writes embeddings, `cases.json` and `cases/` into FIXTURES/embeddings. The plain cases are diffusers'
`load_textual_inversion` on both text encoders. AUTOMATIC1111's web UI is not a package, so its rules (version 1.10.1,
`modules/sd_hijack_clip.py`, `textual_inversion/textual_inversion.py`) are written here again, apart from those of the
worker.
"""

import sys
from pathlib import Path

import make_fixtures as mf
import make_prompts as mp
import torch
from safetensors.torch import load_file, save_file

WIDTHS = {"clip_l": 16, "clip_g": 24}
# Name, vectors, tensors.
FILES = [("ink", 1, "lg"), ("kite-style", 3, "lg"), ("mist", 2, "lg"), ("first_only", 2, "l")]


def write_files(out):
    generator = torch.Generator().manual_seed(41)
    for name, vectors, encoders in FILES:
        tensors = {part: torch.randn((vectors, width), generator=generator) * 0.2 for part, width in WIDTHS.items()
                   if part[-1] in encoders}
        save_file(tensors, out / f"{name}.safetensors", {"format": "pt"})


def encoders(pipe):
    return {"clip_l": (pipe.tokenizer, pipe.text_encoder), "clip_g": (pipe.tokenizer_2, pipe.text_encoder_2)}


def load_plain(pipe, out, case):
    """As diffusers' documentation does it for SDXL. A list of tokens is for the vectors of one tensor."""
    for entry in case["embeddings"]:
        for part, vectors in load_file(out / entry["path"]).items():
            tokenizer, encoder = encoders(pipe)[part]
            token = entry.get("tokens") or entry["token"]
            pipe.load_textual_inversion(vectors, token=token, text_encoder=encoder, tokenizer=tokenizer)


def ids(pipe, tokenizer, text):
    text = pipe.maybe_convert_prompt(text, tokenizer)
    return tokenizer([text], padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids


# --- AUTOMATIC1111's rules ---

def chunks(tokenizer, pairs, words):
    """Lists of 75 (id or vector, weight) pairs or fewer. `words`: (ids of the name, vectors), longest first."""
    comma = tokenizer.get_vocab().get(",</w>")
    done, now = [], []
    for text, weight in pairs:
        if text is None:
            done.append(now)
            now = []
            continue
        tokens, at = tokenizer(text, add_special_tokens=False).input_ids, 0
        while at < len(tokens):
            if len(now) == 75:
                commas = [i for i, (id, _) in enumerate(now) if isinstance(id, int) and id == comma and 75 - i <= 20]
                cut = commas[-1] + 1 if commas and tokens[at] != comma else 75
                done.append(now[:cut])
                now = now[cut:]
                if len(now) == 75:
                    done.append(now)
                    now = []
            name, vectors = next(((n, v) for n, v in words if tokens[at:at + len(n)] == n), ([0], [tokens[at]]))
            if len(now) + len(vectors) > 75:
                done.append(now)
                now = []
            now += [(vector, weight) for vector in vectors]
            at += len(name)
    if now or not done:
        done.append(now)
    return done


def encode(pipe, text, embeddings):
    """Hidden states [1, 77 n, D] and the pooled embedding of the first chunk."""
    halves, pooled = [], None
    for part, (tokenizer, encoder) in encoders(pipe).items():
        # Both read "!" as a word.
        words = [(pipe.tokenizer(name, add_special_tokens=False).input_ids, list(tensors[part]))
                 for name, tensors in embeddings]
        words.sort(key=lambda word: -len(word[0]))
        table, states = encoder.text_model.embeddings.token_embedding if hasattr(encoder, "text_model") \
            else encoder.embeddings.token_embedding, []
        for n, chunk in enumerate(chunks(pipe.tokenizer, mp.weighted(text), words)):
            ids = [tokenizer.bos_token_id] + [id if isinstance(id, int) else 0 for id, _ in chunk]
            ids += [tokenizer.eos_token_id] + [tokenizer.pad_token_id] * (76 - len(ids))

            def replaced(_module, _inputs, rows):
                rows = rows.clone()
                for at, (id, _) in enumerate(chunk):
                    if not isinstance(id, int):
                        rows[0, at + 1] = id
                return rows

            hook = table.register_forward_hook(replaced)
            out = encoder(torch.tensor([ids]), output_hidden_states=True)
            hook.remove()
            z = out.hidden_states[-2]
            weights = torch.tensor([1.0] + [w for _, w in chunk] + [1.0] * (76 - len(chunk))).double()
            old = z.double().mean()
            z = z.double() * weights[None, :, None]
            states.append((z * (old / z.mean())).float())
            if n == 0 and part == "clip_g":
                pooled = out[0]
        halves.append(torch.cat(states, 1))
    longest = max(half.shape[1] for half in halves)
    assert all(half.shape[1] == longest for half in halves), "both encoders have as many chunks"
    return torch.cat(halves, 2), pooled


def encode_a1111(pipe, out, case):
    embeddings = [(entry["token"], load_file(out / entry["path"])) for entry in case["embeddings"]]
    both = [encode(pipe, case[field], embeddings) for field in ("prompt", "negative_prompt")]
    empty = encode(pipe, "", [])[0]
    longest = max(embeds.shape[1] for embeds, _ in both)
    (embeds, pooled), (negative, negative_pooled) = [
        (torch.cat([embeds] + [empty] * ((longest - embeds.shape[1]) // 77), 1), pooled) for embeds, pooled in both]
    pipe.encode_prompt = lambda *_, **__: (embeds, negative, pooled, negative_pooled)


FILE = lambda name, token=None: {"path": f"{name}.safetensors", "token": token or name}
INK, KITE = FILE("ink", "<Ink>"), FILE("kite-style")
BASE = {"negative_prompt": "blurry, text", "steps": 2, "guidance_scale": 5.0, "height": 32, "width": 32,
        "preview_steps": []}
FULL = "a misty lake, " * 18
CASES = [
    {**BASE, "name": "one_vector", "seed": 51, "prompt": "a fox, drawn with <INK>!", "embeddings": [INK]},
    {**BASE, "name": "several_vectors", "seed": 52, "prompt": "a kite-style fox in kite-styles", "embeddings": [KITE]},
    {**BASE, "name": "two_embeddings", "seed": 53, "prompt": "a fox in <Ink>", "prompt_2": "kite-style<ink>",
     "negative_prompt": "blurry kite-style, mist", "embeddings": [KITE, INK], "clip_skip": 1},
    {**BASE, "name": "with_lora", "seed": 54, "prompt": "a kite-style fox", "negative_prompt": None, "embeddings": [KITE],
     "loras": [{"path": "../variants/peft.safetensors", "scale": 0.8}]},
    {**BASE, "name": "one_encoder", "seed": 55, "guidance_scale": 1.0, "prompt": "a first_only fox", "embeddings": [FILE("first_only")]},
    {**BASE, "name": "truncated", "seed": 56, "guidance_scale": 1.0, "prompt": f"{FULL} a kite-style fox", "embeddings": [KITE]},
    {**BASE, "name": "several_tokens", "seed": 57, "guidance_scale": 1.0, "prompt": "<s1> fox, <s0>",
     "embeddings": [{"path": "mist.safetensors", "tokens": ["<s0>", "<s1>"]}]},
    {**BASE, "name": "other_case", "seed": 58, "guidance_scale": 1.0, "prompt": "a fox in MIST", "embeddings": [FILE("mist", "Mist")]},
    # The end token is found by its own id: `eos_token_id` in the configurations of both encoders.
    {**BASE, "name": "eos_token", "seed": 59, "prompt": "a fox in <Ink>, kite-style", "embeddings": [INK, KITE]},
    {**BASE, "name": "a1111", "seed": 60, "prompt_syntax": "a1111", "embeddings": [KITE, FILE("mist", "Kite"), INK],
     "prompt": "a (kite-style:1.3) fox, [KITE] <ink>!", "negative_prompt": "(kite:0.7) blurry"},
    {**BASE, "name": "a1111_not_cut", "seed": 61, "prompt_syntax": "a1111", "embeddings": [KITE],
     "prompt": "fox " * 74 + "kite-style, a lake", "negative_prompt": "blurry, " * 37 + "kite-style"},
]


@torch.no_grad()
def main(fixtures):
    fixtures = Path(fixtures)
    out = fixtures / "embeddings"
    (out / "cases").mkdir(parents=True, exist_ok=True)
    write_files(out)
    for case in CASES:
        pipe, taesd = mf.load_pipe(fixtures)
        if case["name"] == "eos_token":
            for tokenizer, encoder in encoders(pipe).values():
                for module in encoder.modules():
                    if hasattr(module, "eos_token_id"):
                        module.eos_token_id = tokenizer.eos_token_id
        prompts = {"": [case["prompt"], case.get("prompt_2") or case["prompt"]],
                   "negative_": [case["negative_prompt"] if case["guidance_scale"] > 1 else None] * 2}
        wanted = {}
        if case.get("prompt_syntax") == "a1111":
            encode_a1111(pipe, out, case)
        else:
            load_plain(pipe, out, case)
            for half, texts in prompts.items():
                for i, (text, tokenizer) in enumerate(zip(texts, [pipe.tokenizer, pipe.tokenizer_2])):
                    if text is not None:
                        wanted[f"{half}input_ids_{i + 1}"] = ids(pipe, tokenizer, text)
        for lora in case.get("loras", []):
            pipe.load_lora_weights(str(out / lora["path"]), adapter_name="lora")
            pipe.set_adapters(["lora"], [lora["scale"]])
        tensors, info = mf.run_case(pipe, taesd, dict(pipe.scheduler.config), case)
        last = f"latents.{info['unet_steps'] - 1}"
        keep = [name for name in tensors if "prompt_embeds" in name] + ["unet_out.0", last]
        if "negative_prompt" in case and case["negative_prompt"] is None:
            keep = [name for name in keep if "negative" not in name]
        save_file({**{name: tensors[name].contiguous() for name in keep}, **wanted}, out / "cases" / f"{case['name']}.safetensors")
        case["info"] = {"unet_steps": info["unet_steps"]}
        print(case["name"], tensors["prompt_embeds"].shape, [int(i) for i in wanted.get("input_ids_1", torch.zeros(1, 0))[0][:16]])
    mf.dump_json(out / "cases.json", CASES)


if __name__ == "__main__":
    main(*sys.argv[1:])
