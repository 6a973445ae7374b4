//! A launch of a kernel: its grid and its parameters, in the form that the program of `emulation/launch.cpp` reads.

use std::io::Write;
use std::ops::Range;

use candle_core::{DType, Device, Tensor};

use super::program::Program;

/// Ok, or what is wrong with a kernel.
pub(crate) type Finding = Result<(), String>;

/// The types of tensors that kernels are compiled for, with the suffix of their names.
pub(crate) const TYPES: [(DType, &str); 3] =
    [(DType::F32, "f32"), (DType::F16, "f16"), (DType::BF16, "bf16")];

/// How many orders of the threads are played.
const ORDERS: usize = 4;

/// A buffer that a launch returns.
struct Output {
    dtype: DType,
    shape: Vec<usize>,
}

enum Parameter {
    Int(usize),
    Float(f32),
    Null,
    Same(usize),
    /// `bytes` in all, of which those in `there` exist.
    Buffer {
        word: &'static str,
        bytes: usize,
        there: Range<usize>,
        content: Vec<u8>,
    },
}

/// The parameters are added in order.
pub(crate) struct Launch {
    kernel: String,
    grid: (usize, usize),
    block: usize,
    blocks: Range<usize>,
    parameters: Vec<Parameter>,
    outputs: Vec<Output>,
}

fn bytes_of(tensor: &Tensor) -> Vec<u8> {
    let mut bytes = Vec::new();
    tensor.write_bytes(&mut bytes).expect("a tensor on the CPU");
    bytes
}

impl Launch {
    pub(crate) fn new(kernel: impl Into<String>, grid: (usize, usize), block: usize) -> Self {
        let blocks = 0..grid.0 * grid.1;
        Self { kernel: kernel.into(), grid, block, blocks, parameters: Vec::new(), outputs: Vec::new() }
    }

    /// Plays one block alone.
    pub(crate) fn only_block(mut self, x: usize, y: usize) -> Self {
        let block = y * self.grid.0 + x;
        self.blocks = block..block + 1;
        self
    }

    pub(crate) fn int(mut self, value: usize) -> Self {
        self.parameters.push(Parameter::Int(value));
        self
    }

    pub(crate) fn float(mut self, value: f64) -> Self {
        self.parameters.push(Parameter::Float(value as f32));
        self
    }

    /// Numbers that the kernel only reads.
    pub(crate) fn input(self, tensor: &Tensor) -> Self {
        self.far_input(tensor, 0, tensor.elem_count())
    }

    /// No tensor.
    pub(crate) fn null(mut self) -> Self {
        self.parameters.push(Parameter::Null);
        self
    }

    /// Room for numbers that the kernel writes, all of them.
    pub(crate) fn output(self, dtype: DType, shape: &[usize]) -> Self {
        let total = shape.iter().product();
        self.far_output(dtype, shape, 0, total)
    }

    /// Numbers that the kernel reads and writes.
    pub(crate) fn changed(mut self, tensor: &Tensor) -> Self {
        let content = bytes_of(tensor);
        let there = 0..content.len();
        self.outputs.push(Output { dtype: tensor.dtype(), shape: tensor.dims().to_vec() });
        self.parameters.push(Parameter::Buffer { word: "inout", bytes: content.len(), there, content });
        self
    }

    /// The buffer of an earlier parameter.
    pub(crate) fn same(mut self, parameter: usize) -> Self {
        self.parameters.push(Parameter::Same(parameter));
        self
    }

    /// A tensor of `total` numbers, of which those of `tensor` alone exist, from number `first` on.
    pub(crate) fn far_input(mut self, tensor: &Tensor, first: usize, total: usize) -> Self {
        let (size, content) = (tensor.dtype().size_in_bytes(), bytes_of(tensor));
        let there = first * size..first * size + content.len();
        self.parameters.push(Parameter::Buffer { word: "in", bytes: total * size, there, content });
        self
    }

    /// See [`Self::far_input`].
    pub(crate) fn far_output(mut self, dtype: DType, shape: &[usize], first: usize, total: usize) -> Self {
        let (size, count) = (dtype.size_in_bytes(), shape.iter().product::<usize>());
        let there = first * size..(first + count) * size;
        self.outputs.push(Output { dtype, shape: shape.to_vec() });
        self.parameters.push(Parameter::Buffer {
            word: "out",
            bytes: total * size,
            there,
            content: Vec::new(),
        });
        self
    }

    /// The program's input. `at_end`: buffers end where unreadable memory begins, and begin wherever that may be; else
    /// they begin aligned to 16 bytes.
    fn text(&self, at_end: bool) -> Vec<u8> {
        let mut text = Vec::new();
        let (Range { start, end }, (x, y)) = (&self.blocks, self.grid);
        let mut line = |line: String, content: &[u8]| {
            text.write_all(line.as_bytes()).and_then(|()| text.write_all(content)).expect("memory");
        };
        line(format!("{} {x} {y} {} {start} {end} {ORDERS}\n", self.kernel, self.block), &[]);
        for parameter in &self.parameters {
            match parameter {
                Parameter::Int(value) => line(format!("int {value}\n"), &[]),
                Parameter::Float(value) => line(format!("float {:08x}\n", value.to_bits()), &[]),
                Parameter::Null => line("null\n".into(), &[]),
                Parameter::Same(parameter) => line(format!("same {parameter}\n"), &[]),
                Parameter::Buffer { word, bytes, there: Range { start, end }, content } => {
                    let shift = if at_end { bytes.next_multiple_of(16) - bytes } else { 0 };
                    line(format!("{word} {bytes} {shift} {start} {end}\n"), content);
                    line("\n".into(), &[]);
                }
            }
        }
        text
    }

    /// What the kernel wrote, one tensor for each buffer that is not only read.
    ///
    /// The buffers are once aligned and once not, which must make no difference.
    pub(crate) fn play(&self, program: &Program) -> Result<Vec<Tensor>, String> {
        assert!(self.grid.1 <= 65_535 && self.block <= 256, "{}: no GPU would launch this", self.kernel);
        let bytes = program.run(&self.text(false))?;
        if bytes != program.run(&self.text(true))? {
            return Err("buffers that are not aligned give other numbers".into());
        }
        let mut rest = &bytes[..];
        let mut tensors = Vec::new();
        for Output { dtype, shape } in &self.outputs {
            let size = shape.iter().product::<usize>() * dtype.size_in_bytes();
            let (own, others) = rest.split_at_checked(size).ok_or("the program wrote too little")?;
            tensors.push(Tensor::from_raw_buffer(own, *dtype, shape, &Device::Cpu).expect("a tensor"));
            rest = others;
        }
        Ok(tensors)
    }
}
