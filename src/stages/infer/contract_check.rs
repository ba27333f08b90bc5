//! Whether a loaded model is what its contract says.

use ort::session::Session as OrtSession;
use ort::value::{Outlet, TensorElementType, ValueType};

use super::outputs::{is_batch_of_rows, mismatch};
use crate::vocabulary::contract::{Contract, Input, Layout, Output, SampleType};
use crate::vocabulary::error::Result;

/// Checks inputs and outputs; returns the only batch size that the model takes, `None` if it takes any.
///
/// # Errors
///
/// [`Kind::Config`](crate::vocabulary::error::Kind::Config) for the first difference.
pub(super) fn check(session: &OrtSession, contract: &Contract) -> Result<Option<usize>> {
    check_input(session, &contract.input)?;
    let batch = find(session.inputs(), &contract.input.tensor)
        .and_then(|outlet| tensor_type(outlet.dtype()))
        .and_then(|(_, shape)| usize::try_from(*shape.first()?).ok());
    if batch == Some(0) {
        return Err(mismatch(format!("the input `{}` has a batch of 0", contract.input.tensor)));
    }
    check_outputs(session, &contract.output, batch)?;
    Ok(batch)
}

fn check_input(session: &OrtSession, input: &Input) -> Result<()> {
    let name = &input.tensor;
    if let Some(other) = session.inputs().iter().find(|outlet| outlet.name() != name) {
        return Err(mismatch(format!("the model has another input, `{}`", other.name())));
    }
    let outlet =
        find(session.inputs(), name).ok_or_else(|| mismatch(format!("the model has no input `{name}`")))?;
    let (found_type, found_shape) =
        tensor_type(outlet.dtype()).ok_or_else(|| mismatch(format!("the input `{name}` is not a tensor")))?;
    let expected_type = match input.sample_type {
        SampleType::Uint8 => TensorElementType::Uint8,
        SampleType::Float32 => TensorElementType::Float32,
    };
    if found_type != expected_type {
        return Err(mismatch(format!("the input `{name}` is {found_type}, not {expected_type}")));
    }
    let (bands, height, width) = (input.bands.len() as i64, i64::from(input.height), i64::from(input.width));
    let expected_shape = match input.layout {
        Layout::Nhwc => [-1, height, width, bands],
        Layout::Nchw => [-1, bands, height, width],
    };
    if !fits(found_shape, &expected_shape) {
        return Err(mismatch(format!(
            "the input `{name}` has shape {found_shape:?}, not {expected_shape:?} (−1 is any)"
        )));
    }
    Ok(())
}

fn check_outputs(session: &OrtSession, output: &Output, batch: Option<usize>) -> Result<()> {
    check_output(session, &output.embedding, output.embedding_length, batch)?;
    output
        .classifier
        .as_ref()
        .map_or(Ok(()), |classifier| check_output(session, &classifier.logits, classifier.num_classes, batch))
}

fn check_output(session: &OrtSession, name: &str, length: usize, batch: Option<usize>) -> Result<()> {
    let outlet =
        find(session.outputs(), name).ok_or_else(|| mismatch(format!("the model has no output `{name}`")))?;
    let (found_type, shape) = tensor_type(outlet.dtype())
        .ok_or_else(|| mismatch(format!("the output `{name}` is not a tensor")))?;
    if found_type != TensorElementType::Float32 {
        return Err(mismatch(format!("the output `{name}` is {found_type}, not float32")));
    }
    // Some exporters write 0 for an output's length that varies.
    let known: Vec<i64> = shape.iter().map(|&axis| if axis == 0 { -1 } else { axis }).collect();
    if !is_batch_of_rows(&known, batch, length) {
        let batch = batch.map_or("−1".to_owned(), |batch| batch.to_string());
        return Err(mismatch(format!("the output `{name}` has shape {shape:?}, not [{batch}, {length}]")));
    }
    Ok(())
}

fn find<'s>(outlets: &'s [Outlet], name: &str) -> Option<&'s Outlet> {
    outlets.iter().find(|outlet| outlet.name() == name)
}

fn tensor_type(value_type: &ValueType) -> Option<(TensorElementType, &[i64])> {
    match value_type {
        ValueType::Tensor { ty, shape, .. } => Some((*ty, shape)),
        _ => None,
    }
}

/// Returns whether a shape may be the expected one; negative sizes are known only at run time.
fn fits(found: &[i64], expected: &[i64]) -> bool {
    found.len() == expected.len()
        && found
            .iter()
            .zip(expected)
            .all(|(found, expected)| *found < 0 || *expected < 0 || found == expected)
}
