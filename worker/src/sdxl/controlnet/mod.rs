//! ControlNets: diffusers' `ControlNetModel` (`models/controlnets/controlnet.py`; Zhang et al. 2023, "Adding Conditional
//! Control to Text-to-Image Diffusion Models"). One has the first half of a UNet, an encoder for its picture, and 1x1
//! convolutions whose outputs are added to the tensors of the checkpoint's UNet. Some know several kinds of pictures
//! (`union`).

mod config;
mod hint;
mod kinds;
mod net;
mod open;
mod shapes;
mod union;

pub use config::{Base, ChannelOrder, ControlNetConfig};
pub use kinds::is_controlnet_tensor;
pub use net::{ControlNet, Hint};
pub use open::OpenedControlNet;
