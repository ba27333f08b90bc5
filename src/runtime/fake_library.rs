//! Shared libraries made up for tests, where the real ones need hardware.

use std::path::{Path, PathBuf};
use std::process::Command;

use tilefleet_testing::skipped;

/// Compiles C source into a shared library of this name; `needs` are the names it is to ask the loader for.
///
/// `None`, and the test is listed as skipped, where there is no C compiler.
pub fn compile(folder: &Path, name: &str, source: &str, needs: &[&str]) -> Option<PathBuf> {
    let library = folder.join(name);
    let file = folder.join(format!("{name}.c"));
    std::fs::write(&file, source).expect("the test's folder can be written to");
    let mut command = Command::new("cc");
    command.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&file);
    command
        .arg(format!("-Wl,-soname,{name}"))
        .arg("-Wl,--no-as-needed")
        .arg(format!("-L{}", folder.display()));
    command.args(needs.iter().map(|need| format!("-l:{need}")));
    match command.output() {
        Ok(output) if output.status.success() => Some(library),
        Ok(output) => panic!("cc: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => {
            skipped::missing(&format!("no C compiler ({error})"));
            None
        }
    }
}
