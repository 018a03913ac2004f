//! The properties of the machine that the numbers depend on: the disk, and the memory that the process uses.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Prints where the files are, and how long an fsync takes there.
pub(crate) fn describe(directory: &Path) {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let file_system = file_system(directory).unwrap_or_else(|| "an unknown file system".to_owned());
    println!(
        "SQLite {}, {cores} cores, files in {}",
        rusqlite::version(),
        directory.display()
    );
    println!(
        "on {file_system}; fsync of a 4 KiB write: {:.0} µs in the middle of 200",
        fsync_micros(directory)
    );
    if file_system == "tmpfs" {
        println!("WARNING: that is memory, so FULL costs what NORMAL costs; name a disk with --dir");
    }
    println!("ratios: the middle of the rounds (the least–the most); above 1 is faster than the raw driver\n");
}

/// The type of a directory's file system, if the operating system reports it.
fn file_system(directory: &Path) -> Option<String> {
    let directory = directory.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            Some((fields.next()?, fields.next()?))
        })
        .filter(|(point, _)| directory.starts_with(point))
        .max_by_key(|(point, _)| point.len())
        .map(|(_, file_system)| file_system.to_owned())
}

fn fsync_micros(directory: &Path) -> f64 {
    let mut file = File::create(directory.join("fsync")).unwrap();
    let mut micros: Vec<u128> = (0..200)
        .map(|_| {
            let start = Instant::now();
            file.write_all(&[1; 4096]).unwrap();
            file.sync_data().unwrap();
            start.elapsed().as_micros()
        })
        .collect();
    micros.sort_unstable();
    micros[micros.len() / 2] as f64
}

/// The peak memory of this process since [`forget_peak`], in KiB; 0 if the operating system does not report it.
pub(crate) fn peak_memory_kib() -> u64 {
    status("VmHWM:")
}

/// The current memory of this process, in KiB.
pub(crate) fn memory_kib() -> u64 {
    status("VmRSS:")
}

/// Resets the peak to the current memory.
pub(crate) fn forget_peak() {
    // If that is not possible, the peak is that of the whole run, which is not smaller.
    drop(fs::write("/proc/self/clear_refs", "5"));
}

/// Linux's unit for the time of a process, on every architecture.
pub(crate) const TICKS_A_SECOND: f64 = 100.0;

/// The processor time of a process, in ticks; 0 if the operating system does not report it.
pub(crate) fn cpu_ticks(pid: i32) -> f64 {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The fields after the name, which may contain spaces.
    let fields = line.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let times = fields.split(' ').skip(11).take(2);
    times.filter_map(|ticks| ticks.parse::<f64>().ok()).sum()
}

fn status(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}

/// Runs a tool to its end.
pub(crate) fn run(tool: &mut Command) {
    let status = tool.status().unwrap();
    assert!(status.success(), "{tool:?} fails: {status}");
}
