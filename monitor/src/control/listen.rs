//! The socket's place in the file system: directory 0750, socket 0660, no second daemon, no leftover.
//!
//! In: a path and the group that may connect. Out: a bound listener. It never removes what is not a dead socket.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::net::UnixListener;

/// Binds the control socket at `path`, and lets members of `group` connect.
///
/// # Errors
/// When a daemon already answers there, when something else than a socket is in the way, or when the file system refuses.
pub fn bind(path: &Path, group: Option<u32>) -> Result<UnixListener> {
    let place = || format!("control socket {}", path.display());
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        make_directory(directory, group).with_context(place)?;
    }
    remove_leftover(path)?;
    // Between bind and chmod the socket has the umask's mode, but its directory already keeps strangers out.
    let listener = UnixListener::bind(path).with_context(place)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660)).with_context(place)?;
    if group.is_some() {
        chown(path, None, group).with_context(|| format!("give {} to group {group:?}", path.display()))?;
    }
    Ok(listener)
}

/// How often the socket's place is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Resolves when the socket at `path` is not there any more, or another stands in its place.
pub async fn gone(path: PathBuf) {
    let identity = || fs::symlink_metadata(&path).map(|about| (about.dev(), about.ino())).ok();
    let ours = identity();
    while ours.is_some() && identity() == ours {
        tokio::time::sleep(LOOK).await;
    }
}

/// Makes the directory when it is missing; one that exists keeps the mode its owner gave it. In one of another user, or
/// one that everybody may write to, the socket could be replaced by somebody's own.
fn make_directory(directory: &Path, group: Option<u32>) -> Result<()> {
    if let Ok(about) = fs::metadata(directory)
        && about.is_dir()
    {
        let (owner, us) = (about.uid(), rustix::process::geteuid().as_raw());
        if owner != 0 && !datapath::is_trusted(owner, us) {
            bail!("{} belongs to user {owner}; give it to the daemon's user", directory.display());
        }
        if about.mode() & 0o1002 == 0o002 {
            bail!("everybody may write to {}; take that away with `chmod o-w`", directory.display());
        }
        return Ok(());
    }
    fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o750))?;
    if group.is_some() {
        chown(directory, None, group)
            .with_context(|| format!("give {} to group {group:?}", directory.display()))?;
    }
    Ok(())
}

fn remove_leftover(path: &Path) -> Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("look at {}", path.display())),
    };
    if !metadata.file_type().is_socket() {
        bail!("{} exists and is not a socket; move it away or configure another path", path.display());
    }
    match UnixStream::connect(path) {
        Ok(_) => bail!("a daemon already answers at {}; stop it first with `sluice stop`", path.display()),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).with_context(|| format!("remove the dead socket {}", path.display()))
        }
        Err(error) => Err(error).with_context(|| format!("try {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::bind;

    #[tokio::test]
    async fn a_new_socket_has_mode_0660_in_a_directory_of_mode_0750() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("run/control.sock");
        let _listener = bind(&path, None).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o750);
    }

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("control.sock");
        let listener = bind(&path, None).unwrap();
        let error = bind(&path, None).unwrap_err().to_string();
        assert!(error.contains("already answers"), "{error}");
        drop(listener);
        bind(&path, None).unwrap();
    }

    #[tokio::test]
    async fn a_file_in_the_way_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("control.sock");
        fs::write(&path, "precious").unwrap();
        let error = bind(&path, None).unwrap_err().to_string();
        assert!(error.contains("not a socket"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
