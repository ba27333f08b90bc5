//! The order of packets (T.800 B.12).

use tilefleet_codec::Result;

use crate::coding::{Coding, Progression, Volume};
use crate::tile::Tile;

/// A precinct of one component and resolution.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PacketId {
    pub(crate) component: u16,
    pub(crate) resolution: u8,
    pub(crate) precinct: u32,
}

/// Calls `read` for the packets of a tile, until it returns false.
///
/// - `read`: gets the tile, the precinct and the layer
pub(crate) fn for_each_packet<'a>(
    tile: &mut Tile<'a>,
    coding: &Coding,
    mut read: impl FnMut(&mut Tile<'a>, PacketId, u16) -> Result<bool>,
) -> Result<()> {
    let all = [Volume {
        order: coding.order,
        resolutions: (0, u8::MAX),
        components: (0, u16::MAX),
        num_layers: coding.num_layers,
    }];
    let volumes = if coding.volumes.is_empty() { &all[..] } else { &coding.volumes };
    for volume in volumes {
        let num_layers = volume.num_layers.min(coding.num_layers);
        let packets = precincts(tile, volume);
        // Within a group all precincts get a layer before any gets the next.
        for group in packets.chunk_by(|a, b| same_group(volume.order, *a, *b)) {
            if !read_group(tile, group, num_layers, &mut read)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn read_group<'a>(
    tile: &mut Tile<'a>,
    group: &[PacketId],
    num_layers: u16,
    read: &mut impl FnMut(&mut Tile<'a>, PacketId, u16) -> Result<bool>,
) -> Result<bool> {
    let first = group.iter().map(|&id| *layers_read(tile, id)).min().unwrap_or(0);
    for layer in first..num_layers {
        for &id in group {
            // Packets of earlier volumes do not come again.
            if *layers_read(tile, id) > layer {
                continue;
            }
            if !read(tile, id, layer)? {
                return Ok(false);
            }
            *layers_read(tile, id) = layer + 1;
        }
    }
    Ok(true)
}

fn layers_read<'t>(tile: &'t mut Tile<'_>, id: PacketId) -> &'t mut u16 {
    let component = &mut tile.components[usize::from(id.component)];
    &mut component.resolutions[usize::from(id.resolution)].layers_read[id.precinct as usize]
}

/// Tells whether two precincts share the loop over layers.
fn same_group(order: Progression, a: PacketId, b: PacketId) -> bool {
    match order {
        Progression::Lrcp => true,
        Progression::Rlcp => a.resolution == b.resolution,
        Progression::Rpcl | Progression::Pcrl | Progression::Cprl => false,
    }
}

/// Lists the precincts of a volume in its order, layers left aside.
fn precincts(tile: &Tile<'_>, volume: &Volume) -> Vec<PacketId> {
    let mut found = Vec::new();
    let components = volume.components.0..volume.components.1.min(tile.components.len() as u16);
    for component in components {
        let laid = &tile.components[usize::from(component)];
        let resolutions = volume.resolutions.0..volume.resolutions.1.min(laid.resolutions.len() as u8);
        for resolution in resolutions {
            let num_precincts = laid.resolutions[usize::from(resolution)].layers_read.len() as u32;
            found.extend((0..num_precincts).map(|precinct| PacketId { component, resolution, precinct }));
        }
    }
    sort(tile, volume.order, &mut found);
    found
}

fn sort(tile: &Tile<'_>, order: Progression, packets: &mut [PacketId]) {
    let place = |id: &PacketId| {
        let component = &tile.components[usize::from(id.component)];
        component.precinct_place(&tile.rect, id.resolution.into(), id.precinct)
    };
    // Sorting is stable: components, resolutions and precincts are in order where a key says nothing of them.
    match order {
        Progression::Lrcp | Progression::Rlcp => packets.sort_by_key(|id| id.resolution),
        Progression::Rpcl => packets.sort_by_cached_key(|id| (id.resolution, place(id))),
        Progression::Pcrl => packets.sort_by_cached_key(place),
        Progression::Cprl => packets.sort_by_cached_key(|id| (id.component, place(id))),
    }
}
