//! Which libraries a library asks the loader for.
//!
//! # Reference
//!
//! System V ABI, "Program Loading and Dynamic Linking": `PT_DYNAMIC`, `PT_LOAD`; "Dynamic Section": `DT_NEEDED`.

use std::error::Error;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

use object::elf::{
    DT_NEEDED, DT_NULL, DT_STRSZ, DT_STRTAB, DynamicTag, FileHeader64, PT_LOAD, ProgramHeader64,
};
use object::read::StringTable;
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Endianness, FileKind, ReadCache};

/// Returns the names in the order in which the loader looks for them; none for what is not a 64-bit ELF file.
///
/// # Errors
///
/// As the file system answers, and [`io::ErrorKind::InvalidData`] for a damaged file.
pub fn needed(library: &Path) -> io::Result<Vec<String>> {
    // A library may have hundreds of megabytes; of these only its tables are read.
    let file = ReadCache::new(File::open(library)?);
    if !matches!(FileKind::parse(&file), Ok(FileKind::Elf64)) {
        return Ok(Vec::new());
    }
    names(&file)
}

/// Goes by program headers, as the loader does: section headers may have been stripped.
fn names(file: &ReadCache<File>) -> io::Result<Vec<String>> {
    let header = FileHeader64::<Endianness>::parse(file).map_err(damaged)?;
    let endian = header.endian().map_err(damaged)?;
    let segments = header.program_headers(endian, file).map_err(damaged)?;
    let dynamic = segments.iter().find_map(|segment| segment.dynamic(endian, file).transpose());
    let Some(dynamic) = dynamic.transpose().map_err(damaged)? else { return Ok(Vec::new()) };
    let entries = dynamic.iter().map(|entry| (entry.tag(endian), entry.val(endian)));
    let entries: Vec<(DynamicTag, u64)> = entries.take_while(|(tag, _)| *tag != DT_NULL).collect();
    let value = |tag: DynamicTag| entries.iter().find(|(of, _)| *of == tag).map(|(_, value)| *value);
    let strings = value(DT_STRTAB)
        .zip(value(DT_STRSZ))
        .and_then(|(address, length)| place(segments, endian, address, length))
        .map_or_else(StringTable::default, |place| StringTable::new(file, place.start, place.end));
    let name = |offset: u64| -> io::Result<String> {
        let name = u32::try_from(offset).ok().and_then(|offset| strings.get(offset).ok());
        let name = name.ok_or_else(|| damaged("the name of a needed library is not in the file"))?;
        Ok(String::from_utf8_lossy(name).into_owned())
    };
    entries.iter().filter(|(tag, _)| *tag == DT_NEEDED).map(|(_, offset)| name(*offset)).collect()
}

/// Returns where in the file the bytes lie that are loaded to an address.
fn place(
    segments: &[ProgramHeader64<Endianness>],
    endian: Endianness,
    address: u64,
    length: u64,
) -> Option<Range<u64>> {
    segments.iter().filter(|segment| segment.p_type(endian) == PT_LOAD).find_map(|segment| {
        let within = address.checked_sub(segment.p_vaddr(endian))?;
        let is_stored = within.checked_add(length)? <= segment.p_filesz(endian);
        let start = segment.p_offset(endian).checked_add(within)?;
        is_stored.then_some(start..start.checked_add(length)?)
    })
}

fn damaged(cause: impl Into<Box<dyn Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, cause)
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

    /// Returns a library of program headers, a dynamic section and strings, and no section header.
    ///
    /// - `strings_at`: where the strings are said to be, counted from the beginning of what is loaded
    fn stripped(strings_at: u64) -> Vec<u8> {
        const ADDRESS: u64 = 0x1000;
        const STRINGS: u64 = 64 + 2 * 56 + 5 * 16;
        let strings = b"\0libfirst.so.2\0libsecond.so.1\0";
        let length = STRINGS + strings.len() as u64;
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        // ET_DYN for x86-64, version 1; no entry, program headers behind this header, no section headers.
        let [kind, machine, version, flags] = [3_u16, 62, 1, 0];
        file.extend([kind.to_le_bytes(), machine.to_le_bytes(), version.to_le_bytes(), [0; 2]].concat());
        file.extend([0_u64, 64, 0].map(u64::to_le_bytes).concat());
        file.extend([flags, 0, 64, 56, 2, 64, 0, 0].map(u16::to_le_bytes).concat());
        let dynamic = 64 + 2 * 56;
        for (kind, start, length) in [(1_u32, 0, length), (2, dynamic, 5 * 16)] {
            file.extend([kind, 4].map(u32::to_le_bytes).concat());
            let address = ADDRESS + start;
            file.extend([start, address, address, length, length, 8].map(u64::to_le_bytes).concat());
        }
        let [needed, table, size] = [1_u64, 5, 10];
        let address = ADDRESS + strings_at;
        let entries = [(needed, 1), (needed, 15), (table, address), (size, strings.len() as u64), (0, 0)];
        file.extend(entries.map(|(tag, value)| [tag.to_le_bytes(), value.to_le_bytes()].concat()).concat());
        assert_eq!(file.len() as u64, STRINGS);
        file.extend_from_slice(strings);
        file
    }

    #[test]
    fn a_library_without_section_headers_says_what_it_needs() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), stripped(256)).unwrap();
        assert_eq!(needed(file.path()).unwrap(), ["libfirst.so.2", "libsecond.so.1"]);
        for elsewhere in [257, 1 << 40, u64::MAX - 0x1000] {
            std::fs::write(file.path(), stripped(elsewhere)).unwrap();
            let error = needed(file.path()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{elsewhere}: {error}");
        }
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
