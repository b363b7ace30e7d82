//! What the service manager is told (`sd_notify`): ready, reloading, stopping, alive.
//!
//! In: moments of the daemon's life. Out: datagrams to `NOTIFY_SOCKET`, nothing without it. A failure is logged, never
//! fatal.

use std::time::Duration;

use sd_notify::NotifyState;

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("tell the service manager: {error}");
    }
}

pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

pub fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

pub fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// How often [`alive`] must be called, if the service manager watches: half of what it allows.
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|allowed| allowed / 2)
}
