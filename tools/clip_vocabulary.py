"""Writes CLIP's vocabulary for the built-in configuration of SDXL base 1.0.

    pip download --no-deps open_clip_torch
    python tools/clip_vocabulary.py open_clip_torch-*.whl worker/src/sdxl/base/tokenizer

The merges are the file `bpe_simple_vocab_16e6.txt.gz` of OpenAI's CLIP (MIT), as open_clip_torch (MIT) ships it. As in
both `simple_tokenizer.py`, the first 48,894 merges count, and the vocabulary is: 256 bytes, the same at the end of a
word, one token per merge, start and end of text. Both licences are written beside the files.
"""

import gzip
import json
import sys
import zipfile
from pathlib import Path

MERGES = 49152 - 256 - 2


def bytes_to_unicode():
    """A printable character for each byte, in the order of the vocabulary."""
    shown = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return [chr(byte) for byte in shown] + [chr(256 + i) for i in range(len(hidden))]


def main(wheel, folder):
    with zipfile.ZipFile(wheel) as archive:
        packed = archive.read("open_clip/bpe_simple_vocab_16e6.txt.gz")
        licence = next(name for name in archive.namelist() if name.endswith("LICENSE"))
        licence = archive.read(licence).decode()
    lines = gzip.decompress(packed).decode().split("\n")
    merges = lines[1 : 1 + MERGES]
    alphabet = bytes_to_unicode()
    tokens = alphabet + [character + "</w>" for character in alphabet]
    tokens += ["".join(merge.split()) for merge in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    assert len(tokens) == len(set(tokens)) == 49408, len(tokens)

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False) + "\n")
    origin = "merges.txt and vocab.json are CLIP's vocabulary, from open_clip_torch by tools/clip_vocabulary.py.\n"
    (folder / "LICENSE").write_text(f"{origin}\nCLIP: MIT License, Copyright (c) 2021 OpenAI\nopen_clip: MIT License, {licence}")
    print(f"{len(tokens)} tokens, {len(merges)} merges")


if __name__ == "__main__":
    main(*sys.argv[1:])
