//! The daemon's life: guard, give up privileges, bring up the rest, serve until told to stop.
//!
//! In: flags and a configuration. Out: a guarded host, a control socket, a metrics page. Interfaces are guarded before
//! anything else is tried, and only a kernel that cannot run the program ends a start: every other part is tried again
//! and told as a problem. Stopping leaves the kernel side in force. Nothing before [`confine::confine`] may leave a
//! thread behind, because what it takes away belongs to threads.

mod announcement;
mod calls;
pub mod confine;
pub mod exposition;
pub mod logging;
pub mod notify;
mod page;
pub mod privilege;
mod service_user;
mod serving;
mod setting;
mod signals;
mod web;
mod writing;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use jiff::Timestamp;
use rustix::fs::Mode;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, interval};

use crate::engine::command::{Caller, ChangeOptions, Reload, Stop};
use crate::engine::delta::Flags;
use crate::engine::start::{self, First};
use crate::engine::{
    Ended, Handle, Parts, Pulse, Start, configuration_path, cookies, last_good, links, operators, panic_file,
    read_configuration,
};
use crate::store::{self, Store};
use api::{Code, Error};
use datapath::Live;
use serving::Doors;
use setting::Chosen;
use signals::{Asked, Signals};

/// What `sluice run` was given.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The configuration's file, if one was named.
    pub config: Option<PathBuf>,
    pub flags: Flags,
}

/// Runs until it is told to stop. Errors before the guard stands are of the configuration or the kernel.
pub fn run(options: Options) -> Result<()> {
    // One thread for all that waits; the engine gets its own.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    let signals = Signals::listen(&runtime)?;
    rustix::process::umask(Mode::from_raw_mode(0o077));
    let chosen = setting::choose(&options)?;
    logging::start(&chosen.config.log)?;
    for advice in chosen.config.advice() {
        tracing::warn!("{advice}");
    }
    runtime.block_on(live(options.config, chosen, signals))
}

/// Whoever needs more privilege learns that from the exit code as well.
fn not_permitted(error: anyhow::Error) -> anyhow::Error {
    let denied = |cause: &(dyn std::error::Error + 'static)| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
    };
    if error.chain().any(denied) && !rustix::process::geteuid().is_root() {
        Error::new(Code::NotPermitted, format!("{error:#}")).next("run it as root").into()
    } else {
        error
    }
}

/// What a daemon that is gone left in force.
pub fn left_in_force(options: &Options) -> Result<(PathBuf, Vec<datapath::Left>)> {
    let config = read_configuration(options.config.as_deref(), options.flags.clone())?.parse()?;
    let left = datapath::left_in_force(&config.bpf.pin_directory)?;
    Ok((config.bpf.pin_directory, left))
}

/// Whether `sluice panic` is on in the maps that a daemon left; `None` without any.
pub fn left_passing(options: &Options) -> Result<Option<bool>> {
    let config = read_configuration(options.config.as_deref(), options.flags.clone())?.parse()?;
    datapath::passes_everything_in(&config.bpf.pin_directory)
}

/// Removes what a daemon that is gone left in the kernel; returns the interfaces that were guarded.
pub fn remove_pinned(options: &Options) -> Result<Vec<String>> {
    let config = read_configuration(options.config.as_deref(), options.flags.clone())?.parse()?;
    datapath::remove_pinned(&config.bpf.pin_directory)
}

async fn live(path: Option<PathBuf>, chosen: Chosen, signals: Signals) -> Result<()> {
    let Chosen { setting, config, broken } = chosen;
    let parts = Parts::default();
    let state = &config.state.directory;
    // A second daemon ends here, before it touches anything.
    store::ensure_unused(state)?;
    if !privilege::may_load() {
        let told = "load the kernel side: the process has no CAP_BPF";
        return Err(Error::new(Code::NotPermitted, told).next("run it as root").into());
    }
    let mut kernel = Live::open(&config).context("load the kernel side").map_err(not_permitted)?;
    if let Some(away) = kernel.moved() {
        let told = format!("another user had made something in their place; it is now {}", away.display());
        parts.fails("pins", &told);
    }
    let panic = panic_file::is_on(state);
    let first = First { lists: last_good::lists(state), broken, panic, ..First::default() };
    let there = datapath::list_interfaces().unwrap_or_else(|error| {
        tracing::error!("{error:#}");
        Vec::new()
    });
    let routes = || links::with_default_route().unwrap_or_default();
    let first = start::guard(&mut kernel, &config, routes, &there, first)?;

    for failed in cookies::set(&config) {
        tracing::error!("{failed}");
    }
    let mut doors = Doors::new(&config, parts.clone());
    doors.open();
    let operator = operators::session();
    let confinement =
        confine::confine(&config, configuration_path(path.as_deref()).map(Path::to_owned), &mut kernel);
    tracing::info!("confined: {}", confine::sentence(&confinement));
    for missing in &confinement.missing {
        tracing::warn!("{missing}");
    }
    let opened = Store::open_or_remember(state, Timestamp::now())?;
    let first = First { notes: opened.notes, confinement, ..first };
    let own = links::own_addresses().await.unwrap_or_else(|error| {
        tracing::error!("own addresses: {error:#}");
        Vec::new()
    });
    let log = kernel.take_log();
    let kernel = Box::new(kernel);
    let start = Start { kernel, store: opened.store, config: setting, path, own, operator, parts, first };
    let (engine, handle) = start.engine()?;

    let pulse = Arc::new(Pulse::default());
    let (done, ended) = oneshot::channel();
    let engines = Arc::clone(&pulse);
    std::thread::Builder::new()
        .name("engine".to_owned())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let outcome = runtime.context("start the engine's runtime").and_then(|runtime| {
                runtime.block_on(async {
                    if let Some(log) = log {
                        tokio::spawn(log);
                    }
                    Box::pin(engine.run(&engines)).await
                })
            });
            // The other end is gone only when the process is ending anyway.
            drop(done.send(outcome));
        })
        .context("start the engine's thread")?;

    let (stop, stopping) = watch::channel(false);
    let first = handle.snapshot();
    tracing::info!("{}", announcement::configuration(&first));
    tracing::info!("{}", announcement::modes(&first, &config));
    tracing::info!("{}", doors.addresses());
    let served = doors.serve(&handle, &stopping);
    let outcome = wait(&handle, &pulse, ended, signals).await;
    notify::stopping();
    stop.send_replace(true);
    serving::drain(served).await;
    match outcome? {
        Ended::Stopped => {
            tracing::info!("stopped; the kernel side keeps protecting (`sluice detach` removes it)");
        }
        Ended::Detached => tracing::info!("stopped; nothing is left in the kernel"),
    }
    Ok(())
}

/// Signals and the watchdog, until the engine has ended.
async fn wait(
    handle: &Handle,
    pulse: &Pulse,
    mut ended: oneshot::Receiver<Result<Ended>>,
    mut signals: Signals,
) -> Result<Ended> {
    let mut beat = notify::watchdog_interval().map(interval);
    let mut turns = 0;
    let mut snapshots = handle.snapshots();
    let mut guarding = announcement::guarding(&snapshots.borrow_and_update());
    notify::ready(&guarding.status);
    if guarding.any {
        tracing::info!("ready: {}", guarding.status);
    } else {
        tracing::warn!("ready, but {}", guarding.status);
    }
    let mut asked_at: Option<Instant> = None;
    loop {
        tokio::select! {
            outcome = &mut ended => return outcome.context("the engine died without a word")?,
            asked = signals.next() => match asked {
                Asked::Reload => reload(handle, &guarding.status).await,
                Asked::Stop(signal) => {
                    if asked_at.replace(Instant::now()).is_some() {
                        anyhow::bail!("told to stop twice, so stopped at once");
                    }
                    tracing::info!("told to stop by {signal}");
                    let handle = handle.clone();
                    tokio::spawn(async move {
                        handle.ask(Caller::DAEMON, ChangeOptions::default(), Stop {}).await
                    });
                }
            },
            Ok(()) = snapshots.changed() => {
                let now = announcement::guarding(&snapshots.borrow_and_update());
                if now != guarding {
                    notify::status(&now.status);
                    if guarding.any && !now.any {
                        tracing::warn!("{}", now.status);
                    }
                    guarding = now;
                }
            }
            () = tick(&mut beat) => {
                // Only a loop that turns is alive.
                let now = pulse.turns();
                if now != turns {
                    notify::alive();
                }
                turns = now;
            }
        }
    }
}

async fn reload(handle: &Handle, guarding: &str) {
    notify::reloading();
    let outcome = handle.ask(Caller::DAEMON, ChangeOptions::default(), Reload {}).await;
    match outcome {
        Ok(_) => notify::ready(guarding),
        Err(error) => notify::ready(&format!("{guarding}; the last reload was refused: {error}")),
    }
}

async fn tick(interval: &mut Option<tokio::time::Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}
