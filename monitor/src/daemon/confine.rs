//! What the process can still do once the interfaces are guarded: as little as its work needs.
//!
//! In: the configuration and the kernel side. Out: a thread of user `sluice` without capabilities, that writes in its own
//! places only and makes the system calls it needs, and the account of what the kernel enforces. Whatever this kernel or
//! host does not have is left out and told. Threads that are started later inherit all of it.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use datapath::{Live, SERVICE_USER};
use rustix::process::DumpableBehavior;

use super::service_user::{Needs, ServiceUser};
use super::{calls, privilege, writing};
use crate::control::peer::{self, group_number};
use crate::snapshot::Confinement;
use policy::config::{Config, SinkKind};

/// Confines the calling thread, which must be the only one. `path` is the file of the configuration.
pub(super) fn confine(config: &Config, path: Option<PathBuf>, kernel: &mut Live) -> Confinement {
    let mut done = Confinement::default();
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    told(&mut done, privilege::forbid_new());
    let rules = writing::prepare(&places(config));
    if rustix::process::geteuid().is_root() {
        let group = fs::read_to_string("/etc/group").unwrap_or_default();
        let outcome = match ServiceUser::find(SERVICE_USER, &passwd, &group) {
            None => Err(anyhow::anyhow!("there is no user `{SERVICE_USER}`")),
            Some(user) => become_user(&user.also_in(door_groups(config, &group)), config, path, kernel),
        };
        told(&mut done, outcome.context("it stays root's"));
    }
    done.no_capabilities = told(&mut done, privilege::drop_all()).is_some();
    let hidden = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    done.not_dumpable = told(&mut done, hidden.context("keep others from its memory")).is_some();
    let enforced = rules.and_then(writing::enforce).context("writing is not confined");
    done.landlock = told(&mut done, enforced);
    done.seccomp = told(&mut done, calls::filter().context("system calls are not filtered")).is_some();
    let uid = rustix::process::geteuid().as_raw();
    (done.user, done.uid) = (name_of(uid, &passwd), uid);
    done
}

/// As one sentence.
pub fn sentence(confinement: &Confinement) -> String {
    let Confinement { user, no_capabilities, landlock, seccomp, .. } = confinement;
    let mut all = vec![format!("user {user}")];
    all.push(if *no_capabilities { "no capabilities" } else { "with its capabilities" }.to_owned());
    all.push(landlock.map_or("writes anywhere".to_owned(), |version| {
        format!("writes its own places (Landlock {version})")
    }));
    all.push(if *seccomp { "system calls filtered" } else { "any system call" }.to_owned());
    all.join(", ")
}

fn told<T>(done: &mut Confinement, outcome: Result<T>) -> Option<T> {
    outcome.map_err(|error| done.missing.push(format!("{error:#}"))).ok()
}

fn places(config: &Config) -> writing::Places {
    let socket = config.control.socket.parent().map(Path::to_owned);
    // Files of sinks: others rotate them, so the directory is what is opened.
    let files = config.alerts.sinks.iter().filter(|sink| sink.kind == SinkKind::Jsonl);
    let files = files.map(|sink| sink.path.as_ref().and_then(|path| path.parent()).map(Path::to_owned));
    writing::Places {
        own: [config.state.directory.clone()].into_iter().chain(socket).chain(files.flatten()).collect(),
        pins: config.bpf.pin_directory.clone(),
        port: config.metrics.enabled.then(|| config.metrics.listen.port()),
    }
}

/// The groups that a control socket may be given to.
fn door_groups(config: &Config, group: &str) -> Vec<u32> {
    let control = &config.control;
    let named = [&control.admin_group, &control.operator_group, &control.viewer_group];
    named.into_iter().flatten().filter_map(|name| group_number(group, name)).collect()
}

fn become_user(user: &ServiceUser, config: &Config, path: Option<PathBuf>, kernel: &mut Live) -> Result<()> {
    let (state, pins) = (&config.state.directory, &config.bpf.pin_directory);
    let lists = config.access.lists.iter();
    let lists = lists
        .flat_map(|list| [list.path.clone(), list.ca_file.clone(), list.authorization_file.clone()])
        .flatten();
    let sinks = config.alerts.sinks.iter();
    let of_sinks = sinks.flat_map(|sink| [sink.ca_file.clone(), sink.authorization_file.clone()]).flatten();
    let secret = config.alerts.webhook_secret_file.clone();
    let read = path.into_iter().chain(lists).chain(secret).chain(of_sinks);
    let enter = state.parent().map(Path::to_owned);
    let needs = Needs { read: read.collect(), enter: enter.into_iter().collect() };
    if let Err(error) = user.reaches(&needs) {
        // An earlier daemon may have been that user.
        for place in [state, pins] {
            if !place.exists() {
                continue;
            }
            user.take_back(place).unwrap_or_else(|error| tracing::warn!("{error:#}"));
        }
        return Err(error.context(format!("user {} cannot take over", user.name)));
    }
    // Without it the store lives in memory and says so.
    let made = DirBuilder::new().recursive(true).mode(0o700).create(state).map_err(anyhow::Error::from);
    if let Err(error) = made.and_then(|()| user.give(state)) {
        tracing::warn!("{}: {error:#}", state.display());
    }
    user.give(pins)?;
    if let Err(error) = user.give_socket_directory(&config.control.socket) {
        tracing::warn!("{error:#}");
    }
    // Its own user may not pass through /sys/fs/bpf, which systemd mounts for root alone.
    kernel.hold_pins()?;
    user.become_it()
}

fn name_of(uid: u32, passwd: &str) -> String {
    peer::name_in(passwd, uid).unwrap_or_else(|| uid.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_in_one_sentence() {
        let mut confinement =
            Confinement { user: "sluice".to_owned(), landlock: Some(7), ..Confinement::default() };
        (confinement.no_capabilities, confinement.seccomp) = (true, true);
        let whole = "user sluice, no capabilities, writes its own places (Landlock 7), system calls filtered";
        assert_eq!(sentence(&confinement), whole);
        let nothing = Confinement { user: "root".to_owned(), ..Confinement::default() };
        assert_eq!(sentence(&nothing), "user root, with its capabilities, writes anywhere, any system call");
    }

    #[test]
    fn a_user_without_a_name_is_its_number() {
        assert_eq!(name_of(0, "root:x:0:0::/:/bin/sh\n"), "root");
        assert_eq!(name_of(7, "root:x:0:0::/:/bin/sh\nbroken\n"), "7");
    }
}
