//! Files of others, read with suspicion: only regular ones, no more of them than a bound, and nothing is waited for.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The bytes of a regular file of at most `largest` bytes. Never waits for a writer, a device or a terminal.
pub fn read(path: &Path, largest: u64) -> Result<Vec<u8>, String> {
    let shown = path.display();
    let file = open(path)?;
    let mut bytes = Vec::new();
    let failed = |error| format!("{shown} cannot be read: {error}");
    file.take(largest + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > largest {
        return Err(format!("{shown} is larger than {} MiB", largest >> 20));
    }
    Ok(bytes)
}

fn open(path: &Path) -> Result<File, String> {
    let shown = path.display();
    let failed = |error| format!("{shown} cannot be read: {error}");
    // A pipe that nobody writes to must not be waited for, and a terminal must not become ours.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)
        .map_err(failed)?;
    if file.metadata().map_err(failed)?.is_file() {
        Ok(file)
    } else {
        Err(format!("{shown} is no regular file, so it is not read"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_devices_and_directories_are_not_read() {
        let files = tempfile::tempdir().unwrap();
        let pipe = files.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let link = files.path().join("link");
        std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
        for path in [&pipe, &link, files.path()] {
            let refused = read(path, 100).unwrap_err();
            assert!(refused.contains("no regular file"), "{refused}");
        }
        let long = files.path().join("long");
        std::fs::write(&long, [b'x'; 101]).unwrap();
        assert!(read(&long, 100).unwrap_err().contains("larger"));
        assert_eq!(read(&long, 101).unwrap().len(), 101);
    }
}
