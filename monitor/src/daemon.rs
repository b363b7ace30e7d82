//! The daemon's life: load, attach, give up privileges, serve until told to stop.
//!
//! In: flags and a configuration. Out: a guarded host, a control socket, a metrics page. Stopping leaves the kernel side
//! in force. Nothing before [`privilege::drop_all`] may start a thread, because capabilities belong to threads.

pub mod exposition;
pub mod logging;
pub mod notify;
pub mod privilege;
mod serving;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use jiff::Timestamp;
use rustix::fs::Mode;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, interval};

use crate::engine::command::{Caller, ChangeOptions, Command};
use crate::engine::delta::{ConfigSetting, Flags};
use crate::engine::kernel::{self, Live};
use crate::engine::refusal::{Code, Refusal};
use crate::engine::{Ended, Handle, Pulse, Start, links, operators};
use crate::store::{OpenError, Store};
use serving::Doors;

/// What `sluice run` was given.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The configuration's file, if one was named.
    pub config: Option<PathBuf>,
    pub flags: Flags,
}

/// Runs until it is told to stop. Errors before the guard stands are of the configuration, the kernel or the system.
pub fn run(options: Options) -> Result<()> {
    rustix::process::umask(Mode::from_raw_mode(0o077));
    let setting = ConfigSetting::read(options.config.as_deref(), options.flags)?;
    let config = setting.parse()?;
    logging::start(&config.log)?;
    for advice in config.advice() {
        tracing::warn!("{advice}");
    }
    // One thread for all that waits; the engine gets its own.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(live(options.config, setting, &config))
}

/// Whoever needs more privilege learns that from the exit code as well.
fn not_permitted(error: OpenError) -> anyhow::Error {
    if error.is_permission() && !rustix::process::geteuid().is_root() {
        Refusal::new(Code::NotPermitted, error.to_string()).next("run it as root").into()
    } else {
        error.into()
    }
}

/// What a daemon that is gone left in force.
pub fn left_in_force(options: &Options) -> Result<Vec<datapath::Left>> {
    let config = ConfigSetting::read(options.config.as_deref(), options.flags.clone())?.parse()?;
    datapath::left_in_force(&config.bpf.pin_directory)
}

/// Removes what a daemon that is gone left in the kernel; returns the interfaces that were guarded.
pub fn remove_pinned(options: &Options) -> Result<Vec<String>> {
    let config = ConfigSetting::read(options.config.as_deref(), options.flags.clone())?.parse()?;
    kernel::remove_pinned(&config.bpf.pin_directory)
}

async fn live(path: Option<PathBuf>, setting: ConfigSetting, config: &policy::config::Config) -> Result<()> {
    let opened = Store::open(&config.state.directory, Timestamp::now()).map_err(not_permitted)?;
    if let Some(aside) = &opened.set_aside {
        tracing::error!("the store was unusable and begins anew: {aside}");
    }
    let doors = Doors::open(config).await?;
    let mut kernel = Live::open(config).context("load the kernel side")?;
    let log = kernel.take_log();
    let operator = operators::session();
    let own = links::own_addresses().await?;
    let start = Start { kernel: Box::new(kernel), store: opened.store, config: setting, path, own, operator };
    let (engine, handle) = start.engine()?;
    privilege::drop_all()?;

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
    let served = doors.serve(&handle, &stopping);
    let outcome = wait(&handle, &pulse, ended).await;
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
async fn wait(handle: &Handle, pulse: &Pulse, mut ended: oneshot::Receiver<Result<Ended>>) -> Result<Ended> {
    let listen = |kind| signal(kind).context("listen for signals");
    let (mut hangup, mut terminate, mut interrupt) =
        (listen(SignalKind::hangup())?, listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let mut beat = notify::watchdog_interval().map(interval);
    let mut turns = 0;
    notify::ready("guarding");
    tracing::info!("ready");
    let mut asked_at: Option<Instant> = None;
    loop {
        tokio::select! {
            outcome = &mut ended => return outcome.context("the engine died without a word")?,
            Some(()) = hangup.recv() => reload(handle).await,
            () = either(&mut terminate, &mut interrupt) => {
                if asked_at.replace(Instant::now()).is_some() {
                    anyhow::bail!("told to stop twice, so stopped at once");
                }
                tracing::info!("told to stop");
                let handle = handle.clone();
                tokio::spawn(async move { handle.ask(Caller::DAEMON, ChangeOptions::default(), Command::Stop).await });
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

async fn reload(handle: &Handle) {
    notify::reloading();
    let outcome = handle.ask(Caller::DAEMON, ChangeOptions::default(), Command::Reload).await;
    match outcome {
        Ok(_) => notify::ready("guarding"),
        Err(refusal) => notify::ready(&format!("guarding; the last reload was refused: {refusal}")),
    }
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

async fn tick(interval: &mut Option<tokio::time::Interval>) {
    match interval {
        Some(interval) => drop(interval.tick().await),
        None => std::future::pending().await,
    }
}
