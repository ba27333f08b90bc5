//! Which libraries a library asks the loader for.
//!
//! # Reference
//!
//! System V ABI, "Dynamic Section": `DT_NEEDED` entries are offsets into the string table `DT_STRTAB`.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_STRSZ: u64 = 10;

const HEADER_BYTES: usize = 64;
const PROGRAM_HEADER_BYTES: usize = 56;
/// A dynamic section or its strings beyond this are not library's.
const MAX_BYTES: u64 = 16 << 20;

/// Returns the names in the order in which the loader looks for them; none for what is not a 64-bit
/// little-endian ELF file.
///
/// # Errors
///
/// As the file system answers.
pub fn needed(library: &Path) -> io::Result<Vec<String>> {
    let mut file = File::open(library)?;
    let header = read_at(&mut file, 0, HEADER_BYTES as u64)?;
    if !header.starts_with(b"\x7fELF\x02\x01") {
        return Ok(Vec::new());
    }
    let segments = segments(&mut file, &header)?;
    let Some(dynamic) = segments.iter().find(|segment| segment.kind == PT_DYNAMIC) else {
        return Ok(Vec::new());
    };
    let entries = read_at(&mut file, dynamic.offset, dynamic.num_bytes)?;
    let entries: Vec<(u64, u64)> =
        entries.chunks_exact(16).map(|entry| (u64_at(entry, 0), u64_at(entry, 8))).collect();
    let value = |tag| entries.iter().find(|(found, _)| *found == tag).map_or(0, |(_, value)| *value);
    let strings = match offset_of(&segments, value(DT_STRTAB)) {
        Some(offset) => read_at(&mut file, offset, value(DT_STRSZ))?,
        None => return Ok(Vec::new()),
    };
    let name = |(tag, offset): &(u64, u64)| {
        let text = strings.get(usize::try_from(*offset).ok()?..).filter(|_| *tag == DT_NEEDED)?;
        Some(String::from_utf8_lossy(text.split(|byte| *byte == 0).next()?).into_owned())
    };
    Ok(entries.iter().filter_map(name).collect())
}

/// A piece of the file and where it lies in memory.
struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    num_bytes: u64,
}

fn segments(file: &mut File, header: &[u8]) -> io::Result<Vec<Segment>> {
    let (offset, count) = (u64_at(header, 32), u64::from(u16::from_le_bytes([header[56], header[57]])));
    let table = read_at(file, offset, count * PROGRAM_HEADER_BYTES as u64)?;
    let segment = |entry: &[u8]| Segment {
        kind: u32::from_le_bytes([entry[0], entry[1], entry[2], entry[3]]),
        offset: u64_at(entry, 8),
        address: u64_at(entry, 16),
        num_bytes: u64_at(entry, 32),
    };
    Ok(table.chunks_exact(PROGRAM_HEADER_BYTES).map(segment).collect())
}

fn offset_of(segments: &[Segment], address: u64) -> Option<u64> {
    let holds = |segment: &&Segment| {
        segment.kind == PT_LOAD
            && address.checked_sub(segment.address).is_some_and(|at| at < segment.num_bytes)
    };
    segments.iter().find(holds).map(|segment| segment.offset + (address - segment.address))
}

fn read_at(file: &mut File, offset: u64, num_bytes: u64) -> io::Result<Vec<u8>> {
    if num_bytes > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a table of the library is too large"));
    }
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = vec![0; num_bytes as usize];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::runtime::fake_library::compile;

    #[test]
    fn names_come_in_the_loaders_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["libfirst.so.2", "libsecond.so.1"] {
            let Some(_) = compile(folder.path(), name, "", &[]) else { return };
        }
        let needs = ["libfirst.so.2", "libsecond.so.1"];
        let library = compile(folder.path(), "libthird.so", "", &needs).unwrap();
        assert_eq!(needed(&library).unwrap()[..2], needs);
    }

    #[test]
    fn what_is_no_library_needs_nothing() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [b"#!/bin/sh\n".as_slice(), &[0; 64]].concat()).unwrap();
        assert_eq!(needed(file.path()).unwrap(), [""; 0]);
        let mut broken = vec![0xff; 128];
        broken[..6].copy_from_slice(b"\x7fELF\x02\x01");
        std::fs::write(file.path(), broken).unwrap();
        assert!(needed(file.path()).is_err());
    }
}
