//! Files that give two components one id, for what looks components up by it.

use crate::frame::{is_frame, told_apart};
use crate::segments::{Segments, marker};

/// Returns a copy of a file in which each component has an id of its own, in frame and scan headers alike.
pub(super) fn apart(bytes: &[u8]) -> Vec<u8> {
    let mut copy = bytes.to_vec();
    let Ok(mut segments) = Segments::new(bytes) else { return copy };
    while let Ok(segment) = segments.next_segment() {
        let is_scan = segment.marker == marker::SOS;
        let (first, step) = match segment.marker {
            marker::EOI => break,
            marker::SOS => (1, 2),
            code if is_frame(code) => (6, 3),
            _ => continue,
        };
        let body_at = bytes.len() - segments.rest().len() - segment.body.len();
        // The last bytes of a scan header are no components.
        let count = usize::from(segment.body.get(first - 1).copied().unwrap_or(0));
        let places = (first..segment.body.len()).step_by(step).take(count);
        let ids = told_apart(places.clone().map(|at| segment.body[at]));
        places.zip(ids).for_each(|(at, id)| copy[body_at + at] = id);
        if is_scan {
            let data = segments.rest();
            let ends = |pair: &[u8]| pair[0] == 0xFF && !matches!(pair[1], 0 | marker::RST0..=0xD7 | 0xFF);
            segments.skip(data.windows(2).position(ends).unwrap_or(data.len()));
        }
    }
    copy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_the_frame_and_of_each_scan_are_told_apart() {
        let frame = [0xFF, 0xC0, 0, 17, 8, 0, 8, 0, 8, 3, 7, 0x11, 0, 7, 0x11, 0, 255, 0x11, 0];
        let scan = [0xFF, 0xDA, 0, 12, 3, 7, 0, 7, 0x11, 255, 0x11, 0, 63, 0, 1, 0xFF, 0, 0xFF, 0xD0, 2];
        let single = [0xFF, 0xDA, 0, 8, 1, 7, 0, 0, 63, 0, 3, 0xFF, 0xD9];
        let file = [&[0xFF, 0xD8][..], &frame, &scan, &single].concat();
        let mut expected = file.clone();
        let second_of_the_frame = 2 + 13;
        let second_of_the_scan = 2 + frame.len() + 7;
        expected[second_of_the_frame] = 8;
        expected[second_of_the_scan] = 8;
        assert_eq!(apart(&file), expected);
    }

    #[test]
    fn the_next_free_id_may_lie_at_the_other_end() {
        assert_eq!(told_apart([255, 255, 0, 255].into_iter()), [255, 0, 1, 2]);
        assert_eq!(told_apart([1, 2, 3].into_iter()), [1, 2, 3]);
    }
}
