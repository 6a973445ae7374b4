//! Layers with weights. Each layer loads the tensors below its path in the checkpoint.

use candle_core::Tensor;

use super::error::LoadError;
use super::ops::{self, Activation, Addends, Padding};
use super::weights::{Vars, Weight};

/// A linear layer, x W^T + b.
#[derive(Debug)]
pub(crate) struct Linear {
    weight: Weight,
    bias: Option<Weight>,
}

impl Linear {
    /// Loads `weight` [outputs, inputs] and `bias` [outputs].
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn new(vars: &Vars, inputs: usize, outputs: usize) -> Result<Self, LoadError> {
        let bias = Some(vars.bias(&[outputs])?);
        Ok(Self { bias, ..Self::without_bias(vars, inputs, outputs)? })
    }

    /// Loads `weight` without bias.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn without_bias(vars: &Vars, inputs: usize, outputs: usize) -> Result<Self, LoadError> {
        Ok(Self { weight: vars.weight(&[outputs, inputs])?, bias: None })
    }

    /// `x` [.., inputs] gives [.., outputs].
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        self.product(x, None)
    }

    /// [`Linear::forward`] plus `residual`, [.., outputs].
    ///
    /// # Errors
    /// As [`Linear::forward`].
    pub(crate) fn forward_onto(&self, residual: &Tensor, x: &Tensor) -> candle_core::Result<Tensor> {
        self.product(x, Some(residual))
    }

    fn product(&self, x: &Tensor, residual: Option<&Tensor>) -> candle_core::Result<Tensor> {
        let bias = self.bias.as_ref().map(Weight::get);
        ops::linear(x, &self.weight.get(), Addends { bias: bias.as_ref(), shift: None, residual })
    }
}

/// A two-dimensional convolution, NCHW.
#[derive(Debug)]
pub(crate) struct Conv2d {
    weight: Weight,
    bias: Option<Weight>,
    padding: Padding,
    stride: usize,
}

impl Conv2d {
    /// Loads `weight` [outputs, inputs, kernel, kernel] and `bias` [outputs]. The output has the input's height and
    /// width.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn new(vars: &Vars, inputs: usize, outputs: usize, kernel: usize) -> Result<Self, LoadError> {
        let bias = Some(vars.bias(&[outputs])?);
        Ok(Self { bias, ..Self::without_bias(vars, inputs, outputs, kernel)? })
    }

    /// Loads `weight` without bias.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn without_bias(
        vars: &Vars,
        inputs: usize,
        outputs: usize,
        kernel: usize,
    ) -> Result<Self, LoadError> {
        let weight = vars.weight(&[outputs, inputs, kernel, kernel])?;
        Ok(Self { weight, bias: None, padding: Padding::even(kernel / 2), stride: 1 })
    }

    /// The same layer with another stride and padding.
    #[must_use]
    pub(crate) fn strided(self, stride: usize, padding: Padding) -> Self {
        Self { stride, padding, ..self }
    }

    /// `x` [B, inputs, H, W] gives [B, outputs, H', W'].
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        self.forward_plus(x, None, None)
    }

    /// [`Conv2d::forward`] plus `shift`, [B, outputs], for all pixels, and `residual`, [B, outputs, H', W'].
    ///
    /// # Errors
    /// As [`Conv2d::forward`].
    pub(crate) fn forward_plus(
        &self,
        x: &Tensor,
        shift: Option<&Tensor>,
        residual: Option<&Tensor>,
    ) -> candle_core::Result<Tensor> {
        let bias = self.bias.as_ref().map(Weight::get);
        let addends = Addends { bias: bias.as_ref(), shift, residual };
        ops::conv2d(x, &self.weight.get(), addends, self.padding, self.stride)
    }
}

/// Group norm, and the activation after it.
#[derive(Debug)]
pub(crate) struct GroupNorm {
    weight: Weight,
    bias: Weight,
    groups: usize,
    eps: f64,
    activation: Option<Activation>,
}

impl GroupNorm {
    /// Loads `weight` and `bias` [channels].
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn new(
        vars: &Vars,
        channels: usize,
        groups: usize,
        eps: f64,
        activation: Option<Activation>,
    ) -> Result<Self, LoadError> {
        let (weight, bias) = (vars.weight(&[channels])?, vars.bias(&[channels])?);
        Ok(Self { weight, bias, groups, eps, activation })
    }

    /// `x` [B, channels, ..] gives the same shape.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let (weight, bias) = (self.weight.get(), self.bias.get());
        ops::group_norm(x, self.groups, &weight, &bias, self.eps, self.activation)
    }
}

/// Layer norm over the last axis.
#[derive(Debug)]
pub(crate) struct LayerNorm {
    weight: Weight,
    bias: Weight,
    eps: f64,
}

impl LayerNorm {
    /// Loads `weight` and `bias` [width].
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn new(vars: &Vars, width: usize, eps: f64) -> Result<Self, LoadError> {
        Ok(Self { weight: vars.weight(&[width])?, bias: vars.bias(&[width])?, eps })
    }

    /// `x` [.., width] gives the same shape.
    ///
    /// # Errors
    /// If the device fails.
    pub(crate) fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        ops::layer_norm(x, &self.weight.get(), &self.bias.get(), self.eps)
    }
}
