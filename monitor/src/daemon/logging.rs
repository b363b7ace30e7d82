//! The daemon's log on standard error: text for people, JSON for machines.
//!
//! In: a filter and a format. Out: a subscriber for the whole process. The journal adds time and unit by itself, so text
//! leaves the time out when it writes there, and each line begins with its priority (sd-daemon(3)). A log that cannot be
//! written, because its reader is gone or its disk is full, never ends the daemon.

use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write, stderr};

use anyhow::{Context, Result, anyhow};
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
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
    let journal = std::env::var_os("JOURNAL_STREAM").is_some_and(|stream| leads_to_stderr(&stream));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Output { journal })
        .with_target(false)
        .with_ansi(stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    match log.format {
        Format::Json => builder.json().flatten_event(true).try_init(),
        Format::Text if journal => builder.without_time().try_init(),
        Format::Text => builder.with_timer(SystemTime).try_init(),
    }
    .map_err(|error| anyhow!("start logging: {error}"))
}

/// Whether `JOURNAL_STREAM` (`DEVICE:INODE`) names this process's standard error. A child that inherits the variable may
/// write elsewhere.
fn leads_to_stderr(stream: &OsStr) -> bool {
    let Ok(about) = rustix::fs::fstat(stderr()) else { return false };
    stream.to_str() == Some(&format!("{}:{}", about.st_dev, about.st_ino))
}

/// Makes the writer of each event.
#[derive(Clone, Copy, Debug)]
struct Output {
    journal: bool,
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = Entry<io::Stderr>;

    fn make_writer(&'a self) -> Self::Writer {
        Entry { priority: None, sink: stderr() }
    }

    fn make_writer_for(&'a self, about: &Metadata<'_>) -> Self::Writer {
        Entry { priority: self.journal.then(|| priority(*about.level())), sink: stderr() }
    }
}

/// The priority of syslog(3).
const fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// One event on its way out. A failed write is not an error here: the subscriber would report it on the standard error
/// that has just failed, and panic.
#[derive(Debug)]
struct Entry<W> {
    priority: Option<u8>,
    sink: W,
}

impl<W: Write> Write for Entry<W> {
    /// `text` is one whole event.
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let written = match self.priority {
            // The journal reads a priority for each line.
            Some(priority) => {
                let mut lines = Vec::with_capacity(text.len() + 4);
                for line in text.split_inclusive(|byte| *byte == b'\n') {
                    lines.extend_from_slice(format!("<{priority}>").as_bytes());
                    lines.extend_from_slice(line);
                }
                self.sink.write_all(&lines)
            }
            None => self.sink.write_all(text),
        };
        drop(written);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        drop(self.sink.flush());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::io::{self, Write};

    use tracing::Level;

    use super::{Entry, leads_to_stderr, priority};

    /// A full disk, or a pipe whose reader is gone.
    struct Broken;

    impl Write for Broken {
        fn write(&mut self, _text: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
    }

    #[test]
    fn a_log_that_cannot_be_written_is_no_error() {
        for priority in [None, Some(4)] {
            let mut entry = Entry { priority, sink: Broken };
            entry.write_all(b"an event\n").unwrap();
            entry.flush().unwrap();
        }
    }

    #[test]
    fn every_line_for_the_journal_has_the_priority_of_its_event() {
        let written = |priority| {
            let mut entry = Entry { priority, sink: Vec::new() };
            entry.write_all(b"WARN one\nand two\n").unwrap();
            String::from_utf8(entry.sink).unwrap()
        };
        assert_eq!(written(Some(priority(Level::WARN))), "<4>WARN one\n<4>and two\n");
        assert_eq!(written(None), "WARN one\nand two\n");
    }

    #[test]
    fn only_the_stream_of_this_standard_error_is_the_journal() {
        let about = rustix::fs::fstat(io::stderr()).unwrap();
        let own = format!("{}:{}", about.st_dev, about.st_ino);
        assert!(leads_to_stderr(OsStr::new(&own)));
        for other in [format!("{}:{}", about.st_dev, about.st_ino + 1), String::new(), "journal".to_owned()] {
            assert!(!leads_to_stderr(OsStr::new(&other)), "{other}");
        }
    }
}
