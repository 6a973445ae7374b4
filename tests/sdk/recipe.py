"""Reads the recipes of pictures with two readers of other people, and prints what they found as one JSON object."""

import json
import sys

from PIL import ExifTags, Image
from sd_parsers import ParserManager


def by_sd_parsers(path):
    info = ParserManager().parse(path)
    sampler = info.samplers[0]
    parameters = sampler.parameters
    return {
        "generator": info.generator.value,
        "prompt": info.full_prompt,
        "negative": info.full_negative_prompt,
        "sampler": sampler.name,
        "schedule": parameters.get("scheduler"),
        "steps": parameters["steps"],
        "seed": parameters["seed"],
        "guidance": parameters["cfg_scale"],
        "model": sampler.model.name,
        "model_hash": sampler.model.hash,
        "size": info.metadata["Size"],
    }


def by_pillow(path):
    with Image.open(path) as image:
        image.load()
        text = image.info.get("parameters")
        if text is None:
            comment = image.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment]
            assert comment[:8] == b"UNICODE\0", comment[:8]
            text = comment[8:].decode("utf-16-be")
        xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
        return {
            "text": text,
            "xmp": xmp.decode("utf-8") if isinstance(xmp, bytes) else xmp,
            "size": f"{image.width}x{image.height}",
        }


print(json.dumps({path: {"sd_parsers": by_sd_parsers(path), "pillow": by_pillow(path)} for path in sys.argv[1:]}))
