//! What every command has at hand: the daemon, and the way its answer is shown.
//!
//! Commands are plain functions; asking the daemon blocks until the answer is there.

use std::future::Future;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use api::client::{Client, DEFAULT_SOCKET};
use api::{Applied, ChangeOptions, Command, Versioned};
use clap::{Args, ValueEnum};
use serde::Serialize;

use super::change::{self, ChangeArgs};
use super::failure::{Exit, Failure};
use super::session;
use super::table::Page;

/// Where help lists the arguments of every command.
const GLOBAL: &str = "Global options";

/// Arguments of every command.
#[derive(Clone, Debug, Default, Args)]
pub struct Global {
    /// The daemon's control socket [default: `SLUICE_SOCKET`, else /run/sluice/control.sock]
    #[arg(long, global = true, value_name = "PATH", help_heading = GLOBAL)]
    pub socket: Option<PathBuf>,
    /// How answers are shown
    #[arg(short, long, global = true, value_enum, default_value_t, value_name = "FORMAT", help_heading = GLOBAL)]
    pub output: Output,
}

/// How answers are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For programs; stable.
    Json,
}

/// The daemon and the output.
#[derive(Debug)]
pub struct Context {
    client: Client,
    /// The socket that was asked for, if one was.
    pub named_socket: Option<PathBuf>,
    pub output: Output,
}

impl Context {
    pub fn new(global: Global) -> Self {
        let named_socket = global.socket.or_else(|| std::env::var_os("SLUICE_SOCKET").map(PathBuf::from));
        let socket = named_socket.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_SOCKET));
        let caller = session::ssh_peer().map(|address| address.to_string());
        Self { client: Client::new(socket, caller), named_socket, output: global.output }
    }

    /// Where the daemon is asked.
    pub fn socket(&self) -> &std::path::Path {
        self.client.socket()
    }

    /// The same for another daemon.
    #[must_use]
    pub fn at(&self, socket: PathBuf) -> Self {
        let caller = session::ssh_peer().map(|address| address.to_string());
        Self {
            client: Client::new(socket, caller),
            named_socket: self.named_socket.clone(),
            output: self.output,
        }
    }

    /// Asks the daemon.
    pub fn ask<C: Command>(&self, command: &C) -> Result<Versioned<C::Answer>, Failure> {
        self.ask_with(command, &ChangeOptions::default())
    }

    /// Asks the daemon for a change that is made this way.
    pub fn ask_with<C: Command>(
        &self,
        command: &C,
        options: &ChangeOptions,
    ) -> Result<Versioned<C::Answer>, Failure> {
        block_on(self.client.ask(command, options))
    }

    /// Asks, and takes a daemon that does not answer in time for one that is not there.
    pub fn ask_within<C: Command>(
        &self,
        patience: Duration,
        command: &C,
        options: &ChangeOptions,
    ) -> Result<Versioned<C::Answer>, Failure> {
        let late = || {
            let told = format!("the daemon at {} did not answer in time", self.socket().display());
            Failure::new(Exit::Unavailable, told)
        };
        let asked = async {
            match tokio::time::timeout(patience, self.client.ask(command, options)).await {
                Ok(answer) => answer.map_err(Failure::from),
                Err(_) => Err(late()),
            }
        };
        block_on(asked)
    }

    /// Asks for a change, and shows what it did.
    pub fn change<C: Command<Answer = Applied>>(
        &self,
        command: &C,
        arguments: &ChangeArgs,
    ) -> Result<(), Failure> {
        let applied = self.ask_with(command, &arguments.options())?;
        self.show(&applied, |applied, page| change::render(&applied.answer, page))
    }

    /// Prints `answer` as JSON, or as the page that `render` makes of it.
    pub fn show<T: Serialize>(&self, answer: &T, render: impl FnOnce(&T, &mut Page)) -> Result<(), Failure> {
        let text = match self.output {
            Output::Json => {
                let mut text = serde_json::to_string_pretty(answer)
                    .map_err(|error| Failure::new(Exit::Failed, format!("show the answer: {error}")))?;
                text.push('\n');
                text
            }
            Output::Table => {
                let mut page = Page::for_stdout();
                render(answer, &mut page);
                page.text()
            }
        };
        print(&text)
    }
}

/// Prints text as it is.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// Whether people look at standard output.
pub fn on_terminal() -> bool {
    std::io::stdout().is_terminal()
}

fn block_on<T, E>(asking: impl Future<Output = Result<T, E>>) -> Result<T, Failure>
where
    Failure: From<E>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, format!("start the client: {error}")))?;
    Ok(runtime.block_on(asking)?)
}
