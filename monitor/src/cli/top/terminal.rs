//! The terminal while the screen is shown, and as it was before: also after a signal and in a panic.

use std::io::{self, BufWriter, Stdout, Write as _};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

/// One frame is one write: a slow line shows no half-painted screen.
const FRAME: usize = 64 * 1024;

static TAKEN: AtomicBool = AtomicBool::new(false);
static HOOK: Once = Once::new();

/// A terminal of one's own until it is dropped.
#[derive(Debug)]
pub struct Screen {
    pub terminal: Terminal<CrosstermBackend<BufWriter<Stdout>>>,
}

impl Screen {
    pub fn take() -> io::Result<Self> {
        // A panic aborts: nothing is dropped, and what it says belongs on the terminal as it was.
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                give_back();
                before(panic);
            }));
        });
        TAKEN.store(true, Ordering::SeqCst);
        let taken = Self::enter();
        if taken.is_err() {
            give_back();
        }
        taken
    }

    fn enter() -> io::Result<Self> {
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen)?;
        let backend = CrosstermBackend::new(BufWriter::with_capacity(FRAME, io::stdout()));
        let mut terminal = Terminal::new(backend)?;
        terminal.hide_cursor()?;
        let mut screen = Self { terminal };
        screen.repaint()?;
        Ok(screen)
    }

    /// Has the next frame painted whole. Not `Terminal::clear`, which asks the terminal where its cursor is: the answer
    /// goes to the thread that reads keys, and takes a slow line two turns.
    pub fn repaint(&mut self) -> io::Result<()> {
        let size = self.terminal.size()?;
        self.terminal.resize(size.into())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // What was not written any more must not come after the old screen.
        let _ = self.terminal.backend_mut().flush();
        give_back();
    }
}

/// Puts the terminal back as it was, once. There is nobody to tell when that fails: the terminal is gone.
pub fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}
