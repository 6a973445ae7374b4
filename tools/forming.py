"""Draws the README's picture: the previews of one stream and its final picture, side by side.

    cargo run --release                               # in another terminal
    pip install pillow
    python tools/forming.py http://127.0.0.1:8080 docs/images/forming.png
"""

import base64
import io
import json
import sys
import urllib.request

from PIL import Image

SIDE = 256  # pixels of each picture in the strip
GAP = 8


def stream(base: str, prompt: str, seed: int) -> list[Image.Image]:
    """The pictures of one `/stream`, in order."""
    request = urllib.request.Request(
        f"{base}/glimpse/demo/stream",
        data=json.dumps({"prompt": prompt, "seed": seed}).encode(),
        headers={"content-type": "application/json"},
    )
    pictures = []
    with urllib.request.urlopen(request) as response:
        for line in response:
            if line.startswith(b"data: "):
                url = json.loads(line[6:])["image"]["url"]
                pictures.append(Image.open(io.BytesIO(base64.b64decode(url.split(",", 1)[1]))))
    return pictures


def main() -> None:
    base, path = sys.argv[1:3]
    pictures = stream(base, "a red heart on a white background", 1)
    width = len(pictures) * (SIDE + GAP) - GAP
    strip = Image.new("RGB", (width, SIDE), (127, 127, 127))
    for index, picture in enumerate(pictures):
        strip.paste(picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (index * (SIDE + GAP), 0))
    strip.save(path, optimize=True)


if __name__ == "__main__":
    main()
