"""CLIP's byte-level BPE with merges learnt on the captions."""

import json
import os
from collections import Counter

import numpy as np
import scenes
import torch
from canvas import NAMES, SHAPES
from transformers import CLIPTokenizer

FOLDERS = {"tokenizer": "<|endoftext|>", "tokenizer_2": "!"}


def _byte_characters():
    """CLIP's printable stand-ins for the 256 bytes, in its order."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]


def _learn_merges(words, count):
    pieces = {word: (*word[:-1], word[-1] + "</w>") for word in words}
    merges = []
    while len(merges) < count:
        pairs = Counter()
        for word, parts in pieces.items():
            for pair in zip(parts, parts[1:]):
                pairs[pair] += words[word]
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        for word, parts in pieces.items():
            joined, i = [], 0
            while i < len(parts):
                width = 2 if parts[i : i + 2] == best else 1
                joined.append("".join(parts[i : i + width]))
                i += width
            pieces[word] = tuple(joined)
    return merges


def make(settings):
    rng = np.random.default_rng(2)
    words = Counter(word for _ in range(1500) for word in scenes.sample(rng, 8)[1].split())
    for word in NAMES + SHAPES:
        words[word] += 100
    merges = _learn_merges(words, settings.merges)
    characters = _byte_characters()
    tokens = characters + [c + "</w>" for c in characters] + ["".join(pair) for pair in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    for name, pad in FOLDERS.items():
        folder = f"{settings.out}/{name}"
        os.makedirs(folder, exist_ok=True)
        special = {
            "bos_token": "<|startoftext|>",
            "eos_token": "<|endoftext|>",
            "unk_token": "<|endoftext|>",
            "pad_token": pad,
        }
        config = {
            **special,
            "tokenizer_class": "CLIPTokenizer",
            "model_max_length": 77,
            "do_lower_case": True,
            "add_prefix_space": False,
            "errors": "replace",
        }
        lines = "".join(f"{a} {b}\n" for a, b in merges)
        _write(f"{folder}/vocab.json", json.dumps(vocabulary, ensure_ascii=False))
        _write(f"{folder}/merges.txt", "#version: 0.2\n" + lines)
        _write(f"{folder}/special_tokens_map.json", json.dumps(special))
        _write(f"{folder}/tokenizer_config.json", json.dumps(config))


def _write(path, text):
    with open(path, "w", encoding="utf8") as file:
        file.write(text)


def load(settings):
    return [CLIPTokenizer.from_pretrained(f"{settings.out}/{name}") for name in FOLDERS]


def encode(tokenizers, captions):
    padded = {"padding": "max_length", "max_length": 77, "truncation": True}
    return [torch.tensor(t(captions, **padded).input_ids, dtype=torch.int16) for t in tokenizers]
