//! The CLIP text encoder (Radford et al. 2021): transformers' `CLIPTextModel` and `CLIPTextModelWithProjection`
//! (`models/clip/modeling_clip.py`).

use candle_core::{D, DType, Tensor};

use super::error::LoadError;
use super::layers::{LayerNorm, Linear};
use super::ops::{self, Activation, Mask};
use super::settings::{MAX_LAYERS, MAX_SIZE, Settings};
use super::weights::{Vars, Weight, WeightFiles};

/// A text encoder's `config.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct ClipConfig {
    /// Number of token ids.
    pub vocab_size: usize,
    /// Most tokens of a prompt, including the start and end tokens.
    pub max_position_embeddings: usize,
    /// Width of the hidden states.
    pub hidden_size: usize,
    /// Width inside the feed-forward layers.
    pub intermediate_size: usize,
    /// Number of layers.
    pub num_hidden_layers: usize,
    /// Heads per layer.
    pub num_attention_heads: usize,
    /// Width of the pooled embedding.
    pub projection_dim: usize,
    /// Epsilon of the layer norms.
    pub layer_norm_eps: f64,
    /// Activation of the feed-forward layers.
    pub hidden_act: Activation,
    /// The token that is pooled; 2 means the highest id of the prompt.
    pub eos_token_id: u32,
}

impl ClipConfig {
    /// Reads a text encoder's settings; defaults are those of transformers' `CLIPTextConfig`.
    ///
    /// # Errors
    /// If a setting is missing or not supported.
    pub fn read(settings: &Settings) -> Result<Self, LoadError> {
        let act: String = settings.or("hidden_act", "quick_gelu".into())?;
        let hidden_act = Activation::named(&act).ok_or_else(|| settings.unsupported("hidden_act", &act))?;
        settings.only("model_type", &["clip_text_model".into()])?;
        let size = |key, default| settings.size(key, default, MAX_SIZE);
        let config = Self {
            vocab_size: size("vocab_size", 49408)?,
            max_position_embeddings: size("max_position_embeddings", 77)?,
            hidden_size: size("hidden_size", 512)?,
            intermediate_size: size("intermediate_size", 2048)?,
            num_hidden_layers: settings.size("num_hidden_layers", 12, MAX_LAYERS)?,
            num_attention_heads: size("num_attention_heads", 8)?,
            projection_dim: size("projection_dim", 512)?,
            layer_norm_eps: settings.or("layer_norm_eps", 1e-5)?,
            hidden_act,
            eos_token_id: settings.or("eos_token_id", 49407)?,
        };
        if !config.hidden_size.is_multiple_of(config.num_attention_heads) {
            return Err(settings.wrong("num_attention_heads", "does not divide hidden_size"));
        }
        Ok(config)
    }
}

/// transformers' `CLIPEncoderLayer`: causal self-attention and a feed-forward block, each after a norm.
#[derive(Debug)]
struct Layer {
    layer_norm1: LayerNorm,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    layer_norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    activation: Activation,
    heads: usize,
}

impl Layer {
    fn new(vars: &Vars, config: &ClipConfig) -> Result<Self, LoadError> {
        let (width, inner) = (config.hidden_size, config.intermediate_size);
        let attention = vars.at("self_attn");
        Ok(Self {
            layer_norm1: LayerNorm::new(&vars.at("layer_norm1"), width, config.layer_norm_eps)?,
            q_proj: Linear::new(&attention.at("q_proj"), width, width)?,
            k_proj: Linear::new(&attention.at("k_proj"), width, width)?,
            v_proj: Linear::new(&attention.at("v_proj"), width, width)?,
            out_proj: Linear::new(&attention.at("out_proj"), width, width)?,
            layer_norm2: LayerNorm::new(&vars.at("layer_norm2"), width, config.layer_norm_eps)?,
            fc1: Linear::new(&vars.at("mlp.fc1"), width, inner)?,
            fc2: Linear::new(&vars.at("mlp.fc2"), inner, width)?,
            activation: config.hidden_act,
            heads: config.num_attention_heads,
        })
    }

    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let normal = self.layer_norm1.forward(x)?;
        let (q, k) = (self.q_proj.forward(&normal)?, self.k_proj.forward(&normal)?);
        let v = self.v_proj.forward(&normal)?;
        let attended = ops::attention(&q, &k, &v, self.heads, Mask::Causal)?;
        let x = self.out_proj.forward_onto(x, &attended)?;
        let inner = self.fc1.forward(&self.layer_norm2.forward(&x)?)?;
        self.fc2.forward_onto(&x, &self.activation.forward(&inner)?)
    }
}

/// A text encoder's outputs for a prompt.
#[derive(Debug)]
pub struct TextEncoding {
    /// N + 1 states for N layers, each [1, T, hidden]: the embeddings, then the output of each layer, without the final
    /// norm.
    pub hidden_states: Vec<Tensor>,
    /// The last state after the final norm, [1, T, hidden].
    pub last_hidden_state: Tensor,
    /// The last state at the end token, projected if the encoder has a projection: [1, projection] or [1, hidden].
    pub pooled: Tensor,
}

/// More tokens than an encoder's table has: those of a request's embeddings.
#[derive(Debug, Clone)]
pub struct MoreTokens {
    /// The id of the first one; the others follow.
    pub first: u32,
    /// Their vectors, [n, hidden].
    pub vectors: Tensor,
    /// Whether the pooled embedding is taken at the end token in any case. Otherwise it is taken where transformers
    /// takes it: with `eos_token_id` 2 at the highest id, and that of such a token is higher than that of the end token.
    pub pooled_at_end: bool,
}

/// A CLIP text encoder, with or without projection.
#[derive(Debug)]
pub struct ClipTextModel {
    token_embedding: Weight,
    position_embedding: Weight,
    layers: Vec<Layer>,
    final_layer_norm: LayerNorm,
    text_projection: Option<Linear>,
    config: ClipConfig,
}

impl ClipTextModel {
    /// Loads an encoder; `projected` for `CLIPTextModelWithProjection`.
    ///
    /// # Errors
    /// If a tensor is missing or has another shape, or the device fails.
    pub fn new(
        files: &std::rc::Rc<WeightFiles>,
        config: ClipConfig,
        projected: bool,
    ) -> Result<Self, LoadError> {
        let root = files.root();
        // transformers 5 omits the level `text_model` for a model without projection.
        let flat = files.has_any("embeddings.token_embedding.weight");
        let vars = if flat { root.clone() } else { root.at("text_model") };
        let embeddings = vars.at("embeddings");
        let token_embedding =
            embeddings.movable("token_embedding.weight", &[config.vocab_size, config.hidden_size])?;
        let position_embedding = embeddings
            .movable("position_embedding.weight", &[config.max_position_embeddings, config.hidden_size])?;
        let layers = (0..config.num_hidden_layers)
            .map(|i| Layer::new(&vars.at("encoder.layers").at(i), &config))
            .collect::<Result<_, _>>()?;
        let final_layer_norm =
            LayerNorm::new(&vars.at("final_layer_norm"), config.hidden_size, config.layer_norm_eps)?;
        let text_projection = projected
            .then(|| {
                Linear::without_bias(&root.at("text_projection"), config.hidden_size, config.projection_dim)
            })
            .transpose()?;
        // Older files have this index buffer.
        files.finish(|name| name.ends_with("embeddings.position_ids"))?;
        Ok(Self { token_embedding, position_embedding, layers, final_layer_norm, text_projection, config })
    }

    /// The configuration of this encoder.
    pub fn config(&self) -> &ClipConfig {
        &self.config
    }

    /// The dtype of the weights.
    pub fn dtype(&self) -> DType {
        self.token_embedding.get().dtype()
    }

    /// Encodes the ids of one prompt, at most `max_position_embeddings`.
    ///
    /// # Errors
    /// If there are more ids than positions or the device fails.
    pub fn forward(&self, ids: &[u32]) -> candle_core::Result<TextEncoding> {
        self.forward_with(ids, None)
    }

    /// [`ClipTextModel::forward`] with tokens that the encoder's own table does not have.
    ///
    /// # Errors
    /// As [`ClipTextModel::forward`].
    pub fn forward_with(&self, ids: &[u32], more: Option<&MoreTokens>) -> candle_core::Result<TextEncoding> {
        let position_embedding = self.position_embedding.get();
        let tokens = self.tokens(ids, more)?;
        let mut x = (tokens + position_embedding.narrow(0, 0, ids.len())?)?.unsqueeze(0)?;
        let mut hidden_states = Vec::with_capacity(self.layers.len() + 1);
        for layer in &self.layers {
            let next = layer.forward(&x)?;
            hidden_states.push(std::mem::replace(&mut x, next));
        }
        let last_hidden_state = self.final_layer_norm.forward(&x)?;
        hidden_states.push(x);
        let pooled = last_hidden_state.narrow(1, self.end_position(ids, more), 1)?.squeeze(1)?;
        let pooled = match &self.text_projection {
            Some(projection) => projection.forward(&pooled)?,
            None => pooled,
        };
        debug_assert_eq!(pooled.dim(D::Minus2)?, 1);
        Ok(TextEncoding { hidden_states, last_hidden_state, pooled })
    }

    /// The rows of the table, [T, hidden].
    fn tokens(&self, ids: &[u32], more: Option<&MoreTokens>) -> candle_core::Result<Tensor> {
        let table = self.token_embedding.get();
        let Some(MoreTokens { first, vectors, .. }) = more else {
            return table.index_select(&Tensor::new(ids, table.device())?, 0);
        };
        let own: Vec<u32> = ids.iter().map(|id| if id < first { *id } else { 0 }).collect();
        let rows = table.index_select(&Tensor::new(own, table.device())?, 0)?;
        let vectors = vectors.to_device(table.device())?.to_dtype(table.dtype())?;
        // The row of each id among both.
        let both = ids.iter().enumerate();
        let both: Vec<u32> =
            both.map(|(i, id)| id.checked_sub(*first).map_or(i as u32, |at| ids.len() as u32 + at)).collect();
        Tensor::cat(&[&rows, &vectors], 0)?.index_select(&Tensor::new(both, table.device())?, 0)
    }

    /// The position of the end token. Configurations older than transformers 4.31 have `eos_token_id` 2, although the
    /// end token is the highest id. This reads them as transformers does.
    fn end_position(&self, ids: &[u32], more: Option<&MoreTokens>) -> usize {
        let skipped = more.filter(|more| more.pooled_at_end).map_or(u32::MAX, |more| more.first);
        let end = match self.config.eos_token_id {
            2 => ids.iter().filter(|id| **id < skipped).max().copied().unwrap_or(0),
            id => id,
        };
        ids.iter().position(|id| *id == end).unwrap_or(0)
    }
}
