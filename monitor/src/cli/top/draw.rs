//! The view as a frame: two lines of the whole, six panes of which one is open, one line for keys.
//!
//! Every pane always shows its title with its figures; the focused one gets the rows, the others what is left of a tall
//! terminal.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Clear, Paragraph};

use super::grid::Fitted;
use super::panes::{Answers, Pane};
use super::theme::{Theme, Tone};
use super::view::{Over, View};
use crate::cli::{figures, status};

/// Lines above the panes, and below them.
const ABOVE: u16 = 2;
const BELOW: u16 = 1;
/// Rows of the focused pane before others open.
const ENOUGH: usize = 16;

/// Keys and what they do; in two columns where there is room for them.
const KEYS: [(&str, &str); 18] = [
    ("1-6, Tab", "go to a pane"),
    ("j k, arrows", "select a row"),
    ("PgUp PgDn", "a page"),
    ("g G", "first, last"),
    ("/", "filter the pane"),
    ("Esc", "show all rows again"),
    ("s", "sort by the next column"),
    ("r", "sort the other way"),
    ("p, space", "pause"),
    ("Enter", "all about the row"),
    ("o", "there: the flow's other end"),
    ("b", "ban the row's address"),
    ("e", "exempt the row's address"),
    ("l", "limit the row's service"),
    ("x", "silence the finding"),
    ("u", "undo the change"),
    ("Ctrl-Z -L", "to the shell; paint again"),
    ("q, Esc", "back, or the end"),
];

const MEANING: [&str; 4] = [
    "A change asks for what it needs, then once more: y makes it,",
    "n or Esc does not. It lasts until the daemon restarts;",
    "`sluice limit set --save` and the configuration last longer.",
    "Nothing is said by colour alone.",
];

pub fn help(width: usize) -> String {
    let one = |(keys, meaning): &(&str, &str)| format!("{keys:<12} {meaning}");
    let keys: Vec<String> = if width < 78 {
        KEYS.iter().map(one).collect()
    } else {
        let (left, right) = KEYS.split_at(KEYS.len() / 2);
        left.iter().zip(right).map(|(left, right)| format!("{:<39}{}", one(left), one(right))).collect()
    };
    format!("{}\n\n{}\n", keys.join("\n"), MEANING.join("\n"))
}

pub fn draw(frame: &mut Frame, view: &mut View) {
    let area = frame.area();
    view.width = area.width;
    let panes = Rect {
        y: area.y + ABOVE.min(area.height),
        height: area.height.saturating_sub(ABOVE + BELOW),
        ..area
    };
    let line = |number: u16| Rect { y: area.y + number, height: 1, ..area };
    if area.height > ABOVE + BELOW {
        head(frame, view, line(0), line(1));
        foot(frame, view, line(area.height - 1));
    }
    match &view.over {
        Some(Over::Help(scroll)) => {
            page(frame, panes, view.theme, "Keys", &help(area.width.into()), *scroll);
            view.height = usize::from(panes.height).saturating_sub(1);
        }
        Some(Over::Detail { text, scroll, .. }) => {
            let said = text.as_deref().unwrap_or("asking the daemon\n");
            page(frame, panes, view.theme, "Enter or Esc: back", said, *scroll);
            view.height = usize::from(panes.height).saturating_sub(1);
        }
        _ => all_panes(frame, panes, view),
    }
}

fn put(frame: &mut Frame, area: Rect, text: impl Into<String>, style: Style) {
    frame.render_widget(Paragraph::new(Line::styled(text.into(), style)), area);
}

fn head(frame: &mut Frame, view: &View, first: Rect, second: Rect) {
    let theme = view.theme;
    let Some(answers) = &view.answers else { return };
    let Answers { status: snapshot, .. } = answers;
    let flows = status::Flows::of(snapshot.totals.iter());
    let up = figures::span(snapshot.at.as_second().saturating_sub(snapshot.started.as_second()));
    let offered = figures::rate(flows.passed_per_second + flows.dropped_per_second);
    let dropped = figures::rate(flows.dropped_per_second);
    let wide = usize::from(first.width).saturating_sub(80) / 2;
    let bars = |name: &str| view.trends.bars(name, 8 + wide.min(24), theme.unicode);
    let mut spans = vec![
        Span::styled(format!("sluice {}", snapshot.build.version), Theme::heading()),
        Span::raw(format!("  up {up}  offered {offered}/s {}  ", bars("offered"))),
        Span::styled(
            format!("dropped {dropped}/s {}", bars("dropped")),
            theme.style(if flows.dropped_per_second > 0.0 { Tone::Warning } else { Tone::Plain }),
        ),
    ];
    if snapshot.panic.is_some() {
        spans.insert(0, Span::styled("PANIC: ALL PASSES  ", theme.style(Tone::Alarm)));
    }
    if view.paused {
        spans.push(Span::styled("  PAUSED", theme.style(Tone::Alarm)));
    }
    frame.render_widget(Paragraph::new(Line::from(spans)), first);
    let (said, tone) = if let Some(stale) = &view.stale {
        (stale.clone(), Tone::Alarm)
    } else if let Some(pending) = &snapshot.pending {
        let left = figures::until(pending.until, snapshot.at);
        (format!("waiting: change {} ({}) is taken back {left}", pending.change, pending.summary), Tone::Warning)
    } else if let Some(problem) = snapshot.problems.first() {
        let more = match snapshot.problems.len() {
            1 => String::new(),
            all => format!(" (and {} more: `sluice status`)", all - 1),
        };
        (format!("problem: {problem}{more}"), Tone::Alarm)
    } else {
        let file = snapshot.reload.path.as_deref().unwrap_or("embedded default");
        (format!("configuration {file}, {} findings open", snapshot.findings.open), Tone::Faint)
    };
    put(frame, second, crate::cli::table::clean(&said), theme.style(tone));
}

fn foot(frame: &mut Frame, view: &View, area: Rect) {
    let theme = view.theme;
    let (text, style) = match (&view.over, &view.message) {
        (Some(Over::Filter), _) => {
            let filter = view.looking.get(view.focus.title()).map_or("", |looking| looking.filter.as_str());
            (format!("filter: {filter}_"), Theme::heading())
        }
        (Some(Over::Form(form)), _) => {
            let error = form.error.as_ref().map(|error| format!("{error}; ")).unwrap_or_default();
            (format!("{error}{}", form.line()), Theme::heading())
        }
        (Some(Over::Danger(form, said)), _) => {
            (format!("{}: {said} do it all the same? y/n", form.title()), theme.style(Tone::Alarm))
        }
        (_, Some((message, true))) => (message.clone(), theme.style(Tone::Alarm)),
        (_, Some((message, false))) => (message.clone(), Theme::heading()),
        _ => (
            "? help  / filter  s sort  p pause  Enter why  b ban  e exempt  l limit  q quit".to_owned(),
            theme.style(Tone::Faint),
        ),
    };
    // A question must be read to its end: it takes the lines above when it is long.
    let length = text.chars().count();
    let lines = length.div_ceil(usize::from(area.width).max(1)).clamp(1, 4);
    let is_question = matches!(view.over, Some(Over::Form(_) | Over::Danger(..)));
    let lines = if is_question || view.message.is_some() { u16::try_from(lines).unwrap_or(1) } else { 1 };
    let up = lines.saturating_sub(1).min(area.y);
    let area = Rect { y: area.y - up, height: up + 1, ..area };
    if up > 0 {
        frame.render_widget(Clear, area);
    }
    let text = Paragraph::new(Line::styled(crate::cli::table::clean(&text), style));
    frame.render_widget(text.wrap(ratatui::widgets::Wrap { trim: false }), area);
}

fn page(frame: &mut Frame, area: Rect, theme: Theme, title: &str, text: &str, scroll: usize) {
    if area.height == 0 {
        return;
    }
    rule(frame, Rect { height: 1, ..area }, theme, title, true);
    let lines: Vec<Line> = text.lines().skip(scroll).map(Line::raw).collect();
    let below = Rect { y: area.y + 1, height: area.height - 1, ..area };
    frame.render_widget(Paragraph::new(lines), below);
}

/// A title on its line.
fn rule(frame: &mut Frame, area: Rect, theme: Theme, title: &str, focused: bool) {
    let length = title.chars().count();
    let rest = usize::from(area.width).saturating_sub(length + 4);
    let dash = theme.rule();
    let line = Line::from(vec![
        Span::styled(format!("{dash} "), theme.style(Tone::Faint)),
        Span::styled(title.to_owned(), theme.title(focused)),
        Span::styled(format!(" {}", dash.to_string().repeat(rest + 1)), theme.style(Tone::Faint)),
    ]);
    frame.render_widget(Paragraph::new(line), area);
}

/// How many rows each pane gets, its heading included: the focused one first, then the others as they come.
fn share(height: usize, wanted: [usize; 6], focus: usize) -> [usize; 6] {
    let mut left = height.saturating_sub(Pane::ALL.len());
    let mut given = [0; 6];
    given[focus] = left.min(if left > ENOUGH { wanted[focus].max(ENOUGH).min(left) } else { left });
    left -= given[focus];
    for (place, wanted) in wanted.iter().enumerate() {
        if place != focus && left >= 2 {
            given[place] = (*wanted).min(left).min(8);
            left -= given[place];
        }
    }
    given[focus] += left;
    given
}

fn all_panes(frame: &mut Frame, area: Rect, view: &mut View) {
    let Some(answers) = &view.answers else { return };
    let summaries = Pane::ALL.map(|pane| pane.summary(answers));
    let rows = Pane::ALL.map(|pane| view.rows(pane));
    let focus = Pane::ALL.iter().position(|pane| *pane == view.focus).unwrap_or(0);
    let given = share(area.height.into(), rows.each_ref().map(|rows| rows.len() + 1), focus);
    // A terminal with fewer lines than panes shows the focused one.
    let is_low = usize::from(area.height) <= Pane::ALL.len();
    let mut y = area.y;
    for (place, pane) in Pane::ALL.into_iter().enumerate() {
        let inside = if is_low { usize::from(area.height).saturating_sub(1) } else { given[place] };
        let inside = u16::try_from(inside).unwrap_or(u16::MAX);
        if is_low && place != focus || y >= area.y + area.height {
            continue;
        }
        let filter = view.looking.get(pane.title()).map_or("", |looking| looking.filter.as_str());
        let filter = if filter.is_empty() { String::new() } else { format!(" [filter: {filter}]") };
        let title = format!("{} {}: {}{filter}", place + 1, pane.title(), summaries[place]);
        rule(frame, Rect { y, height: 1, ..area }, view.theme, &title, place == focus);
        let inside = Rect { y: y + 1, height: inside, ..area };
        if inside.height > 0 {
            table(frame, inside, view, pane, &rows[place], place == focus);
        }
        y = inside.y + inside.height;
        if place == focus {
            view.height = usize::from(inside.height).saturating_sub(1);
        }
    }
}

fn table(
    frame: &mut Frame,
    area: Rect,
    view: &View,
    pane: Pane,
    rows: &[super::grid::Row<super::panes::About>],
    focused: bool,
) {
    let theme = view.theme;
    let Some(place) = view.selected(pane, rows) else {
        let filtered = view.looking.get(pane.title()).is_some_and(|looking| !looking.filter.is_empty());
        let said = if filtered { "no row matches; Esc shows all" } else { pane.nothing() };
        return put(frame, Rect { height: 1, ..area }, said, theme.style(Tone::Faint));
    };
    let sorting = view.looking.get(pane.title()).and_then(|looking| looking.sorting);
    let shown = usize::from(area.height).saturating_sub(1);
    let first = if focused { (place + 1).saturating_sub(shown) } else { 0 };
    let rows_shown = &rows[first.min(rows.len())..rows.len().min(first + shown)];
    let fitted = Fitted::new(pane.headings(), rows, sorting, area.width.into());
    let mut lines = vec![Line::styled(fitted.heading(pane.headings(), sorting, theme), Theme::heading())];
    for (number, row) in rows_shown.iter().enumerate() {
        let style = theme.style(row.tone);
        let style = if focused && first + number == place { style.patch(Theme::selected()) } else { style };
        lines.push(Line::styled(fitted.row(row, theme), style));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn the_focused_pane_has_the_rows_and_a_tall_terminal_shows_the_others_too() {
        // 80x24: six titles, and all that is left for one.
        assert_eq!(share(21, [2, 3, 40, 10, 5, 20], 2), [0, 0, 15, 0, 0, 0]);
        let tall = share(60, [2, 3, 40, 10, 5, 20], 4);
        assert_eq!(tall.iter().sum::<usize>(), 54);
        assert!(tall.iter().all(|rows| *rows >= 2), "{tall:?}");
        assert_eq!(share(3, [2, 3, 40, 10, 5, 20], 2), [0; 6]);
    }
}
