//! TAESD, the decoder for previews: diffusers' `AutoencoderTiny` (`models/autoencoders/autoencoder_tiny.py`,
//! `DecoderTiny` in `vae.py`).

use std::rc::Rc;

use candle_core::Tensor;
use serde_json::Value;

use super::error::LoadError;
use super::layers::Conv2d;
use super::ops::Activation;
use super::settings::{MAX_LAYERS, MAX_LEVELS, MAX_SIZE, Settings};
use super::taps::Taps;
use super::weights::{Naming, Shards, Stored, Vars, View, WeightFiles};

/// Latents are limited to this value with tanh; a constant in `DecoderTiny.forward`.
const CLAMP: f64 = 3.0;

/// The largest `upsampling_scaling_factor`.
const MAX_FACTOR: usize = 8;

/// The decoder half of an `AutoencoderTiny`'s `config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct TaesdConfig {
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Channels of each level, smallest picture first.
    pub decoder_block_out_channels: Vec<usize>,
    /// Residual blocks of each level.
    pub num_decoder_blocks: Vec<usize>,
    /// Each level except the last upsamples by this factor.
    pub upsampling_scaling_factor: usize,
    /// The activation after each convolution except the last.
    pub activation: Activation,
}

impl TaesdConfig {
    /// Reads the settings; defaults are those of diffusers' `AutoencoderTiny`.
    ///
    /// # Errors
    /// If a setting is wrong or not implemented.
    pub fn read(s: &Settings) -> Result<Self, LoadError> {
        s.only("_class_name", &["AutoencoderTiny".into()])?;
        s.only("out_channels", &[3.into()])?;
        s.only("upsample_fn", &["nearest".into()])?;
        let act: String = s.or("act_fn", "relu".into())?;
        let sizes = |key, most, default| match s.get::<Value>(key)? {
            Some(_) => s.sizes(key, most),
            None => Ok(default),
        };
        let config = Self {
            latent_channels: s.size("latent_channels", 4, MAX_SIZE)?,
            decoder_block_out_channels: sizes("decoder_block_out_channels", MAX_SIZE, vec![64; 4])?,
            num_decoder_blocks: sizes("num_decoder_blocks", MAX_LAYERS, vec![3, 3, 3, 1])?,
            upsampling_scaling_factor: s.size("upsampling_scaling_factor", 2, MAX_FACTOR)?,
            activation: Activation::named(&act).ok_or_else(|| s.unsupported("act_fn", &act))?,
        };
        if config.num_decoder_blocks.len() != config.decoder_block_out_channels.len() {
            return Err(s.wrong("num_decoder_blocks", "differs in length from decoder_block_out_channels"));
        }
        Ok(config)
    }

    /// Reads the configuration from the tensors of an original file (<https://github.com/madebyollin/taesd>), which has
    /// no `config.json`.
    ///
    /// # Errors
    /// If the tensors are not those of such a decoder.
    pub fn of_original(shards: &Shards) -> Result<Self, LoadError> {
        let malformed = || LoadError::Malformed {
            path: shards.path().into(),
            message: "the tensors are not those of a TAESD decoder".into(),
        };
        let shape = |name: String| match shards.shape(&name) {
            Some(&[outputs, inputs, _, _]) if outputs.max(inputs) <= MAX_SIZE => Some((outputs, inputs)),
            _ => None,
        };
        // The first layers are a clamp, a convolution and its activation. Upsamplers and activations have no tensors.
        let (mut channels, latent_channels) = shape("1.weight".into()).ok_or_else(malformed)?;
        let (mut decoder_block_out_channels, mut num_decoder_blocks) = (Vec::new(), Vec::new());
        let (mut number, mut blocks) = (3, 0);
        loop {
            if shape(format!("{number}.conv.0.weight")).is_some() {
                (number, blocks) = (number + 1, blocks + 1);
                continue;
            }
            decoder_block_out_channels.push(channels);
            num_decoder_blocks.push(std::mem::take(&mut blocks));
            if shape(format!("{number}.weight")).is_some() {
                break;
            }
            if num_decoder_blocks.len() == MAX_LEVELS {
                return Err(malformed());
            }
            (channels, _) = shape(format!("{}.weight", number + 1)).ok_or_else(malformed)?;
            number += 2;
        }
        Ok(Self {
            latent_channels,
            decoder_block_out_channels,
            num_decoder_blocks,
            upsampling_scaling_factor: 2,
            activation: Activation::Relu,
        })
    }

    /// The naming of an original file: numbers, one higher than diffusers' numbers because of the clamp.
    pub fn original_naming() -> Naming {
        Naming::new("", |name| {
            let below = name.strip_prefix("decoder.layers.").unwrap_or(name);
            let (number, rest) = below.split_once('.').unwrap_or((below, ""));
            let number = number.parse().map_or(number.to_owned(), |n: usize| (n + 1).to_string());
            Stored { name: format!("{number}.{rest}"), view: View::Whole }
        })
    }

    /// Pixels per latent, along one side.
    pub fn scale(&self) -> usize {
        self.upsampling_scaling_factor.pow(self.num_decoder_blocks.len() as u32 - 1)
    }
}

/// diffusers' `AutoencoderTinyBlock`: three convolutions, added to the input.
#[derive(Debug)]
struct Block {
    convs: [Conv2d; 3],
}

/// One entry of `decoder.layers`, numbered as in the weight file.
#[derive(Debug)]
enum Layer {
    Conv(Conv2d),
    Activation,
    Block(Block),
    Upsample,
}

/// The preview decoder.
#[derive(Debug)]
pub struct Taesd {
    layers: Vec<Layer>,
    config: TaesdConfig,
}

impl Taesd {
    /// Loads the decoder.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape, or the device fails.
    pub fn new(files: &Rc<WeightFiles>, config: TaesdConfig) -> Result<Self, LoadError> {
        let vars = files.root().at("decoder.layers");
        let first = config.decoder_block_out_channels[0];
        let mut layers = vec![Layer::Conv(Conv2d::new(&vars.at(0), config.latent_channels, first, 3)?)];
        layers.push(Layer::Activation);
        let levels = config.num_decoder_blocks.len();
        for level in 0..levels {
            let channels = config.decoder_block_out_channels[level];
            for _ in 0..config.num_decoder_blocks[level] {
                let block = Block::new(&vars.at(layers.len()).at("conv"), channels)?;
                layers.push(Layer::Block(block));
            }
            if level + 1 < levels {
                layers.push(Layer::Upsample);
                let conv = Conv2d::without_bias(&vars.at(layers.len()), channels, channels, 3)?;
                layers.push(Layer::Conv(conv));
            } else {
                layers.push(Layer::Conv(Conv2d::new(&vars.at(layers.len()), channels, 3, 3)?));
            }
        }
        files.finish(|name| name.starts_with("encoder."))?;
        Ok(Self { layers, config })
    }

    /// The configuration of this decoder.
    pub fn config(&self) -> &TaesdConfig {
        &self.config
    }

    /// Decodes the UNet's latents [B, C, h, w] to pictures [B, 3, H, W], about -1..1, not clamped.
    ///
    /// # Errors
    /// If the device fails.
    pub fn decode(&self, latents: &Tensor) -> candle_core::Result<Tensor> {
        self.decode_observed(latents, &mut Taps::none())
    }

    /// [`Taesd::decode`], and passes the output of each layer to `taps`.
    ///
    /// # Errors
    /// As [`Taesd::decode`].
    pub fn decode_observed(&self, latents: &Tensor, taps: &mut Taps<'_>) -> candle_core::Result<Tensor> {
        let mut x = ((latents / CLAMP)?.tanh()? * CLAMP)?;
        for (i, layer) in self.layers.iter().enumerate() {
            x = match layer {
                Layer::Conv(conv) => conv.forward(&x)?,
                Layer::Activation => self.config.activation.forward(&x)?,
                Layer::Block(block) => block.forward(&x, self.config.activation)?,
                Layer::Upsample => {
                    let (_, _, height, width) = x.dims4()?;
                    let factor = self.config.upsampling_scaling_factor;
                    x.upsample_nearest2d(factor * height, factor * width)?
                }
            };
            taps.see(format_args!("decoder.layers.{i}"), &x);
        }
        // The network's output is in 0..1.
        let y = x.affine(2.0, -1.0)?;
        taps.see(format_args!("image"), &y);
        Ok(y)
    }
}

impl Block {
    fn new(vars: &Vars, channels: usize) -> Result<Self, LoadError> {
        // The activations between them have numbers but no weights.
        let conv = |i: usize| Conv2d::new(&vars.at(i), channels, channels, 3);
        Ok(Self { convs: [conv(0)?, conv(2)?, conv(4)?] })
    }

    fn forward(&self, x: &Tensor, activation: Activation) -> candle_core::Result<Tensor> {
        let [a, b, c] = &self.convs;
        let h = activation.forward(&a.forward(x)?)?;
        let h = activation.forward(&b.forward(&h)?)?;
        // The last activation is always a ReLU, independent of `act_fn`.
        Activation::Relu.forward(&c.forward_plus(&h, None, Some(x))?)
    }
}
