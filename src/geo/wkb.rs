//! Polygons as well-known binary.
//!
//! # Reference
//!
//! OGC 06-103r4, section 8.2 (little-endian, two dimensions).

use super::footprint::bounds;

/// A closed ring: first and last points are the same.
pub(super) type Ring = Vec<[f64; 2]>;

const LITTLE_ENDIAN: u8 = 1;
const POLYGON: u32 = 3;
const MULTI_POLYGON: u32 = 6;
/// Byte order, kind and count.
const HEAD_BYTES: usize = 9;

/// Encodes one ring as a polygon, several as a multi-polygon of one ring each.
pub(super) fn encode(rings: &[Ring]) -> Vec<u8> {
    let num_points: usize = rings.iter().map(Vec::len).sum();
    let mut bytes = Vec::with_capacity(num_points * 16 + rings.len() * 13 + 9);
    if rings.len() != 1 {
        head(&mut bytes, MULTI_POLYGON, rings.len());
    }
    for ring in rings {
        head(&mut bytes, POLYGON, 1);
        bytes.extend((ring.len() as u32).to_le_bytes());
        bytes.extend(ring.iter().flatten().flat_map(|coordinate| coordinate.to_le_bytes()));
    }
    bytes
}

fn head(bytes: &mut Vec<u8>, kind: u32, count: usize) {
    bytes.push(LITTLE_ENDIAN);
    bytes.extend(kind.to_le_bytes());
    bytes.extend((count as u32).to_le_bytes());
}

/// Returns the boxes of the polygons of what `encode` has written; up to where it is damaged.
#[must_use]
pub fn parts(wkb: &[u8]) -> Vec<[f64; 4]> {
    let integer = |at: usize| Some(u32::from_le_bytes(*wkb.get(at..)?.first_chunk()?));
    let double = |at: usize| Some(f64::from_le_bytes(*wkb.get(at..)?.first_chunk()?));
    let (mut parts, mut at) = (Vec::new(), if integer(1) == Some(MULTI_POLYGON) { HEAD_BYTES } else { 0 });
    while let (Some(POLYGON), Some(1), Some(num_points)) = (integer(at + 1), integer(at + 5), integer(at + 9))
    {
        let first = at + HEAD_BYTES + 4;
        let point = |index: usize| Some([double(first + 16 * index)?, double(first + 16 * index + 8)?]);
        let Some(ring) = (0..num_points as usize).map(point).collect::<Option<Ring>>() else { break };
        parts.push(bounds(&ring));
        at = first + 16 * ring.len();
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_those_that_were_written() {
        let ring = |west: f64| vec![[west, 1.0], [west + 2.0, 1.0], [west, 3.0], [west, 1.0]];
        let bbox = |west: f64| [west, 1.0, west + 2.0, 3.0];
        assert_eq!(parts(&encode(&[ring(5.0)])), [bbox(5.0)]);
        let two = encode(&[ring(178.0), ring(-180.0)]);
        assert_eq!(parts(&two), [bbox(178.0), bbox(-180.0)]);
        assert_eq!(parts(&two[..two.len() - 1]), [bbox(178.0)]);
        assert!(parts(&[]).is_empty());
    }
}
