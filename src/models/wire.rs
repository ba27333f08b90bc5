//! Encoded protobuf messages, field by field: for copying what nobody has to decode.
//!
//! # Reference
//!
//! Protobuf encoding: a message is a row of fields, each a tag and a value.

use prost::decode_length_delimiter;

/// One field of an encoded message.
pub(super) struct Field<'a> {
    pub(super) number: usize,
    /// What it holds, without tag and length; empty for a number.
    pub(super) value: &'a [u8],
    /// Tag, length and value.
    pub(super) whole: &'a [u8],
}

impl<'a> Field<'a> {
    /// Splits the first field off; `None` if it is cut short or of a kind that protobuf gave up.
    pub(super) fn take(message: &mut &'a [u8]) -> Option<Self> {
        let start = *message;
        // Tags and numbers are varints, as lengths are.
        let tag = decode_length_delimiter(&mut *message).ok()?;
        let length = match tag & 7 {
            0 => decode_length_delimiter(&mut *message).map(|_| 0).ok()?,
            1 => 8,
            2 => decode_length_delimiter(&mut *message).ok()?,
            5 => 4,
            _ => return None,
        };
        let value = message.split_off(..length)?;
        Some(Self { number: tag >> 3, value, whole: &start[..start.len() - message.len()] })
    }
}
