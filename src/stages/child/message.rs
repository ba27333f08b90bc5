//! What goes through the pipes: a head that says what it is, and a body of plain bytes.

use std::io::{self, Read, Write};

/// A head is small; a longer one is no message.
const MAX_HEAD_BYTES: u32 = 1 << 24;

/// Writes one message.
///
/// # Errors
///
/// As the pipe answers.
pub fn write_message(mut pipe: impl Write, head: &[u8], body: &[u8]) -> io::Result<()> {
    let head_bytes = u32::try_from(head.len()).ok().filter(|bytes| *bytes <= MAX_HEAD_BYTES);
    let head_bytes = head_bytes.ok_or_else(|| io::Error::other("the head of a message is too long"))?;
    let mut start = Vec::with_capacity(12 + head.len());
    start.extend(head_bytes.to_le_bytes());
    start.extend((body.len() as u64).to_le_bytes());
    start.extend(head);
    pipe.write_all(&start)?;
    pipe.write_all(body)?;
    pipe.flush()
}

/// Reads the head of a message; returns it and how many bytes of body come next.
///
/// # Errors
///
/// `UnexpectedEof` at the end of the pipe; as the pipe answers.
pub fn read_head(pipe: &mut (impl Read + ?Sized)) -> io::Result<(Vec<u8>, u64)> {
    let mut lengths = [0; 12];
    pipe.read_exact(&mut lengths)?;
    let [a, b, c, d, body_bytes @ ..] = lengths;
    let head_bytes = u32::from_le_bytes([a, b, c, d]);
    if head_bytes > MAX_HEAD_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "this is no message"));
    }
    let mut head = vec![0; head_bytes as usize];
    pipe.read_exact(&mut head)?;
    Ok((head, u64::from_le_bytes(body_bytes)))
}
