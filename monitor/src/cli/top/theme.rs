//! How the screen is painted: with colour or without, with block characters or in ASCII.

use ratatui::style::{Color, Modifier, Style};

/// What the terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    pub color: bool,
    pub unicode: bool,
}

/// How grave a row is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    #[default]
    Plain,
    /// Over, or of the past.
    Faint,
    Warning,
    Alarm,
}

impl Theme {
    /// By the environment: <https://no-color.org>, and the locale's character set.
    pub fn of_environment() -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set).unwrap_or_default();
        let locale = locale.to_ascii_lowercase();
        Self {
            color: set("NO_COLOR").is_none(),
            unicode: locale.ends_with("utf-8") || locale.ends_with("utf8"),
        }
    }

    /// Without colour a tone is an attribute: nothing is said by colour alone.
    pub fn style(self, tone: Tone) -> Style {
        let style = Style::new();
        match (tone, self.color) {
            (Tone::Plain, _) => style,
            (Tone::Faint, true) => style.fg(Color::DarkGray),
            (Tone::Faint, false) => style.add_modifier(Modifier::DIM),
            (Tone::Warning, true) => style.fg(Color::Yellow),
            (Tone::Warning, false) => style.add_modifier(Modifier::BOLD),
            (Tone::Alarm, true) => style.fg(Color::Red).add_modifier(Modifier::BOLD),
            (Tone::Alarm, false) => style.add_modifier(Modifier::BOLD | Modifier::UNDERLINED),
        }
    }

    pub fn title(self, focused: bool) -> Style {
        let style = Style::new().add_modifier(Modifier::BOLD);
        match (self.color, focused) {
            (true, true) => style.fg(Color::Cyan),
            (false, true) => style.add_modifier(Modifier::UNDERLINED),
            (_, false) => style,
        }
    }

    pub fn heading() -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub fn selected() -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// The line of a pane's title.
    pub const fn rule(self) -> char {
        if self.unicode { '─' } else { '-' }
    }

    pub const fn dots(self) -> &'static str {
        if self.unicode { "…" } else { "~" }
    }

    /// Marks the column that is sorted by.
    pub const fn arrow(self, ascending: bool) -> &'static str {
        match (self.unicode, ascending) {
            (true, true) => "▲",
            (true, false) => "▼",
            (false, true) => "^",
            (false, false) => "v",
        }
    }
}
