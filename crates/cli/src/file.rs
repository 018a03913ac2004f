//! Files: a written file appears complete or not at all; a read file may be a pipe.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Seek as _, Write};
use std::path::{Path, PathBuf};

use tempfile::Builder;

use crate::exit::{Exit, Failure, Result};

/// What to do with an existing file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    /// It is replaced.
    Replace,
    /// It is kept, and nothing is written.
    Keep,
}

impl Existing {
    /// As `--force` says.
    pub(crate) fn forced(force: bool) -> Self {
        if force { Self::Replace } else { Self::Keep }
    }
}

/// Whether a path stands for the standard input or output.
pub(crate) fn is_standard(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Lets `write` write a file, which gets its name when it is complete and on the disk: until then it has another name in the
/// same folder, and is removed if `write` fails. A device or pipe is written to directly; `-` is the standard output.
pub(crate) fn write_whole<R>(
    path: &Path,
    existing: Existing,
    write: impl FnOnce(&mut dyn Write) -> Result<R>,
) -> Result<R> {
    let failed = |error: io::Error| Failure::io(format_args!("{} cannot be written", path.display()), &error);
    if is_standard(path) {
        let mut out = BufWriter::new(io::stdout().lock());
        let result = write(&mut out)?;
        out.flush()?;
        return Ok(result);
    }
    // The target of a symbolic link is replaced, not the link.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if fs::metadata(&path).is_ok_and(|found| !found.is_file()) {
        let mut out = BufWriter::new(File::options().write(true).open(&path).map_err(failed)?);
        let result = write(&mut out)?;
        out.flush().map_err(failed)?;
        return Ok(result);
    }
    let in_the_way = || {
        Failure::new(
            Exit::Files,
            format!("{} exists already, and was not changed", path.display()),
        )
        .advise("choose another name, or replace it with --force")
    };
    if existing == Existing::Keep && path.exists() {
        return Err(in_the_way());
    }
    let mut out = BufWriter::new(beside(&path).map_err(failed)?);
    let result = write(&mut out)?;
    let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
    file.as_file().sync_all().map_err(failed)?;
    let persisted = match existing {
        Existing::Replace => file.persist(&path),
        Existing::Keep => file.persist_noclobber(&path),
    };
    persisted.map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => in_the_way(),
        _ => failed(error.error),
    })?;
    Ok(result)
}

fn beside(path: &Path) -> io::Result<tempfile::NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    let mut builder = Builder::new();
    builder.prefix(&name).suffix(".part");
    // As any new file: what the user's mask allows, or as the one that is replaced.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let replaced = fs::metadata(path).map(|file| file.permissions());
        builder.permissions(replaced.unwrap_or(fs::Permissions::from_mode(0o666)));
    }
    builder.tempfile_in(folder.unwrap_or(Path::new(".")))
}

/// Opens a file to be read more than once. The standard input, and anything that is no regular file, is copied to a temporary file.
pub(crate) fn open_to_reread(path: &Path) -> Result<BufReader<File>> {
    let failed = |error: io::Error| Failure::io(format_args!("{} cannot be read", name_of(path).display()), &error);
    if is_standard(path) {
        return spooled(&mut io::stdin().lock()).map_err(failed);
    }
    let mut file = File::open(path).map_err(failed)?;
    match file.metadata().map_err(failed)?.is_file() {
        true => Ok(BufReader::new(file)),
        false => spooled(&mut file).map_err(failed),
    }
}

fn spooled(input: &mut dyn io::Read) -> io::Result<BufReader<File>> {
    let mut file = tempfile::tempfile()?;
    io::copy(input, &mut file)?;
    file.rewind()?;
    Ok(BufReader::new(file))
}

fn name_of(path: &Path) -> PathBuf {
    match is_standard(path) {
        true => "the standard input".into(),
        false => path.to_owned(),
    }
}
