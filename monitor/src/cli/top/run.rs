//! The screen as it runs: threads for keys, signals and answers, one that owns the view and paints.
//!
//! In: a daemon that answers. Out: nothing but what was confirmed on the screen; the terminal is as it was, also after
//! SIGTERM, SIGHUP and SIGINT.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use api::Applied;
use ratatui::crossterm::event::{self, Event as Input, KeyEvent};
use tokio::signal::unix::{SignalKind, signal};

use super::action::Form;
use super::draw;
use super::panes::Answers;
use super::terminal::{Screen, give_back};
use super::theme::Theme;
use super::view::View;
use super::worker::{Wanted, Worker};
use crate::cli::sources::Order;
use crate::cli::{Context, Exit, Failure};

/// What the view hears.
#[derive(Debug)]
pub enum Event {
    Answers(Result<Box<Answers>, Failure>),
    Detail(Result<String, Failure>),
    Changed(Result<Applied, Failure>, Form),
    Key(KeyEvent),
    Resized,
    /// A signal asks for the end, or the terminal is gone.
    Ended,
}

/// Events that wait while a frame is on its way; who sends more waits too.
const WAITING: usize = 64;
/// What is wanted of the daemon while it is slow.
const WANTED: usize = 16;
/// How long the view may take to end; a terminal that takes no text must not keep it.
const LAST_FRAME: Duration = Duration::from_secs(2);

pub fn run(context: &Context, by: Order, number: usize, every: Duration) -> Result<(), Failure> {
    let context = context.at(context.socket().to_owned());
    let worker = Worker { context, order: by.asked(), number, every };
    // Without a daemon there is an error, and no screen.
    let first = worker.answers()?;
    let (events, heard) = sync_channel(WAITING);
    let (wanted, asked) = sync_channel(WANTED);
    end_by_signal(events.clone())?;
    let screen = Screen::take()?;
    let keys = events.clone();
    thread::spawn(move || read_keys(&keys));
    thread::spawn(move || worker.work(&asked, &events));
    let mut view = View::new(Theme::of_environment());
    view.take(Event::Answers(Ok(Box::new(first))));
    show(screen, view, &heard, &wanted)
}

fn show(
    mut screen: Screen,
    mut view: View,
    heard: &Receiver<Event>,
    wanted: &SyncSender<Wanted>,
) -> Result<(), Failure> {
    loop {
        // A terminal that is gone ends it like a reader that went away.
        if screen.terminal.draw(|frame| draw::draw(frame, &mut view)).is_err() {
            return Ok(());
        }
        // What came meanwhile is taken before the next frame: a slow line skips frames and never keys.
        let mut next = heard.recv().ok();
        while let Some(event) = next {
            let step = view.take(event);
            if step.quit {
                return Ok(());
            }
            for wanted_now in step.wanted {
                // A daemon that is this far behind will be asked again.
                let _ = wanted.try_send(wanted_now);
            }
            if step.repaint {
                screen.repaint()?;
            }
            if step.suspend {
                drop(screen);
                rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP)
                    .map_err(|error| Failure::new(Exit::Failed, format!("top: stop: {error}")))?;
                screen = Screen::take()?;
            }
            next = heard.try_recv().ok();
        }
    }
}

fn read_keys(events: &SyncSender<Event>) {
    loop {
        let event = match event::read() {
            Ok(Input::Key(key)) if key.is_release() => continue,
            Ok(Input::Key(key)) => Event::Key(key),
            Ok(Input::Resize(..)) => Event::Resized,
            Ok(_) => continue,
            Err(_) => Event::Ended,
        };
        let is_last = matches!(event, Event::Ended);
        if events.send(event).is_err() || is_last {
            return;
        }
    }
}

/// Listens for the signals that end a program; from now on they end it with the terminal put back.
fn end_by_signal(events: SyncSender<Event>) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::new(Exit::Failed, format!("top: listen for signals: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let [mut terminate, mut hang_up, mut interrupt] = {
        let _within = runtime.enter();
        [
            signal(SignalKind::terminate()).map_err(failed)?,
            signal(SignalKind::hangup()).map_err(failed)?,
            signal(SignalKind::interrupt()).map_err(failed)?,
        ]
    };
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = hang_up.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        let _ = events.try_send(Event::Ended);
        thread::sleep(LAST_FRAME);
        // The view is stuck in a write.
        give_back();
        std::process::exit(0);
    });
    Ok(())
}
