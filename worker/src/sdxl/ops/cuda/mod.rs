//! The forms that operations have on an NVIDIA GPU.
