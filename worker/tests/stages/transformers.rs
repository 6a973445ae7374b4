//! Compares the autoencoder and the residual blocks of the UNet with those of candle-transformers, which someone else
//! wrote, on inputs of other shapes than the golden values. Its other parts are wrong for SDXL (decision 4).

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor, safetensors};
use candle_nn::VarBuilder;
use candle_transformers::models::stable_diffusion::resnet::{ResnetBlock2D, ResnetBlock2DConfig};
use candle_transformers::models::stable_diffusion::vae::{AutoEncoderKL, AutoEncoderKLConfig};
use glimpse_worker::sdxl::Taps;
use glimpse_worker::sdxl::unet::{Unet, UnetConfig, UnetInputs};
use glimpse_worker::sdxl::vae::{Vae, VaeConfig};

use super::close::assert_close;
use super::support::parity;
use super::{MODULE, settings, weights};

/// The seed of the numbers that the tests draw.
const SEED: u64 = 20_261_128;

/// Numbers with about the mean and deviation of normal ones.
fn drawn(shape: &[usize], stream: u64) -> Tensor {
    use rand::{RngExt, SeedableRng};
    let mut generator = rand::rngs::StdRng::seed_from_u64(SEED ^ stream);
    let count = shape.iter().product();
    let uniform: Vec<f32> = (0..count).map(|_| generator.random_range(-1.7..1.7)).collect();
    Tensor::from_vec(uniform, shape, &Device::Cpu).expect("a tensor")
}

fn tensors(folder: &str) -> HashMap<String, Tensor> {
    let path = parity().join(folder).join("diffusion_pytorch_model.safetensors");
    safetensors::load(path, &Device::Cpu).expect("weights")
}

fn theirs(tensors: HashMap<String, Tensor>) -> VarBuilder<'static> {
    VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu)
}

fn their_vae(tensors: HashMap<String, Tensor>) -> AutoEncoderKL {
    let config = AutoEncoderKLConfig {
        block_out_channels: vec![8, 8, 8, 12],
        layers_per_block: 2,
        latent_channels: 4,
        norm_num_groups: 4,
        use_quant_conv: true,
        use_post_quant_conv: true,
    };
    AutoEncoderKL::new(theirs(tensors), 3, 3, config).expect("an autoencoder")
}

/// One after the other: candle-transformers 0.11.1 gives wrong numbers for all but the first of a batch.
fn each(batch: &Tensor, run: impl Fn(&Tensor) -> candle_core::Result<Tensor>) -> Tensor {
    let count = batch.dim(0).expect("a batch");
    let one = |i| batch.narrow(0, i, 1).and_then(|one| run(&one.contiguous()?)).expect("an output");
    Tensor::cat(&(0..count).map(one).collect::<Vec<_>>(), 0).expect("a batch")
}

fn our_vae() -> Vae {
    let config = VaeConfig::read(&settings("model/vae")).expect("supported");
    Vae::new(&weights("model/vae", "diffusion_pytorch_model"), config).expect("an autoencoder")
}

#[test]
fn the_decoder_is_that_of_candle_transformers() {
    let (ours, theirs) = (our_vae(), their_vae(tensors("model/vae")));
    for (stream, shape) in [[1, 4, 8, 6], [2, 4, 5, 9], [3, 4, 1, 1]].into_iter().enumerate() {
        let latents = drawn(&shape, stream as u64);
        // Theirs takes what the UNet's latents are after the scaling factor.
        let scaled = (&latents / 0.13025).expect("scaled");
        let picture = each(&scaled, |one| theirs.decode(one));
        assert_close(&format!("{shape:?}"), &ours.decode(&latents).expect("a picture"), &picture, MODULE);
    }
}

#[test]
fn the_encoder_is_that_of_candle_transformers() {
    let ours = our_vae();
    let mut tensors = tensors("model/vae");
    // Theirs only gives samples, mean + deviation * noise: here the deviation is exp(-500), and the sample is the mean.
    let (weight, bias) = (tensors["quant_conv.weight"].clone(), tensors["quant_conv.bias"].clone());
    let no_weight = weight.narrow(0, 4, 4).and_then(|half| half.zeros_like()).expect("half of it");
    let tiny = Tensor::full(-1000f32, 4, &Device::Cpu).expect("four numbers");
    let halves = |first: &Tensor, second: &Tensor| {
        first.narrow(0, 0, 4).and_then(|first| Tensor::cat(&[&first, second], 0)).expect("two halves")
    };
    tensors.insert("quant_conv.weight".to_owned(), halves(&weight, &no_weight));
    tensors.insert("quant_conv.bias".to_owned(), halves(&bias, &tiny));
    let theirs = their_vae(tensors);
    for (stream, shape) in [[1, 3, 32, 48], [2, 3, 40, 24]].into_iter().enumerate() {
        let picture = drawn(&shape, 100 + stream as u64);
        let mean = each(&picture, |one| theirs.encode(one)?.sample());
        assert_close(&format!("{shape:?}"), &ours.encode(&picture).expect("latents").mean, &mean, MODULE);
    }
}

/// The outputs of our modules for one input, by their names in the weights.
fn seen(inputs: &UnetInputs) -> HashMap<String, Tensor> {
    let config = UnetConfig::read(&settings("model/unet")).expect("supported");
    let unet =
        Unet::new(&weights("model/unet", "diffusion_pytorch_model"), config, DType::F32).expect("a UNet");
    let mut seen = HashMap::new();
    let mut observer = |name: &str, output: &Tensor| {
        seen.insert(name.to_owned(), output.clone());
    };
    unet.forward_observed(inputs, &mut Taps::to(&mut observer)).expect("a prediction");
    seen
}

#[test]
fn the_residual_blocks_are_those_of_candle_transformers() {
    let seen = seen(&UnetInputs {
        sample: drawn(&[1, 4, 12, 10], 200),
        timesteps: vec![617.0],
        encoder_hidden_states: drawn(&[1, 77, 40], 201),
        text_embeds: drawn(&[1, 24], 202),
        time_ids: vec![vec![96.0, 80.0, 0.0, 4.0, 96.0, 80.0]],
    });
    let vars = theirs(tensors("model/unet"));
    let time = (&seen["time_embedding"] + &seen["add_embedding"]).expect("an embedding");
    let concat = |x: &str, skip: &str| Tensor::cat(&[&seen[x], &seen[skip]], 1).expect("channels");
    // A block, and its input: what the module before it gives, in the up blocks with a skip tensor.
    let blocks = [
        ("down_blocks.0.resnets.0", seen["conv_in"].clone()),
        ("down_blocks.0.resnets.1", seen["down_blocks.0.resnets.0"].clone()),
        ("down_blocks.1.resnets.0", seen["down_blocks.0"].clone()),
        ("down_blocks.1.resnets.1", seen["down_blocks.1.attentions.0"].clone()),
        ("down_blocks.2.resnets.0", seen["down_blocks.1"].clone()),
        ("down_blocks.2.resnets.1", seen["down_blocks.2.attentions.0"].clone()),
        ("mid_block.resnets.0", seen["down_blocks.2"].clone()),
        ("mid_block.resnets.1", seen["mid_block.attentions.0"].clone()),
        ("up_blocks.0.resnets.0", concat("mid_block", "down_blocks.2.attentions.1")),
        ("up_blocks.0.resnets.1", concat("up_blocks.0.attentions.0", "down_blocks.2.attentions.0")),
        ("up_blocks.0.resnets.2", concat("up_blocks.0.attentions.1", "down_blocks.1.downsamplers.0")),
        ("up_blocks.1.resnets.0", concat("up_blocks.0", "down_blocks.1.attentions.1")),
        ("up_blocks.1.resnets.1", concat("up_blocks.1.attentions.0", "down_blocks.1.attentions.0")),
        ("up_blocks.1.resnets.2", concat("up_blocks.1.attentions.1", "down_blocks.0.downsamplers.0")),
        ("up_blocks.2.resnets.0", concat("up_blocks.1", "down_blocks.0.resnets.1")),
        ("up_blocks.2.resnets.1", concat("up_blocks.2.resnets.0", "down_blocks.0.resnets.0")),
        ("up_blocks.2.resnets.2", concat("up_blocks.2.resnets.1", "conv_in")),
    ];
    for (name, input) in blocks {
        let channels = |tensor: &Tensor| tensor.dim(1).expect("channels");
        let config = ResnetBlock2DConfig {
            out_channels: Some(channels(&seen[name])),
            temb_channels: Some(channels(&time)),
            groups: 4,
            eps: 1e-5,
            ..Default::default()
        };
        let block = ResnetBlock2D::new(vars.pp(name), channels(&input), config).expect("a block");
        let expected = block.forward(&input, Some(&time)).expect("an output");
        assert_close(name, &seen[name], &expected, MODULE);
    }
}
