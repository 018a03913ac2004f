//! Whether a program of tests has all files of its folder.

use std::fs;

/// Asserts that each file of a folder is a module of the program with this text, or one of these programs. Cargo does not look for files of
/// tests where programs are named.
///
/// # Panics
///
/// If one is not, or the folder cannot be read.
pub fn assert_has_modules(program: &str, folder: &str, programs: &[&str]) {
    for file in fs::read_dir(folder).expect("the folder is there") {
        let name = file.expect("the folder can be read").file_name();
        let name = name.to_string_lossy();
        let name = name.trim_end_matches(".rs");
        assert!(
            programs.contains(&name) || program.contains(&format!("\nmod {name};\n")),
            "{name} is no module of the program"
        );
    }
}
