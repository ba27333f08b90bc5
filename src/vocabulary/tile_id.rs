//! The name of a tile: the same place has the same id in every run.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use crate::vocabulary::geometry::Window;

/// Opens every hashed message, so that another kind of id can never collide with a tile's.
const DOMAIN: &[u8] = b"tilefleet tile v1\0";

/// 128 bits that name a place: a window of a frame at a level of a source.
///
/// Neither the source's version nor the model goes in, so that the same place can be compared across
/// runs. Displays as 32 lower-case hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileId([u8; 16]);

impl TileId {
    /// Names a tile.
    ///
    /// - `source`: the name of its source, as in the column `source`: the canonical URI, or its pseudonym
    /// - `window`: `None` for a source that is one tile (`whole`)
    ///
    /// The id is the first 16 bytes of the SHA-256 of these bytes, integers little-endian:
    ///
    /// | bytes | what |
    /// |---|---|
    /// | 18 | `tilefleet tile v1` and a zero byte |
    /// | 8 | number of bytes of `source` |
    /// | n | `source`, UTF-8 |
    /// | 4 + 4 | `level`, `frame` |
    /// | 1 | 0 for `whole`; 1 for a window, which then follows |
    /// | 4 × 4 | `x`, `y`, `width`, `height` |
    ///
    /// Every part has a fixed or a stated length, so two different places never yield the same bytes.
    #[must_use]
    pub fn of(source: &str, level: u32, frame: u32, window: Option<Window>) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(DOMAIN);
        hasher.update((source.len() as u64).to_le_bytes());
        hasher.update(source.as_bytes());
        hasher.update(level.to_le_bytes());
        hasher.update(frame.to_le_bytes());
        match window {
            None => hasher.update([0]),
            Some(Window { x, y, width, height }) => {
                hasher.update([1]);
                for edge in [x, y, width, height] {
                    hasher.update(edge.to_le_bytes());
                }
            }
        }
        let digest = hasher.finalize();
        Self(std::array::from_fn(|index| digest[index]))
    }

    /// Returns the 16 bytes, as hashed.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl From<[u8; 16]> for TileId {
    fn from(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for TileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// The text is not 32 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a tile id has 32 lower-case hex digits")]
pub struct ParseTileIdError;

impl FromStr for TileId {
    type Err = ParseTileIdError;

    fn from_str(text: &str) -> Result<Self, ParseTileIdError> {
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 32 || !text.bytes().all(is_hex) {
            return Err(ParseTileIdError);
        }
        let bits = u128::from_str_radix(text, 16).map_err(|_| ParseTileIdError)?;
        Ok(Self(bits.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const WINDOW: Window = Window { x: 1, y: 2, width: 3, height: 4 };

    /// Computed apart from this code, with Python's hashlib over the documented bytes.
    #[test]
    fn ids_are_those_of_the_documented_bytes() {
        assert_eq!(TileId::of("s3://a/b.jpg", 0, 0, None).to_string(), "d56ce222e2cf67fca40a0e2aa484b8e7");
        assert_eq!(
            TileId::of("s3://a/ü.tif", 1, 7, Some(WINDOW)).to_string(),
            "e3e5efbf13f08939e0817ee8c3670108"
        );
    }

    #[test]
    fn every_part_of_the_place_counts() {
        let moved = |edit: fn(&mut Window)| {
            let mut window = WINDOW;
            edit(&mut window);
            TileId::of("u", 0, 0, Some(window))
        };
        let ids = HashSet::from([
            TileId::of("u", 0, 0, Some(WINDOW)),
            TileId::of("v", 0, 0, Some(WINDOW)),
            TileId::of("u", 1, 0, Some(WINDOW)),
            TileId::of("u", 0, 1, Some(WINDOW)),
            TileId::of("u", 0, 0, None),
            moved(|window| window.x = 9),
            moved(|window| window.y = 9),
            moved(|window| window.width = 9),
            moved(|window| window.height = 9),
        ]);
        assert_eq!(ids.len(), 9);
    }

    #[test]
    fn a_uri_that_ends_like_the_next_field_is_another_place() {
        assert_ne!(TileId::of("u\u{1}", 0, 0, None), TileId::of("u", 1, 0, None));
        assert_ne!(TileId::of("u\0", 0, 0, None), TileId::of("u", 0, 0, None));
    }

    #[test]
    fn text_and_id_are_one_to_one() {
        let id = TileId::of("s3://a/b.jpg", 0, 0, None);
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "00", "+0000000000000000000000000000000", &id.to_string().to_uppercase()] {
            assert_eq!(text.parse::<TileId>(), Err(ParseTileIdError), "{text:?}");
        }
    }
}
