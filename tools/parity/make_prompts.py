"""What a checkpoint makes of prompts in AUTOMATIC1111's syntax and of long prompts.

    python make_prompts.py FIXTURES        # e.g. worker/tests/parity; needs what make_fixtures.py needs

Writes `cases.json` and `cases/` into FIXTURES/prompts. AUTOMATIC1111's web UI is not a package, so the rules of its
version 1.10.1 (`modules/prompt_parser.py`, `sd_hijack_clip.py`, `sd_emphasis.py`) are written here again, apart from
those of the worker, with transformers' text encoders; diffusers makes the pictures from these embeddings.
"""

import re
import sys
from pathlib import Path

import make_fixtures as mf
import torch
from safetensors.torch import save_file

TOKEN = re.compile(r"\\[()\[\]\\]|\\|[(\[)\]]|:\s*[+-]?[.\d]+\s*\)|[^\\()\[\]:]+|:")


def weighted(prompt):
    """[text, weight] pairs; [None, None] is a BREAK."""
    pairs, opened = [], []

    def close(kind, factor):
        """Whether there was such a bracket."""
        for at in range(len(opened) - 1, -1, -1):
            if opened[at][0] == kind:
                for pair in pairs[opened.pop(at)[1]:]:
                    pair[1] *= factor
                return True
        return False

    for token in TOKEN.findall(prompt):
        if token[0] == "\\":
            pairs.append([token[1:], 1.0])
        elif token in "([":
            opened.append((token, len(pairs)))
        elif token == ")" and close("(", 1.1) or token == "]" and close("[", 1 / 1.1):
            pass
        elif token[0] == ":" and token[-1] == ")" and close("(", float(token[1:-1] or 0)):
            pass
        else:
            for i, text in enumerate(re.split(r"\s*\bBREAK\b\s*", token)):
                if i:
                    pairs.append(["BREAK", -1.0])
                pairs.append([text, 1.0])
    while opened:
        close(opened[-1][0], 1.1 if opened[-1][0] == "(" else 1 / 1.1)
    joined = []
    for text, weight in pairs or [["", 1.0]]:
        if joined and joined[-1][1] == weight:
            joined[-1][0] += text
        else:
            joined.append([text, weight])
    return [[None, None] if pair == ["BREAK", -1.0] else pair for pair in joined]


def chunks(tokenizer, pairs):
    """Lists of 75 (id, weight) pairs or fewer."""
    comma = tokenizer.get_vocab().get(",</w>")
    done, now = [], []
    for text, weight in pairs:
        if text is None:
            done.append(now)
            now = []
            continue
        for token in tokenizer(text, add_special_tokens=False).input_ids:
            if len(now) == 75:
                commas = [i for i, (id, _) in enumerate(now) if id == comma and 75 - i <= 20]
                cut = commas[-1] + 1 if commas and token != comma else 75
                done.append(now[:cut])
                now = now[cut:]
                if len(now) == 75:
                    done.append(now)
                    now = []
            now.append((token, weight))
    if now or not done:
        done.append(now)
    return done


def encode(pipe, lists, emphasis):
    """Hidden states [1, 77 n, D] and the pooled embedding of the first chunk."""
    halves, pooled = [], None
    for encoder, tokenizer in [(pipe.text_encoder, pipe.tokenizer), (pipe.text_encoder_2, pipe.tokenizer_2)]:
        states = []
        for n, chunk in enumerate(lists):
            ids = [tokenizer.bos_token_id] + [id for id, _ in chunk] + [tokenizer.eos_token_id]
            ids += [tokenizer.pad_token_id] * (77 - len(ids))
            out = encoder(torch.tensor([ids]), output_hidden_states=True)
            z = out.hidden_states[-2]
            if emphasis:
                weights = torch.tensor([1.0] + [w for _, w in chunk] + [1.0] * (76 - len(chunk)))
                old = z.double().mean()
                z = z.double() * weights.double()[None, :, None]
                z = (z * (old / z.mean())).float()
            states.append(z)
            if n == 0 and encoder is pipe.text_encoder_2:
                pooled = out[0]
        halves.append(torch.cat(states, 1))
    return torch.cat(halves, 2), pooled


def both(pipe, case):
    """The embeddings and pooled embeddings of the prompt and of the negative prompt, equally long."""
    # The vocabularies are the same, and "!" is a word for the first tokenizer, as for the web UI.
    a1111 = case.get("prompt_syntax") == "a1111"
    read = lambda text: (chunks(pipe.tokenizer, weighted(text)) if a1111 else
                         [list(part) for part in plain(pipe, text)])
    encoded = []
    for field in ["prompt", "negative_prompt"]:
        text = re.sub(r"<lora:[^>]+>", "", case[field]) if field == "prompt" and a1111 else case[field]
        embeds, pooled = encode(pipe, read(text), a1111)
        if a1111 and field == "negative_prompt" and text == "":
            embeds, pooled = torch.zeros_like(embeds), torch.zeros_like(pooled)
        encoded.append([embeds, pooled])
    empty = encode(pipe, [[]], False)[0]
    longest = max(embeds.shape[1] for embeds, _ in encoded)
    for entry in encoded:
        entry[0] = torch.cat([entry[0]] + [empty] * ((longest - entry[0].shape[1]) // 77), 1)
    return encoded


def plain(pipe, text):
    """Chunks of 75 tokens, without a syntax. Only for texts without "!", which the tokenizers read differently."""
    ids = pipe.tokenizer(text, add_special_tokens=False).input_ids
    return [[(id, 1.0) for id in ids[at:at + 75]] for at in range(0, len(ids), 75)] or [[]]


LIST = ", ".join(f"a {colour} {thing} on a {place}" for colour in ["red", "green", "blue"]
                 for thing in ["boat", "house", "kite"] for place in ["lake", "hill"])
BASE = {"negative_prompt": "blurry, (low quality:1.4)", "steps": 3, "guidance_scale": 5.0, "height": 64, "width": 64,
        "preview_steps": [], "prompt_syntax": "a1111"}
CASES = [
    {**BASE, "name": "emphasis", "seed": 31, "prompt": "a (red:1.3) fox! in [((mist))], \\(oil\\) on canvas"},
    {**BASE, "name": "breaks", "seed": 32, "prompt": "a fox BREAK in the (mist BREAK and rain) BREAK BREAK at dawn"},
    {**BASE, "name": "commas", "seed": 33, "prompt": f"(painting:0.8) of {LIST}, soft light", "negative_prompt": ""},
    {**BASE, "name": "negative_is_longer", "seed": 34, "prompt": "a (lighthouse", "negative_prompt": f"[{LIST}]"},
    {**BASE, "name": "long_prompt", "seed": 35, "prompt": LIST, "negative_prompt": "blurry", "prompt_syntax": "plain",
     "long_prompt": True},
]


@torch.no_grad()
def main(fixtures):
    fixtures = Path(fixtures)
    out = fixtures / "prompts"
    (out / "cases").mkdir(parents=True, exist_ok=True)
    pipe, taesd = mf.load_pipe(fixtures)[:2]
    base_cfg = dict(pipe.scheduler.config)
    for case in CASES:
        (embeds, pooled), (negative, negative_pooled) = both(pipe, case)
        pipe.encode_prompt = lambda *_, **__: (embeds, negative, pooled, negative_pooled)
        tensors, info = mf.run_case(pipe, taesd, base_cfg, case)
        for name in [name for name in tensors if "input_ids" in name or name in ("image", "image_u8", "noise")]:
            del tensors[name]
        case["info"] = info
        save_file(tensors, out / "cases" / f"{case['name']}.safetensors")
        print(case["name"], tensors["prompt_embeds"].shape)
    mf.dump_json(out / "cases.json", CASES)


if __name__ == "__main__":
    main(*sys.argv[1:])
