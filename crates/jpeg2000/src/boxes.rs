//! The JP2 file format (T.800 Annex I), as far as it wraps a code stream.

use tilefleet_codec::{Result, corrupt, truncated, unsupported};

use crate::bytes::Bytes;

/// The signature box (I.5.1).
const SIGNATURE: [u8; 12] = [0, 0, 0, 12, b'j', b'P', b' ', b' ', 0x0D, 0x0A, 0x87, 0x0A];

/// Returns the code stream in `data`: itself, or the content of its first box `jp2c`.
///
/// Colour and channel definitions of a JP2 file are not applied: DICOM says to ignore them (PS3.5 8.2.4).
///
/// # Errors
///
/// Unsupported for a palette, without which samples mean nothing.
pub(crate) fn code_stream(data: &[u8]) -> Result<&[u8]> {
    if !data.starts_with(&SIGNATURE) {
        return Ok(data);
    }
    let mut boxes = Bytes::new(data, "the JP2 file");
    while !boxes.is_empty() {
        let (kind, content) = next_box(&mut boxes)?;
        match &kind {
            b"jp2c" => return Ok(content),
            b"jp2h" => refuse_palette(content)?,
            _ => {}
        }
    }
    Err(truncated("the JP2 file has no code stream"))
}

/// Reads a box (I.4). The last may be as long as the file.
fn next_box<'a>(boxes: &mut Bytes<'a>) -> Result<([u8; 4], &'a [u8])> {
    let len = boxes.u32()?;
    let kind = boxes.u32()?.to_be_bytes();
    let content = match len {
        0 => boxes.rest().len(),
        1 => box_len(boxes.u64()?, 16)?,
        _ => box_len(u64::from(len), 8)?,
    };
    // A code stream that is cut says so more exactly than its box.
    let content = if &kind == b"jp2c" { content.min(boxes.rest().len()) } else { content };
    Ok((kind, boxes.take(content)?))
}

fn box_len(len: u64, header: u64) -> Result<usize> {
    let content = len.checked_sub(header).ok_or_else(|| corrupt(format!("a box of {len} bytes")))?;
    usize::try_from(content).map_err(|_| corrupt(format!("a box of {len} bytes")))
}

fn refuse_palette(header: &[u8]) -> Result<()> {
    let mut boxes = Bytes::new(header, "the JP2 header");
    while !boxes.is_empty() {
        if &next_box(&mut boxes)?.0 == b"pclr" {
            return Err(unsupported("a JP2 file with a palette"));
        }
    }
    Ok(())
}
