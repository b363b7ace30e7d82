//! The daemon's log on standard error: text for people, JSON for machines.
//!
//! In: a filter and a format. Out: a subscriber for the whole process. The journal adds time and unit by itself, so text
//! leaves the time out when it writes there.

use std::io::{IsTerminal, stderr};

use anyhow::{Context, Result, anyhow};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::SystemTime;

use policy::config::{Format, Log};

/// Starts logging. `RUST_LOG` wins over the configuration's level.
pub fn start(log: &Log) -> Result<()> {
    let level = std::env::var("RUST_LOG").unwrap_or_else(|_| log.level.clone());
    // The loader's own diagnostics are for those who name it.
    let directives =
        if level.contains("aya") { level.clone() } else { format!("{level},aya=warn,aya_obj=warn") };
    let filter = EnvFilter::try_new(directives).with_context(|| {
        format!("log.level = {level:?} is no filter; write error, warn, info, debug or trace")
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(stderr)
        .with_target(false)
        .with_ansi(stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    let to_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    match log.format {
        Format::Json => builder.json().flatten_event(true).try_init(),
        Format::Text if to_journal => builder.without_time().try_init(),
        Format::Text => builder.with_timer(SystemTime).try_init(),
    }
    .map_err(|error| anyhow!("start logging: {error}"))
}
