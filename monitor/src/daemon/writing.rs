//! Where the process may write, by Landlock: in its own places and nowhere else, and it may execute nothing.
//!
//! In: the places and the port of the metrics page. Out: rules that are prepared while every place can still be opened,
//! then enforced. What the kernel's version of Landlock does not know is left out. Reading stays as the user's
//! permissions allow it, because a reload may name a configuration or a list anywhere.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, PathBeneath, PathFd,
    RestrictionStatus, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};

/// The newest version whose rights are asked for.
const NEWEST: ABI = ABI::V6;

/// What may be written.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Directories that are the daemon's own.
    pub own: Vec<PathBuf>,
    /// The directory of the pins; it may be removed too.
    pub pins: PathBuf,
    /// The port of the metrics page.
    pub port: Option<u16>,
}

/// Opens every place. One that is not there is replaced by the nearest directory above it: it may come later.
pub fn prepare(places: &Places) -> Result<RulesetCreated> {
    let all = AccessFs::from_write(NEWEST);
    let handled = all | AccessFs::Execute;
    let ruleset = Ruleset::default().handle_access(handled)?.handle_access(AccessNet::BindTcp)?;
    let ruleset = ruleset.scope(scopes(std::env::var("NOTIFY_SOCKET").ok().as_deref()))?;
    let mut created = ruleset.create().context("make a Landlock ruleset")?;
    for place in places.own.iter().chain([&places.pins]) {
        created = created.add_rule(PathBeneath::new(open(place)?, all))?;
    }
    if let Some(above) = places.pins.parent() {
        created = created.add_rule(PathBeneath::new(open(above)?, AccessFs::RemoveDir))?;
    }
    created = created.add_rule(PathBeneath::new(PathFd::new("/dev/null")?, AccessFs::WriteFile))?;
    if let Some(port) = places.port {
        created = created.add_rule(NetPort::new(port, AccessNet::BindTcp))?;
    }
    Ok(created)
}

/// Signals to others are never sent; the service manager may listen on an abstract socket.
fn scopes(notify: Option<&str>) -> BitFlags<Scope> {
    let is_abstract = notify.is_some_and(|socket| socket.starts_with('@'));
    if is_abstract { Scope::Signal.into() } else { Scope::from_all(NEWEST) }
}

fn open(place: &Path) -> Result<PathFd> {
    let there = place.ancestors().find(|path| path.is_dir());
    let there = there.with_context(|| format!("there is nothing above {}", place.display()))?;
    PathFd::new(there).with_context(|| format!("open {}", there.display()))
}

/// Confines the calling thread and all that it starts. Returns the version of Landlock that does so.
pub fn enforce(created: RulesetCreated) -> Result<u32> {
    let RestrictionStatus { ruleset, landlock, .. } = created.restrict_self().context("enforce Landlock")?;
    match (ruleset, landlock) {
        (RulesetStatus::NotEnforced, LandlockStatus::NotEnabled) => {
            bail!("Landlock is not enabled in this kernel (lsm=)")
        }
        (RulesetStatus::NotEnforced, _) => bail!("this kernel has no Landlock (since Linux 5.13)"),
        (_, LandlockStatus::Available { effective_abi, kernel_abi }) => {
            Ok(kernel_abi.map_or(effective_abi as u32, i32::unsigned_abs))
        }
        _ => bail!("the kernel does not say which Landlock it has"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn only_the_own_places_can_be_written() {
        let confined = std::thread::spawn(|| {
            let place = tempfile::tempdir().unwrap();
            let (own, other) = (place.path().join("own"), place.path().join("other"));
            let pins = place.path().join("bpf/sluice");
            for directory in [&own, &other, &pins] {
                fs::create_dir_all(directory).unwrap();
            }
            fs::write(other.join("readable"), "as before").unwrap();
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let places = Places {
                own: vec![own.clone(), own.join("later/deep")],
                pins: pins.clone(),
                port: Some(port),
            };
            let version = match enforce(prepare(&places).unwrap()) {
                Ok(version) => version,
                Err(error) => {
                    eprintln!("SKIPPED: {error:#}");
                    return;
                }
            };
            fs::write(own.join("kept"), "x").unwrap();
            fs::rename(own.join("kept"), own.join("renamed")).unwrap();
            fs::create_dir_all(own.join("later/deep")).unwrap();
            assert!(
                fs::write(other.join("new"), "x").is_err() && fs::write(other.join("readable"), "x").is_err()
            );
            assert!(
                fs::remove_file(other.join("readable")).is_err()
                    && fs::create_dir(other.join("new")).is_err()
            );
            assert_eq!(fs::read_to_string(other.join("readable")).unwrap(), "as before");
            fs::remove_dir(&pins).unwrap();
            if version >= 4 {
                assert!(TcpListener::bind("127.0.0.1:0").is_err());
                TcpListener::bind(("127.0.0.1", port)).unwrap();
            }
        });
        confined.join().unwrap();
    }

    #[test]
    fn a_service_manager_on_an_abstract_socket_can_be_told() {
        assert!(!scopes(Some("@/org/manager")).contains(Scope::AbstractUnixSocket));
        assert!(scopes(Some("/run/systemd/notify")).contains(Scope::AbstractUnixSocket));
        assert!(scopes(None).contains(Scope::Signal));
    }
}
