//! Why a batch failed, and who acts next.

use crate::vocabulary::error::Error;

/// Why a batch has no outputs.
#[derive(Debug)]
pub enum Failure {
    /// It does not fit into memory; a smaller one may.
    OutOfMemory(Error),
    /// Anything else.
    Other(Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::OutOfMemory(error) | Failure::Other(error) => error,
        }
    }
}

/// Judges what ONNX Runtime says of a batch.
///
/// - `proven`: whether a batch of this size has run before
pub fn judge<R>(error: &ort::Error<R>, num_chips: usize, proven: bool) -> Failure {
    classify(error.code(), message_of(error), num_chips, proven)
}

fn classify(code: ort::ErrorCode, cause: String, num_chips: usize, proven: bool) -> Failure {
    let message = format!("the model failed on a batch of {num_chips}");
    if is_out_of_memory(&cause) {
        let error = Error::unavailable(message).because(cause);
        return Failure::OutOfMemory(error.hint("lower `run.batch`, or free memory"));
    }
    Failure::Other(if is_lost(code, &cause) {
        Error::unavailable("the device is lost")
            .because(cause)
            .hint("check it with `nvidia-smi`; another worker, or this one later, resumes the run")
    } else if proven {
        // What has run once at this size fails for the machine's reasons: shapes do not depend on pixels.
        Error::unavailable(message).because(cause).hint("check the device, then run again")
    } else {
        Error::config(message).because(cause).hint("`tilefleet model inspect` shows the model's input")
    })
}

/// Says why ONNX Runtime does not load a model.
pub fn load_error<R>(error: &ort::Error<R>) -> Error {
    let cause = message_of(error);
    if is_out_of_memory(&cause) {
        return Error::unavailable("there is not enough memory to load the model")
            .because(cause)
            .hint("free memory, or lower `run.sessions`");
    }
    if is_lost(error.code(), &cause) {
        return Error::unavailable("the device is lost").because(cause).hint("check it with `nvidia-smi`");
    }
    if cause.contains("disable_cpu_ep_fallback")
        || cause.contains("fallback to CPU EP has been explicitly disabled")
    {
        return Error::config("the accelerator lacks operators of this model").because(cause).hint(
            "`--set run.cpu_fallback=true` lets them run on the CPU; `tilefleet model inspect` shows the graph",
        );
    }
    Error::config("ONNX Runtime cannot load the model").because(cause)
}

/// What ONNX Runtime, CUDA, cuDNN, cuBLAS and `TensorRT` say when memory runs out.
const OUT_OF_MEMORY: &[&str] = &[
    "failed to allocate memory",
    "bad_alloc",
    "bad allocation",
    "out of memory",
    "outofmemory",
    "cudnn_status_alloc_failed",
    "cublas_status_alloc_failed",
];

fn is_out_of_memory(message: &str) -> bool {
    let message = message.to_lowercase();
    OUT_OF_MEMORY.iter().any(|sign| message.contains(sign))
}

fn is_lost(code: ort::ErrorCode, message: &str) -> bool {
    // What the network asks for and the device cannot do is not a temporary error.
    let asks_too_much = ["NOT_SUPPORTED", "BAD_PARAM", "no kernel image"];
    if asks_too_much.iter().any(|sign| message.contains(sign)) {
        return false;
    }
    code == ort::ErrorCode::DeviceReset
        || ["CUDA failure", "CUDA error", "CUDNN failure", "CUBLAS failure", "Cuda Runtime"]
            .iter()
            .any(|sign| message.contains(sign))
}

/// Returns ONNX Runtime's message on one line. Its errors from builders are not `Send + Sync`, and so
/// cannot be a cause themselves.
pub fn message_of<R>(error: &ort::Error<R>) -> String {
    let lines = error.message().lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::error::Kind;

    fn judged(message: &str, proven: bool) -> Failure {
        classify(ort::ErrorCode::RuntimeException, message.to_owned(), 8, proven)
    }

    #[test]
    fn a_batch_that_does_not_fit_is_told_from_a_lost_device() {
        for message in [
            "Non-zero status code returned while running Conv node. Name:'c' Status Message: Failed to \
             allocate memory for requested buffer of size 3288334336",
            "CUDA failure 2: out of memory ; GPU=0 ; hostname=a ; expr=cudaMalloc",
            "CUDNN failure 4002: CUDNN_STATUS_ALLOC_FAILED ; GPU=0",
            "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0",
            "std::bad_alloc",
        ] {
            assert!(matches!(judged(message, true), Failure::OutOfMemory(_)), "{message}");
        }
        for message in [
            "CUDA failure 719: unspecified launch failure ; GPU=0",
            "CUDNN failure 5000: CUDNN_STATUS_EXECUTION_FAILED",
        ] {
            let Failure::Other(error) = judged(message, false) else { panic!("{message}") };
            assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Unavailable, "the device is lost"));
        }
    }

    #[test]
    fn what_has_run_before_fails_for_the_machines_reasons() {
        let kind = |proven| Error::from(judged("some operator failed", proven)).kind();
        assert_eq!((kind(false), kind(true)), (Kind::Config, Kind::Unavailable));
    }
}
