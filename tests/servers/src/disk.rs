//! A disk that answers late or not at all, and loses unsynced data when its power is cut.

#![expect(clippy::unwrap_used, reason = "a test is to fail")]

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use tempfile::TempDir;

use crate::patience::{PATIENCE, POLL};

/// The library that is preloaded into programs on such a disk.
const LIBRARY: &str = include_str!("disk.c");

/// A disk for programs that [`preloaded_into`](Self::preloaded_into) prepares, such as a server. What they write to files is lost at a
/// power cut until they sync it, and a sync can be made slow.
///
/// `cc` compiles the library. It does not cover asynchronous I/O, or writes to memory-mapped files.
#[derive(Debug)]
pub struct Disk(TempDir);

impl Disk {
    /// A working disk.
    ///
    /// # Panics
    ///
    /// If `cc` is not installed.
    #[expect(clippy::new_without_default, reason = "it compiles a library")]
    pub fn new() -> Self {
        // In a directory that the server's user may read and write.
        let directory = tempfile::Builder::new()
            .prefix("firefly-disk-")
            .permissions(Permissions::from_mode(0o755))
            .tempdir_in("/tmp")
            .unwrap();
        for name in ["held", "undo"] {
            let path = directory.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::set_permissions(path, Permissions::from_mode(0o777)).unwrap();
        }
        let source = directory.path().join("disk.c");
        fs::write(&source, LIBRARY).unwrap();
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-shared", "-fPIC", "-o"]);
        compiler.arg(directory.path().join("disk.so")).arg(source);
        let compiled = compiler.output().unwrap();
        assert!(
            compiled.status.success(),
            "{}",
            String::from_utf8_lossy(&compiled.stderr)
        );
        Self(directory)
    }

    /// Makes a program use this disk.
    pub fn preloaded_into<'a>(&self, program: &'a mut Command) -> &'a mut Command {
        program.envs(self.variables())
    }

    pub(crate) fn variables(&self) -> [(&'static str, OsString); 2] {
        [
            ("LD_PRELOAD", self.path("disk.so").into()),
            ("FIREFLY_DISK", self.0.path().into()),
        ]
    }

    /// Makes each later sync take this much longer.
    pub fn slow(&self, delay: Duration) {
        // Written to a new file and renamed, so that a reader never finds an empty file.
        let new = self.path("new");
        fs::write(&new, delay.as_millis().to_string()).unwrap();
        fs::rename(new, self.path("delay")).unwrap();
    }

    /// Holds back all later syncs.
    pub fn hold(&self) {
        fs::write(self.path("hold"), "").unwrap();
    }

    /// Waits until a sync is held back.
    ///
    /// # Panics
    ///
    /// If no sync is held back within a minute.
    pub fn until_held(&self) {
        let deadline = Instant::now() + PATIENCE;
        while fs::read_dir(self.path("held")).unwrap().next().is_none() {
            assert!(Instant::now() < deadline, "nothing is synced");
            thread::sleep(POLL);
        }
    }

    /// Lets the syncs end that are held back.
    pub fn release(&self) {
        fs::remove_file(self.path("hold")).unwrap();
    }

    /// Cuts the power: undoes unsynced writes to the files below a directory. The programs that wrote must have been killed. Afterwards the
    /// disk works again.
    pub fn cut(&self, directory: &Path) {
        let mut files = HashMap::new();
        find_files(directory, &mut files);
        for undo in fs::read_dir(self.path("undo")).unwrap() {
            let undo = undo.unwrap();
            if let Some(file) = files.get(&undo.file_name()) {
                undo_writes(&fs::read(undo.path()).unwrap(), file);
            }
            fs::remove_file(undo.path()).unwrap();
        }
        for held in fs::read_dir(self.path("held")).unwrap() {
            fs::remove_file(held.unwrap().path()).unwrap();
        }
        for name in ["hold", "delay"] {
            let _ = fs::remove_file(self.path(name)); // need not be there
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// The files below a directory, by the names under which the library stores their undo data.
fn find_files(directory: &Path, files: &mut HashMap<OsString, PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() {
            find_files(&entry.path(), files);
        } else if metadata.is_file() {
            let born = metadata.created().unwrap().duration_since(UNIX_EPOCH).unwrap();
            let name = format!("{}-{}{:09}", metadata.ino(), born.as_secs(), born.subsec_nanos());
            files.insert(name.into(), entry.path());
        }
    }
}

/// Restores overwritten data, in reverse order.
fn undo_writes(mut undo: &[u8], path: &Path) {
    let mut writes = Vec::new();
    // A program that was killed while it stored an undo record has not written yet. So the last record may be incomplete.
    while let Some((record, rest)) = undo.split_at_checked(24) {
        let number = |at: usize| u64::from_ne_bytes(record[at..at + 8].try_into().unwrap());
        let [offset, length, size] = [0, 8, 16].map(number);
        let Some((bytes, rest)) = rest.split_at_checked(usize::try_from(length).unwrap()) else {
            break;
        };
        writes.push((offset, bytes, size));
        undo = rest;
    }
    let file = OpenOptions::new().write(true).open(path).unwrap();
    for (offset, bytes, size) in writes.into_iter().rev() {
        file.set_len(size).unwrap();
        file.write_all_at(bytes, offset).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::*;

    fn run(disk: &Disk, program: &str, directory: &Path) -> std::process::Child {
        let mut command = Command::new("sh");
        command.args(["-c", program]).current_dir(directory);
        disk.preloaded_into(&mut command).spawn().unwrap()
    }

    fn written(path: &Path) -> String {
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn what_was_not_synced_is_lost_with_the_power() {
        let disk = Disk::new();
        let directory = tempfile::tempdir().unwrap();
        let [kept, lost, moved] = ["kept", "lost", "moved"].map(|name| directory.path().join(name));
        File::create(&kept).unwrap().write_all(b"before").unwrap();
        fs::copy(&kept, &lost).unwrap();
        let program =
            "for part in 'first ' 'second '; do printf \"$part\" | dd of=kept bs=3 conv=notrunc,fsync oflag=append
                           printf \"$part\" | dd of=lost bs=3 conv=notrunc oflag=append; done 2>errors
                       printf after | dd of=lost bs=2 conv=notrunc 2>errors; truncate --size=9 lost; mv lost moved";
        assert!(run(&disk, program, directory.path()).wait().unwrap().success());
        assert_eq!(written(&kept), "beforefirst second ");
        assert_eq!(written(&moved), "afterefir");
        disk.cut(directory.path());
        assert_eq!(written(&kept), "beforefirst second ");
        assert_eq!(written(&moved), "before");
    }

    #[test]
    fn a_sync_is_held_back_until_it_is_released() {
        let disk = Disk::new();
        let directory = tempfile::tempdir().unwrap();
        disk.hold();
        let mut held = run(
            &disk,
            "printf after >file; sync file; echo synced >done",
            directory.path(),
        );
        disk.until_held();
        assert!(held.try_wait().unwrap().is_none());
        assert!(!directory.path().join("done").exists());
        disk.release();
        assert!(held.wait().unwrap().success());
        disk.cut(directory.path());
        assert_eq!(written(&directory.path().join("file")), "after");
    }
}
