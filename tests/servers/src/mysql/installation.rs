//! The programs of a server, and its initial data.

use std::env;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::flavour::Flavour;
use crate::service::Service;

/// The programs of one flavour.
#[derive(Debug)]
pub(crate) struct Installation {
    flavour: Flavour,
    /// The directories of its programs.
    directories: Vec<PathBuf>,
    /// A data directory to copy. Copying takes a tenth of the time of creating one.
    template: Option<PathBuf>,
}

impl Installation {
    /// The installation that `tests/run` made, or the one on the path.
    pub(crate) fn of(flavour: Flavour) -> Result<Self, String> {
        let roots = match flavour {
            Flavour::Mysql => roots(),
            Flavour::Mariadb => Vec::new(), // which is a package of the system's
        };
        let apart = roots.iter().filter_map(|root| Self::apart(flavour, root));
        let path = env::var_os("PATH").unwrap_or_default();
        let on_path = env::split_paths(&path)
            .chain(["/usr/local/sbin", "/usr/sbin"].map(PathBuf::from)) // which are on the path of root only
            .filter_map(|directory| Self::on_path(flavour, &directory));
        apart.chain(on_path).next().ok_or_else(|| {
            let roots = roots.iter().map(|root| format!(", nor in {}", root.display()));
            format!("no {} on the path{}", flavour.server(), roots.collect::<String>())
        })
    }

    fn apart(flavour: Flavour, root: &Path) -> Option<Self> {
        let programs = root.join("bin");
        let template = root.join("data");
        is_there(flavour, &programs).then(|| Self {
            flavour,
            directories: vec![programs],
            template: template.is_dir().then_some(template),
        })
    }

    fn on_path(flavour: Flavour, directory: &Path) -> Option<Self> {
        if !is_there(flavour, directory) {
            return None;
        }
        // The path may have only a link to it.
        let server = fs::canonicalize(directory.join(flavour.server())).ok()?;
        let server = server.parent()?;
        Some(Self {
            flavour,
            directories: vec![server.to_owned(), server.with_file_name("bin")],
            template: None,
        })
    }

    pub(crate) fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// The path of a program, whether it exists or not.
    pub(crate) fn tool(&self, name: &str) -> PathBuf {
        let mut places = self.directories.iter().map(|directory| directory.join(name));
        let found = places.find(|place| place.is_file());
        found.unwrap_or_else(|| self.directories[0].join(name))
    }

    /// Makes the data directory of a new server.
    pub(crate) fn initialise(&self, service: &Service, data: &Path) -> Result<(), String> {
        if let Some(template) = &self.template {
            return copy(service, template, data)
                .map_err(|error| format!("{} cannot be copied: {error}", template.display()));
        }
        let program = self.flavour.initialiser();
        let output = service
            .command(&self.tool(program))
            .args(self.flavour.initialise())
            .arg(format!("--datadir={}", data.display()))
            // In a directory of its own: a server that starts removes all temporary tables of a shared one.
            .arg(format!("--tmpdir={}", service.directory().display()))
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("{program} cannot be started: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = [output.stdout, output.stderr].concat();
        Err(format!("{program} failed: {}", String::from_utf8_lossy(&said)))
    }
}

/// The directories in which `tests/run` installs servers that the system does not have.
fn roots() -> Vec<PathBuf> {
    if let Some(root) = env::var_os("FIREFLY_MYSQL_ROOT") {
        return vec![root.into()];
    }
    let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or(home);
    [Some(PathBuf::from("/var/cache")), cache]
        .into_iter()
        .flatten()
        .map(|cache| cache.join("firefly-eventstore-tests/mysql"))
        .collect()
}

/// Whether the directory has the flavour's server. `mysqld` may be another name of MariaDB's.
fn is_there(flavour: Flavour, directory: &Path) -> bool {
    let server = directory.join(flavour.server());
    if !server.is_file() {
        return false;
    }
    let output = Command::new(server).args(["--no-defaults", "--version"]).output();
    output.is_ok_and(|output| output.status.success() && flavour.is_of(&String::from_utf8_lossy(&output.stdout)))
}

/// Copies a directory. Only the server's user may read the copy.
pub(super) fn copy(service: &Service, from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(service, &entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
            fs::set_permissions(&target, Permissions::from_mode(0o600))?;
            service.own(&target).map_err(io::Error::other)?;
        }
    }
    fs::set_permissions(to, Permissions::from_mode(0o700))?;
    service.own(to).map_err(io::Error::other)
}
