"""Copies candle's crates and changes the copies: CUDA is opened at run time, and only the device code that SDXL runs is
compiled. scripts/build-cuda runs it; docs/decisions/0012-cuda-opened-at-run-time.md says why.

    patch.py CARGO_METADATA FOLDER    the file that `cargo metadata` wrote; where the copies go
"""

import json
import re
import shutil
import sys
from pathlib import Path

VERSION = "0.11.1"
CRATES = ["candle-core", "candle-kernels", "candle-flash-attn"]

# What both crates' build scripts become: scripts/build-cuda has compiled the device code before.
BUILD = """fn main() {
    let made = std::env::var("GLIMPSE_DEVICE_CODE").expect("scripts/build-cuda sets GLIMPSE_DEVICE_CODE");
    println!("cargo::rerun-if-env-changed=GLIMPSE_DEVICE_CODE");
    println!("cargo::rustc-link-search=native={made}");
LINKS}
"""
KERNELS_LINK = ["static=gguf"]
FLASH_LINK = ["static=flashattention", "static=cudart_static", "stdc++", "dl", "rt", "pthread"]

# The kernels of flash_api.cu's dispatch that are compiled: the UNet's and the text encoders' head size, and the VAE's.
RUN_MHA_FWD = """void run_mha_fwd(Flash_fwd_params &params, cudaStream_t stream) {
  FP16_SWITCH(!params.is_bf16, [&] {
      if (params.d == 512) {
          run_mha_fwd_<elem_type, 512, false>(params, stream);
      } else {
          BOOL_SWITCH(params.is_causal, Is_causal, [&] { run_mha_fwd_<elem_type, 64, Is_causal>(params, stream); });
      }
  });
}
"""
HEAD_SIZES = """if head_size_og != 64 && (head_size_og != 512 || self.window_size_right.is_some()) {
            candle::bail!("this build has head sizes 64, and 512 without a mask (got {head_size_og})")"""


def crates(metadata: Path) -> dict[str, Path]:
    """Where cargo keeps each crate's source."""
    packages = json.loads(metadata.read_text())["packages"]
    found = {p["name"]: p for p in packages if p["name"] in CRATES}
    for name in CRATES:
        version = found[name]["version"] if name in found else "none"
        if version != VERSION:
            sys.exit(
                f"tools/cuda/patch.py: Cargo.lock has {name} {version}, the patches are for {VERSION}: "
                "compare the crate's two versions and adapt tools/cuda/patch.py"
            )
    return {name: Path(p["manifest_path"]).parent for name, p in found.items()}


def replace(path: Path, pattern: str, new: str, count: int = 1) -> None:
    """Replaces what the pattern finds, which must be there `count` times."""
    text, found = re.subn(pattern, lambda _: new, path.read_text(), flags=re.DOTALL | re.MULTILINE)
    if found != count:
        crate = path.relative_to(folder).parts[0]
        sys.exit(
            f"tools/cuda/patch.py: {crate} {VERSION}: {path.name} has {found} times, not {count} times, what matches "
            f"{pattern!r}: the crate's source is not the published one; delete it from cargo's registry and try again"
        )
    path.write_text(text)


def build_script(crate: Path, links: list[str]) -> None:
    lines = "\n".join(f'    println!("cargo::rustc-link-lib={link}");' for link in links)
    (crate / "build.rs").write_text(BUILD.replace("LINKS", lines + "\n"))


def core(crate: Path) -> None:
    replace(crate / "Cargo.toml", '"dynamic-linking"', '"fallback-dynamic-loading"')
    # Device code is a binary for each GPU instead of PTX.
    load = "load_module(cudarc::nvrtc::Ptx::from_binary(mdl.ptx().to_vec()))"
    replace(crate / "src/cuda_backend/device.rs", r"load_module\(mdl\.ptx\(\)\.into\(\)\)", load)


def kernels(crate: Path) -> None:
    build_script(crate, KERNELS_LINK)
    replace(crate / "src/lib.rs", r'env!\("OUT_DIR"\)', 'env!("GLIMPSE_DEVICE_CODE")')
    replace(crate / "src/lib.rs", r"&'static str", "&'static [u8]", count=2)
    # Functions for GGUF's quantised matrices, which are linked and never called.
    names = re.findall(r"pub fn (\w+)\(", (crate / "src/ffi.rs").read_text())
    stubs = "".join(f"void {name}(void) {{ abort(); }}\n" for name in names)
    (crate / "gguf.c").write_text("#include <stdlib.h>\n" + stubs)


def flash(crate: Path) -> None:
    build_script(crate, FLASH_LINK)
    replace(crate / "kernels/flash_api.cu", r"^void run_mha_fwd\(.*?^}\n", RUN_MHA_FWD)
    pattern = r'if head_size_og > 512 \{\s*candle::bail!\("only supports head dimension[^"]*"\)'
    replace(crate / "src/lib.rs", pattern, HEAD_SIZES, count=2)


folder = Path(sys.argv[2])
shutil.rmtree(folder, ignore_errors=True)
for crate_name, source in crates(Path(sys.argv[1])).items():
    shutil.copytree(source, folder / crate_name)
core(folder / "candle-core")
kernels(folder / "candle-kernels")
flash(folder / "candle-flash-attn")
