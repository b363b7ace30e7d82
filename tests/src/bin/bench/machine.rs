//! Where and when was measured: what figures are worth nothing without.

use std::{fmt, fs, thread};

use jiff::Zoned;

/// The machine, its kernel, the moment and the source that was built.
#[derive(Clone, Debug)]
pub struct Machine {
    date: String,
    kernel: String,
    processor: String,
    processors: usize,
    /// Running and waiting tasks during the last minute, before the run: what else the machine did.
    load: String,
    revision: String,
}

impl Machine {
    /// This machine, now. `revision` is the version of the source.
    pub fn here(revision: Option<String>) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let information = read("/proc/cpuinfo");
        let field = |name: &str| {
            let line = information.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(": ")).map_or("?", |(_, value)| value.trim()).to_owned()
        };
        Self {
            date: Zoned::now().strftime("%Y-%m-%d %H:%M %Z").to_string(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            processor: format!(
                "{} (family {}, model {})",
                field("model name"),
                field("cpu family"),
                field("model\t")
            ),
            processors: thread::available_parallelism().map_or(0, usize::from),
            load: read("/proc/loadavg").split(' ').next().unwrap_or("?").to_owned(),
            revision: revision.unwrap_or_else(|| "unknown".to_owned()),
        }
    }

    pub fn facts(&self) -> [(&'static str, String); 6] {
        [
            ("date", self.date.clone()),
            ("kernel", self.kernel.clone()),
            ("processor", self.processor.clone()),
            ("processors", self.processors.to_string()),
            ("load before", self.load.clone()),
            ("revision", self.revision.clone()),
        ]
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, Linux {}, {} x {}, load {} before the run, revision {}",
            self.date, self.kernel, self.processors, self.processor, self.load, self.revision
        )
    }
}
