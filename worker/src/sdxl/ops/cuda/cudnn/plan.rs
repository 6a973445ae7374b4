//! A convolution of given sizes: cuDNN's descriptors of its tensors, and the algorithms that can run it, in the order
//! in which cuDNN expects them to be fast.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr;

use candle_core::DType;
use candle_core::cuda_backend::cudarc::cudnn::{CudnnError, result, sys};
use sys::cudnnConvolutionFwdAlgo_t as Algorithm;
use sys::cudnnMathType_t as Math;

use super::super::tensors::Address;
use super::sizes::Sizes;

/// Most bytes that an algorithm may use besides the tensors.
const WORKSPACE: usize = 512 << 20;
/// How many algorithms there are.
const ALGORITHMS: usize = Algorithm::CUDNN_CONVOLUTION_FWD_ALGO_COUNT as usize;
/// What is tried after all that cuDNN proposes: they need little memory or none.
const SMALL: [Algorithm; 2] = [
    Algorithm::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM,
    Algorithm::CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_GEMM,
];

type Result<T> = std::result::Result<T, CudnnError>;

/// Whether another algorithm may work: cuDNN does not support this one, or it found no memory. The thousands of a
/// status are its category.
pub(super) fn is_unsupported(CudnnError(status): CudnnError) -> bool {
    use sys::cudnnStatus_t as Status;
    let is_memory = matches!(
        status,
        Status::CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED
            | Status::CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED
    );
    status as u32 / 1000 == Status::CUDNN_STATUS_NOT_SUPPORTED as u32 / 1000 || is_memory
}

/// A way to compute a convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    algorithm: Algorithm,
    math: Math,
    /// In bytes.
    pub(super) workspace: usize,
}

/// A descriptor of cuDNN's, which is destroyed with this.
struct Owned<D: Copy> {
    raw: D,
    destroy: unsafe fn(D) -> Result<()>,
}

impl<D: Copy> Drop for Owned<D> {
    fn drop(&mut self) {
        // Sound: `raw` was created for this alone. It is memory of the host; no error could be acted on.
        #[allow(unsafe_code)]
        let _ = unsafe { (self.destroy)(self.raw) };
    }
}

type Described = Owned<sys::cudnnTensorDescriptor_t>;

/// The descriptors and the algorithms of one convolution.
pub(super) struct Plan {
    x: Described,
    weight: Owned<sys::cudnnFilterDescriptor_t>,
    y: Described,
    convolution: Owned<sys::cudnnConvolutionDescriptor_t>,
    /// In the order in which they are tried.
    pub(super) ways: Vec<Way>,
}

impl Plan {
    pub(super) fn new(handle: sys::cudnnHandle_t, sizes: Sizes) -> Result<Self> {
        // f32 stays f32 unless TF32 is allowed. Half precision is multiplied by tensor cores.
        let (data_type, math) = match sizes.dtype {
            DType::F16 => (sys::cudnnDataType_t::CUDNN_DATA_HALF, Math::CUDNN_TENSOR_OP_MATH),
            DType::BF16 => (sys::cudnnDataType_t::CUDNN_DATA_BFLOAT16, Math::CUDNN_TENSOR_OP_MATH),
            // cuDNN's default allows TF32.
            _ if sizes.tf32 => (sys::cudnnDataType_t::CUDNN_DATA_FLOAT, Math::CUDNN_DEFAULT_MATH),
            _ => (sys::cudnnDataType_t::CUDNN_DATA_FLOAT, Math::CUDNN_FMA_MATH),
        };
        let mut plan = Self::described(sizes, data_type)?;
        plan.set_math(math)?;
        let proposed = match plan.proposed(handle) {
            Err(error) if is_unsupported(error) => Vec::new(),
            proposed => proposed?,
        };
        let proposed = proposed
            .into_iter()
            .map(|(algorithm, own)| (algorithm, if math == Math::CUDNN_FMA_MATH { math } else { own }));
        for (algorithm, math) in proposed.chain(SMALL.map(|algorithm| (algorithm, math))) {
            plan.set_math(math)?;
            match plan.workspace(handle, algorithm) {
                Ok(workspace) if workspace <= WORKSPACE => plan.ways.push(Way { algorithm, math, workspace }),
                Err(error) if !is_unsupported(error) => return Err(error),
                _ => {}
            }
        }
        Ok(plan)
    }

    /// All of one type and NCHW, but the sums, which are f32.
    fn described(sizes: Sizes, data_type: sys::cudnnDataType_t) -> Result<Self> {
        let nchw = sys::cudnnTensorFormat_t::CUDNN_TENSOR_NCHW;
        let tensor = |dims: [i32; 4]| -> Result<Described> {
            let raw = result::create_tensor_descriptor()?;
            let owned = Owned { raw, destroy: result::destroy_tensor_descriptor };
            // Sound: it was just created.
            #[allow(unsafe_code)]
            unsafe {
                result::set_tensor4d_descriptor(raw, nchw, data_type, dims)?;
            }
            Ok(owned)
        };
        let weight =
            Owned { raw: result::create_filter_descriptor()?, destroy: result::destroy_filter_descriptor };
        let convolution = Owned {
            raw: result::create_convolution_descriptor()?,
            destroy: result::destroy_convolution_descriptor,
        };
        let (padding, stride) = (sizes.padding, sizes.stride);
        // Sound: both were just created.
        #[allow(unsafe_code)]
        unsafe {
            result::set_filter4d_descriptor(weight.raw, data_type, nchw, sizes.weight)?;
            result::set_convolution2d_descriptor(
                convolution.raw,
                padding,
                padding,
                stride,
                stride,
                1,
                1,
                sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION,
                sys::cudnnDataType_t::CUDNN_DATA_FLOAT,
            )?;
        }
        Ok(Self { x: tensor(sizes.x)?, weight, y: tensor(sizes.y)?, convolution, ways: Vec::new() })
    }

    fn set_math(&self, math: Math) -> Result<()> {
        // Sound: the descriptor exists.
        #[allow(unsafe_code)]
        unsafe {
            result::set_convolution_math_type(self.convolution.raw, math)
        }
    }

    /// The algorithms that cuDNN proposes, without those whose results are not the same in every run.
    fn proposed(&self, handle: sys::cudnnHandle_t) -> Result<Vec<(Algorithm, Math)>> {
        let mut found = 0;
        let mut performances = [MaybeUninit::<sys::cudnnConvolutionFwdAlgoPerf_t>::uninit(); ALGORITHMS];
        // Sound: handle and descriptors exist, and there is room for as many results as are asked for.
        #[allow(unsafe_code)]
        unsafe {
            result::get_convolution_forward_algorithm(
                handle,
                self.x.raw,
                self.weight.raw,
                self.convolution.raw,
                self.y.raw,
                ALGORITHMS as i32,
                &mut found,
                performances.as_mut_ptr().cast(),
            )?;
        }
        let found = performances.iter().take(usize::try_from(found).unwrap_or(0));
        // Sound: cuDNN has written as many as it says.
        #[allow(unsafe_code)]
        let found = found.map(|performance| unsafe { performance.assume_init() });
        let usable = found.filter(|performance| {
            performance.status.result().is_ok()
                && performance.determinism == sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC
        });
        Ok(usable.map(|performance| (performance.algo, performance.mathType)).collect())
    }

    fn workspace(&self, handle: sys::cudnnHandle_t, algorithm: Algorithm) -> Result<usize> {
        // Sound: handle and descriptors exist.
        #[allow(unsafe_code)]
        unsafe {
            result::get_convolution_forward_workspace_size(
                handle,
                self.x.raw,
                self.weight.raw,
                self.convolution.raw,
                self.y.raw,
                algorithm,
            )
        }
    }

    /// Queues the convolution on the handle's stream. `space` is the address of the workspace, 0 if there is none.
    pub(super) fn queue(
        &self,
        handle: sys::cudnnHandle_t,
        way: Way,
        [x, weight, y]: [Address; 3],
        space: Address,
    ) -> Result<()> {
        self.set_math(way.math)?;
        // y = 1 * convolution + 0 * y; they are f32 for all of our types.
        let (alpha, beta) = (1f32, 0f32);
        let at = |address: Address| ptr::with_exposed_provenance_mut::<c_void>(address as usize);
        // Sound: handle and descriptors exist; the addresses are those of tensors as described, and of a workspace of
        // the size that was asked for; the stream orders this call before their release.
        #[allow(unsafe_code)]
        unsafe {
            result::convolution_forward(
                handle,
                ptr::from_ref(&alpha).cast(),
                self.x.raw,
                at(x),
                self.weight.raw,
                at(weight),
                self.convolution.raw,
                way.algorithm,
                at(space),
                way.workspace,
                ptr::from_ref(&beta).cast(),
                self.y.raw,
                at(y),
            )
        }
    }
}
