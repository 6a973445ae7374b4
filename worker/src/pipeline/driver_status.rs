//! What an error of CUDA's driver or libraries means for the process. It is read from the names in cudarc's messages,
//! such as `DriverError(CUDA_ERROR_OUT_OF_MEMORY, "out of memory")` and `CublasError(CUBLAS_STATUS_INVALID_VALUE)`.

/// What an error means, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Meaning {
    /// The device has no memory left for this; everything on it still works.
    OutOfMemory,
    /// The call was wrong or is not supported, and did nothing; everything on the device still works.
    Refused,
    /// The context is lost, or in a state that is not known: the process must end.
    Lost,
}

/// How the names of errors begin.
const FAMILIES: [&str; 4] = ["CUDA_ERROR_", "CUDNN_STATUS_", "CUBLAS_STATUS_", "CURAND_STATUS_"];

/// The errors after which the context works, by the beginning of their names. After all others it is lost or may be:
/// CUDA's documentation says so of an illegal address, a failed launch, a timeout, an assertion, ECC and NVLink errors
/// and errors of the hardware, and the libraries' execution and internal errors are mostly these in other words.
const HARMLESS: [(&str, Meaning); 29] = [
    ("CUDA_ERROR_OUT_OF_MEMORY", Meaning::OutOfMemory),
    ("CUDNN_STATUS_ALLOC_FAILED", Meaning::OutOfMemory),
    ("CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED", Meaning::OutOfMemory),
    ("CUBLAS_STATUS_ALLOC_FAILED", Meaning::OutOfMemory),
    ("CURAND_STATUS_ALLOCATION_FAILED", Meaning::OutOfMemory),
    // Shapes and parameters.
    ("CUDA_ERROR_INVALID_VALUE", Meaning::Refused),
    ("CUDA_ERROR_INVALID_CLUSTER_SIZE", Meaning::Refused),
    ("CUDA_ERROR_INVALID_RESOURCE_", Meaning::Refused),
    ("CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", Meaning::Refused),
    ("CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE", Meaning::Refused),
    ("CUDA_ERROR_NOT_SUPPORTED", Meaning::Refused),
    ("CUDNN_STATUS_NOT_SUPPORTED", Meaning::Refused),
    ("CUDNN_STATUS_BAD_PARAM", Meaning::Refused),
    ("CUDNN_STATUS_INVALID_VALUE", Meaning::Refused),
    ("CUDNN_STATUS_ARCH_MISMATCH", Meaning::Refused),
    ("CUBLAS_STATUS_NOT_SUPPORTED", Meaning::Refused),
    ("CUBLAS_STATUS_INVALID_VALUE", Meaning::Refused),
    ("CUBLAS_STATUS_ARCH_MISMATCH", Meaning::Refused),
    ("CURAND_STATUS_TYPE_ERROR", Meaning::Refused),
    ("CURAND_STATUS_OUT_OF_RANGE", Meaning::Refused),
    ("CURAND_STATUS_LENGTH_NOT_MULTIPLE", Meaning::Refused),
    // Kernels that are missing, or not for this GPU.
    ("CUDA_ERROR_NO_BINARY_FOR_GPU", Meaning::Refused),
    ("CUDA_ERROR_INVALID_IMAGE", Meaning::Refused),
    ("CUDA_ERROR_INVALID_PTX", Meaning::Refused),
    ("CUDA_ERROR_UNSUPPORTED_PTX_VERSION", Meaning::Refused),
    ("CUDA_ERROR_JIT_COMPIL", Meaning::Refused),
    ("CUDA_ERROR_NOT_FOUND", Meaning::Refused),
    // A graph that could not be captured or changed.
    ("CUDA_ERROR_STREAM_CAPTURE_", Meaning::Refused),
    ("CUDA_ERROR_GRAPH_", Meaning::Refused),
];

/// What a message means, by the names in it; the worst if there are several. `None` if it has none.
pub(super) fn meaning(message: &str) -> Option<Meaning> {
    let names = message.split(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
    let known = names.filter(|name| FAMILIES.iter().any(|family| name.starts_with(family)));
    let meanings = known.map(|name| {
        let harmless = HARMLESS.iter().find(|(start, _)| name.starts_with(start));
        harmless.map_or(Meaning::Lost, |(_, meaning)| *meaning)
    });
    meanings.max()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages as cudarc 0.19.10 and candle 0.11.1 write them.
    #[test]
    fn messages_of_cudarc_and_candle() {
        for (message, meant) in [
            (r#"DriverError(CUDA_ERROR_OUT_OF_MEMORY, "out of memory")"#, Meaning::OutOfMemory),
            // cuDNN's and cuBLAS' workspaces, and their handles.
            ("CudnnError(CUDNN_STATUS_ALLOC_FAILED)", Meaning::OutOfMemory),
            ("CudnnError(CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED)", Meaning::OutOfMemory),
            ("CublasError(CUBLAS_STATUS_ALLOC_FAILED)", Meaning::OutOfMemory),
            ("CurandError(CURAND_STATUS_ALLOCATION_FAILED)", Meaning::OutOfMemory),
            (r#"DriverError(CUDA_ERROR_INVALID_VALUE, "invalid argument")"#, Meaning::Refused),
            (
                r#"DriverError(CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, "too many resources requested for launch")"#,
                Meaning::Refused,
            ),
            ("CudnnError(CUDNN_STATUS_NOT_SUPPORTED)", Meaning::Refused),
            ("CudnnError(CUDNN_STATUS_NOT_SUPPORTED_SHAPE)", Meaning::Refused),
            ("CudnnError(CUDNN_STATUS_BAD_PARAM)", Meaning::Refused),
            ("CudnnError(CUDNN_STATUS_BAD_PARAM_SHAPE_MISMATCH)", Meaning::Refused),
            ("CublasError(CUBLAS_STATUS_NOT_SUPPORTED)", Meaning::Refused),
            ("CublasError(CUBLAS_STATUS_INVALID_VALUE)", Meaning::Refused),
            (
                r#"DriverError(CUDA_ERROR_NO_BINARY_FOR_GPU, "no kernel image is available for execution on the device") when loading affine"#,
                Meaning::Refused,
            ),
            (r#"DriverError(CUDA_ERROR_NOT_FOUND, "named symbol not found")"#, Meaning::Refused),
            (
                r#"DriverError(CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "operation not permitted when stream is capturing")"#,
                Meaning::Refused,
            ),
            (
                r#"DriverError(CUDA_ERROR_ILLEGAL_ADDRESS, "an illegal memory access was encountered")"#,
                Meaning::Lost,
            ),
            (r#"DriverError(CUDA_ERROR_LAUNCH_FAILED, "unspecified launch failure")"#, Meaning::Lost),
            (
                r#"DriverError(CUDA_ERROR_LAUNCH_TIMEOUT, "the launch timed out and was terminated")"#,
                Meaning::Lost,
            ),
            (
                r#"DriverError(CUDA_ERROR_ECC_UNCORRECTABLE, "uncorrectable ECC error encountered")"#,
                Meaning::Lost,
            ),
            (
                r#"DriverError(CUDA_ERROR_DEVICE_UNAVAILABLE, "CUDA-capable device(s) is/are busy or unavailable")"#,
                Meaning::Lost,
            ),
            (r#"DriverError(CUDA_ERROR_HARDWARE_STACK_ERROR, "hardware stack error")"#, Meaning::Lost),
            (
                r#"DriverError(CUDA_ERROR_ILLEGAL_INSTRUCTION, "an illegal instruction was encountered")"#,
                Meaning::Lost,
            ),
            (r#"DriverError(CUDA_ERROR_MISALIGNED_ADDRESS, "misaligned address")"#, Meaning::Lost),
            (r#"DriverError(CUDA_ERROR_ASSERT, "device-side assert triggered")"#, Meaning::Lost),
            (r#"DriverError(CUDA_ERROR_CONTEXT_IS_DESTROYED, "context is destroyed")"#, Meaning::Lost),
            (
                r#"DriverError(CUDA_ERROR_NVLINK_UNCORRECTABLE, "uncorrectable NVLink error detected during the execution")"#,
                Meaning::Lost,
            ),
            (r#"DriverError(CUDA_ERROR_UNKNOWN, "unknown error")"#, Meaning::Lost),
            (
                r#"DriverError(CUDA_ERROR_DEINITIALIZED, "<Failure when calling cuGetErrorString()>")"#,
                Meaning::Lost,
            ),
            ("CudnnError(CUDNN_STATUS_EXECUTION_FAILED)", Meaning::Lost),
            ("CudnnError(CUDNN_STATUS_INTERNAL_ERROR)", Meaning::Lost),
            ("CudnnError(CUDNN_STATUS_MAPPING_ERROR)", Meaning::Lost),
            ("CublasError(CUBLAS_STATUS_EXECUTION_FAILED)", Meaning::Lost),
            ("CublasError(CUBLAS_STATUS_INTERNAL_ERROR)", Meaning::Lost),
            ("CublasError(CUBLAS_STATUS_MAPPING_ERROR)", Meaning::Lost),
            ("CurandError(CURAND_STATUS_LAUNCH_FAILURE)", Meaning::Lost),
            ("CurandError(CURAND_STATUS_PREEXISTING_FAILURE)", Meaning::Lost),
        ] {
            assert_eq!(meaning(message), Some(meant), "{message}");
        }
    }

    #[test]
    fn the_worst_of_several_names_counts() {
        let both = "CUDA_ERROR_OUT_OF_MEMORY, then CUDA_ERROR_ILLEGAL_ADDRESS";
        assert_eq!(meaning(both), Some(Meaning::Lost));
        assert_eq!(meaning("CUDNN_STATUS_NOT_SUPPORTED: CUDA_ERROR_OUT_OF_MEMORY"), Some(Meaning::Refused));
    }

    #[test]
    fn other_messages_mean_nothing() {
        for message in ["", "shape mismatch in matmul", "the CUDA driver", "MY_CUDA_ERROR_OUT_OF_MEMORY"] {
            assert_eq!(meaning(message), None, "{message}");
        }
    }
}
