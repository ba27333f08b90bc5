//! `PackBits` (TIFF 6.0, section 9).

/// Decodes until `out` is full or the stored bytes end; returns how many bytes were written.
pub(super) fn decode(mut stored: &[u8], out: &mut [u8]) -> usize {
    let mut written = 0;
    while let [head, rest @ ..] = stored {
        let room = out.len() - written;
        stored = match *head as i8 {
            -128 => rest,
            head @ 0.. => {
                let len = (head as usize + 1).min(rest.len());
                let copied = len.min(room);
                out[written..][..copied].copy_from_slice(&rest[..copied]);
                written += copied;
                &rest[len..]
            }
            head => {
                let [value, rest @ ..] = rest else { break };
                let len = (1 - isize::from(head)) as usize;
                let filled = len.min(room);
                out[written..][..filled].fill(*value);
                written += filled;
                rest
            }
        };
        if written == out.len() {
            break;
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of TIFF 6.0, section 9, and a run that is longer than needed.
    #[test]
    fn runs_and_literals_alternate() {
        let stored =
            [0xFE, 0xAA, 0x02, 0x80, 0x00, 0x2A, 0xFD, 0xAA, 0x80, 0x03, 0x80, 0, 0x2A, 0x22, 0xF7, 0xAA];
        let mut out = [0; 24];
        assert_eq!(decode(&stored, &mut out), 24);
        assert_eq!(out[..10], [0xAA, 0xAA, 0xAA, 0x80, 0, 0x2A, 0xAA, 0xAA, 0xAA, 0xAA]);
        assert_eq!(out[10..14], [0x80, 0, 0x2A, 0x22]);
        assert_eq!(out[14..], [0xAA; 10]);
        let mut shorter = [0; 2];
        assert_eq!(decode(&stored, &mut shorter), 2);
        assert_eq!(decode(&[5, 1, 2], &mut out), 2, "literals that are not all there");
        assert_eq!(decode(&[0xFE], &mut out), 0, "a run of nothing");
    }
}
