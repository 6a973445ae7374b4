//! A launch of a kernel: its grid and its parameters, in the form that the program of `emulation/launch.cpp` reads.

use std::io::Write;
use std::ops::Range;

use candle_core::{DType, Device, Tensor};
use glimpse_worker::sdxl::ops::kernels;

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
    Index(usize),
    Int(usize),
    Float(f32),
    Null,
    Buffer(Buffer),
}

/// A buffer of a launch.
pub(crate) struct Buffer {
    content: Content,
    /// If it is returned.
    output: Option<Output>,
}

enum Content {
    /// That of an earlier parameter.
    Same(usize),
    /// `bytes` in all, of which those in `there` exist.
    Own { word: &'static str, bytes: usize, there: Range<usize>, content: Vec<u8> },
}

impl Buffer {
    /// Numbers that the kernel only reads.
    pub(crate) fn input(tensor: &Tensor) -> Self {
        Self::far_input(tensor, 0, tensor.elem_count())
    }

    /// Room for numbers that the kernel writes, all of them.
    pub(crate) fn output(dtype: DType, shape: &[usize]) -> Self {
        Self::far_output(dtype, shape, 0, shape.iter().product())
    }

    /// Numbers that the kernel reads and writes.
    pub(crate) fn changed(tensor: &Tensor) -> Self {
        let content = bytes_of(tensor);
        let output = Some(Output { dtype: tensor.dtype(), shape: tensor.dims().to_vec() });
        let (bytes, there) = (content.len(), 0..content.len());
        Self { content: Content::Own { word: "inout", bytes, there, content }, output }
    }

    /// The buffer of an earlier parameter.
    pub(crate) fn same(parameter: usize) -> Self {
        Self { content: Content::Same(parameter), output: None }
    }

    /// A tensor of `total` numbers, of which those of `tensor` alone exist, from number `first` on.
    pub(crate) fn far_input(tensor: &Tensor, first: usize, total: usize) -> Self {
        let (size, content) = (tensor.dtype().size_in_bytes(), bytes_of(tensor));
        let there = first * size..first * size + content.len();
        Self { content: Content::Own { word: "in", bytes: total * size, there, content }, output: None }
    }

    /// See [`Self::far_input`].
    pub(crate) fn far_output(dtype: DType, shape: &[usize], first: usize, total: usize) -> Self {
        let (size, count) = (dtype.size_in_bytes(), shape.iter().product::<usize>());
        let there = first * size..(first + count) * size;
        let content = Content::Own { word: "out", bytes: total * size, there, content: Vec::new() };
        Self { content, output: Some(Output { dtype, shape: shape.to_vec() }) }
    }
}

/// The parameters are added in order.
pub(crate) struct Launch {
    kernel: String,
    grid: (usize, usize),
    block: usize,
    blocks: Range<usize>,
    parameters: Vec<Parameter>,
}

impl Parameter {
    fn of(argument: kernels::Argument<Buffer>) -> Self {
        match argument {
            kernels::Argument::Buffer(buffer) => Self::Buffer(buffer),
            kernels::Argument::Null => Self::Null,
            kernels::Argument::Index(value) => Self::Index(value),
            kernels::Argument::Int(value) => Self::Int(value),
            kernels::Argument::Float(value) => Self::Float(value),
        }
    }
}

fn bytes_of(tensor: &Tensor) -> Vec<u8> {
    let mut bytes = Vec::new();
    tensor.write_bytes(&mut bytes).expect("a tensor on the CPU");
    bytes
}

impl Launch {
    /// A launch as a GPU runs it for tensors of a type, by its suffix.
    pub(crate) fn of(launch: kernels::Launch<Buffer>, suffix: &str) -> Self {
        let kernels::Grid { x, y, threads } = launch.grid;
        let mut own = Self::new(format!("{}_{suffix}", launch.function.name()), (x, y), threads);
        own.parameters = launch.arguments.into_iter().map(Parameter::of).collect();
        own
    }

    /// A launch of a kernel that no GPU runs.
    pub(crate) fn new(kernel: impl Into<String>, grid: (usize, usize), block: usize) -> Self {
        let blocks = 0..grid.0 * grid.1;
        Self { kernel: kernel.into(), grid, block, blocks, parameters: Vec::new() }
    }

    /// Plays another grid: a kernel must be right with any smaller one.
    pub(crate) fn on(mut self, grid: (usize, usize), block: usize) -> Self {
        (self.grid, self.block, self.blocks) = (grid, block, 0..grid.0 * grid.1);
        self
    }

    /// Plays the last block alone.
    pub(crate) fn only_last_block(mut self) -> Self {
        self.blocks = self.blocks.end - 1..self.blocks.end;
        self
    }

    pub(crate) fn buffer(mut self, buffer: Buffer) -> Self {
        self.parameters.push(Parameter::Buffer(buffer));
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
                Parameter::Index(value) => line(format!("index {value}\n"), &[]),
                Parameter::Int(value) => line(format!("int {value}\n"), &[]),
                Parameter::Float(value) => line(format!("float {:08x}\n", value.to_bits()), &[]),
                Parameter::Null => line("null\n".into(), &[]),
                Parameter::Buffer(buffer) => match &buffer.content {
                    Content::Same(parameter) => line(format!("same {parameter}\n"), &[]),
                    Content::Own { word, bytes, there: Range { start, end }, content } => {
                        let shift = if at_end { bytes.next_multiple_of(16) - bytes } else { 0 };
                        line(format!("{word} {bytes} {shift} {start} {end}\n"), content);
                        line("\n".into(), &[]);
                    }
                },
            }
        }
        text
    }

    /// What the kernel wrote, one tensor for each buffer that is not only read.
    ///
    /// The buffers are once aligned and once not, which must make no difference.
    pub(crate) fn play(&self, program: &Program) -> Result<Vec<Tensor>, String> {
        assert!(
            self.grid.0 < 1 << 31 && self.grid.1 <= 65_535 && self.block <= 256,
            "{}: no GPU would launch this",
            self.kernel
        );
        let bytes = program.run(&self.text(false))?;
        if bytes != program.run(&self.text(true))? {
            return Err("buffers that are not aligned give other numbers".into());
        }
        let mut rest = &bytes[..];
        let mut tensors = Vec::new();
        let outputs = self.parameters.iter().filter_map(|parameter| match parameter {
            Parameter::Buffer(Buffer { output, .. }) => output.as_ref(),
            _ => None,
        });
        for Output { dtype, shape } in outputs {
            let size = shape.iter().product::<usize>() * dtype.size_in_bytes();
            let (own, others) = rest.split_at_checked(size).ok_or("the program wrote too little")?;
            tensors.push(Tensor::from_raw_buffer(own, *dtype, shape, &Device::Cpu).expect("a tensor"));
            rest = others;
        }
        Ok(tensors)
    }
}
