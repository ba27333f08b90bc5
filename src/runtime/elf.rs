//! Which libraries a library asks the loader for.
//!
//! # Reference
//!
//! System V ABI, "Dynamic Section": `DT_NEEDED`.

use std::fs::File;
use std::io;
use std::path::Path;

use object::elf::{DT_NEEDED, FileHeader64};
use object::read::elf::FileHeader;
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
    names(&file).map_err(|cause| io::Error::new(io::ErrorKind::InvalidData, cause))
}

fn names(file: &ReadCache<File>) -> object::Result<Vec<String>> {
    let header = FileHeader64::<Endianness>::parse(file)?;
    let endian = header.endian()?;
    let table = header.sections(endian, file)?.dynamic_table(endian, file)?;
    table
        .iter()
        .filter(|entry| entry.tag == DT_NEEDED)
        .map(|entry| Ok(String::from_utf8_lossy(table.string(entry)?).into_owned()))
        .collect()
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
