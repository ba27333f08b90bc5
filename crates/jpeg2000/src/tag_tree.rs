//! Tag trees of packet headers (T.800 B.10.2).

use tilefleet_codec::Result;

use crate::packet_bits::PacketBits;

/// A node: what is known of the least value below it.
#[derive(Clone, Copy, Debug, Default)]
struct Node {
    /// The value is at least this.
    low: u16,
    /// The value is `low`.
    known: bool,
}

/// A tree over a rectangle of values, each coded as far as it is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct TagTree {
    /// All levels, leaves first.
    nodes: Vec<Node>,
    /// Width of the leaves.
    width: u32,
    height: u32,
}

impl TagTree {
    /// Makes a tree over `width` times `height` leaves.
    pub(crate) fn new(width: u32, height: u32) -> Self {
        let mut num_nodes = 0;
        let mut level = (width, height);
        while level.0 > 0 && level.1 > 0 {
            num_nodes += level.0 as usize * level.1 as usize;
            if level == (1, 1) {
                break;
            }
            level = (level.0.div_ceil(2), level.1.div_ceil(2));
        }
        Self { nodes: vec![Node::default(); num_nodes], width, height }
    }

    /// Reads on until it is known whether the value of a leaf is below `limit`.
    ///
    /// - returns: the value, if it is
    pub(crate) fn below(
        &mut self,
        bits: &mut PacketBits<'_>,
        (x, y): (u32, u32),
        limit: u16,
    ) -> Result<Option<u16>> {
        let mut path = [0; 32];
        let len = self.path(x, y, &mut path);
        let mut low = 0;
        for &index in path[..len].iter().rev() {
            let node = &mut self.nodes[index];
            node.low = node.low.max(low);
            while !node.known && node.low < limit {
                if bits.bit()? == 1 {
                    node.known = true;
                } else {
                    node.low += 1;
                }
            }
            low = node.low;
        }
        let leaf = &self.nodes[path[0]];
        Ok((leaf.known && leaf.low < limit).then_some(leaf.low))
    }

    /// Lists the nodes from a leaf to the root.
    fn path(&self, mut x: u32, mut y: u32, path: &mut [usize; 32]) -> usize {
        let (mut width, mut height, mut first) = (self.width, self.height, 0);
        for (len, place) in path.iter_mut().enumerate() {
            *place = first + y as usize * width as usize + x as usize;
            if width == 1 && height == 1 {
                return len + 1;
            }
            first += width as usize * height as usize;
            (x, y, width, height) = (x / 2, y / 2, width.div_ceil(2), height.div_ceil(2));
        }
        path.len()
    }
}
