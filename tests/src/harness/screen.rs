//! A terminal that a test works on: tmux with a server of its own, keys in, the screen out.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::{
    daemon::{Daemon, binary},
    network::{eventually, run},
};

/// One shell in one window.
#[derive(Debug)]
pub struct Screen {
    directory: TempDir,
}

/// How long the screen may take to show what a key led to.
const PATIENCE: Duration = Duration::from_secs(30);

impl Screen {
    /// What this machine lacks.
    pub fn possible() -> Result<()> {
        run("tmux", &["-V"]).map(drop)
    }

    /// A shell that asks `daemon`, on a terminal of this size; `environment` as in `NO_COLOR=1`.
    pub fn start(daemon: &Daemon, (width, height): (u16, u16), environment: &[&str]) -> Result<Self> {
        let screen = Self { directory: tempfile::Builder::new().prefix("sluice-screen-").tempdir()? };
        let socket = format!("SLUICE_SOCKET={}", daemon.socket().display());
        let (width, height) = (width.to_string(), height.to_string());
        let path = format!("PATH={}:/usr/bin:/bin", binary()?.parent().context("a folder")?.display());
        let mut arguments =
            vec!["-f", "/dev/null", "new-session", "-d", "-x", &width, "-y", &height, "env", "-i"];
        arguments.extend([socket.as_str(), path.as_str(), "TERM=screen", "PS1=ready> ", "HOME=/"]);
        arguments.extend(environment);
        arguments.extend(["sh", "-i"]);
        screen.tmux(&arguments)?;
        screen.shows("ready>")?;
        Ok(screen)
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("tmux")
    }

    fn tmux(&self, arguments: &[&str]) -> Result<String> {
        let socket = self.socket().display().to_string();
        // -u: the terminal takes UTF-8; what a program sends is its own choice.
        run("tmux", &[&["-u", "-S", &socket], arguments].concat())
    }

    /// Types text as it is.
    pub fn types(&self, text: &str) -> Result<()> {
        self.tmux(&["send-keys", "-l", text]).map(drop)
    }

    /// Presses a key by its name, as in `Enter` or `C-z`.
    pub fn presses(&self, key: &str) -> Result<()> {
        self.tmux(&["send-keys", key]).map(drop)
    }

    /// A command line of the shell.
    pub fn runs(&self, line: &str) -> Result<()> {
        self.types(line)?;
        self.presses("Enter")
    }

    pub fn resizes(&self, width: u16, height: u16) -> Result<()> {
        self.tmux(&["resize-window", "-x", &width.to_string(), "-y", &height.to_string()]).map(drop)
    }

    /// What is on the screen.
    pub fn text(&self) -> Result<String> {
        self.tmux(&["capture-pane", "-p"])
    }

    /// The same with its attributes and colours.
    pub fn attributes(&self) -> Result<String> {
        self.tmux(&["capture-pane", "-p", "-e"])
    }

    /// Whether a program has the alternate screen, and whether the cursor is hidden.
    pub fn is_taken(&self) -> Result<bool> {
        let flags = self.tmux(&["display-message", "-p", "#{alternate_on}#{?cursor_flag,0,1}"])?;
        Ok(flags.trim() != "00")
    }

    /// Waits until the screen shows `wanted`, and returns it.
    pub fn shows(&self, wanted: &str) -> Result<String> {
        self.becomes(wanted, |text| text.contains(wanted))
    }

    /// Waits until the screen is as it is wanted.
    pub fn becomes(&self, what: &str, is: impl Fn(&str) -> bool) -> Result<String> {
        let mut last = String::new();
        eventually(what, PATIENCE, || {
            last = self.text().ok()?;
            is(&last).then(|| last.clone())
        })
        .with_context(|| format!("the screen shows:\n{last}"))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut end = Command::new("tmux");
        end.arg("-S").arg(self.socket()).arg("kill-server").stdout(Stdio::null()).stderr(Stdio::null());
        let _ = end.status();
    }
}
